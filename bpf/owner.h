/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The owner's part: keeps the cap of a replica (max_connections) where all its connections meet, at
 * its own pod interface, whoever sends them. Each holds a place, an entry of its own in the flow
 * table (SL_FLOW_OWNED), counted in the replica's `owned`; a SYN that finds no place left is
 * answered for the replica by an RST that says "full" (refuse_full()), and the node of its sender
 * goes on with another replica. So the cap is exact, and no node asks another one.
 *
 * Exempt are this node's own addresses: kubelet and our probes. Not counted: UDP, and connections
 * that were open when the cap came. Called by from_pod and to_pod for what is not ours otherwise.
 */
#ifndef SLUICE_BPF_OWNER_H
#define SLUICE_BPF_OWNER_H

#include "flow.h"
#include "insert.h"
#include "lookup.h"
#include "refuse.h"

/* What is to become of a packet to a replica with a cap. */
enum owner_verdict {
	OWNER_PASSES,
	OWNER_ADMITS, /* if there is a place */
	OWNER_FULL,
};

static __always_inline bool owner_has_caps(void)
{
	__u32 zero = 0;
	struct sl_control *c = bpf_map_lookup_elem(&control, &zero);

	return c && READ_ONCE(c->caps);
}

/* Row of a replica with a cap, or -1. */
static __always_inline __s64 owner_replica(const struct packet *pkt, enum parse_result result,
					   const union sl_addr *addr, __be16 port)
{
	struct sl_replica *replica;
	__s64 found;
	__u32 row;

	if (likely(!owner_has_caps()) || result != PARSE_OK || pkt->proto != IPPROTO_TCP)
		return -1;
	found = replica_find(addr, port, IPPROTO_TCP);
	if (likely(found < 0))
		return -1;
	row = found;
	replica = bpf_map_lookup_elem(&replicas, &row);
	return replica && replica->config.max_connections ? found : -1;
}

/* Takes one of the replica's places; false: none is left. */
static __always_inline bool owner_take(struct sl_replica *replica)
{
	__u32 cap = replica->config.max_connections, owned;

	for (int i = 0; i < CAS_TRIES; i++) {
		owned = READ_ONCE(replica->state.owned);
		if ((__s32)owned >= (__s32)cap) /* signed: an end may be counted before its beginning */
			return false;
		if (__sync_val_compare_and_swap(&replica->state.owned, owned, owned + 1) == owned)
			return true;
	}
	return false; /* lost that often: others took what there was */
}

/* Whether a SYN begins a new connection. One that comes again, or whose entry still holds a place,
 * does not: a client's port has one connection to the replica at most. */
static __always_inline bool owner_begins(const struct flow_ref *ref, const struct packet *pkt)
{
	return (pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN &&
	       (!ref->flow || SL_FLOW_PHASE(ref->state) == SL_FLOW_DONE);
}

/* Whether caps do not count for whom it comes from: this node (its kubelet, probes of ours), but not
 * where it is a client of a VIP. */
__noinline int owner_exempts(const struct packet *pkt, __u32 row)
{
	return pkt && is_local_address(&pkt->src) && !flow_of_source(pkt, pkt->sport, row).flow;
}

/* A SYN asks for a place: OWNER_PASSES or OWNER_FULL. A global function: verified by itself, as the
 * next ones; not called by owner_incoming(), for the sake of the stack. */
__noinline int owner_admit(const struct packet *pkt, __u32 row)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &row);
	struct sl_flow body = {.key.proto = IPPROTO_TCP, .key.flags = SL_FLOW_OWNED,
			       .vip = SL_NO_VIP};
	struct insert insert = {};
	enum insert_result result;

	if (!pkt || !replica || owner_exempts(pkt, row))
		return OWNER_PASSES;
	if (!owner_take(replica))
		return OWNER_FULL;
	body.key.client = pkt->src;
	body.key.port = pkt->sport;
	body.key.service = row;
	body.replica = row;
	body.isn = pkt->seq;
	body.last_seen = bpf_jiffies64();
	result = table_insert(&body, &insert);
	if (insert.replaced) /* none that is counted, unless another CPU was faster */
		flow_uncount(insert.replaced, row);
	if (result == INSERT_OK)
		return OWNER_PASSES;
	__sync_fetch_and_add(&replica->state.owned, -1);
	return result == INSERT_EXISTS ? OWNER_PASSES : OWNER_FULL;
}

/* A SYN with another number on an entry that holds a place: the connection that had it is over for
 * its client at least, and for its replica once that answers. What was seen of its end is void. */
static __always_inline void owner_restart(struct flow_ref *ref, const struct packet *pkt, __u32 now)
{
	__u64 next = (ref->state & ~0xffffffffull) + SL_FLOW_GENERATION_ONE;

	if (SL_FLOW_PHASE(ref->state) == SL_FLOW_OPEN && !(ref->state & FLOW_BOTH_FIN) &&
	    flow_age(ref->flow, now) <= (__s32)(SILENT_S * hz))
		return; /* a stray one: the replica's stack says no */
	next |= SL_FLOW_PLACE | SL_FLOW_SYN;
	if (__sync_val_compare_and_swap(&ref->flow->state, ref->state, next) != ref->state)
		return;
	ref->flow->isn = pkt->seq;
	WRITE_ONCE(ref->flow->last_seen, now);
}

/* A packet to a replica with a cap: OWNER_PASSES or OWNER_ADMITS. */
__noinline int owner_incoming(const struct packet *pkt, __u32 row)
{
	struct sl_flow_key key = {.proto = IPPROTO_TCP, .flags = SL_FLOW_OWNED, .service = row};
	__u32 now = bpf_jiffies64(), flags;
	struct flow_ref ref;
	bool opens;

	if (!pkt)
		return OWNER_PASSES;
	key.client = pkt->src;
	key.port = pkt->sport;
	ref = table_find_slow(&key, SIDE_REPLICA, row);
	if (owner_begins(&ref, pkt))
		return OWNER_ADMITS;
	if (!ref.flow || flow_doubt_reset(&ref, pkt, SL_FLOW_REPLICA_RST, now))
		return OWNER_PASSES;
	if (pkt->tcp_flags & TCP_SYN && ref.flow->isn != pkt->seq) {
		owner_restart(&ref, pkt, now);
		return OWNER_PASSES;
	}
	flow_touch(&ref, now);
	opens = ref.state & SL_FLOW_ANSWERED && SL_FLOW_PHASE(ref.state) == SL_FLOW_SYN &&
		!(pkt->tcp_flags & TCP_SYN);
	flags = flow_closing_flags(pkt, SL_FLOW_CLIENT_FIN, SL_FLOW_CLIENT_RST);
	if (unlikely(flags || opens))
		flow_ref_advance(&ref, flags, pkt->tcp_flags & TCP_RST ? FLOW_OVER :
					      opens ? FLOW_OPENED : 0);
	return OWNER_PASSES;
}

/* A packet of a replica with a cap. */
__noinline int owner_outgoing(const struct packet *pkt, __u32 row)
{
	struct sl_flow_key key = {.proto = IPPROTO_TCP, .flags = SL_FLOW_OWNED, .service = row};
	__u32 now = bpf_jiffies64(), flags;
	struct flow_ref ref;

	if (!pkt)
		return 0;
	key.client = pkt->dst;
	key.port = pkt->dport;
	ref = table_find_slow(&key, SIDE_REPLICA, row);
	if (!ref.flow || flow_doubt_reset(&ref, pkt, SL_FLOW_CLIENT_RST, now))
		return 0;
	if (likely(!(pkt->tcp_flags & TCP_SYN)))
		flow_touch(&ref, now);
	flags = flow_closing_flags(pkt, SL_FLOW_REPLICA_FIN, SL_FLOW_REPLICA_RST);
	if (pkt->tcp_flags & TCP_SYN && !(ref.state & SL_FLOW_ANSWERED))
		flags |= SL_FLOW_ANSWERED;
	if (unlikely(flags))
		flow_ref_advance(&ref, flags, pkt->tcp_flags & TCP_RST ? FLOW_OVER : 0);
	return 0;
}

/* At the egress of a pod interface. */
static __always_inline int owner_to_pod(struct __sk_buff *skb, const struct packet *pkt,
					enum parse_result result)
{
	__s64 row = owner_replica(pkt, result, &pkt->dst, pkt->dport);

	if (likely(row < 0) || likely(owner_incoming(pkt, row) == OWNER_PASSES) ||
	    owner_admit(pkt, row) == OWNER_PASSES)
		return NOT_OURS;
	return refuse_full(skb, pkt);
}

/* At its ingress. */
static __always_inline void owner_from_pod(const struct packet *pkt, enum parse_result result)
{
	__s64 row = owner_replica(pkt, result, &pkt->src, pkt->sport);

	if (unlikely(row >= 0))
		owner_outgoing(pkt, row);
}

#endif
