/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A flow's life: SYN (counted at the pick) -> OPEN (the client acknowledged the
 * answer) -> DONE (both FINs, an RST, or silence) -> FREE after a linger. Each step is one compare-and-swap on
 * {generation, state}; the one that makes a flow DONE takes it out of its replica's
 * in-flight count, so that it leaves exactly once whoever sees the end first. The entries of a
 * replica's owner (owner.h) live likewise, in its `owned` count.
 */
#ifndef SLUICE_BPF_FLOW_H
#define SLUICE_BPF_FLOW_H

#include "count.h"
#include "eject.h"
#include "parse.h"
#include "pending.h"
#include "snat.h"
#include "sniff.h"
#include "table.h"

#define FLOW_BOTH_FIN (SL_FLOW_CLIENT_FIN | SL_FLOW_REPLICA_FIN)
#define ACK_WINDOW (1u << 18) /* data that may follow a SYN-ACK before it is acknowledged */
#define CAS_TRIES 8 /* at most two ends and the sweep compete */

static __always_inline __u64 flow_with_phase(__u64 state, enum sl_flow_phase phase)
{
	if (phase > SL_FLOW_SYN) /* no SYN is to go anywhere any more */
		state &= ~(SL_FLOW_RETRY | SL_FLOW_REFUSED);
	return (state & ~0xfull) | phase;
}

static __always_inline void half_open_add(int n)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	if (k)
		__sync_fetch_and_add(&k->half_open, n);
}

/* Adds to a replica's in-flight or owned count. */
static __always_inline void inflight_add(__u32 replica, bool owned, int n)
{
	struct sl_replica *r = bpf_map_lookup_elem(&replicas, &replica);

	if (r)
		__sync_fetch_and_add(owned ? &r->state.owned : &r->state.inflight, n);
}

/* Books that a flow in `state` is over: called by whoever swapped it to its end. */
static __always_inline void flow_uncount(__u64 state, __u32 replica)
{
	if (SL_FLOW_PHASE(state) == SL_FLOW_SYN && !(state & SL_FLOW_PLACE))
		half_open_add(-1);
	if (SL_FLOW_PHASE(state) == SL_FLOW_SYN || SL_FLOW_PHASE(state) == SL_FLOW_OPEN)
		inflight_add(replica, state & SL_FLOW_PLACE, -1);
}

/* What a packet, or its absence, means for a flow. */
#define FLOW_OPENED 0x1u /* the client acknowledged the answer (UDP: the replica answered) */
#define FLOW_OVER 0x2u   /* RST, or silence */

static __always_inline __u64 flow_next_state(__u64 state, __u32 flags, __u32 news)
{
	if (SL_FLOW_PHASE(state) == SL_FLOW_SYN)
		flags &= ~FLOW_ANY_RST; /* nothing was established that could go on */
	state |= flags;
	if (news & FLOW_OVER || (state & FLOW_BOTH_FIN) == FLOW_BOTH_FIN)
		return flow_with_phase(state, SL_FLOW_DONE);
	return news & FLOW_OPENED ? flow_with_phase(state, SL_FLOW_OPEN) : state;
}

/*
 * Moves the flow in `slot` on, if it still is of the generation of `seen`: adds
 * `flags` (SL_FLOW_*_FIN, SL_FLOW_ANSWERED) and takes `news` (FLOW_*) into account; books what ends.
 * Returns the phase from which this call moved it, 0 when there was nothing to do.
 * A global function: verified by itself.
 */
__noinline int flow_advance(__u32 slot, __u64 seen, __u32 flags, __u32 news)
{
	struct sl_flow *flow = table_slot(slot);
	union sl_snat_key snat_key;
	__u64 state, next;
	__u32 replica;

	for (int i = 0; flow && i < CAS_TRIES; i++) {
		state = READ_ONCE(flow->state);
		next = flow_next_state(state, flags, news);
		if (SL_FLOW_GENERATION(state) != SL_FLOW_GENERATION(seen) || next == state ||
		    (SL_FLOW_PHASE(state) != SL_FLOW_SYN && SL_FLOW_PHASE(state) != SL_FLOW_OPEN))
			return 0;
		/* Read before the swap: a finished entry may be another flow's at once. */
		snat_key = flow_snat_key(flow);
		replica = flow->replica;
		if (__sync_val_compare_and_swap(&flow->state, state, next) != state)
			continue;
		if (SL_FLOW_PHASE(next) == SL_FLOW_DONE) {
			flow_uncount(state, replica);
			if (snat_key.d)
				snat_release(&snat_key, bpf_jiffies64());
		} else if (SL_FLOW_PHASE(state) == SL_FLOW_SYN &&
			   SL_FLOW_PHASE(next) == SL_FLOW_OPEN && !(state & SL_FLOW_PLACE)) {
			half_open_add(-1);
		}
		return SL_FLOW_PHASE(state);
	}
	return 0;
}

/* The same for any flow that was found; one in the spill table has no counts to keep. */
static __always_inline int flow_ref_advance(const struct flow_ref *ref, __u32 flags, __u32 news)
{
	if (likely(!(ref->state & SL_FLOW_SPILLED)))
		return flow_advance(ref->slot, ref->state, flags, news);
	WRITE_ONCE(ref->flow->state, flow_next_state(ref->state, flags, news));
	return 0;
}

/* The flow between a replica and the client with this port on the address that the packet comes from.
 * For slow paths. */
static __always_inline struct flow_ref flow_of_source(const struct packet *pkt, __be16 port,
						      __u32 replica)
{
	struct sl_replica_services *shared = bpf_map_lookup_elem(&replica_services, &replica);
	struct sl_flow_key key = {.client = pkt->src, .port = port, .proto = pkt->proto};
	struct flow_ref ref = {};

	for (__u32 i = 0; shared && i < SL_MAX_SHARED && i < shared->n; i++) {
		key.service = shared->service[i];
		ref = table_find_slow(&key, SIDE_REPLICA, replica);
		if (ref.flow)
			return ref;
	}
	return ref;
}

/* A sign of life. Of a finished flow it is none: nobody counts it any more, and its source-NAT port is on its
 * way to another one, so it must be forgotten in time, whatever its ends go on sending. */
static __always_inline void flow_touch(const struct flow_ref *ref, __u32 now)
{
	if (unlikely(ref->flow->last_seen != now) && SL_FLOW_PHASE(ref->state) != SL_FLOW_DONE)
		WRITE_ONCE(ref->flow->last_seen, now);
}

static __always_inline __u32 flow_closing_flags(const struct packet *pkt, __u32 fin, __u32 rst)
{
	return (pkt->tcp_flags & TCP_FIN ? fin : 0) | (pkt->tcp_flags & TCP_RST ? rst : 0);
}

/* An RST ended this flow, and yet its receiver sends: it did not believe it. Open again, and counted
 * again, with its source-NAT port if it has one. 1: so it is. A global function: verified by itself. */
__noinline int flow_revive(__u32 slot, __u64 state)
{
	struct sl_flow *flow = table_slot(slot);
	__u64 next = flow_with_phase(state & ~FLOW_ANY_RST, SL_FLOW_OPEN);
	union sl_snat_key key;

	if (!flow)
		return 0;
	key = flow_snat_key(flow);
	if (key.d && !snat_regain(&key, slot, SL_FLOW_GENERATION(state)))
		return 0;
	if (__sync_val_compare_and_swap(&flow->state, state, next) != state) {
		if (key.d)
			snat_release(&key, flow->last_seen);
		return 0;
	}
	inflight_add(flow->replica, state & SL_FLOW_PLACE, 1);
	return 1;
}

/* A segment of the receiver's of an RST, long after it: doubts the RST. `rst`: the flag of the other
 * end's RST. True: the segment is of no further interest. */
static __always_inline bool flow_doubt_reset(struct flow_ref *ref, const struct packet *pkt,
					     __u64 rst, __u32 now)
{
	if (likely(!(ref->state & FLOW_ANY_RST)))
		return false;
	if (!(ref->state & rst) || pkt->tcp_flags & (TCP_SYN | TCP_RST) ||
	    ref->state & (SL_FLOW_SPILLED | SL_FLOW_RESET) ||
	    flow_age(ref->flow, now) <= (__s32)(RESET_DOUBT_S * hz) ||
	    !flow_revive(ref->slot, ref->state))
		return true;
	ref->state = READ_ONCE(ref->flow->state);
	return false;
}

/* Whether the client acknowledges the replica's SYN-ACK, which who only guesses at the flow cannot. */
static __always_inline bool flow_is_acknowledged(const struct flow_ref *ref,
						 const struct packet *pkt)
{
	return ref->state & SL_FLOW_ANSWERED && SL_FLOW_PHASE(ref->state) == SL_FLOW_SYN &&
	       (pkt->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_ACK &&
	       bpf_ntohl(pkt->ack) - bpf_ntohl(ref->flow->answer) - 1 < ACK_WINDOW;
}

/* What a client's packet changes in its flow, but for the time. Only its acknowledgement opens the flow:
 * a client that sends SYNs and nothing more (a flood, a scan) leaves half-open flows, which are few and
 * age fast. */
static __always_inline void flow_hear_client(const struct flow_ref *ref, const struct packet *pkt,
					     __u32 now)
{
	bool opens = flow_is_acknowledged(ref, pkt);

	sniff_request(ref, pkt, now);
	if (likely(!opens && !(pkt->tcp_flags & (TCP_FIN | TCP_RST))))
		return;
	flow_ref_advance(ref, flow_closing_flags(pkt, SL_FLOW_CLIENT_FIN, SL_FLOW_CLIENT_RST),
			 pkt->tcp_flags & TCP_RST ? FLOW_OVER : opens ? FLOW_OPENED : 0);
}

/* A packet of the client's. */
static __always_inline void flow_track_client(struct flow_ref *ref, const struct packet *pkt,
					      __u32 now)
{
	/* A stray SYN is for the replica to answer; it is no sign of life of this flow. Nor is a stray
	 * RST to a SYN: what a client in a new connection says to a segment of an old one, to a probe
	 * of reset.h, say. */
	if (unlikely(pkt->tcp_flags & TCP_SYN && ref->flow->isn != pkt->seq) ||
	    unlikely(pkt->tcp_flags & TCP_RST && SL_FLOW_PHASE(ref->state) == SL_FLOW_SYN &&
		     pkt->seq != bpf_htonl(bpf_ntohl(ref->flow->isn) + 1)) ||
	    flow_doubt_reset(ref, pkt, SL_FLOW_REPLICA_RST, now))
		return;
	if (unlikely(pkt->tcp_flags & TCP_SYN && pkt->l4_length != pkt->l4_header &&
		     SL_FLOW_PHASE(ref->state) == SL_FLOW_SYN))
		flow_ref_advance(ref, SL_FLOW_SYN_DATA, 0);
	flow_touch(ref, now);
	flow_hear_client(ref, pkt, now);
}

/* A datagram of the replica's: the conversation is answered. */
static __always_inline void flow_track_answer(const struct flow_ref *ref, __u32 now)
{
	flow_touch(ref, now);
	if (ref->flow->request != now)
		WRITE_ONCE(ref->flow->request, now);
	if (unlikely(SL_FLOW_PHASE(ref->state) == SL_FLOW_SYN))
		flow_ref_advance(ref, 0, FLOW_OPENED);
}

/* The replica's first SYN-ACK. */
static __always_inline void flow_answered(const struct flow_ref *ref, __u32 now)
{
	__u32 row = ref->flow->key.service;
	struct sl_service_state *service = bpf_map_lookup_elem(&service_states, &row);

	if (service && READ_ONCE(service->last_answer) != now)
		WRITE_ONCE(service->last_answer, now);
	eject_success(row, ref->flow->replica, true);
	if (ref->flow->pending && !(ref->state & SL_FLOW_SPILLED) &&
	    unlikely(pending_answered(ref->slot, ref->state)))
		line_accepted(row, ref->flow->replica);
}

/* A SYN-ACK. False: the flow has gone to another replica since it was found. */
static __always_inline bool flow_take_answer(struct flow_ref *ref, const struct packet *pkt,
					     __u32 now)
{
	if (SL_FLOW_PHASE(ref->state) != SL_FLOW_SYN || ref->state & SL_FLOW_ANSWERED ||
	    bpf_ntohl(pkt->ack) != bpf_ntohl(ref->flow->isn) + 1)
		return true;
	if (!flow_ref_advance(ref, SL_FLOW_ANSWERED, 0) && !(ref->state & SL_FLOW_SPILLED))
		return SL_FLOW_GENERATION(READ_ONCE(ref->flow->state)) ==
		       SL_FLOW_GENERATION(ref->state);
	WRITE_ONCE(ref->flow->answer, pkt->seq); /* nobody can move an answered flow */
	flow_answered(ref, now);
	return true;
}

/* What a replica's segment without SYN changes in its flow, but for the time. */
static __always_inline void flow_hear_replica(const struct flow_ref *ref, const struct packet *pkt)
{
	if (likely(!(pkt->tcp_flags & (TCP_FIN | TCP_RST))))
		return;
	flow_ref_advance(ref, flow_closing_flags(pkt, SL_FLOW_REPLICA_FIN, SL_FLOW_REPLICA_RST),
			 pkt->tcp_flags & TCP_RST ? FLOW_OVER : 0);
}

/* A packet of the replica's. False: it is not this flow's any more, and must not reach the client. */
static __always_inline bool flow_track_replica(struct flow_ref *ref, const struct packet *pkt,
					       __u32 now)
{
	if (pkt->proto == IPPROTO_UDP) {
		flow_track_answer(ref, now);
		return true;
	}
	if (flow_doubt_reset(ref, pkt, SL_FLOW_CLIENT_RST, now))
		return true;
	if (unlikely(pkt->tcp_flags & TCP_SYN))
		return flow_take_answer(ref, pkt, now);
	flow_touch(ref, now); /* not for a SYN-ACK: repeated, it is no sign of life */
	flow_hear_replica(ref, pkt);
	return true;
}

#endif
