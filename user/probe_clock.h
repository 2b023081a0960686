/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The clock by which probes are judged: CLOCK_MONOTONIC without the time in
 * which our own loop did not run. A loop that slept five seconds has not asked
 * and not listened for five seconds; nobody was silent. So the clock moves at
 * most PROBE_CLOCK_STEP_NS a tick, timeouts and suspicion wait with it, and no
 * burst of overdue probes follows. Pure.
 */
#ifndef SLUICE_PROBE_CLOCK_H
#define SLUICE_PROBE_CLOCK_H

#include <stdint.h>

#define PROBE_CLOCK_STEP_NS 20000000ull /* two ticks of the wheel */

struct probe_clock {
	uint64_t awake_ns; /* starts at 1, so that 0 can mean "never" */
	uint64_t seen_ns;  /* CLOCK_MONOTONIC at the last tick */
	uint64_t lost_ns;  /* time that did not count, since the start */
};

static inline void probe_clock_init(struct probe_clock *clock, uint64_t real_ns)
{
	clock->awake_ns = 1;
	clock->seen_ns = real_ns;
	clock->lost_ns = 0;
}

/* Time that our loop lost so far, at `real_ns`. */
static inline uint64_t probe_clock_lost(const struct probe_clock *clock, uint64_t real_ns)
{
	uint64_t passed = real_ns - clock->seen_ns;

	return clock->lost_ns + (passed > PROBE_CLOCK_STEP_NS ? passed - PROBE_CLOCK_STEP_NS : 0);
}

/* Awake time at `real_ns`, between two ticks. */
static inline uint64_t probe_clock_read(const struct probe_clock *clock, uint64_t real_ns)
{
	uint64_t passed = real_ns - clock->seen_ns;

	return clock->awake_ns + (passed < PROBE_CLOCK_STEP_NS ? passed : PROBE_CLOCK_STEP_NS);
}

/* One tick of the loop; returns the awake time. */
static inline uint64_t probe_clock_tick(struct probe_clock *clock, uint64_t real_ns)
{
	clock->awake_ns = probe_clock_read(clock, real_ns);
	clock->lost_ns = probe_clock_lost(clock, real_ns);
	clock->seen_ns = real_ns;
	return clock->awake_ns;
}

#endif
