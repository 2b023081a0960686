// SPDX-License-Identifier: GPL-2.0-only
/*
 * The range allocator: no two owners, nothing given again within a second,
 * nothing lost over a long random life.
 */
#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "ranges.h"

#define SECOND 1000000000ull

TEST(takes_first_fit_until_full)
{
	struct ranges ranges;
	__u32 offset = 99;

	CHECK_INT(ranges_init(&ranges, 100), 0);
	CHECK_INT(ranges_alloc(&ranges, 60, 0, &offset), 0);
	CHECK_INT(offset, 0);
	CHECK_INT(ranges_alloc(&ranges, 41, 0, &offset), -ENOSPC);
	CHECK_INT(ranges_alloc(&ranges, 40, 0, &offset), 0);
	CHECK_INT(offset, 60);
	CHECK_INT(ranges_alloc(&ranges, 1, 0, &offset), -ENOSPC);
	CHECK_INT(offset, 60);
	ranges_done(&ranges);
}

TEST(length_zero_takes_nothing)
{
	struct ranges ranges;
	__u32 offset = 99;

	CHECK_INT(ranges_init(&ranges, 0), 0);
	CHECK_INT(ranges_alloc(&ranges, 0, 0, &offset), 0);
	CHECK_INT(offset, 0);
	CHECK_INT(ranges_reserve(&ranges, 5, 0), 0);
	CHECK_INT(ranges_free(&ranges, 0, 0, 0), 0);
	CHECK_INT(ranges_alloc(&ranges, 1, 0, &offset), -ENOSPC);
	ranges_done(&ranges);
}

TEST(a_freed_range_rests_a_second)
{
	struct ranges ranges;
	__u32 offset;

	CHECK_INT(ranges_init(&ranges, 10), 0);
	CHECK_INT(ranges_alloc(&ranges, 10, 5, &offset), 0);
	CHECK_INT(ranges_free(&ranges, 0, 10, 5), 0);
	CHECK_INT(ranges_alloc(&ranges, 1, 5 + SECOND - 1, &offset), -ENOSPC);
	CHECK_INT(ranges_alloc(&ranges, 10, 5 + SECOND, &offset), 0);
	ranges_done(&ranges);
}

TEST(a_young_hole_does_not_hold_back_an_old_neighbour)
{
	struct ranges ranges;
	__u32 offset;

	CHECK_INT(ranges_init(&ranges, 100), 0);
	CHECK_INT(ranges_alloc(&ranges, 10, 0, &offset), 0);
	CHECK_INT(ranges_free(&ranges, 0, 10, 0), 0);
	CHECK_INT(ranges_alloc(&ranges, 90, 1, &offset), 0);
	CHECK_INT(offset, 10);
	ranges_done(&ranges);
}

TEST(holes_join_when_rested)
{
	struct ranges ranges;
	__u32 offset;

	CHECK_INT(ranges_init(&ranges, 30), 0);
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(ranges_alloc(&ranges, 10, 0, &offset), 0);
	CHECK_INT(ranges_free(&ranges, 10, 10, 0), 0);
	CHECK_INT(ranges_free(&ranges, 20, 10, 100), 0);
	CHECK_INT(ranges_free(&ranges, 0, 10, 200), 0);
	CHECK_INT(ranges_alloc(&ranges, 21, SECOND + 100, &offset), -ENOSPC);
	CHECK_INT(ranges_alloc(&ranges, 30, SECOND + 200, &offset), 0);
	CHECK_INT(offset, 0);
	ranges_done(&ranges);
}

TEST(reserve_takes_exactly_that)
{
	struct ranges ranges;
	__u32 offset;

	CHECK_INT(ranges_init(&ranges, 100), 0);
	CHECK_INT(ranges_reserve(&ranges, 20, 30), 0);
	CHECK_INT(ranges_reserve(&ranges, 49, 1), -EBUSY);
	CHECK_INT(ranges_reserve(&ranges, 10, 11), -EBUSY);
	CHECK_INT(ranges_reserve(&ranges, 99, 2), -EBUSY);
	CHECK_INT(ranges_reserve(&ranges, 0xffffffff, 0xffffffff), -EBUSY);
	CHECK_INT(ranges_reserve(&ranges, 50, 50), 0);
	CHECK_INT(ranges_reserve(&ranges, 0, 20), 0);
	CHECK_INT(ranges_alloc(&ranges, 1, 0, &offset), -ENOSPC);
	CHECK_INT(ranges_free(&ranges, 20, 30, 0), 0);
	CHECK_INT(ranges_alloc(&ranges, 30, SECOND, &offset), 0);
	CHECK_INT(offset, 20);
	ranges_done(&ranges);
}

TEST(free_refuses_what_is_free)
{
	struct ranges ranges;
	__u32 offset;

	CHECK_INT(ranges_init(&ranges, 30), 0);
	CHECK_INT(ranges_alloc(&ranges, 10, 0, &offset), 0);
	CHECK_INT(ranges_free(&ranges, 5, 10, 0), -EINVAL);
	CHECK_INT(ranges_free(&ranges, 20, 10, 0), -EINVAL);
	CHECK_INT(ranges_free(&ranges, 0, 10, 0), 0);
	CHECK_INT(ranges_free(&ranges, 0, 10, 0), -EINVAL);
	CHECK_INT(ranges_free(&ranges, 9, 1, 0), -EINVAL);
	ranges_done(&ranges);
}

#define SLOTS 4096
#define OWNERS 200

/* A byte per slot says who owns it: overlap and early reuse show at once. */
TEST(a_long_random_life)
{
	static unsigned char owner[SLOTS];
	static uint64_t freed_ns[SLOTS];
	struct { __u32 offset, length; } held[OWNERS] = {0};
	struct ranges ranges;
	uint64_t now = SECOND;
	__u32 offset;

	srand(7);
	CHECK_INT(ranges_init(&ranges, SLOTS), 0);
	for (unsigned round = 0; round < 50000; round++, now += SECOND / 100) {
		unsigned i = rand() % OWNERS;

		if (held[i].length) {
			CHECK_INT(ranges_free(&ranges, held[i].offset, held[i].length, now), 0);
			for (__u32 s = 0; s < held[i].length; s++) {
				owner[held[i].offset + s] = 0;
				freed_ns[held[i].offset + s] = now;
			}
			held[i].length = 0;
			continue;
		}
		held[i].length = 1 + rand() % 30;
		if (ranges_alloc(&ranges, held[i].length, now, &offset)) {
			held[i].length = 0;
			continue;
		}
		held[i].offset = offset;
		for (__u32 s = 0; s < held[i].length; s++) {
			if (owner[offset + s] || now - freed_ns[offset + s] < SECOND)
				CHECK(!"slot taken too early");
			owner[offset + s] = 1;
		}
	}
	for (unsigned i = 0; i < OWNERS; i++)
		if (held[i].length)
			CHECK_INT(ranges_free(&ranges, held[i].offset, held[i].length, now), 0);
	CHECK_INT(ranges_alloc(&ranges, SLOTS, now + SECOND, &offset), 0);
	ranges_done(&ranges);
}
