/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers an echo request (RFC 792, RFC 4443) in the name of a VIP that nobody else serves: that of this
 * node's, no replica's. Called by from_node, where all such VIPs are routed to.
 */
#ifndef SLUICE_BPF_ECHO_H
#define SLUICE_BPF_ECHO_H

#include "lookup.h"
#include "node.h"
#include "quote.h"

#define ICMP_ECHO 8
#define ICMP_ECHO_REPLY 0
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129

/* Source and destination change places: no sum over them changes. */
static __always_inline int echo_swap_ends(struct __sk_buff *skb, const struct packet *pkt)
{
	const __be32 ends[2] = {pkt->dst.w[3], pkt->src.w[3]};

	if (pkt->v6)
		return quote_store_v6(skb, L3_OFFSET, &pkt->dst, &pkt->src, 0);
	return bpf_skb_store_bytes(skb, L3_OFFSET + offsetof(struct iphdr, saddr), ends,
				   sizeof(ends), 0) ? -1 : 0;
}

/* A verdict; NOT_OURS: it is no echo request to a VIP. A global function: verified by itself. */
__noinline int echo_answer(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 kind[2], answer[2] = {}; /* type and code */
	__u32 at;

	if (!pkt || (pkt->proto != IPPROTO_ICMP && pkt->proto != IPPROTO_ICMPV6))
		return NOT_OURS;
	at = pkt->l4_offset & L4_OFFSET_MASK;
	if (bpf_skb_load_bytes(skb, at, kind, sizeof(kind)) || kind[1] ||
	    kind[0] != (pkt->v6 ? ICMP6_ECHO : ICMP_ECHO) || !is_vip_address(&pkt->dst))
		return NOT_OURS;
	answer[0] = pkt->v6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY;
	if (bpf_skb_store_bytes(skb, at, answer, sizeof(answer), 0) ||
	    bpf_l4_csum_replace(skb, at + ICMP_CHECK, bpf_htons(kind[0] << 8),
				bpf_htons(answer[0] << 8), 2) ||
	    echo_swap_ends(skb, pkt) || node_address(skb))
		return drop(SL_DROP_CHECKSUM);
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

#endif
