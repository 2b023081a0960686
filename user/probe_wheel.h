/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A timer wheel: many timers behind one tick. Adding and removing are O(1) and
 * allocate nothing; the entry lies in what it times. Pure: the caller owns the
 * clock and counts ticks.
 */
#ifndef SLUICE_PROBE_WHEEL_H
#define SLUICE_PROBE_WHEEL_H

#include <stdint.h>

#define PROBE_WHEEL_SLOTS 512u /* a power of two; entries further away wait a round */

/* Zeroed: not in a wheel. */
struct probe_wheel_entry {
	struct probe_wheel_entry *next;
	struct probe_wheel_entry **link; /* what points to this entry; NULL: not in a wheel */
	uint64_t due;                    /* tick */
};

/* Zeroed: empty, at tick 0. */
struct probe_wheel {
	struct probe_wheel_entry *slot[PROBE_WHEEL_SLOTS];
	uint64_t now; /* ticks before this one are done */
};

/* Times `entry`, which may be in the wheel already, at tick `due`; one that has passed means the
 * next tick not yet done. */
void probe_wheel_add(struct probe_wheel *wheel, struct probe_wheel_entry *entry, uint64_t due);

/* Does nothing when the entry is in no wheel. */
void probe_wheel_del(struct probe_wheel_entry *entry);

/* Takes out one entry due at tick `until` or before. NULL: there is none left, and all ticks up to
 * and including `until` are done. Entries may be added and removed between calls. */
struct probe_wheel_entry *probe_wheel_expire(struct probe_wheel *wheel, uint64_t until);

#endif
