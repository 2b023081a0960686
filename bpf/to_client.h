/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Replica -> VIP: what happens to a packet on its way back to a client, top to
 * bottom. Called at every hook a reply may pass; the flow names the one that
 * translates it, all others let it pass, so that connection tracking on the way
 * sees the same addresses in both directions.
 */
#ifndef SLUICE_BPF_TO_CLIENT_H
#define SLUICE_BPF_TO_CLIENT_H

#include "fast.h"
#include "flow.h"
#include "fragment.h"
#include "hairpin.h"
#include "icmp.h"
#include "late.h"
#include "lookup.h"
#include "mtu.h"
#include "node.h"
#include "refuse.h"
#include "retry.h"
#include "rewrite.h"
#include "witness.h"

/* The flow of this reply among the service-ports that share the replica. */
static __always_inline struct flow_ref reply_find(const struct packet *pkt, __u32 replica)
{
	struct sl_replica_services *shared = bpf_map_lookup_elem(&replica_services, &replica);
	struct sl_flow_key key = {.client = pkt->dst, .port = pkt->dport, .proto = pkt->proto};
	struct flow_ref ref = {};

	if (!shared)
		return ref;
	for (__u32 i = 0; i < SL_MAX_SHARED && i < shared->n; i++) {
		key.service = shared->service[i];
		ref = table_find(&key, sl_hash_flow(&key, seed), SIDE_REPLICA, replica);
		if (ref.flow)
			return ref;
	}
	return ref;
}

/* A SYN-ACK that meets a finished flow answers a connection that its client opened to the replica
 * itself, from the same port: that flow gives way, so that the rest passes untouched too. */
static __always_inline bool reply_is_anothers(const struct flow_ref *ref, const struct packet *pkt)
{
	if (likely(!(pkt->tcp_flags & TCP_SYN)) || SL_FLOW_PHASE(ref->state) != SL_FLOW_DONE)
		return false;
	flow_bars(ref->flow);
	return true;
}

/* A SYN-ACK without a flow may answer one that has gone to another replica meanwhile. */
static __always_inline void reply_find_late(const struct packet *pkt, __u32 replica,
					    enum sl_hook hook, struct flow_ref *ref)
{
	int found;

	if (likely(!packet_is_syn_ack(pkt)))
		return;
	found = late_answer(pkt, replica, hook);
	if (found <= 0)
		return;
	ref->slot = found - 1;
	ref->flow = table_slot(ref->slot);
	ref->state = ref->flow ? READ_ONCE(ref->flow->state) : 0;
}

/* Source becomes the VIP. */
static __always_inline int reply_from_vip(const struct sl_flow *flow, struct sl_replica *replica,
					  struct new_end *src)
{
	struct sl_vip *vip = bpf_map_lookup_elem(&vips, &flow->vip);

	if (!vip)
		return -1;
	src->addr = &vip->addr;
	src->sum_old = replica->config.addr_sum;
	src->sum_new = vip->addr_sum;
	src->port = vip->port;
	return 0;
}

/* What reply_undo_snat() leaves to its caller, whose frame has room for more calls: this + the
 * flow's slot, beyond any verdict. */
#define REPLY_REFUSES 0x1000000 /* a refusal */
#define REPLY_IS_LATE 0x2000000 /* a SYN-ACK to a port that its flow has left */
#define REPLY_TOO_BIG 0x4000000 /* + the MTU that it exceeds */

#define REPLY_AT_POD 0x8000000 /* beside what is settled: it comes in by a pod interface */

/* A reply that came to an address of ours since we had put it there: source NAT undone. `settled`: of
 * REPLY_*, those that the caller has dealt with. A global function for its stack: older kernels
 * round each frame up, and from_uplink has no room left. */
__noinline int reply_undo_snat(struct __sk_buff *skb, const struct packet *pkt, __u32 replica_row,
			       __u32 settled)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);
	union sl_snat_key key = {};
	struct new_end src, dst;
	struct flow_ref ref;
	struct sl_snat *entry;
	__s64 source_row;
	__u32 mtu;

	if (!pkt || !replica)
		return NOT_OURS;
	source_row = source_find(&pkt->dst);
	if (source_row < 0)
		return NOT_OURS;
	key.replica = replica_row;
	key.port = pkt->dport;
	key.proto = pkt->proto;
	key.source = source_row;
	entry = snat_find(&key, SL_SNAT_LIVE);
	if (!entry)
		return NOT_OURS;
	ref.slot = entry->flow;
	ref.flow = table_slot(ref.slot);
	if (!ref.flow)
		return NOT_OURS;
	if (unlikely(!settled && packet_is_syn_ack(pkt) && entry->phase == SL_SNAT_QUARANTINE))
		return REPLY_IS_LATE + ref.slot;
	ref.state = READ_ONCE(ref.flow->state);
	if (SL_FLOW_PHASE(ref.state) < SL_FLOW_SYN ||
	    SL_FLOW_GENERATION(ref.state) != entry->generation ||
	    reply_from_vip(ref.flow, replica, &src))
		return NOT_OURS;
	if (unlikely(!(settled & REPLY_REFUSES) && retry_is_refusal(&ref, pkt)))
		return REPLY_REFUSES + ref.slot;
	if (mtu_matters(skb, pkt)) {
		mtu = mtu_exceeded(skb, pkt, entry->client_ifindex);
		if (unlikely(mtu))
			return REPLY_TOO_BIG + mtu;
	}
	dst.addr = &ref.flow->key.client;
	dst.sum_old = sl_addr_sum(&pkt->dst);
	dst.sum_new = sl_addr_sum(&ref.flow->key.client);
	dst.port = ref.flow->key.port;
	witness_payload(replica, pkt);
	sniff_reply(skb, &ref, pkt);
	if (unlikely(!flow_track_replica(&ref, pkt, bpf_jiffies64())))
		return drop(SL_DROP_LATE_ANSWER);
	if (rewrite(skb, pkt, &src, &dst))
		return drop(SL_DROP_CHECKSUM);
	return bpf_redirect_neigh(entry->client_ifindex, NULL, 0, 0);
}

/* An owner tells a probe of ours that its replica is full: our agent, which only hears "refused",
 * must not take it for a dead port. A global function: verified by itself. */
__noinline int reply_note_full(struct __sk_buff *skb, const struct packet *pkt, __u32 replica_row)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);

	if (pkt && replica && retry_says_full(skb, pkt) && is_local_address(&pkt->dst))
		__sync_fetch_and_add(&replica->state.full, 1);
	return 0;
}

/* Sends a translated reply on that never saw the node's stack. */
static __always_inline int reply_deliver(struct __sk_buff *skb, const struct sl_flow *flow)
{
	if (hook_is_fast(flow->hook))
		return fast_to_client(skb, flow);
	return node_address(skb) ? drop(SL_DROP_CHECKSUM) :
				   bpf_redirect(node_ifindex, BPF_F_INGRESS);
}

/* Whether a packet with the replica's address can be the replica's, coming in by this interface: past the
 * stack no reverse-path filter looks. One on a bridge is known by its port, if at all; of one whose way
 * is not known yet, nothing is said. */
static __always_inline bool reply_is_from(const struct sl_replica *replica, __u32 ifindex,
					  bool at_pod)
{
	__u32 key = ifindex, *home;

	if (!(replica->config.flags & SL_REPLICA_LOCAL))
		return !at_pod;
	if (replica->config.peer_ifindex)
		return replica->config.peer_ifindex == ifindex;
	if (likely(replica->config.out_ifindex == ifindex) || !replica->config.out_ifindex)
		return true;
	home = bpf_map_lookup_elem(&fast_devices, &key);
	return !home || *home == replica->config.out_ifindex;
}

/* A reply at the ingress of the device on which it arrives: to the node's own client, which has an
 * address of this node, or on the fast path. `settled` as above; a late SYN-ACK is told without a
 * slot. A global function: verified by itself. */
__noinline int reply_inward(struct __sk_buff *skb, const struct packet *pkt, __u32 replica_row,
			    __u32 settled)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);
	struct flow_ref ref;
	struct new_end src;
	__u32 mtu;

	if (!pkt || !replica || (!fast_path && !is_local_address(&pkt->dst)) ||
	    !reply_is_from(replica, skb->ifindex, settled & REPLY_AT_POD))
		return NOT_OURS;
	ref = reply_find(pkt, replica_row);
	if (!ref.flow)
		return !(settled & REPLY_IS_LATE) && packet_is_syn_ack(pkt) ? REPLY_IS_LATE :
									      NOT_OURS;
	if (ref.flow->hook < SL_HOOK_NODE || reply_is_anothers(&ref, pkt) ||
	    reply_from_vip(ref.flow, replica, &src))
		return NOT_OURS;
	if (unlikely(!(settled & REPLY_REFUSES) && retry_is_refusal(&ref, pkt)))
		return REPLY_REFUSES + ref.slot;
	if (fast_path && ref.flow->hook == SL_HOOK_FAST_UPLINK && mtu_matters(skb, pkt)) {
		mtu = mtu_exceeded(skb, pkt, SL_FLOW_IFINDEX(ref.flow));
		if (unlikely(mtu))
			return REPLY_TOO_BIG + mtu;
	}
	witness_payload(replica, pkt);
	sniff_reply(skb, &ref, pkt);
	if (unlikely(!flow_track_replica(&ref, pkt, bpf_jiffies64())))
		return drop(SL_DROP_LATE_ANSWER);
	if (rewrite(skb, pkt, &src, NULL))
		return drop(SL_DROP_CHECKSUM);
	return reply_deliver(skb, ref.flow);
}

/* The flow of a late SYN-ACK at an ingress comes back, if nobody else was first; who else was is told
 * so in the client's name, if nobody else will. A verdict, or REPLY_IS_LATE: that is seen to. */
static __always_inline int reply_late_inward(struct __sk_buff *skb, const struct packet *pkt,
					     __u32 replica_row)
{
	enum sl_hook hook = fast_path && !is_local_address(&pkt->dst) ? SL_HOOK_FAST_POD :
									SL_HOOK_NODE;

	return late_answer(pkt, replica_row, hook) < 0 ? refuse(skb, pkt, SL_DROP_LATE_ANSWER) :
							 REPLY_IS_LATE;
}

/* At the ingress of the device on which a reply arrives that shall not see the node's stack. `where`:
 * REPLY_AT_POD, or 0. */
static __always_inline int reply_at_ingress(struct __sk_buff *skb, const struct packet *pkt,
					    __u32 replica_row, __u32 where)
{
	int verdict;

	if (!node_ifindex && !fast_path)
		return NOT_OURS;
	verdict = reply_inward(skb, pkt, replica_row, where);
	if (unlikely(verdict == REPLY_IS_LATE)) {
		verdict = reply_late_inward(skb, pkt, replica_row);
		if (verdict != REPLY_IS_LATE)
			return verdict;
		verdict = reply_inward(skb, pkt, replica_row, where | REPLY_IS_LATE);
	}
	if (likely(verdict < REPLY_REFUSES))
		return verdict;
	if (verdict >= REPLY_TOO_BIG)
		return mtu_answer(skb, pkt, verdict - REPLY_TOO_BIG);
	verdict = retry(skb, pkt, verdict - REPLY_REFUSES);
	return verdict == NOT_OURS ? reply_inward(skb, pkt, replica_row, where | REPLY_REFUSES) : verdict;
}

/* A packet without ports: an ICMP error may be about a packet of ours, and refuse it if that is a
 * SYN. */
static __always_inline int reply_unreadable(struct __sk_buff *skb, const struct packet *pkt,
					    enum parse_result result, enum sl_hook hook)
{
	int found, verdict;
	__u32 slot;

	if (unlikely(result == PARSE_FRAGMENT))
		return fragment_of_reply(skb, pkt, hook);
	if (likely(!packet_is_icmp(pkt)))
		return NOT_OURS;
	found = icmp_find(skb, pkt, hook);
	if (found <= 0)
		return NOT_OURS;
	slot = (found & ~ICMP_REFUSES) - 1;
	if (found & ICMP_REFUSES) {
		verdict = retry(skb, pkt, slot);
		if (verdict != NOT_OURS)
			return verdict;
	}
	verdict = icmp_to_client(skb, pkt, slot);
	if (verdict < ICMP_TOLD)
		return verdict;
	if (hook == SL_HOOK_POD || hook == SL_HOOK_UPLINK) /* its egress */
		return NEXT;
	return icmp_deliver(skb, slot, verdict - ICMP_TOLD);
}

/* A packet of a pod's on its way into the node: a reply to the node's own client, or to the pod's; on
 * the fast path, to anybody. */
static __always_inline int to_client_from_pod(struct __sk_buff *skb, struct packet *pkt,
					      enum parse_result result)
{
	__s64 found;
	int verdict;

	if (!pkt->addressed || (!fast_path && likely(!is_known_address(&pkt->dst))))
		return NOT_OURS;
	if (unlikely(result != PARSE_OK))
		return node_ifindex || fast_path ? reply_unreadable(skb, pkt, result, SL_HOOK_NODE) : NOT_OURS;
	found = replica_find(&pkt->src, pkt->sport, pkt->proto);
	if (found < 0)
		return NOT_OURS;
	verdict = reply_at_ingress(skb, pkt, found, REPLY_AT_POD);
	return verdict == NOT_OURS ? hairpin_answer(skb, pkt, found) : verdict;
}

/* What the node itself says to a VIP's address, but to no port of it: a replica's answer to its own
 * client, or nothing of ours. */
static __always_inline int to_client_from_node(struct __sk_buff *skb, struct packet *pkt,
					       enum parse_result result)
{
	__s64 found;
	int verdict;

	if (result != PARSE_OK)
		return NOT_OURS;
	found = replica_find(&pkt->src, pkt->sport, pkt->proto);
	if (found < 0)
		return NOT_OURS;
	verdict = hairpin_answer(skb, pkt, found);
	return verdict == NEXT ? reply_at_ingress(skb, pkt, found, 0) : verdict;
}

static __always_inline int reply_from_fabric(struct __sk_buff *skb, const struct packet *pkt,
					     __u32 replica_row)
{
	int verdict = NOT_OURS;
	struct sl_flow *flow;

	if (!fast_path || is_known_address(&pkt->dst)) /* else it is no address of this node */
		verdict = reply_undo_snat(skb, pkt, replica_row, 0);
	if (unlikely(verdict >= REPLY_TOO_BIG))
		return mtu_answer(skb, pkt, verdict - REPLY_TOO_BIG);
	if (unlikely(verdict >= REPLY_IS_LATE)) {
		flow = table_slot(verdict - REPLY_IS_LATE);
		if (late_answer_snat(pkt, replica_row, verdict - REPLY_IS_LATE) == LATE_BEATEN && flow)
			eject_accept(flow->key.service, replica_row);
		verdict = reply_undo_snat(skb, pkt, replica_row, REPLY_IS_LATE);
	}
	if (verdict == NOT_OURS)
		verdict = reply_at_ingress(skb, pkt, replica_row, 0);
	if (unlikely(verdict == NOT_OURS && pkt->tcp_flags & TCP_RST))
		reply_note_full(skb, pkt, replica_row);
	if (likely(verdict < REPLY_REFUSES))
		return verdict;
	verdict = retry(skb, pkt, verdict - REPLY_REFUSES);
	return verdict == NOT_OURS ? reply_undo_snat(skb, pkt, replica_row, REPLY_REFUSES) :
				     verdict;
}

static __always_inline int to_client(struct __sk_buff *skb, const struct packet *pkt,
				     enum parse_result result, enum sl_hook hook)
{
	struct sl_replica *replica;
	struct flow_ref ref;
	struct new_end src;
	__u32 row;
	__s64 found;
	int verdict;

	if (unlikely(result != PARSE_OK))
		return reply_unreadable(skb, pkt, result, hook);
	found = replica_find(&pkt->src, pkt->sport, pkt->proto);
	if (likely(found < 0))
		return NOT_OURS;
	row = found;
	if (hook == SL_HOOK_FABRIC)
		return reply_from_fabric(skb, pkt, row);
	replica = bpf_map_lookup_elem(&replicas, &row);
	if (!replica)
		return NOT_OURS;
	ref = reply_find(pkt, row);
	if (!ref.flow)
		reply_find_late(pkt, row, hook, &ref);
	if (!ref.flow || !flow_is_here(ref.flow, hook) || reply_is_anothers(&ref, pkt) ||
	    reply_from_vip(ref.flow, replica, &src))
		return NOT_OURS;
	if (unlikely(retry_is_refusal(&ref, pkt))) {
		verdict = retry(skb, pkt, ref.slot);
		if (verdict != NOT_OURS)
			return verdict;
	}
	witness_payload(replica, pkt);
	sniff_reply(skb, &ref, pkt);
	if (unlikely(!flow_track_replica(&ref, pkt, bpf_jiffies64())))
		return drop(SL_DROP_LATE_ANSWER);
	return rewrite(skb, pkt, &src, NULL) ? drop(SL_DROP_CHECKSUM) : NEXT;
}

#endif
