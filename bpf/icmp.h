/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP says of a SYN that it did not arrive (destination unreachable, RFC 792 and RFC 4443): as good
 * as an RST, if it quotes the very SYN. Finds the flow; retry.h does the rest. All other ICMP is
 * let pass as it is. Called by to_client.h.
 */
#ifndef SLUICE_BPF_ICMP_H
#define SLUICE_BPF_ICMP_H

#include "fast.h"
#include "flow.h"
#include "lookup.h"

#define ICMP_UNREACHABLE 3     /* RFC 792 */
#define ICMP_FRAG_NEEDED 4     /* its code for path MTU discovery: says nothing about the replica */
#define ICMP6_UNREACHABLE 1    /* RFC 4443 */
#define ICMP_HEADER 8u

/* What an ICMP error quotes: the first bytes of a packet of ours. */
struct quote {
	union sl_addr src, dst;
	struct {
		__be16 sport, dport;
		__be32 seq;
	} tcp;
};

static __always_inline bool icmp_is_unreachable(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 what[2];

	if (bpf_skb_load_bytes(skb, pkt->l4_offset & L4_OFFSET_MASK, what, sizeof(what)))
		return false;
	if (pkt->v6)
		return pkt->proto == IPPROTO_ICMPV6 && what[0] == ICMP6_UNREACHABLE;
	return pkt->proto == IPPROTO_ICMP && what[0] == ICMP_UNREACHABLE &&
	       what[1] != ICMP_FRAG_NEEDED;
}

static __always_inline bool icmp_read_v4(struct __sk_buff *skb, __u32 at, struct quote *ret)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.protocol != IPPROTO_TCP)
		return false;
	addr_set_v4(&ret->src, ip.saddr);
	addr_set_v4(&ret->dst, ip.daddr);
	return !bpf_skb_load_bytes(skb, at + ip.ihl * 4, &ret->tcp, sizeof(ret->tcp));
}

static __always_inline bool icmp_read_v6(struct __sk_buff *skb, __u32 at, struct quote *ret)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_TCP)
		return false;
	addr_set_v6(&ret->src, &ip.saddr);
	addr_set_v6(&ret->dst, &ip.daddr);
	return !bpf_skb_load_bytes(skb, at + sizeof(ip), &ret->tcp, sizeof(ret->tcp));
}

/* The flow that left this node with an address of ours. */
static __always_inline struct flow_ref icmp_find_snat(const struct quote *quote, __u32 replica)
{
	union sl_snat_key key = {};
	struct flow_ref ref = {};
	struct sl_snat *entry;
	__s64 source = source_find(&quote->src);

	if (source < 0)
		return ref;
	key.replica = replica;
	key.port = quote->tcp.sport;
	key.proto = IPPROTO_TCP;
	key.source = source;
	entry = snat_find(&key, SL_SNAT_LIVE);
	if (!entry || entry->phase != SL_SNAT_LIVE)
		return ref;
	ref.slot = entry->flow;
	ref.flow = table_slot(ref.slot);
	return ref;
}

static __always_inline struct flow_ref icmp_find(const struct quote *quote, __u32 replica)
{
	struct sl_replica_services *shared = bpf_map_lookup_elem(&replica_services, &replica);
	struct sl_flow_key key = {.client = quote->src, .port = quote->tcp.sport,
				  .proto = IPPROTO_TCP};
	struct flow_ref ref = {};

	for (__u32 i = 0; shared && i < SL_MAX_SHARED && i < shared->n; i++) {
		key.service = shared->service[i];
		ref = table_find_slow(&key, SIDE_REPLICA, replica);
		if (ref.flow)
			return ref;
	}
	return ref;
}

/* Whether `hook` is where the flow's replies are translated; the fast path's, at every ingress. */
static __always_inline bool icmp_is_hook(const struct sl_flow *flow, __u32 hook)
{
	if (hook_is_fast(flow->hook))
		return hook == SL_HOOK_FABRIC || hook_is_fast(hook);
	return flow->hook == hook;
}

/* Slot + 1 of the flow whose SYN this error refuses, at the hook that translates its replies; 0:
 * none. A global function: verified by itself. */
__noinline int icmp_refuses(struct __sk_buff *skb, const struct packet *pkt, __u32 hook)
{
	struct quote quote = {};
	struct flow_ref ref = {};
	__s64 replica;
	__u32 at;

	if (!pkt || !icmp_is_unreachable(skb, pkt))
		return 0;
	at = (pkt->l4_offset & L4_OFFSET_MASK) + ICMP_HEADER;
	if (pkt->v6 ? !icmp_read_v6(skb, at, &quote) : !icmp_read_v4(skb, at, &quote))
		return 0;
	replica = replica_find(&quote.dst, quote.tcp.dport, IPPROTO_TCP);
	if (replica < 0)
		return 0;
	if (hook == SL_HOOK_FABRIC)
		ref = icmp_find_snat(&quote, replica);
	if (!ref.flow)
		ref = icmp_find(&quote, replica);
	if (!ref.flow || !icmp_is_hook(ref.flow, hook) || ref.flow->isn != quote.tcp.seq)
		return 0;
	ref.state = READ_ONCE(ref.flow->state);
	if (SL_FLOW_PHASE(ref.state) != SL_FLOW_SYN ||
	    ref.state & (SL_FLOW_ANSWERED | SL_FLOW_SPILLED))
		return 0;
	return ref.slot + 1;
}

#endif
