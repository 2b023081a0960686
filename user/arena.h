/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that is freed all at once: many small pieces with one lifetime, such
 * as the nodes of a parsed document. Zero-initialised is empty and ready.
 */
#ifndef SLUICE_ARENA_H
#define SLUICE_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* the newest first */
	size_t bytes;               /* of all chunks */
};

/* Zeroed, and aligned for pointers and numbers of 64 bits; NULL when memory is out. Lives until arena_done(). */
void *arena_alloc(struct arena *arena, size_t size);
/* The first `len` bytes of `text`, and a NUL; NULL when memory is out. */
char *arena_strndup(struct arena *arena, const char *text, size_t len);
char *arena_strdup(struct arena *arena, const char *text);
/* What is handed out from now on can be taken back at once; strings and all. */
struct arena_mark {
	struct arena_chunk *chunk;
	size_t used;
};
struct arena_mark arena_mark(const struct arena *arena);
void arena_rewind(struct arena *arena, struct arena_mark mark);
/* Frees everything; the arena is empty and ready again. */
void arena_done(struct arena *arena);

#endif
