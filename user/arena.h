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
};

/* Zeroed and aligned for any type; NULL when memory is out. Lives until arena_done(). */
void *arena_alloc(struct arena *arena, size_t size);
/* The first `len` bytes of `text`, and a NUL; NULL when memory is out. */
char *arena_strndup(struct arena *arena, const char *text, size_t len);
char *arena_strdup(struct arena *arena, const char *text);
/* Frees everything; the arena is empty and ready again. */
void arena_done(struct arena *arena);

#endif
