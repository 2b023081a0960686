/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What became of each field of the input: one verdict per field met, so that
 * none is dropped silently, and one diagnostic when input is refused whole.
 * Pure. Filled by discovery and policy, printed by `sluice check`, the log and
 * the metrics.
 */
#ifndef SLUICE_VERDICT_H
#define SLUICE_VERDICT_H

#include <stddef.h>

#include "arena.h"

enum verdict_kind {
	VERDICT_HONOURED,
	VERDICT_MAPPED,      /* a deprecated or foreign name, taken as another */
	VERDICT_UNSUPPORTED, /* valid, and not acted upon; `reason` says why */
	VERDICT_UNKNOWN,     /* no such field; `reason` names the nearest one */
	VERDICT_KINDS,
};

/* "honoured", "mapped", "unsupported", "unknown" */
extern const char *const verdict_kind_names[VERDICT_KINDS];

struct verdict {
	enum verdict_kind kind;
	const char *file;   /* path as given, NULL when it did not come from a file */
	unsigned line;
	const char *object; /* "Service default/llm" */
	const char *field;  /* "spec.sessionAffinity" */
	const char *reason; /* "" for honoured */
};

struct verdicts {
	struct verdict *list;
	size_t n;
	size_t capacity;
	struct arena texts;
};

/* Why input was refused: where, what, and what to do about it. */
struct diag {
	char file[512];   /* "" when it is not about a file */
	unsigned line;    /* from 1; 0 when it is not about a line */
	char field[256];  /* "spec.ports[0].port"; "" when it is not about a field */
	char reason[512]; /* ends with what to do; no newline */
};

/* Appends a verdict; copies every string. 0, or -ENOMEM. */
int verdicts_add(struct verdicts *verdicts, enum verdict_kind kind, const char *file,
		 unsigned line, const char *object, const char *field, const char *reason);
void verdicts_done(struct verdicts *verdicts);

/* Fills a diag (`file` and `field` may be NULL) and returns -EINVAL: a refusal in one line. */
int diag_set(struct diag *diag, const char *file, unsigned line, const char *field,
	     const char *format, ...) __attribute__((format(printf, 5, 6)));

/* "FILE:LINE: FIELD: REASON", leaving out what is empty, into buf; returns buf. */
const char *diag_format(const struct diag *diag, char *buf, size_t len);

#endif
