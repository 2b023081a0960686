/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Strings, each kept once: thousands of objects say the same in a few words.
 * Two that were kept in the same texts are equal if their pointers are.
 * Zero-initialised is empty and ready.
 */
#ifndef SLUICE_TEXTS_H
#define SLUICE_TEXTS_H

#include "arena.h"

struct texts {
	struct arena arena;
	const char **slots; /* by hash, open addressing; NULL: free */
	size_t n, size;     /* size: a power of two, or 0 */
};

/* The kept string that is equal to `text`; NULL when memory is out. Lives until texts_done(). */
const char *texts_keep(struct texts *texts, const char *text);
/* No more will be kept: frees what finds them. */
void texts_close(struct texts *texts);
void texts_done(struct texts *texts);

#endif
