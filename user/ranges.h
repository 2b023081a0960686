/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who holds which range of a shared array (the map `members`). A freed range
 * rests for a second before it is given again, so that a kernel program which
 * has just read the old {offset, length} never meets another list there. Pure:
 * it knows numbers, not the array.
 */
#ifndef SLUICE_RANGES_H
#define SLUICE_RANGES_H

#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

struct ranges_hole;

struct ranges {
	struct ranges_hole *holes; /* what is free, by offset */
	size_t n_holes;
	size_t n_taken;            /* ranges given out */
	size_t capacity;
};

/* All of 0 .. total-1 is free. 0, or -ENOMEM. */
int ranges_init(struct ranges *ranges, __u32 total);
void ranges_done(struct ranges *ranges);

/* Takes exactly this range, as adopted from an earlier life. A length of 0 takes none, here and
 * below. 0, -EBUSY when part of it is taken, rests or lies beyond the end, -ENOMEM. */
int ranges_reserve(struct ranges *ranges, __u32 offset, __u32 length);

/* Takes `length` slots. `now_ns`: CLOCK_MONOTONIC. 0, -ENOSPC when no rested hole is long enough,
 * -ENOMEM. */
int ranges_alloc(struct ranges *ranges, __u32 length, uint64_t now_ns, __u32 *ret_offset);

/* Gives back a whole range as it was reserved or allocated; needs no memory. 0, or -EINVAL when
 * part of it is free already. */
int ranges_free(struct ranges *ranges, __u32 offset, __u32 length, uint64_t now_ns);

#endif
