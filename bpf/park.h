/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Parks SYNs for which there is no replica with room (when-full: wait), or none at all (when-none:
 * wait), and takes them out of the line again. A parked flow is in the phase PARKED: it has no
 * replica and counts nowhere but in its line; its client's retransmits are swallowed, and keep it. It
 * leaves by being offered (a new generation in place, as every flow that moves), or ends when its
 * client has been silent for longer than a TCP would be, or begins anew. With the agent dead nobody
 * calls it out: then each retransmit is an offer. Called by from_client.h, deadline.h
 * and sweep.h.
 */
#ifndef SLUICE_BPF_PARK_H
#define SLUICE_BPF_PARK_H

#include "flow.h"
#include "insert.h"
#include "line.h"
#include "open.h"

/* The row of a parked flow, or NULL. */
static __always_inline struct sl_pending *park_row(const struct sl_flow *flow, __u32 slot)
{
	__u32 ref = READ_ONCE(flow->pending);
	struct sl_pending *p = ref ? pending_row(ref - 1) : NULL;

	return p && p->slot == slot && READ_ONCE(p->phase) == SL_PENDING_PARKED ? p : NULL;
}

/* Whether a SYN that is refused for `reason` waits instead. */
static __always_inline bool park_is_wanted(const struct sl_service *service, __u32 reason)
{
	return (reason == SL_DROP_FULL && service->flags & SL_SERVICE_WAIT_FULL) ||
	       (reason == SL_DROP_NO_REPLICA && service->flags & SL_SERVICE_WAIT_NONE);
}

/* Whether others wait already: who comes now stands behind them. */
static __always_inline bool park_queues(const struct sl_service *service, __u32 row)
{
	struct sl_service_state *state;

	if (likely(!(service->flags & (SL_SERVICE_WAIT_FULL | SL_SERVICE_WAIT_NONE))))
		return false;
	state = bpf_map_lookup_elem(&service_states, &row);
	return state && (__s32)READ_ONCE(state->parked) > 0;
}

/* Whether it is worth joining the line of a service-port: line_join() tells for certain. */
static __always_inline bool park_has_room(const struct sl_service *service, __u32 row)
{
	struct sl_service_state *state = bpf_map_lookup_elem(&service_states, &row);

	return state && (__s32)READ_ONCE(state->parked) < service->max_parked;
}

/* Ends a parked flow that is in `state`; with `kept` only if its SYN is in a row already, as another CPU
 * may just be putting it there. 1: this call ended it. A global function: verified by itself. */
__noinline int park_end(__u32 slot, __u64 state, __u32 kept)
{
	struct sl_flow *flow = table_slot(slot);
	struct sl_pending *p;

	if (!flow || SL_FLOW_PHASE(state) != SL_FLOW_PARKED)
		return 0;
	p = park_row(flow, slot);
	if (kept && !p)
		return 0;
	if (__sync_val_compare_and_swap(&flow->state, state,
					flow_with_phase(state, SL_FLOW_DONE)) != state)
		return 0;
	if (p && p->generation == SL_FLOW_GENERATION(state))
		pending_free(p, SL_PENDING_PARKED);
	return 1;
}

/* A new flow waits: enum open_result, OK with o->slot. Its SYN is to be kept (pending_open()), or the
 * flow ended. A global function: verified by itself. */
__noinline int park_open(struct opening *o)
{
	struct insert insert = {};
	struct sl_service *service;
	enum insert_result result;
	__u32 row;

	if (!o)
		return OPEN_REFUSED;
	row = o->body.key.service;
	service = bpf_map_lookup_elem(&services, &row);
	if (!service || o->body.key.proto != IPPROTO_TCP || !park_is_wanted(service, o->reason) ||
	    !park_has_room(service, row))
		return OPEN_REFUSED;
	o->body.replica = SL_NO_REPLICA;
	o->body.snat_port = 0;
	o->body.hook = SL_HOOK_NONE;
	result = table_insert(&o->body, &insert);
	if (insert.replaced)
		flow_uncount(insert.replaced, insert.replaced_replica);
	if (insert.replaced_snat.d)
		snat_release(&insert.replaced_snat, o->body.last_seen);
	o->slot = insert.slot;
	if (result == INSERT_OK)
		return OPEN_OK;
	if (result == INSERT_EXISTS)
		return OPEN_EXISTS;
	o->reason = SL_DROP_TABLE_FULL;
	return OPEN_REFUSED;
}

/* Leaves the replica of the half-open flow; published by the caller as what it is to be. */
static __always_inline void park_leave(struct sl_flow *flow, const struct sl_pending *p, __u32 now)
{
	union sl_snat_key key = flow_snat_key(flow);
	__u32 replica = flow->replica;

	flow->replica = SL_NO_REPLICA;
	flow->snat_port = 0;
	flow->hook = SL_HOOK_NONE;
	flow->last_seen = p->heard;
	half_open_add(-1);
	inflight_add(replica, false, -1);
	if (key.d)
		snat_release(&key, now);
}

/* A flow that all its replicas refused since they are full goes to the line: to its place, if it came
 * from there. 1: so it did; 0: it may not wait. A global function: verified by itself. */
__noinline int park_again(__u32 slot, __u64 state)
{
	struct flow_ref ref = {.flow = table_slot(slot), .state = state, .slot = slot};
	__u64 next = (state & ~0xffffffffull) + SL_FLOW_GENERATION_ONE;
	struct sl_service *service;
	struct sl_pending *p;
	struct sl_line *line;
	__u32 row, kept;

	if (!ref.flow || SL_FLOW_PHASE(state) != SL_FLOW_SYN)
		return 0;
	row = ref.flow->key.service;
	service = bpf_map_lookup_elem(&services, &row);
	line = line_of(row);
	kept = READ_ONCE(ref.flow->pending);
	p = kept ? pending_row(kept - 1) : NULL;
	if (!p || p->slot != slot || p->generation != SL_FLOW_GENERATION(state) || !service || !line ||
	    !park_is_wanted(service, SL_DROP_FULL))
		return 0;
	if (__sync_val_compare_and_swap(&p->phase, SL_PENDING_WAITING, SL_PENDING_CLAIMED) !=
	    SL_PENDING_WAITING)
		return READ_ONCE(p->phase) != SL_PENDING_FREE; /* another CPU parks it, or gives it up */
	if (!line_holds(p, kept))
		line_forget(p);
	if ((!p->ticket && !line_join(p, kept, row, service->max_parked)) ||
	    __sync_val_compare_and_swap(&ref.flow->state, state, next | SL_FLOW_CLAIMED) != state) {
		__sync_lock_test_and_set(&p->phase, SL_PENDING_WAITING);
		return 0;
	}
	park_leave(ref.flow, p, bpf_jiffies64());
	p->generation = SL_FLOW_GENERATION(next);
	line_refused(line, p);
	__sync_lock_test_and_set(&p->phase, SL_PENDING_PARKED);
	pending_show(p);
	__sync_lock_test_and_set(&ref.flow->state, next | SL_FLOW_PARKED);
	return 1;
}

/* A parked SYN is to be offered: its handshake goes to a fresh row, as the deadline's walk looks only
 * at those that were taken lately. That row + 1, or 0: there is none. Its `deadline` names the old row
 * (park_offered()). A global function: verified by itself. */
__noinline int park_renew(__u32 slot)
{
	struct sl_flow *flow = table_slot(slot);
	struct sl_pending *p, *fresh;
	__u32 ref;

	p = flow ? park_row(flow, slot) : NULL;
	if (!p)
		return 0;
	ref = pending_claim();
	fresh = ref ? pending_row(ref - 1) : NULL;
	if (!fresh)
		return 0;
	__builtin_memcpy(&fresh->slot, &p->slot, sizeof(*p) - offsetof(struct sl_pending, slot));
	fresh->deadline = READ_ONCE(flow->pending);
	fresh->begun = bpf_jiffies64();
	fresh->n_tried = 0;
	fresh->resends = 0;
	fresh->full = 0;
	fresh->waiting &= SL_PENDING_AT_HOME;
	return ref;
}

/* The flow was offered with the fresh row, which takes over the place that the old one had in line. */
static __always_inline void park_offered(struct sl_pending *p, __u32 ref, __u32 old_ref)
{
	struct sl_line_place place = {.service = p->service, .ticket = p->ticket};
	struct sl_pending *old = pending_row(old_ref - 1);

	bpf_map_update_elem(&line_places, &place, &ref, BPF_EXIST);
	if (old)
		__sync_val_compare_and_swap(&old->phase, SL_PENDING_PARKED, SL_PENDING_FREE);
	__sync_lock_test_and_set(&p->phase, SL_PENDING_WAITING);
}

/* It was not: it waits on, and the fresh row (0: none) is given back. A global function: verified by
 * itself. */
__noinline int park_keep(__u32 slot, __u64 state, __u32 ref)
{
	struct sl_pending *fresh = ref ? pending_row(ref - 1) : NULL, *p;
	struct sl_flow *flow = table_slot(slot);
	struct sl_line *line;
	__u32 row;

	if (fresh)
		__sync_val_compare_and_swap(&fresh->phase, SL_PENDING_CLAIMED, SL_PENDING_FREE);
	if (!flow)
		return 0;
	row = flow->key.service;
	line = line_of(row);
	p = park_row(flow, slot);
	__sync_val_compare_and_swap(&flow->state, state, state & ~(__u64)SL_FLOW_RETRY);
	if (p && line)
		line_refused(line, p);
	return 0;
}

/* A handshake that may be the line's first is refused for good: the next one's turn. A global
 * function: verified by itself. */
__noinline int park_refused(__u32 slot, __u64 state)
{
	struct flow_ref ref = {.flow = table_slot(slot), .state = state, .slot = slot};
	struct sl_pending *p = ref.flow ? pending_of(&ref) : NULL;
	struct sl_line *line;

	if (!p || !p->ticket)
		return 0;
	line = line_of(p->service);
	line_forget(p);
	if (line)
		WRITE_ONCE(line->offered, 0);
	return 1;
}

static __always_inline bool park_agent_is_dead(void)
{
	__u32 zero = 0;
	struct sl_control *c = bpf_map_lookup_elem(&control, &zero);

	return !c || (__s64)(bpf_ktime_get_ns() - READ_ONCE(c->heartbeat_ns)) >
			     (__s64)(HEARTBEAT_DEAD_S * 1000000000ull);
}

enum park_verdict {
	PARK_WAITS,
	PARK_OFFERS, /* it is to be offered */
	PARK_ENDS,   /* the service does not wait any more */
};

/* A parked handshake whose ticket was lost, as CPUs met, gets a new one, the last. A global function:
 * verified by itself. */
__noinline int park_rejoin(__u32 slot)
{
	struct sl_flow *flow = table_slot(slot);
	struct sl_service *service;
	struct sl_pending *p;
	__u32 ref, row;

	p = flow ? park_row(flow, slot) : NULL;
	if (!p)
		return 0;
	ref = flow->pending;
	row = p->service;
	service = bpf_map_lookup_elem(&services, &row);
	if (!line_holds(p, ref)) {
		line_forget(p);
		if (!service || !line_join(p, ref, row, service->max_parked))
			return 0;
	}
	pending_show(p);
	return 1;
}

/* The client of a parked flow speaks: enum park_verdict. A global function: verified by itself. */
__noinline int park_hear(const struct packet *pkt, __u32 slot, __u64 state)
{
	struct sl_flow *flow = table_slot(slot);
	struct sl_service *service;
	__u32 now = bpf_jiffies64(), row;
	struct sl_pending *p;

	if (!pkt || !flow)
		return PARK_WAITS;
	if (pkt->tcp_flags & TCP_RST)
		park_end(slot, state, true);
	if ((pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
		return PARK_WAITS;
	if (state & SL_FLOW_RETRY)
		return PARK_OFFERS;
	row = flow->key.service;
	service = bpf_map_lookup_elem(&services, &row);
	if (!service || !(service->flags & (SL_SERVICE_WAIT_FULL | SL_SERVICE_WAIT_NONE)))
		return park_end(slot, state, true) ? PARK_ENDS : PARK_WAITS;
	p = park_row(flow, slot);
	if (p) {
		p->heard = now;
		park_rejoin(slot);
	}
	if (flow_age(flow, now) >= (__s32)(SYN_AGAIN_MS * hz / 1000) && park_agent_is_dead())
		return PARK_OFFERS;
	WRITE_ONCE(flow->last_seen, now);
	return PARK_WAITS;
}

#endif
