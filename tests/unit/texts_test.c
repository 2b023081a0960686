// SPDX-License-Identifier: GPL-2.0-only
/* Strings that are kept once, and the arena that they lie in. */
#include <stdint.h>

#include "check.h"
#include "texts.h"

TEST(equal_strings_are_one)
{
	struct texts texts = {};
	const char *kept[1000];
	char text[16];

	for (unsigned i = 0; i < 1000; i++) { /* the table grows under way */
		snprintf(text, sizeof(text), "%u", i);
		kept[i] = texts_keep(&texts, text);
		CHECK_STR(kept[i], text);
	}
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "%u", i);
		CHECK(texts_keep(&texts, text) == kept[i]);
	}
	CHECK_INT(texts.n, 1000);
	texts_close(&texts);
	CHECK_STR(kept[999], "999");
	CHECK_STR(texts_keep(&texts, "7"), "7"); /* once more, where the first is not found */
	texts_done(&texts);
}

TEST(a_small_arena_is_small)
{
	struct arena arena = {};
	size_t used = 0;

	for (unsigned i = 0; i < 10000; i++) {
		CHECK(arena_strdup(&arena, "0123456") != NULL);
		used += 8;
		CHECK(arena.bytes <= used + used / 3 + 1024);
	}
	arena_done(&arena);
}

TEST(what_is_taken_back_is_given_again_and_zero)
{
	struct arena arena = {};
	uint64_t *kept = arena_alloc(&arena, sizeof(*kept)), *again;
	struct arena_mark mark = arena_mark(&arena);

	*kept = 7;
	for (unsigned size = 8; size < 100000; size *= 3) { /* in this chunk, and in chunks after it */
		again = arena_alloc(&arena, size);
		CHECK_INT(*again, 0);
		memset(again, 0xff, size);
		arena_rewind(&arena, mark);
	}
	CHECK_INT(*kept, 7);
	CHECK(arena_alloc(&arena, sizeof(*again)) == kept + 1);
	arena_done(&arena);
	mark = arena_mark(&arena);
	CHECK(arena_alloc(&arena, 8) != NULL);
	arena_rewind(&arena, mark);
	CHECK_INT(arena.bytes, 0);
}
