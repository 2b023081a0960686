/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The grammar of Prometheus' text exposition format 0.0.4: families, samples,
 * label values. Knows no metric. Pure.
 */
#ifndef SLUICE_EXPOSITION_H
#define SLUICE_EXPOSITION_H

#include "strbuf.h"

/* "# HELP" and "# TYPE" lines: begins a family. `type`: "counter", "gauge", "histogram". */
void exposition_family(struct strbuf *out, const char *name, const char *type, const char *help);

/* `key="value"`, escaped, after a comma unless `out` is empty or ends with '{'. */
void exposition_label(struct strbuf *out, const char *key, const char *value);

/* One sample. `labels` as exposition_label() made them; NULL: none. */
void exposition_u64(struct strbuf *out, const char *name, const char *labels, uint64_t value);
void exposition_double(struct strbuf *out, const char *name, const char *labels, double value);

/* One sample whose labels are written in place: open, exposition_label() for each, close. */
void exposition_open(struct strbuf *out, const char *name);
void exposition_close(struct strbuf *out, uint64_t value);
void exposition_close_double(struct strbuf *out, double value);

#endif
