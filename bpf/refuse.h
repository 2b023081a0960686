/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Says no: turns a client's TCP segment into the RST that answers it (RFC 9293
 * section 3.5.2) and sends it back where it came from, at the cost of no packet
 * buffer. UDP is dropped. The slow path: helpers throughout.
 */
#ifndef SLUICE_BPF_REFUSE_H
#define SLUICE_BPF_REFUSE_H

#include "count.h"
#include "rewrite.h"

static __always_inline int refuse_swap_macs(struct __sk_buff *skb)
{
	__u8 macs[12], swapped[12];

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
		return -1;
	__builtin_memcpy(swapped, macs + 6, 6);
	__builtin_memcpy(swapped + 6, macs, 6);
	return bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0);
}

/* Swaps addresses, sets the length to a bare TCP header and the TTL to 64. */
static __always_inline int refuse_l3(struct __sk_buff *skb, const struct packet *pkt)
{
	if (pkt->v6) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, L3_OFFSET, &ip, sizeof(ip)))
			return -1;
		__builtin_memcpy(&ip.saddr, &pkt->dst, 16);
		__builtin_memcpy(&ip.daddr, &pkt->src, 16);
		ip.payload_len = bpf_htons(sizeof(struct tcphdr));
		ip.hop_limit = 64;
		return bpf_skb_store_bytes(skb, L3_OFFSET, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
	} else {
		struct iphdr ip;
		__u16 length, life;
		__u32 sum;

		if (bpf_skb_load_bytes(skb, L3_OFFSET, &ip, sizeof(ip)))
			return -1;
		length = ip.tot_len;
		life = *(__u16 *)&ip.ttl; /* TTL and protocol */
		ip.saddr = pkt->dst.w[3];
		ip.daddr = pkt->src.w[3];
		ip.tot_len = bpf_htons(pkt->l4_offset - L3_OFFSET + sizeof(struct tcphdr));
		ip.ttl = 64;
		/* Incremental, since options may follow; swapped addresses change no sum. */
		sum = csum_add((__u16)~ip.check, csum_sub(ip.tot_len, length));
		sum = csum_add(sum, csum_sub(*(__u16 *)&ip.ttl, life));
		ip.check = ~csum_fold(sum);
		return bpf_skb_store_bytes(skb, L3_OFFSET, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
	}
}

/* Whether the device is to finish the checksum (CHECKSUM_PARTIAL): only then does the
 * helper leave the field alone when told of a change outside the pseudo-header (which is then
 * taken back). */
static __always_inline bool refuse_is_partial(struct __sk_buff *skb, __u32 check)
{
	__u16 before, after;

	return !bpf_skb_load_bytes(skb, check, &before, 2) &&
	       !bpf_l4_csum_replace(skb, check, 0, 1, 0) &&
	       !bpf_skb_load_bytes(skb, check, &after, 2) &&
	       !bpf_l4_csum_replace(skb, check, 0, ~1u, 0) && before == after;
}

static __always_inline int refuse_l4(struct __sk_buff *skb, const struct packet *pkt)
{
	bool partial = refuse_is_partial(skb, pkt->l4_offset + offsetof(struct tcphdr, check));
	struct tcphdr tcp = {.source = pkt->dport, .dest = pkt->sport, .doff = 5, .rst = 1};
	__u32 pseudo, length;
	__s64 sum;

	if (pkt->tcp_flags & TCP_ACK) {
		tcp.seq = pkt->ack;
	} else {
		length = pkt->l4_length - pkt->l4_header;
		length += !!(pkt->tcp_flags & TCP_SYN) + !!(pkt->tcp_flags & TCP_FIN);
		tcp.ack = 1;
		tcp.ack_seq = bpf_htonl(bpf_ntohl(pkt->seq) + length);
	}
	pseudo = csum_add(sl_addr_sum(&pkt->src), sl_addr_sum(&pkt->dst));
	pseudo = csum_add(pseudo, bpf_htons(IPPROTO_TCP));
	pseudo = csum_add(pseudo, bpf_htons(sizeof(tcp)));
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&tcp, sizeof(tcp), pseudo);
	if (sum < 0)
		return -1;
	tcp.check = partial ? csum_fold(pseudo) : ~csum_fold(sum);
	return bpf_skb_store_bytes(skb, pkt->l4_offset, &tcp, sizeof(tcp), BPF_F_RECOMPUTE_CSUM);
}

/* Answers a TCP segment with an RST, counted under `reason` (enum sl_drop_reason). Never answers
 * an RST. A global function: verified by itself, with a stack of its own. */
__noinline int refuse(struct __sk_buff *skb, const struct packet *pkt, __u32 reason)
{
	if (!pkt)
		return TC_ACT_SHOT;
	if (pkt->proto != IPPROTO_TCP || pkt->tcp_flags & TCP_RST ||
	    bpf_skb_change_tail(skb, pkt->l4_offset + sizeof(struct tcphdr), 0) ||
	    refuse_l4(skb, pkt) || refuse_l3(skb, pkt) || refuse_swap_macs(skb))
		return drop(reason);
	count_drop(reason);
	return bpf_redirect(skb->ifindex, 0);
}

#endif
