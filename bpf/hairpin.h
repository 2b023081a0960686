/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A client that is given the replica on its own address: a pod that calls a VIP which it serves itself,
 * or the node and a replica in its own network. A packet with one address at both ends is a martian
 * to whoever gets it, so the client's becomes the VIP's, the port stays:
 *
 *   client: A:4000 -> VIP:80     the replica sees VIP:4000 -> A:8000
 *   replica: A:8000 -> VIP:4000  the client sees VIP:80 -> A:4000
 *
 * For a pod this is done where packets go into it, so that connection tracking on the node sees A:4000
 * and A:8000 in both directions; for the node, at both hooks of SL_NODE_DEVICE. Called by the entry
 * points and, before such a replica is taken, by open.h.
 */
#ifndef SLUICE_BPF_HAIRPIN_H
#define SLUICE_BPF_HAIRPIN_H

#include "flow.h"
#include "lookup.h"
#include "node.h"
#include "rewrite.h"

/* Whether the flow's client can have this replica: with one on its own address, the packets of both
 * must be told apart, and so not while the client's port is a port of the VIP as well; and the node's
 * own client one of the node itself only from that address. A global function: verified by itself. */
__noinline int hairpin_allows(const struct sl_flow *body, __u32 replica_row)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);
	struct sl_vip *vip;
	__u32 vip_row;

	if (!body || !replica)
		return false;
	if (likely(!addr_equal(&replica->config.addr, &body->key.client)))
		return body->hook != SL_HOOK_NODE || !is_local_address(&replica->config.addr);
	vip_row = body->vip;
	vip = bpf_map_lookup_elem(&vips, &vip_row);
	return vip && vip_find(&vip->addr, body->key.port, body->key.proto) < 0;
}

static __always_inline struct sl_vip *hairpin_vip(const struct flow_ref *ref)
{
	__u32 row = ref->flow->vip;

	return bpf_map_lookup_elem(&vips, &row);
}

/* A packet of one address at both ends: the client's becomes the VIP's, in *pkt too. A global
 * function: verified by itself. */
__noinline int hairpin_call(struct __sk_buff *skb, struct packet *pkt)
{
	struct new_end src = {};
	struct flow_ref ref;
	struct sl_vip *vip;
	__s64 replica;

	if (!pkt)
		return NOT_OURS;
	replica = replica_find(&pkt->dst, pkt->dport, pkt->proto);
	if (replica < 0)
		return NOT_OURS;
	ref = flow_of_source(pkt, pkt->sport, replica);
	if (!ref.flow || ref.flow->hook != SL_HOOK_POD)
		return NOT_OURS;
	vip = hairpin_vip(&ref);
	if (!vip)
		return NOT_OURS;
	src.addr = &vip->addr;
	src.sum_old = sl_addr_sum(&pkt->src);
	src.sum_new = vip->addr_sum;
	src.port = pkt->sport;
	if (rewrite(skb, pkt, &src, NULL))
		return drop(SL_DROP_CHECKSUM);
	pkt->src = vip->addr;
	return NOT_OURS;
}

/* What a replica says to a port of a VIP's address that is none of the VIP's: it answers the client on
 * its own address, which takes the VIP's place, in *pkt too. (Likewise a SYN-ACK whose flow has moved
 * on; never to an address of this node, which has clients of its own.) A global function: verified by
 * itself. */
__noinline int hairpin_answer(struct __sk_buff *skb, struct packet *pkt, __u32 replica)
{
	struct new_end dst = {};
	struct flow_ref ref;
	struct sl_vip *vip;

	if (!pkt || !is_vip_address(&pkt->dst))
		return NOT_OURS;
	ref = flow_of_source(pkt, pkt->dport, replica);
	vip = ref.flow ? hairpin_vip(&ref) : NULL;
	if (vip ? !addr_equal(&vip->addr, &pkt->dst) :
		  !packet_is_syn_ack(pkt) || is_local_address(&pkt->dst))
		return NOT_OURS;
	dst.addr = &pkt->src;
	dst.sum_old = sl_addr_sum(&pkt->dst);
	dst.sum_new = sl_addr_sum(&pkt->src);
	dst.port = pkt->dport;
	if (rewrite(skb, pkt, NULL, &dst))
		return drop(SL_DROP_CHECKSUM);
	pkt->dst = pkt->src;
	return NEXT;
}

/* On the way into a pod. */
static __always_inline int hairpin_to_pod(struct __sk_buff *skb, struct packet *pkt,
					  enum parse_result result)
{
	return unlikely(result == PARSE_OK && addr_equal(&pkt->src, &pkt->dst)) ?
		       hairpin_call(skb, pkt) : NOT_OURS;
}

#endif
