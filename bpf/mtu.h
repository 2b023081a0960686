/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets that bpf_redirect_neigh() sends meet no router of this node, so nobody compares their length
 * with the MTU of the way out. This does, and answers what is too long as a router would (RFC 1191,
 * RFC 8201): from the address that the packet was sent to, quoting it as it was sent, so before any
 * translation. The MTU is that of the device, asked of the kernel, or that of a route over it, where
 * the agent found a smaller one. Passes what may be fragmented on the way (IPv4 without DF), as long
 * as it is. Called by from_client.h and to_client.h.
 */
#ifndef SLUICE_BPF_MTU_H
#define SLUICE_BPF_MTU_H

#include "quote.h"
#include "refuse.h"

#define MTU_LEAST 552u   /* what Linux takes for the least (net.ipv4.route.min_pmtu): always fits */
#define MTU_LEAST_6 1280u /* RFC 8200: no link has less */
/* Of the packet, quoted: a whole number of words, and within what bpf_csum_diff() takes (512). Answers
 * are shorter than 576 and 1280 bytes then, as RFC 1812 and RFC 4443 have it. */
#define MTU_QUOTE 512u
#define IP_DF 0x4000

/* Length of the IP packet as it goes out: of each segment, where it is yet to be cut into them. */
static __always_inline __u32 mtu_length(const struct __sk_buff *skb, const struct packet *pkt)
{
	return skb->gso_size ? skb->gso_size + pkt->l4_offset - L3_OFFSET + pkt->l4_header :
			       skb->len - L3_OFFSET;
}

/* The MTU towards a device; 0: not known. */
static __always_inline __u32 mtu_of(struct __sk_buff *skb, __u32 ifindex)
{
	__u32 *route = bpf_map_lookup_elem(&route_mtus, &ifindex), mtu = 0;

	if (bpf_check_mtu(skb, ifindex, &mtu, 0, 0) < 0)
		return 0;
	return route && *route < mtu ? *route : mtu;
}

static __always_inline bool mtu_may_fragment(struct __sk_buff *skb, const struct packet *pkt)
{
	__be16 fragment = 0;

	return !pkt->v6 && (bpf_skb_load_bytes(skb, L3_OFFSET + offsetof(struct iphdr, frag_off),
					       &fragment, sizeof(fragment)) ||
			    !(fragment & bpf_htons(IP_DF)));
}

/* The MTU, if the packet is too long for the device `ifindex` and is not to be fragmented; else 0. A
 * global function: verified by itself. */
__noinline int mtu_exceeded(struct __sk_buff *skb, const struct packet *pkt, __u32 ifindex)
{
	__u32 mtu, least;

	if (!pkt)
		return 0;
	mtu = mtu_of(skb, ifindex);
	least = pkt->v6 ? MTU_LEAST_6 : MTU_LEAST;
	mtu = mtu && mtu < least ? least : mtu;
	return mtu && mtu_length(skb, pkt) > mtu && !mtu_may_fragment(skb, pkt) ? mtu : 0;
}

/* Whether a packet must be measured before it leaves without a look from the node's own stack. */
static __always_inline bool mtu_matters(const struct __sk_buff *skb, const struct packet *pkt)
{
	return mtu_length(skb, pkt) > MTU_LEAST;
}

/* ---- the answer ----------------------------------------------------------------------------*/

struct mtu_error4 {
	struct iphdr ip;
	__u8 type, code;
	__be16 check;
	__be32 mtu;
} __attribute__((packed));

struct mtu_error6 {
	struct ipv6hdr ip;
	__u8 type, code;
	__be16 check;
	__be32 mtu;
} __attribute__((packed));

/* Sum over the first `n` bytes of the IP packet; below 0: it is shorter. */
static __always_inline __s64 mtu_sum(struct __sk_buff *skb, __u32 n)
{
	void *data = (void *)(long)skb->data + L3_OFFSET, *data_end = (void *)(long)skb->data_end;

	return data + n > data_end ? -1 : bpf_csum_diff(NULL, 0, data, n, 0);
}

/*
 * A device that is to fill in the L4 checksum (CHECKSUM_PARTIAL), as the sender of the packet left it
 * to, would do so still, now in the quote, and spoil the sum over that. The field is given the value
 * that filling in does not change: with S the sum over the rest of the quoted segment,
 * f = ~(S + f), so 2f = ~S, so f is ~S rotated right by a bit. *sum: over the whole quote.
 */
static __always_inline int mtu_settle(struct __sk_buff *skb, const struct packet *pkt, __s64 *sum)
{
	__u32 at = (pkt->l4_offset & L4_OFFSET_MASK) + check_offset(pkt);
	__s64 header = pkt->v6 ? mtu_sum(skb, sizeof(struct ipv6hdr)) : 0; /* IPv4's own sum is 0 */
	__u16 check, rest;

	if (header < 0 || bpf_skb_load_bytes(skb, at, &check, sizeof(check)))
		return -1;
	rest = ~csum_fold(csum_sub(csum_sub(*sum, header), check));
	rest = rest >> 1 | rest << 15;
	*sum = csum_add(*sum, csum_sub(rest, check));
	return bpf_skb_store_bytes(skb, at, &rest, sizeof(rest), 0) ? -1 : 0;
}

static __always_inline int mtu_write_v4(struct __sk_buff *skb, const struct packet *pkt, __u32 mtu,
					__s64 sum)
{
	struct mtu_error4 e = {.type = ICMP_UNREACHABLE, .code = ICMP_FRAG_NEEDED};

	e.ip.version = 4;
	e.ip.ihl = sizeof(e.ip) / 4;
	e.ip.tos = 0xc0; /* RFC 1812 section 4.3.2.5: as important as routing */
	e.ip.tot_len = bpf_htons(sizeof(e) + MTU_QUOTE);
	e.ip.frag_off = bpf_htons(IP_DF);
	e.ip.ttl = 64;
	e.ip.protocol = IPPROTO_ICMP;
	e.ip.saddr = pkt->dst.w[3];
	e.ip.daddr = pkt->src.w[3];
	e.ip.check = ~csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&e.ip, sizeof(e.ip), 0));
	e.mtu = bpf_htonl(mtu);
	e.check = ~csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&e.type, ICMP_HEADER, sum));
	return bpf_skb_store_bytes(skb, L3_OFFSET, &e, sizeof(e), BPF_F_RECOMPUTE_CSUM) ? -1 : 0;
}

static __always_inline int mtu_write_v6(struct __sk_buff *skb, const struct packet *pkt, __u32 mtu,
					__s64 sum)
{
	struct mtu_error6 e = {.type = ICMP6_TOO_BIG};
	__u32 pseudo = csum_add(sl_addr_sum(&pkt->src), sl_addr_sum(&pkt->dst));

	e.ip.version = 6;
	e.ip.payload_len = bpf_htons(ICMP_HEADER + MTU_QUOTE);
	e.ip.nexthdr = IPPROTO_ICMPV6;
	e.ip.hop_limit = 64;
	__builtin_memcpy(&e.ip.saddr, &pkt->dst, 16);
	__builtin_memcpy(&e.ip.daddr, &pkt->src, 16);
	e.mtu = bpf_htonl(mtu);
	pseudo = csum_add(pseudo, csum_add(bpf_htons(IPPROTO_ICMPV6),
					   bpf_htons(ICMP_HEADER + MTU_QUOTE)));
	e.check = ~csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&e.type, ICMP_HEADER,
					   csum_add(sum, pseudo)));
	return bpf_skb_store_bytes(skb, L3_OFFSET, &e, sizeof(e), BPF_F_RECOMPUTE_CSUM) ? -1 : 0;
}

/* The packet becomes the error about itself. 0, or -1: it is spoilt. */
static __always_inline int mtu_turn(struct __sk_buff *skb, const struct packet *pkt, __u32 mtu)
{
	__u32 header = pkt->v6 ? sizeof(struct mtu_error6) : sizeof(struct mtu_error4);
	bool partial = rebuild_is_partial(skb, pkt);
	__s64 sum;

	if (bpf_skb_change_tail(skb, L3_OFFSET + MTU_QUOTE, 0) ||
	    bpf_skb_pull_data(skb, L3_OFFSET + MTU_QUOTE))
		return -1;
	sum = mtu_sum(skb, MTU_QUOTE);
	if (sum < 0 || (partial && mtu_settle(skb, pkt, &sum)) ||
	    bpf_skb_adjust_room(skb, header, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	return (pkt->v6 ? mtu_write_v6(skb, pkt, mtu, sum) : mtu_write_v4(skb, pkt, mtu, sum)) ||
	       refuse_swap_macs(skb) ? -1 : 0;
}

/* Answers a packet, as it came in, that is longer than `mtu`. A verdict. A global function: verified by
 * itself. */
__noinline int mtu_answer(struct __sk_buff *skb, const struct packet *pkt, __u32 mtu)
{
	if (!pkt || mtu_turn(skb, pkt, mtu))
		return drop(SL_DROP_TOO_BIG);
	count_drop(SL_DROP_TOO_BIG);
	return refuse_send(skb);
}

#endif
