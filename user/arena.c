// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bump allocator: chunks of malloc()ed memory, handed out front to back and
 * freed together. Refuses nothing but sizes that memory cannot hold. Used by
 * yaml and objects, whose pieces are many, small and die together.
 */
#include "arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A chunk is a quarter of what there is already, so that little is left over in small arenas and in
 * large ones. */
#define CHUNK_MIN (1u << 10)
#define CHUNK_MAX (64u << 10)

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, size;
	alignas(uint64_t) char bytes[];
};

static struct arena_chunk *arena_grow(struct arena *arena, size_t need)
{
	size_t size = arena->bytes / 4;
	struct arena_chunk *chunk;

	size = size < CHUNK_MIN ? CHUNK_MIN : size < CHUNK_MAX ? size : CHUNK_MAX;
	size = need > size ? need : size;
	if (size > SIZE_MAX - sizeof(*chunk))
		return NULL;
	chunk = calloc(1, sizeof(*chunk) + size);
	if (!chunk)
		return NULL;
	chunk->size = size;
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	arena->bytes += size;
	return chunk;
}

static void *arena_take(struct arena *arena, size_t size, size_t align)
{
	struct arena_chunk *chunk = arena->chunks;
	size_t start = chunk ? (chunk->used + align - 1) & ~(align - 1) : 0;

	if (!chunk || start > chunk->size || size > chunk->size - start) {
		chunk = arena_grow(arena, size);
		if (!chunk)
			return NULL;
		start = 0;
	}
	chunk->used = start + size;
	return chunk->bytes + start;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	return arena_take(arena, size, alignof(uint64_t));
}

char *arena_strndup(struct arena *arena, const char *text, size_t len)
{
	char *copy = arena_take(arena, len + 1, 1);

	if (copy && len)
		memcpy(copy, text, len);
	return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
	return arena_strndup(arena, text, strlen(text));
}

struct arena_mark arena_mark(const struct arena *arena)
{
	return (struct arena_mark){arena->chunks, arena->chunks ? arena->chunks->used : 0};
}

void arena_rewind(struct arena *arena, struct arena_mark mark)
{
	struct arena_chunk *chunk;

	while (arena->chunks != mark.chunk) {
		chunk = arena->chunks;
		arena->chunks = chunk->next;
		arena->bytes -= chunk->size;
		free(chunk);
	}
	if (!mark.chunk)
		return;
	memset(mark.chunk->bytes + mark.used, 0, mark.chunk->used - mark.used);
	mark.chunk->used = mark.used;
}

void arena_done(struct arena *arena)
{
	struct arena_chunk *next;

	for (struct arena_chunk *chunk = arena->chunks; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	*arena = (struct arena){};
}
