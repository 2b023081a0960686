/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The waiting line of a service-port on this node: SYNs that wait for a replica with room. Each has a
 * ticket, in the order in which they came; `line_places` leads from a ticket to the row in pending, and
 * `parked` is how many are out. A SYN keeps its ticket while it is offered to replicas, so that one
 * that is refused once more stands where it stood, and nobody has come in for it meanwhile. One at a
 * time is offered, the first: the next when that one was accepted, or refused by all, or when nothing
 * was heard of it for a while.
 *
 * No helper transmits from where this runs, so a SYN that is to be offered is called out to the agent,
 * as at a deadline (deadline.h). Who parks and takes out of the line: park.h. When the first is
 * worth an offer: unpark.h.
 */
#ifndef SLUICE_BPF_LINE_H
#define SLUICE_BPF_LINE_H

#include "config.h"
#include "count.h"
#include "maps.h"
#include "table.h"

#define LINE_LOOK 64u /* tickets looked at for the first that waits; the next look goes on from there */

static __always_inline struct sl_line *line_of(__u32 service)
{
	return bpf_map_lookup_elem(&lines, &service);
}

/* Adds to the tickets that are out, of all lines and of one: how many of this one there were. */
static __always_inline __u32 line_add(struct sl_service_state *state, int n)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	if (k)
		__sync_fetch_and_add(&k->parked, n);
	return __sync_fetch_and_add(&state->parked, n);
}

/* Gives the handshake in row `ref` - 1 the next ticket; false: there is no room for one, as `most`
 * have one. */
static __always_inline bool line_join(struct sl_pending *p, __u32 ref, __u32 service, __u32 most)
{
	struct sl_service_state *state = bpf_map_lookup_elem(&service_states, &service);
	struct sl_line_place place = {.service = service};
	struct sl_line *line = line_of(service);

	if (!line || !state)
		return false;
	if ((__s32)line_add(state, 1) >= (__s32)most)
		goto full;
	place.ticket = __sync_fetch_and_add(&line->tail, 1) + 1;
	p->service = service; /* before others can find it by its ticket */
	p->offers = 0;
	WRITE_ONCE(p->ticket, place.ticket);
	if (bpf_map_update_elem(&line_places, &place, &ref, BPF_NOEXIST)) {
		p->ticket = 0;
		goto full;
	}
	__sync_fetch_and_add(&state->parked_total, 1);
	return true;
full:
	line_add(state, -1);
	return false;
}

/* Who waits with this ticket can be found from now on: the head does not stay beyond it. */
static __always_inline void line_show(struct sl_line *line, __u32 ticket)
{
	for (int i = 0; i < 4; i++) {
		__u32 head = READ_ONCE(line->head);

		if (!ticket || (__s32)(ticket - head) > 0 ||
		    __sync_val_compare_and_swap(&line->head, head, ticket - 1) == head)
			return;
	}
}

/* Takes a ticket back, if it is out. */
static __always_inline void line_take_back(const struct sl_line_place *place)
{
	__u32 service = place->service;
	struct sl_service_state *state = bpf_map_lookup_elem(&service_states, &service);

	if (!bpf_map_delete_elem(&line_places, place) && state)
		line_add(state, -1);
}

/* The same, for callers with little stack left. A global function: verified by itself. */
__noinline int line_leave(__u32 service, __u32 ticket)
{
	struct sl_line_place place = {.service = service, .ticket = ticket};

	line_take_back(&place);
	return 0;
}

/* The handshake needs its place no more: accepted, refused for good, or gone. */
static __always_inline void line_forget(struct sl_pending *p)
{
	__u32 ticket = p->ticket;

	p->ticket = 0;
	line_leave(p->service, ticket);
}

/* Whether the ticket of the handshake in row `ref` - 1 leads to it. */
static __always_inline bool line_holds(const struct sl_pending *p, __u32 ref)
{
	struct sl_line_place place = {.service = p->service, .ticket = p->ticket};
	__u32 *known = bpf_map_lookup_elem(&line_places, &place);

	return known && *known == ref;
}

/* The row + 1 of a handshake that waits with this ticket; 0: it is on offer, or on its way in or out;
 * -1: nobody has it, or not yet. */
static __always_inline int line_find(const struct sl_line_place *place)
{
	__u32 *ref = bpf_map_lookup_elem(&line_places, place), row, phase;
	struct sl_pending *p;

	if (!ref)
		return -1;
	row = *ref - 1;
	p = bpf_map_lookup_elem(&pending, &row);
	if (!p)
		return -1;
	phase = READ_ONCE(p->phase);
	if (p->ticket != place->ticket || p->service != place->service ||
	    phase == SL_PENDING_FREE) { /* a trace of somebody who is gone, or has just got another row */
		ref = bpf_map_lookup_elem(&line_places, place);
		if (ref && *ref == row + 1)
			line_take_back(place);
		return -1;
	}
	return phase == SL_PENDING_PARKED ? row + 1 : 0;
}

/* The same; the head goes by a ticket with which nobody waits. Who comes to wait with it at this moment
 * either sees the head beyond it (line_show()) or is seen at the second look. A global function:
 * verified by itself. */
__noinline int line_look(__u32 service, __u32 ticket)
{
	struct sl_line_place place = {.service = service, .ticket = ticket};
	struct sl_line *line = line_of(service);
	bool passed = false;
	int found = 0;

	for (int i = 0; i < 2; i++) {
		found = line_find(&place);
		if (found > 0 || passed || !line)
			break;
		passed = __sync_val_compare_and_swap(&line->head, ticket - 1, ticket) == ticket - 1;
		if (!passed)
			break;
	}
	if (found > 0 && passed)
		line_show(line, ticket);
	return found;
}

/* Row + 1 of the first that waits, or 0. */
static __always_inline __u32 line_first(const struct sl_line *line, __u32 service)
{
	__u32 head = READ_ONCE(line->head), n = READ_ONCE(line->tail) - head;
	int found;

	for (__u32 i = 0; i < LINE_LOOK && i < n; i++) {
		found = line_look(service, head + 1 + i);
		if (found > 0)
			return found;
	}
	return 0;
}

/* Calls out the handshake in row `ref` - 1: the first that waits. */
static __always_inline void line_call(struct sl_line *line, __u32 ref, __u32 now)
{
	struct sl_wakeup wakeup = {.pending = ref - 1};
	struct sl_pending *p = bpf_map_lookup_elem(&pending, &wakeup.pending);

	if (!p)
		return;
	wakeup.generation = p->generation;
	WRITE_ONCE(line->offered, now ? now : 1);
	bpf_ringbuf_output(&wakeups, &wakeup, sizeof(wakeup), 0);
}

/* Whether one of the line is on offer; after so long nobody hears of it any more. (Unsigned, and one
 * tick of slack for a `now` that was read before: a line may have stood empty for half of jiffies'
 * circle.) */
static __always_inline bool line_is_offering(const struct sl_line *line, __u32 now)
{
	__u32 since = READ_ONCE(line->offered);

	return since && now - since + 1 <= LINE_OFFER_MS * hz / 1000 + 1;
}

/*
 * How many follow at once when one is accepted: few while some are refused, for then other nodes want
 * the same places, and many may come free at the same time; twice as many at each look while none is.
 */
static __always_inline void line_run_begins(struct sl_line *line)
{
	WRITE_ONCE(line->run, READ_ONCE(line->runs) ?: LINE_RUN);
}

static __always_inline bool line_run_goes_on(struct sl_line *line)
{
	__u32 left = READ_ONCE(line->run), runs = READ_ONCE(line->runs) ?: LINE_RUN;

	if (left) {
		WRITE_ONCE(line->run, left - 1);
		return true;
	}
	WRITE_ONCE(line->runs, runs * 2 < LINE_RUN_MAX ? runs * 2 : LINE_RUN_MAX);
	return false;
}

/* The one that was offered was refused by all; it stands where it stood, once it is PARKED again
 * (line_show()). */
static __always_inline void line_refused(struct sl_line *line, struct sl_pending *p)
{
	p->offers++;
	WRITE_ONCE(line->runs, LINE_RUN);
	WRITE_ONCE(line->run, 0);
	WRITE_ONCE(line->offered, 0);
}

/* A replica accepted the first of the line, which has left it: the next one's turn. A global function:
 * verified by itself. */
__noinline int line_accepted(__u32 service, __u32 replica_row)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);
	struct sl_line *line = line_of(service);
	__u32 ref;

	if (!replica || !line)
		return 0;
	/* Not at each offer, as otherwise: most of those are refused. */
	count(SL_COUNT_PICKS);
	__sync_fetch_and_add(&replica->state.picks, 1);
	WRITE_ONCE(line->offered, 0);
	ref = line_run_goes_on(line) ? line_first(line, service) : 0;
	if (ref)
		line_call(line, ref, bpf_jiffies64());
	return 0;
}

#endif
