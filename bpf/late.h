/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A SYN-ACK of a replica that the flow has left: its SYN went to another one at the deadline. The
 * first SYN-ACK wins, whoever sends it: the flow comes back, and the round trip is learnt, so that
 * the next deadline is long enough. A later one only teaches: it passes as it is, and the client's
 * own stack, which knows no such connection, answers it by an RST; on the fast path, where connection
 * tracking knows nothing of it either, it is answered here. Called by to_client.h.
 */
#ifndef SLUICE_BPF_LATE_H
#define SLUICE_BPF_LATE_H

#include "eject.h"
#include "fast.h"
#include "flow.h"
#include "pending.h"

/* Where the flow of a late answer is to be translated from now on. */
struct late_road {
	union sl_snat_key snat; /* .d 0: no source NAT */
	enum sl_hook hook;
	__u32 ifindex;          /* with a hook of the fast path: where the client's packets come in */
};

/* Source NAT: the port that the flow left behind is its own again. */
static __always_inline bool late_regain(const union sl_snat_key *key, __u32 slot, __u32 generation)
{
	struct sl_snat *entry = snat_find(key, SL_SNAT_QUARANTINE);

	if (!entry || entry->flow != slot)
		return false;
	entry->generation = generation;
	return __sync_val_compare_and_swap(&entry->phase, SL_SNAT_QUARANTINE, SL_SNAT_LIVE) ==
	       SL_SNAT_QUARANTINE;
}

/* Moves a half-open flow back to a replica that it had left; true: so it is. */
static __always_inline bool late_bind(struct flow_ref *ref, struct sl_pending *p, __u32 replica,
				      const struct late_road *road)
{
	__u64 next = (ref->state & (~0xffffffffull | SL_FLOW_SNIFF)) + SL_FLOW_GENERATION_ONE;
	union sl_snat_key left = flow_snat_key(ref->flow);
	__u32 left_replica = ref->flow->replica;

	if (road->snat.d && !late_regain(&road->snat, ref->slot, SL_FLOW_GENERATION(next)))
		return false;
	if (__sync_val_compare_and_swap(&ref->flow->state, ref->state, next | SL_FLOW_CLAIMED) !=
	    ref->state) {
		if (road->snat.d)
			snat_release(&road->snat, bpf_jiffies64());
		return false;
	}
	ref->flow->replica = replica;
	ref->flow->hook = road->hook;
	if (hook_is_fast(road->hook)) {
		ref->flow->ifindex_low = road->ifindex;
		ref->flow->ifindex_high = road->ifindex >> 16;
	} else {
		ref->flow->snat_port = road->snat.d ? road->snat.port : 0;
		ref->flow->source = road->snat.source;
	}
	p->generation = SL_FLOW_GENERATION(next);
	__sync_lock_test_and_set(&ref->flow->state, next | SL_FLOW_SYN);
	inflight_add(left_replica, false, -1);
	inflight_add(replica, false, 1);
	if (left.d)
		snat_release(&left, bpf_jiffies64());
	ref->state = next | SL_FLOW_SYN;
	count(SL_COUNT_LATE_WINS);
	return true;
}

/* Whether replies translated there go to a client in a pod: no flow changes that. */
static __always_inline bool late_is_pods(enum sl_hook hook)
{
	return hook == SL_HOOK_POD || hook == SL_HOOK_FAST_POD;
}

/* At an ingress hook, where a SYN-ACK is this flow's only if its SYN took the fast path: the road
 * that one takes to this replica. */
static __always_inline bool late_road_fast(struct late_road *road, const struct flow_ref *ref,
					   __u32 row)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &row);
	struct sl_pending *p = pending_of(ref);

	if (!p || !replica || !(READ_ONCE(p->waiting) & SL_PENDING_AT_HOME))
		return false;
	road->ifindex = p->ifindex;
	road->hook = fast_hook(replica, late_is_pods(ref->flow->hook) ? SL_HOOK_POD : SL_HOOK_UPLINK,
			       p->ifindex);
	return road->hook;
}

/* What a late SYN-ACK was. */
enum late {
	LATE_FOREIGN, /* it answers no SYN of this flow */
	LATE_FIRST,   /* nobody else answered: the flow was moved */
	LATE_BEATEN,  /* a success of its replica all the same; told by the caller, for whom there is
		       * a stack to do it on */
};

/* Whether the SYN-ACK answers a SYN of this flow; if nobody else was first, the flow is moved. */
static __always_inline enum late late_take(struct flow_ref *ref, const struct packet *pkt, __u32 row,
				      const struct late_road *road)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &row);
	struct sl_pending *p = pending_of(ref);
	int i;

	if (!p || !replica || ref->state & SL_FLOW_SYN_DATA || bpf_ntohl(pkt->ack) != bpf_ntohl(ref->flow->isn) + 1 ||
	    late_is_pods(ref->flow->hook) != late_is_pods(road->hook))
		return LATE_FOREIGN;
	i = pending_index(p, row);
	if (i < 0)
		return LATE_FOREIGN;
	if (SL_FLOW_PHASE(ref->state) == SL_FLOW_SYN && !(ref->state & SL_FLOW_ANSWERED))
		/* pending_answered() follows */
		return late_bind(ref, p, row, road) ? LATE_FIRST : LATE_FOREIGN;
	pending_sample(p, i, replica, bpf_jiffies64());
	pending_heard(p, i);
	return LATE_BEATEN;
}

/* What a late SYN-ACK is to the flow in `slot`, which may be given to its replica, to be translated at
 * `hook`: enum late. A global function: verified by itself, not once for each service that may share a
 * replica. */
__noinline int late_take_slot(const struct packet *pkt, __u32 replica_row, __u32 slot, __u32 hook)
{
	struct late_road road = {.hook = hook};
	struct flow_ref ref = {.flow = table_slot(slot), .slot = slot};

	if (!pkt || !ref.flow)
		return 0;
	ref.state = READ_ONCE(ref.flow->state);
	if (hook_is_fast(hook) && !late_road_fast(&road, &ref, replica_row))
		return LATE_FOREIGN;
	return late_take(&ref, pkt, replica_row, &road);
}

/* The flow that a SYN-ACK without one answers late, as seen at `hook` (SL_HOOK_FAST_POD: at an ingress,
 * whoever the client is). Its slot + 1 once it is this replica's; -1: there the client's own stack
 * will not refuse it, and we must; else 0. A global function: verified by itself. */
__noinline int late_answer(const struct packet *pkt, __u32 replica_row, __u32 hook)
{
	struct sl_replica_services *shared;
	struct sl_flow_key key = {};
	struct flow_ref ref;
	enum late late;

	if (!pkt)
		return 0;
	shared = bpf_map_lookup_elem(&replica_services, &replica_row);
	key.client = pkt->dst;
	key.port = pkt->dport;
	key.proto = pkt->proto;
	for (__u32 i = 0; shared && i < SL_MAX_SHARED && i < shared->n; i++) {
		key.service = shared->service[i];
		ref = table_find_slow(&key, SIDE_ANY, 0);
		if (!ref.flow || ref.state & SL_FLOW_SPILLED)
			continue;
		late = late_take_slot(pkt, replica_row, ref.slot, hook);
		if (late == LATE_BEATEN)
			eject_accept(key.service, replica_row);
		if (late == LATE_FIRST)
			return ref.slot + 1;
		if (late == LATE_BEATEN && hook_is_fast(hook))
			return -1;
	}
	return 0;
}

/* The same for one that came to a source-NAT port which its flow has left: enum late. */
__noinline int late_answer_snat(const struct packet *pkt, __u32 replica_row, __u32 slot)
{
	struct late_road road = {.hook = SL_HOOK_FABRIC};
	struct flow_ref ref = {.flow = table_slot(slot), .slot = slot};
	__s64 source;

	if (!pkt || !ref.flow)
		return 0;
	source = source_find(&pkt->dst);
	if (source < 0)
		return 0;
	road.snat.replica = replica_row;
	road.snat.port = pkt->dport;
	road.snat.proto = pkt->proto;
	road.snat.source = source;
	ref.state = READ_ONCE(ref.flow->state);
	return late_take(&ref, pkt, replica_row, &road);
}

#endif
