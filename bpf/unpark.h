/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Asks for each waiting line whether its first SYN is worth an offer: whether some replica has room
 * as far as this node knows. Only owners know exactly (owner.h), so an offer may be refused; the
 * longer that goes on, the rarer it is made. From a timer of its own with an uneven beat: nodes whose
 * timers kept step would take every free place in the same order, one of them always the last.
 */
#ifndef SLUICE_BPF_UNPARK_H
#define SLUICE_BPF_UNPARK_H

#include "line.h"
#include "pick.h"

#define UNPARK_CHUNK 64u

/* Jiffies until a line's next offer, after so many that were refused: anything up to twice the mean.
 * None for the first quarter of a second: a node that has had bad luck must not be slower than its
 * rivals for that. */
static __always_inline __u32 unpark_pause(__u32 offers)
{
	__u32 most = LINE_PAUSE_MS * hz / 1000, mean = offers / 64;

	return below(bpf_get_prandom_u32(), 2 * (mean < most ? mean : most) + 1);
}

/* Whether the pause before the next offer lasts; a time further off than any pause is an old one. */
static __always_inline bool unpark_pauses(const struct sl_line *line, __u32 now)
{
	__u32 left = READ_ONCE(line->next) - now;

	return left && left <= 2 * LINE_PAUSE_MS * hz / 1000;
}

/* One line. A global function: verified by itself. */
__noinline int unpark_service(__u32 service, __u32 now)
{
	struct wish wish = {.service = service, .now = now, .quiet = true};
	struct sl_line *line = line_of(service);
	struct sl_pending *p;
	__u32 ref, row;

	if (!line || line_is_offering(line, now) || unpark_pauses(line, now))
		return 0;
	if (pick_replica(&wish) < 0)
		return 0;
	ref = line_first(line, service);
	row = ref - 1;
	p = ref ? bpf_map_lookup_elem(&pending, &row) : NULL;
	if (!p)
		return 0;
	WRITE_ONCE(line->next, now + unpark_pause(p->offers));
	line_run_begins(line);
	line_call(line, ref, now);
	return 0;
}

/* So many service-ports from `from` on. A global function: verified by itself. */
__noinline int unpark_chunk(__u32 from, __u32 now)
{
	for (__u32 i = 0; i < UNPARK_CHUNK; i++) {
		__u32 row = from + i;
		struct sl_service_state *state = bpf_map_lookup_elem(&service_states, &row);

		if (state && (__s32)READ_ONCE(state->parked) > 0)
			unpark_service(row, now);
	}
	return 0;
}

static __always_inline void unpark_pass(void)
{
	__u32 zero = 0, now = bpf_jiffies64();
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	if (likely(!k || (__s32)READ_ONCE(k->parked) <= 0))
		return;
	for (__u32 from = 0; from < SL_MAX_SERVICES; from += UNPARK_CHUNK)
		unpark_chunk(from, now);
}

static int unpark_tick(void *map, __u32 *key, struct sweep_timer *timer)
{
	__u64 uneven = below(bpf_get_prandom_u32(), LINE_TICK_MS * 1000);

	unpark_pass();
	bpf_timer_start(&timer->timer, (LINE_TICK_MS * 500 + uneven) * 1000, 0);
	return 0;
}

#endif
