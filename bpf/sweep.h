/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Expiry: every 10 ms a slice of the flow table and of the source-NAT ports, one
 * whole pass every two seconds, from a timer of the kernel's own: it goes on with
 * the agent dead. Half-open flows go fast, silent ones after their service's idle
 * timeout, finished ones after their linger. Ejections end here too (ejection.h).
 */
#ifndef SLUICE_BPF_SWEEP_H
#define SLUICE_BPF_SWEEP_H

#include "ejection.h"
#include "flow.h"
#include "park.h"

#define SWEEP_SLICES (SWEEP_PASS_S * 1000 / SWEEP_TICK_MS)
#define SWEEP_SETS_MAX 4096u /* of a slice: what the verifier will follow */
#define CLOCK_MONOTONIC 1

/* The service-port whose times an owned entry follows: its replica's first. */
static __always_inline __u32 sweep_owned_service(__u32 replica)
{
	struct sl_replica_services *shared = bpf_map_lookup_elem(&replica_services, &replica);

	return shared && shared->n ? shared->service[0] : SL_MAX_SERVICES;
}

/* Whether nobody looks after an owned entry any more: its replica has no cap now. */
static __always_inline bool sweep_is_disowned(const struct sl_flow *flow, __u64 state)
{
	struct sl_replica *replica;

	if (likely(!(state & SL_FLOW_PLACE)))
		return false;
	replica = bpf_map_lookup_elem(&replicas, &flow->replica);
	return !replica || !replica->config.max_connections;
}

/* After how many jiffies of silence a flow in `state` is over. */
static __always_inline __u32 sweep_timeout(const struct sl_flow *flow, __u64 state)
{
	__u32 row = state & SL_FLOW_PLACE ? sweep_owned_service(flow->replica) : flow->key.service;
	struct sl_service *service = bpf_map_lookup_elem(&services, &row);
	__u32 idle = service && service->idle_ticks ? service->idle_ticks : 7200 * hz;
	__u32 closed = 0;

	if (SL_FLOW_PHASE(state) == SL_FLOW_SYN)
		return (flow->key.proto == IPPROTO_UDP ? UDP_UNANSWERED_S : SYN_TIMEOUT_S) * hz;
	if (state & SL_FLOW_RESET)
		closed = RESET_ANSWER_S * hz;
	else if (state & SL_FLOW_REPLICA_FIN)
		closed = REPLICA_CLOSED_S * hz;
	else if (state & SL_FLOW_CLIENT_FIN)
		closed = CLIENT_CLOSED_S * hz;
	return closed && closed < idle ? closed : idle;
}

/* How long a finished flow stays. After an RST that nobody believed both ends go on, perhaps after a
 * long silence (see flow_doubt_reset()); with source NAT as long as the port would rest anyway. */
static __always_inline __s32 sweep_linger(const struct sl_flow *flow, __u64 state)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &flow->replica);

	if (!(state & FLOW_ANY_RST) || state & SL_FLOW_RESET || !replica ||
	    replica->config.flags & SL_REPLICA_NOT_SERVING)
		return LINGER_S * hz;
	return (flow_has_port(flow) ? SNAT_QUARANTINE_S : RESET_LINGER_S) * hz;
}

static __always_inline void sweep_flow(struct sl_flow *flow, __u32 slot, struct sl_kernel *k,
				       __u32 now)
{
	__u64 state = READ_ONCE(flow->state);
	__s32 age = now - flow->last_seen; /* negative: touched since `now` was read */
	int before;

	switch (SL_FLOW_PHASE(state)) {
	case SL_FLOW_DONE:
		if (age > sweep_linger(flow, state))
			__sync_val_compare_and_swap(&flow->state, state,
						    state & ~0xffffffffull);
		else
			k->lingering_now++;
		break;
	case SL_FLOW_PARKED:
		if (age > (__s32)(PARKED_S * hz))
			park_end(slot, state, false);
		else
			k->live_now++;
		break;
	case SL_FLOW_SYN:
	case SL_FLOW_OPEN:
		if (!sweep_is_disowned(flow, state) &&
		    (age < 0 || (__u32)age <= sweep_timeout(flow, state))) {
			k->live_now++;
			break;
		}
		before = flow_advance(slot, state, 0, FLOW_OVER);
		/* Else it is counted already, or its sender counts it. */
		if (before && !(state & (SL_FLOW_RESET | SL_FLOW_PLACE)))
			count(before == SL_FLOW_SYN ? SL_COUNT_EXPIRED_SYN :
						      SL_COUNT_EXPIRED_IDLE);
		break;
	}
}

/* The next set of flows; a global function: verified by itself. */
__noinline int sweep_flow_set(__u32 now)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);
	struct sl_flow_set *set;
	__u32 row;

	if (!k)
		return 0;
	row = k->sweep_cursor;
	set = bpf_map_lookup_elem(&flows, &row);
	for (__u32 i = 0; set && i < SL_FLOW_WAYS; i++)
		sweep_flow(&set->way[i], row * SL_FLOW_WAYS + i, k, now);
	k->sweep_cursor = row + 1;
	if (row + 1 < flow_sets)
		return 0;
	k->sweep_cursor = 0;
	k->live = k->live_now;
	k->lingering = k->lingering_now;
	k->live_now = k->lingering_now = 0;
	k->sweep_count++;
	return 0;
}

/* The next set of source-NAT ports. */
__noinline int sweep_snat_set(__u32 now)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);
	struct sl_snat_set *set;
	__u32 row;

	if (!k)
		return 0;
	row = k->snat_cursor;
	set = bpf_map_lookup_elem(&snat, &row);
	for (__u32 i = 0; set && i < SL_SNAT_WAYS; i++) {
		struct sl_snat *entry = &set->way[i];

		if (READ_ONCE(entry->phase) == SL_SNAT_QUARANTINE &&
		    snat_is_rested(entry, SL_SNAT_QUARANTINE, now))
			__sync_val_compare_and_swap(&entry->phase, SL_SNAT_QUARANTINE,
						    SL_SNAT_FREE);
	}
	k->snat_cursor = row + 1 < snat_sets ? row + 1 : 0;
	return 0;
}

static __always_inline void sweep_slice(struct sl_kernel *k)
{
	__u32 slice_flows = flow_sets / SWEEP_SLICES + 1, slice_snat = snat_sets / SWEEP_SLICES + 1;
	__u32 now = bpf_jiffies64();

	WRITE_ONCE(k->now, now);
	for (__u32 i = 0; i < SWEEP_SETS_MAX && i < slice_flows; i++)
		sweep_flow_set(now);
	for (__u32 i = 0; i < SWEEP_SETS_MAX && i < slice_snat; i++)
		sweep_snat_set(now);
	eject_sweep(k, now);
}

static int sweep_tick(void *map, __u32 *key, struct sweep_timer *timer)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	if (k)
		sweep_slice(k);
	bpf_timer_start(&timer->timer, SWEEP_TICK_MS * 1000000ull, 0);
	return 0;
}

#endif
