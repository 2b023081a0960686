/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors about packets of ours (RFC 792, RFC 4443). One that says of a SYN that it did not arrive
 * is as good as an RST: finds the flow, retry.h does the rest. Every other one is told to whom it
 * concerns, as if there were no translation: the client hears of its packets to the VIP
 * (icmp_to_client(), where the flow's replies are translated), the replica of its packets to the
 * client (icmp_to_replica(), where the client's packets are). So path MTU discovery works in both
 * directions. No error ends or moves a flow that was answered. Called by to_client.h and
 * from_client.h; refuses what quotes no flow, and passes it untouched.
 */
#ifndef SLUICE_BPF_ICMP_H
#define SLUICE_BPF_ICMP_H

#include "fast.h"
#include "flow.h"
#include "lookup.h"
#include "node.h"
#include "quote.h"

static __always_inline bool packet_is_icmp(const struct packet *pkt)
{
	return pkt->proto == IPPROTO_ICMP || pkt->proto == IPPROTO_ICMPV6;
}

/* ---- about a client's packet to its replica --------------------------------------------*/

/* The flow that left this node with an address of ours. */
static __always_inline void icmp_find_snat(const struct quote *quote, __u32 replica,
					   struct flow_ref *ret)
{
	union sl_snat_key key = {};
	struct sl_snat *entry;
	__s64 source = source_find(&quote->src);

	if (source < 0)
		return;
	key.replica = replica;
	key.port = quote->sport;
	key.proto = quote->proto;
	key.source = source;
	entry = snat_find(&key, SL_SNAT_LIVE);
	if (!entry)
		return;
	ret->slot = entry->flow;
	ret->flow = table_slot(ret->slot);
	ret->state = ret->flow ? READ_ONCE(ret->flow->state) : 0;
	if (SL_FLOW_PHASE(ret->state) < SL_FLOW_SYN ||
	    SL_FLOW_GENERATION(ret->state) != entry->generation)
		ret->flow = NULL;
}

static __always_inline void icmp_find_client(const struct quote *quote, __u32 replica,
					     struct flow_ref *ret)
{
	struct sl_replica_services *shared = bpf_map_lookup_elem(&replica_services, &replica);
	struct sl_flow_key key = {.client = quote->src, .port = quote->sport,
				  .proto = quote->proto};

	for (__u32 i = 0; shared && i < SL_MAX_SHARED && i < shared->n; i++) {
		key.service = shared->service[i];
		*ret = table_find_slow(&key, SIDE_REPLICA, replica);
		if (!ret->flow)
			continue;
		if (ret->flow->hook == SL_HOOK_FABRIC) /* its packets do not look like this one */
			ret->flow = NULL;
		return;
	}
}

/* Whether the error says that the flow's SYN did not arrive. */
static __always_inline bool icmp_is_refusal(const struct packet *pkt, const struct quote *quote,
					    const struct flow_ref *ref)
{
	if (quote->type != (pkt->v6 ? ICMP6_UNREACHABLE : ICMP_UNREACHABLE) ||
	    (!pkt->v6 && quote->code == ICMP_FRAG_NEEDED))
		return false;
	return quote->proto == IPPROTO_TCP && ref->flow->isn == quote->seq &&
	       SL_FLOW_PHASE(ref->state) == SL_FLOW_SYN && !(ref->state & SL_FLOW_ANSWERED);
}

/* Beside the slot that icmp_find() returns. */
#define ICMP_REFUSES 0x1000000

/* Slot + 1 of the flow whose client sent what is quoted, if its replies are translated at `hook`;
 * | ICMP_REFUSES when that is a SYN which did not arrive; 0: none. Flows of the spill table have no
 * slot. A global function: verified by itself. */
__noinline int icmp_find(struct __sk_buff *skb, const struct packet *pkt, __u32 hook)
{
	struct quote quote = {};
	struct flow_ref ref = {};
	__s64 replica;

	if (!pkt || !quote_parse(skb, pkt, &quote) || !addr_equal(&pkt->dst, &quote.src))
		return 0;
	replica = replica_find(&quote.dst, quote.dport, quote.proto);
	if (replica < 0)
		return 0;
	if (hook == SL_HOOK_FABRIC)
		icmp_find_snat(&quote, replica, &ref);
	if (!ref.flow)
		icmp_find_client(&quote, replica, &ref);
	if (!ref.flow || !flow_is_here(ref.flow, hook))
		return 0;
	return (ref.slot + 1) | (icmp_is_refusal(pkt, &quote, &ref) ? ICMP_REFUSES : 0);
}

/* What icmp_to_client() returns of an error that is to go on; + 1: it comes from the VIP. */
#define ICMP_TOLD 0x1000000

/* The error, about a packet of the client's of the flow in `slot`, speaks of the VIP from now on, comes
 * from it where it came from the replica, and goes to the client where it came to an address of ours.
 * A verdict, or ICMP_TOLD. A global function: verified by itself. */
__noinline int icmp_to_client(struct __sk_buff *skb, const struct packet *pkt, __u32 slot)
{
	struct sl_flow *flow = table_slot(slot);
	struct quote quote = {};
	struct quote_ends to;
	struct sl_vip *vip;
	bool from_vip;

	if (!pkt || !flow || !quote_parse(skb, pkt, &quote))
		return NOT_OURS;
	vip = bpf_map_lookup_elem(&vips, &flow->vip);
	if (!vip)
		return NOT_OURS;
	quote_ends_init(&to, pkt, &quote);
	to.dst = &vip->addr;
	to.dport = vip->port;
	from_vip = addr_equal(&pkt->src, &quote.dst);
	if (from_vip)
		to.outer_src = &vip->addr;
	if (flow->hook == SL_HOOK_FABRIC) {
		to.src = to.outer_dst = &flow->key.client;
		to.sport = flow->key.port;
	}
	if (quote_rewrite(skb, pkt, &quote, &to))
		return drop(SL_DROP_CHECKSUM);
	count(SL_COUNT_ICMP_ERRORS);
	return ICMP_TOLD + from_vip;
}

/* On to the client of the flow in `slot`, from an ingress, as its replies go; but to this node's own as
 * it came, unless it comes from the VIP: reverse-path filters know a router by the device that leads to
 * it. A global function: the stack of icmp_to_client() is full. */
__noinline int icmp_deliver(struct __sk_buff *skb, __u32 slot, __u32 from_vip)
{
	struct sl_flow *flow = table_slot(slot);
	union sl_snat_key key;
	struct sl_snat *entry;

	if (!flow)
		return NEXT;
	if (hook_is_fast(flow->hook))
		return fast_to_client(skb, flow);
	if (flow->hook == SL_HOOK_NODE && from_vip)
		return node_address(skb) ? drop(SL_DROP_CHECKSUM) :
					   bpf_redirect(node_ifindex, BPF_F_INGRESS);
	if (flow->hook != SL_HOOK_FABRIC)
		return NEXT;
	key = flow_snat_key(flow);
	entry = snat_find(&key, SL_SNAT_LIVE);
	return entry ? bpf_redirect_neigh(entry->client_ifindex, NULL, 0, 0) :
		       drop(SL_DROP_SNAT_NO_SOURCE);
}

/* ---- about a reply of the VIP's -----------------------------------------------------------*/

/* Slot + 1 of the flow of a reply that is quoted; 0: none. A global function: verified by itself. */
__noinline int icmp_find_reply(struct __sk_buff *skb, const struct packet *pkt)
{
	struct sl_flow_key key = {};
	struct quote quote = {};
	struct sl_vip *vip;
	__u32 vip_row;
	__s64 found;

	if (!pkt || !quote_parse(skb, pkt, &quote) || !addr_equal(&pkt->dst, &quote.src))
		return 0;
	found = vip_find(&quote.src, quote.sport, quote.proto);
	if (found < 0)
		return 0;
	vip_row = found;
	vip = bpf_map_lookup_elem(&vips, &vip_row);
	if (!vip)
		return 0;
	key.client = quote.dst;
	key.port = quote.dport;
	key.proto = quote.proto;
	key.service = vip->service;
	return table_look_up(&key, SIDE_CLIENT, vip_row);
}

/* Tells the replica of the flow in `slot`, at a hook where clients' packets come in: the error speaks
 * of what the replica sent, and goes to it; with source NAT from our address, to which it was sent. A
 * verdict. A global function: verified by itself. */
__noinline int icmp_to_replica(struct __sk_buff *skb, const struct packet *pkt, __u32 slot)
{
	struct sl_flow *flow = table_slot(slot);
	struct quote quote = {};
	struct sl_replica *replica;
	struct sl_source *source;
	struct quote_ends to;
	__u32 row;

	if (!pkt || !flow || !quote_parse(skb, pkt, &quote))
		return NOT_OURS;
	row = flow->replica; /* none, while it is parked */
	replica = bpf_map_lookup_elem(&replicas, &row);
	if (!replica || addr_equal(&quote.dst, &replica->config.addr)) /* see hairpin.h */
		return NOT_OURS;
	quote_ends_init(&to, pkt, &quote);
	to.src = to.outer_dst = &replica->config.addr;
	to.sport = replica->config.port;
	if (flow->hook == SL_HOOK_FABRIC) {
		row = flow->source;
		source = bpf_map_lookup_elem(&sources, &row);
		if (!source)
			return drop(SL_DROP_SNAT_NO_SOURCE);
		to.dst = to.outer_src = &source->addr;
		to.dport = flow->snat_port;
	}
	if (quote_rewrite(skb, pkt, &quote, &to))
		return drop(SL_DROP_CHECKSUM);
	count(SL_COUNT_ICMP_ERRORS);
	if (flow->hook == SL_HOOK_POD || flow->hook == SL_HOOK_UPLINK)
		return NEXT;
	return hook_is_fast(flow->hook) ? fast_to_replica(skb, replica) : fast_by_neighbour(replica);
}

#endif
