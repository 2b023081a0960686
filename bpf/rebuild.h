/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Makes another TCP segment of a packet at hand, in place: other ends, another TCP header,
 * perhaps options, no payload. Used where a packet is turned into the answer to it (refuse.h) or
 * into the SYN that goes out again (retry.h). The slow path: helpers throughout.
 */
#ifndef SLUICE_BPF_REBUILD_H
#define SLUICE_BPF_REBUILD_H

#include "rewrite.h"

/* What the packet becomes. */
struct segment {
	const union sl_addr *src, *dst;
	const void *options; /* in a map, n_options bytes of it; NULL: none */
	__u32 n_options;     /* a multiple of 4, at most SL_SYN_OPTIONS_MAX */
	struct tcphdr tcp;   /* all but the checksum */
	__u8 tos;
	__u8 keep_tos;       /* bool: the packet's own */
};

/* Ends, length, TTL 64, type of service; the rest of the header stays. */
static __always_inline int rebuild_v4(struct __sk_buff *skb, const struct packet *pkt,
				      const struct segment *to, __u32 l4_length)
{
	struct iphdr old, ip;
	__s64 sum;

	if (bpf_skb_load_bytes(skb, L3_OFFSET, &old, sizeof(old)))
		return -1;
	ip = old;
	if (!to->keep_tos)
		ip.tos = to->tos;
	ip.saddr = to->src->w[3];
	ip.daddr = to->dst->w[3];
	ip.tot_len = bpf_htons(pkt->l4_offset - L3_OFFSET + l4_length);
	ip.ttl = 64;
	ip.protocol = IPPROTO_TCP;
	/* Incremental, since options may follow. */
	sum = bpf_csum_diff((__be32 *)&old, sizeof(old), (__be32 *)&ip, sizeof(ip),
			    (__u16)~ip.check);
	if (sum < 0)
		return -1;
	ip.check = ~csum_fold(sum);
	return bpf_skb_store_bytes(skb, L3_OFFSET, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int rebuild_v6(struct __sk_buff *skb, const struct segment *to,
				      __u32 l4_length)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, L3_OFFSET, &ip, sizeof(ip)))
		return -1;
	if (!to->keep_tos) {
		ip.priority = to->tos >> 4;
		ip.flow_lbl[0] = (to->tos & 0xf) << 4 | (ip.flow_lbl[0] & 0xf);
	}
	__builtin_memcpy(&ip.saddr, to->src, 16);
	__builtin_memcpy(&ip.daddr, to->dst, 16);
	ip.payload_len = bpf_htons(l4_length);
	ip.nexthdr = IPPROTO_TCP;
	ip.hop_limit = 64;
	return bpf_skb_store_bytes(skb, L3_OFFSET, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

/* Whether the device is to finish the checksum (CHECKSUM_PARTIAL): only then does the
 * helper leave the field alone when told of a change outside the pseudo-header (which is then
 * taken back). */
static __always_inline bool rebuild_is_partial(struct __sk_buff *skb, const struct packet *pkt)
{
	__u32 check = (pkt->l4_offset & L4_OFFSET_MASK) + check_offset(pkt);
	__u16 before, after;

	return (pkt->proto == IPPROTO_TCP || (pkt->proto == IPPROTO_UDP && !pkt->unsummed)) &&
	       !bpf_skb_load_bytes(skb, check, &before, 2) &&
	       !bpf_l4_csum_replace(skb, check, 0, 1, 0) &&
	       !bpf_skb_load_bytes(skb, check, &after, 2) &&
	       !bpf_l4_csum_replace(skb, check, 0, ~1u, 0) && before == after;
}

static __always_inline int rebuild_l4(struct __sk_buff *skb, __u32 at, struct segment *to,
				      __u32 l4_length, bool partial)
{
	__u32 n = to->n_options, pseudo;
	__s64 sum;

	pseudo = csum_add(sl_addr_sum(to->src), sl_addr_sum(to->dst));
	pseudo = csum_add(pseudo, bpf_htons(IPPROTO_TCP));
	pseudo = csum_add(pseudo, bpf_htons(l4_length));
	to->tcp.check = 0;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&to->tcp, sizeof(to->tcp), pseudo);
	if (sum >= 0 && to->options && n) {
		n = minus_1(n);
		if (n >= SL_SYN_OPTIONS_MAX)
			return -1;
		n++;
		sum = bpf_csum_diff(NULL, 0, (__be32 *)to->options, n, sum);
		if (bpf_skb_store_bytes(skb, at + sizeof(to->tcp), to->options, n,
					BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	if (sum < 0)
		return -1;
	to->tcp.check = partial ? csum_fold(pseudo) : ~csum_fold(sum);
	return bpf_skb_store_bytes(skb, at, &to->tcp, sizeof(to->tcp), BPF_F_RECOMPUTE_CSUM);
}

/* Cuts the packet to its headers and `l4_length` bytes, and takes out the header that told the length
 * of one beyond 64 KiB. Where the L4 header then begins, or -1. */
static __always_inline int rebuild_cut(struct __sk_buff *skb, const struct packet *pkt,
				       __u32 l4_length)
{
	int at = pkt->v6 ? L3_OFFSET + (int)sizeof(struct ipv6hdr) : pkt->l4_offset;

	if (bpf_skb_change_tail(skb, pkt->l4_offset + l4_length, 0))
		return -1;
	if (unlikely(at != pkt->l4_offset) &&
	    bpf_skb_adjust_room(skb, -(int)sizeof(struct jumbo_header), BPF_ADJ_ROOM_NET,
				BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return -1;
	return at;
}

/* The packet becomes that segment; its frame keeps its MAC addresses. 0, or -1: it is spoilt. */
static __always_inline int rebuild(struct __sk_buff *skb, const struct packet *pkt,
				   struct segment *to)
{
	__u32 l4_length = sizeof(to->tcp) + to->n_options;
	bool partial = rebuild_is_partial(skb, pkt);
	int at = rebuild_cut(skb, pkt, l4_length);

	if (at < 0 || rebuild_l4(skb, at, to, l4_length, partial))
		return -1;
	return pkt->v6 ? rebuild_v6(skb, to, l4_length) : rebuild_v4(skb, pkt, to, l4_length);
}

#endif
