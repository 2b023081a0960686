// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocator of ranges. Owns the list of holes, sorted by offset; refuses to
 * touch the array that is divided. Called by the datapath when the members of
 * a service change.
 *
 * First fit. Holes that touch are joined only once both have rested: a large
 * hole must not become young by a small neighbour.
 */
#include "ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RANGES_REST_NS 1000000000ull

struct ranges_hole {
	__u32 offset;
	__u32 length;
	uint64_t rested_ns; /* may be given again from then on; 0: at once */
};

int ranges_init(struct ranges *ranges, __u32 total)
{
	struct ranges_hole *holes = malloc(2 * sizeof(*holes));

	if (!holes)
		return -ENOMEM;
	holes[0] = (struct ranges_hole){.length = total};
	*ranges = (struct ranges){.holes = holes, .n_holes = total ? 1 : 0, .capacity = 2};
	return 0;
}

void ranges_done(struct ranges *ranges)
{
	free(ranges->holes);
	*ranges = (struct ranges){0};
}

/* Taking a range may split a hole, and giving it back adds one: with a place for each of both,
 * ranges_free() never needs memory. */
static int make_room(struct ranges *ranges)
{
	size_t capacity = ranges->capacity;
	struct ranges_hole *holes;

	if (ranges->n_holes + ranges->n_taken + 2 <= capacity)
		return 0;
	holes = realloc(ranges->holes, 2 * capacity * sizeof(*holes));
	if (!holes)
		return -ENOMEM;
	ranges->holes = holes;
	ranges->capacity = 2 * capacity;
	return 0;
}

static void insert(struct ranges *ranges, size_t at, struct ranges_hole hole)
{
	memmove(&ranges->holes[at + 1], &ranges->holes[at],
		(ranges->n_holes - at) * sizeof(hole));
	ranges->holes[at] = hole;
	ranges->n_holes++;
}

static void delete(struct ranges *ranges, size_t at)
{
	ranges->n_holes--;
	memmove(&ranges->holes[at], &ranges->holes[at + 1],
		(ranges->n_holes - at) * sizeof(*ranges->holes));
}

static void join_rested(struct ranges *ranges, uint64_t now_ns)
{
	struct ranges_hole *last = NULL;
	size_t kept = 0;

	for (size_t i = 0; i < ranges->n_holes; i++) {
		struct ranges_hole hole = ranges->holes[i];

		if (hole.rested_ns <= now_ns)
			hole.rested_ns = 0;
		if (last && !last->rested_ns && !hole.rested_ns &&
		    last->offset + last->length == hole.offset) {
			last->length += hole.length;
			continue;
		}
		last = &ranges->holes[kept++];
		*last = hole;
	}
	ranges->n_holes = kept;
}

int ranges_reserve(struct ranges *ranges, __u32 offset, __u32 length)
{
	int err = make_room(ranges);

	if (err)
		return err;
	if (!length)
		return 0;
	for (size_t i = 0; i < ranges->n_holes; i++) {
		struct ranges_hole *hole = &ranges->holes[i], after;
		uint64_t end = (uint64_t)offset + length;
		uint64_t hole_end = (uint64_t)hole->offset + hole->length;

		if (hole->rested_ns || offset < hole->offset || end > hole_end)
			continue;
		after = (struct ranges_hole){.offset = end, .length = hole_end - end};
		hole->length = offset - hole->offset;
		if (after.length)
			insert(ranges, i + 1, after);
		if (!ranges->holes[i].length)
			delete(ranges, i);
		ranges->n_taken++;
		return 0;
	}
	return -EBUSY;
}

int ranges_alloc(struct ranges *ranges, __u32 length, uint64_t now_ns, __u32 *ret_offset)
{
	int err = make_room(ranges);

	if (err)
		return err;
	if (!length) {
		*ret_offset = 0;
		return 0;
	}
	join_rested(ranges, now_ns);
	for (size_t i = 0; i < ranges->n_holes; i++) {
		struct ranges_hole *hole = &ranges->holes[i];

		if (hole->rested_ns || hole->length < length)
			continue;
		*ret_offset = hole->offset;
		hole->offset += length;
		hole->length -= length;
		if (!hole->length)
			delete(ranges, i);
		ranges->n_taken++;
		return 0;
	}
	return -ENOSPC;
}

int ranges_free(struct ranges *ranges, __u32 offset, __u32 length, uint64_t now_ns)
{
	uint64_t end = (uint64_t)offset + length;
	struct ranges_hole hole = {offset, length, now_ns + RANGES_REST_NS};
	size_t at = 0;

	if (!length)
		return 0;
	while (at < ranges->n_holes && ranges->holes[at].offset < offset)
		at++;
	if (at < ranges->n_holes && ranges->holes[at].offset < end)
		return -EINVAL;
	if (at > 0 && ranges->holes[at - 1].offset + ranges->holes[at - 1].length > offset)
		return -EINVAL;
	if (!ranges->n_taken)
		return -EINVAL;
	insert(ranges, at, hole);
	ranges->n_taken--;
	return 0;
}
