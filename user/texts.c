// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hash table of strings in an arena. It refuses nothing and forgets nothing
 * before its end. Used by the decoded objects.
 */
#include "texts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fnv.h"

/* Where `text` is, or is to be. */
static const char **find_slot(const struct texts *texts, const char *text)
{
	size_t i = fnv_add(FNV_START, text, strlen(text)) & (texts->size - 1);

	while (texts->slots[i] && strcmp(texts->slots[i], text))
		i = (i + 1) & (texts->size - 1);
	return &texts->slots[i];
}

/* At most half of the slots are taken. */
static int grow(struct texts *texts)
{
	struct texts larger = {.size = texts->size ? texts->size * 2 : 64};

	if (texts->n < texts->size / 2)
		return 0;
	larger.slots = calloc(larger.size, sizeof(char *));
	if (!larger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < texts->size; i++)
		if (texts->slots[i])
			*find_slot(&larger, texts->slots[i]) = texts->slots[i];
	free(texts->slots);
	texts->slots = larger.slots;
	texts->size = larger.size;
	return 0;
}

const char *texts_keep(struct texts *texts, const char *text)
{
	const char **slot;

	if (grow(texts))
		return NULL;
	slot = find_slot(texts, text);
	if (*slot)
		return *slot;
	*slot = arena_strdup(&texts->arena, text);
	texts->n += *slot != NULL;
	return *slot;
}

void texts_close(struct texts *texts)
{
	free(texts->slots);
	texts->slots = NULL;
	texts->n = texts->size = 0;
}

void texts_done(struct texts *texts)
{
	texts_close(texts);
	arena_done(&texts->arena);
}
