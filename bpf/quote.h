/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What an ICMP error quotes: the first bytes of the packet that it is about. Parsed here (by a pure
 * function, as parse_frame() is, for the same fuzzer), and given other ends, with every checksum that
 * covers them kept right. IPv6 extension headers and all fragments but first ones are not ours.
 *
 * Source: RFC 5508 section 4.2 and RFC 5509 for what a translator owes an error; RFC 4884 for what may follow
 * the quote. A quoted TCP or UDP checksum is mended where the quote reaches as far, as the kernel's
 * own translation does (net/netfilter/nf_nat_proto.c): nobody reads it.
 */
#ifndef SLUICE_BPF_QUOTE_H
#define SLUICE_BPF_QUOTE_H

#include "parse.h"
#ifdef __bpf__
#include "rewrite.h"
#endif

#define ICMP_HEADER 8u
#define ICMP_CHECK 2u          /* offset of its checksum, both families */
#define ICMP_UNREACHABLE 3     /* RFC 792 */
#define ICMP_TIME_EXCEEDED 11
#define ICMP_BAD_PARAMETER 12
#define ICMP_FRAG_NEEDED 4     /* code of ICMP_UNREACHABLE, RFC 1191 */
#define ICMP6_UNREACHABLE 1    /* RFC 4443 */
#define ICMP6_TOO_BIG 2
#define ICMP6_BAD_PARAMETER 4  /* the last of the errors */

#define QUOTE_L4 8u            /* what every error quotes of it: ports, and a TCP sequence number */
/* An IPv4 header with all its options may precede the error's, and another one be quoted. */
#define QUOTE_MAX (ETH_HLEN + 60 + ICMP_HEADER + 60 + sizeof(struct tcphdr))

struct quote {
	union sl_addr src, dst;
	__be16 sport, dport;
	__be32 seq;        /* TCP */
	__be16 ip_check;   /* IPv4 */
	__be16 check;      /* of TCP or UDP; where `summed` */
	__u16 l3_offset;   /* from the start of the frame */
	__u16 l4_offset;
	__u8 proto;
	__u8 type, code;   /* of the error */
	bool summed;       /* the quote reaches as far as a checksum */
};

static __always_inline bool quote_is_error(const struct packet *pkt, __u8 type)
{
	if (pkt->v6)
		return pkt->proto == IPPROTO_ICMPV6 && type >= ICMP6_UNREACHABLE &&
		       type <= ICMP6_BAD_PARAMETER;
	return pkt->proto == IPPROTO_ICMP && (type == ICMP_UNREACHABLE ||
	       type == ICMP_TIME_EXCEEDED || type == ICMP_BAD_PARAMETER);
}

/* The quoted TCP or UDP header. Bytes beyond the error's own length are no part of it. */
static __always_inline bool quote_parse_l4(void *l4, void *data_end, __u32 room, struct quote *ret)
{
	__be16 *ports = l4;
	__u32 check = ret->proto == IPPROTO_TCP ? offsetof(struct tcphdr, check) :
						  offsetof(struct udphdr, check);

	if ((ret->proto != IPPROTO_TCP && ret->proto != IPPROTO_UDP) || room < QUOTE_L4 ||
	    l4 + QUOTE_L4 > data_end)
		return false;
	ret->sport = ports[0];
	ret->dport = ports[1];
	ret->seq = *(__be32 *)(ports + 2);
	if (room < check + sizeof(ret->check) || l4 + check + sizeof(ret->check) > data_end)
		return true;
	ret->check = *(__be16 *)(l4 + check);
	ret->summed = ret->proto == IPPROTO_TCP || ret->check;
	return true;
}

static __always_inline bool quote_parse_v4(void *data, void *data_end, __u32 room,
					   struct quote *ret)
{
	struct iphdr *ip = data + ret->l3_offset;
	__u32 header;

	if (room < sizeof(*ip) || (void *)(ip + 1) > data_end)
		return false;
	header = ip->ihl * 4;
	if (ip->version != 4 || header < sizeof(*ip) || room < header ||
	    ip->frag_off & bpf_htons(0x1fff))
		return false;
	addr_set_v4(&ret->src, ip->saddr);
	addr_set_v4(&ret->dst, ip->daddr);
	ret->ip_check = ip->check;
	ret->proto = ip->protocol;
	ret->l4_offset = ret->l3_offset + header;
	return quote_parse_l4((void *)ip + header, data_end, room - header, ret);
}

static __always_inline bool quote_parse_v6(void *data, void *data_end, __u32 room,
					   struct quote *ret)
{
	struct ipv6hdr *ip = data + ret->l3_offset;

	if (room < sizeof(*ip) || (void *)(ip + 1) > data_end || ip->version != 6)
		return false;
	addr_set_v6(&ret->src, &ip->saddr);
	addr_set_v6(&ret->dst, &ip->daddr);
	ret->proto = ip->nexthdr;
	ret->l4_offset = ret->l3_offset + sizeof(*ip);
	return quote_parse_l4(ip + 1, data_end, room - sizeof(*ip), ret);
}

/* `pkt`: of the same frame, neither TCP nor UDP; `ret` must be zeroed. False: it is no error, or
 * quotes nothing that could be ours. */
static __always_inline bool quote_parse_frame(void *data, void *data_end, const struct packet *pkt,
					      struct quote *ret)
{
	__u32 at = pkt->l4_offset & L4_OFFSET_MASK;
	__u8 *icmp = data + at;

	if (pkt->l4_length < ICMP_HEADER || (void *)icmp + ICMP_HEADER > data_end)
		return false;
	ret->type = icmp[0];
	ret->code = icmp[1];
	ret->l3_offset = at + ICMP_HEADER;
	if (!quote_is_error(pkt, ret->type))
		return false;
	return pkt->v6 ? quote_parse_v6(data, data_end, pkt->l4_length - ICMP_HEADER, ret) :
			 quote_parse_v4(data, data_end, pkt->l4_length - ICMP_HEADER, ret);
}

#ifdef __bpf__
static __always_inline bool quote_parse(struct __sk_buff *skb, const struct packet *pkt,
					struct quote *ret)
{
	__u32 want = skb->len < QUOTE_MAX ? skb->len : QUOTE_MAX;

	if (skb->data_end - skb->data < want && bpf_skb_pull_data(skb, want))
		return false;
	return quote_parse_frame((void *)(long)skb->data, (void *)(long)skb->data_end, pkt, ret);
}

/* The ends of the quoted packet, with ports, and those of the error itself. */
struct quote_ends {
	const union sl_addr *src, *dst;
	const union sl_addr *outer_src, *outer_dst;
	__be16 sport, dport;
};

/* As they are. */
static __always_inline void quote_ends_init(struct quote_ends *ends, const struct packet *pkt,
					    const struct quote *quote)
{
	ends->src = &quote->src;
	ends->dst = &quote->dst;
	ends->outer_src = &pkt->src;
	ends->outer_dst = &pkt->dst;
	ends->sport = quote->sport;
	ends->dport = quote->dport;
}

/* What other addresses add to a sum that they are part of. */
static __always_inline __u32 quote_delta(const union sl_addr *src, const union sl_addr *dst,
					 const union sl_addr *new_src, const union sl_addr *new_dst)
{
	return csum_add(csum_sub(sl_addr_sum(new_src), sl_addr_sum(src)),
			csum_sub(sl_addr_sum(new_dst), sl_addr_sum(dst)));
}

/* A checksum of the quote after what it covers grew by `delta`. */
static __always_inline __be16 quote_sum(__be16 check, __u32 delta)
{
	return ~csum_fold(csum_add((__u16)~check, delta));
}

/* Ports, and the checksum behind them. What that adds to the sum over the whole error: *ret. */
static __always_inline int quote_store_l4(struct __sk_buff *skb, const struct quote *quote,
					  const struct quote_ends *to, __u32 addrs, __u32 *ret)
{
	__be16 ports[2] = {to->sport, to->dport};
	__u32 delta = csum_add(csum_sub(ports[0], quote->sport), csum_sub(ports[1], quote->dport));
	__u32 at = quote->l4_offset;
	__be16 check;

	*ret = delta;
	if (bpf_skb_store_bytes(skb, at, ports, sizeof(ports), 0))
		return -1;
	if (!quote->summed)
		return 0;
	check = quote_sum(quote->check, csum_add(addrs, delta));
	if (!check && quote->proto == IPPROTO_UDP)
		check = 0xffff;
	*ret = csum_add(delta, csum_sub(check, quote->check));
	at += quote->proto == IPPROTO_TCP ? offsetof(struct tcphdr, check) :
					    offsetof(struct udphdr, check);
	return bpf_skb_store_bytes(skb, at, &check, sizeof(check), 0) ? -1 : 0;
}

/* An IPv4 header's checksum and addresses. What that adds to the sum over it: *ret (0, or what
 * counts as 0 modulo 65535). */
static __always_inline int quote_store_v4(struct __sk_buff *skb, __u32 at, __be16 check,
					  __be32 src, __be32 dst, __u32 delta, __u32 *ret)
{
	struct {
		__be16 check;
		__be32 src, dst;
	} __attribute__((packed)) ip = {quote_sum(check, delta), src, dst};

	*ret = csum_add(delta, csum_sub(ip.check, check));
	return bpf_skb_store_bytes(skb, at + offsetof(struct iphdr, check), &ip, sizeof(ip), 0) ?
		       -1 : 0;
}

static __always_inline int quote_store_v6(struct __sk_buff *skb, __u32 at, const union sl_addr *src,
					  const union sl_addr *dst, __u64 flags)
{
	if (bpf_skb_store_bytes(skb, at + offsetof(struct ipv6hdr, saddr), src, 16, flags))
		return -1;
	return bpf_skb_store_bytes(skb, at + offsetof(struct ipv6hdr, daddr), dst, 16, flags) ? -1 :
												 0;
}

/* The addresses of both headers; `outer`, `addrs`: what that adds to sums over those of each. */
static __always_inline int quote_rewrite_v4(struct __sk_buff *skb, const struct quote *quote,
					    const struct quote_ends *to, __u32 outer, __u32 addrs,
					    __u32 *ret)
{
	__u32 at = L3_OFFSET + offsetof(struct iphdr, check), none;
	__be16 check;

	if (bpf_skb_load_bytes(skb, at, &check, sizeof(check)) ||
	    quote_store_v4(skb, L3_OFFSET, check, to->outer_src->w[3], to->outer_dst->w[3], outer,
			   &none))
		return -1;
	return quote_store_v4(skb, quote->l3_offset, quote->ip_check, to->src->w[3],
			      to->dst->w[3], addrs, ret);
}

/* No checksum makes up for the outer addresses in their own header: as rewrite.h does it. */
static __always_inline int quote_rewrite_v6(struct __sk_buff *skb, const struct packet *pkt,
					    const struct quote *quote, const struct quote_ends *to,
					    __u32 outer)
{
	__u32 check = (pkt->l4_offset & L4_OFFSET_MASK) + ICMP_CHECK;

	if (quote_store_v6(skb, quote->l3_offset, to->src, to->dst, 0) ||
	    quote_store_v6(skb, L3_OFFSET, to->outer_src, to->outer_dst, BPF_F_RECOMPUTE_CSUM))
		return -1;
	return bpf_l4_csum_replace(skb, check, 0, outer, BPF_F_PSEUDO_HDR) ? -1 : 0;
}

/* The error is between other ends, and about a packet between other ends. 0, or -1: it is spoilt. */
static __always_inline int quote_rewrite(struct __sk_buff *skb, const struct packet *pkt,
					 const struct quote *quote, const struct quote_ends *to)
{
	__u32 check = (pkt->l4_offset & L4_OFFSET_MASK) + ICMP_CHECK;
	__u32 outer = quote_delta(&pkt->src, &pkt->dst, to->outer_src, to->outer_dst);
	__u32 addrs = quote_delta(&quote->src, &quote->dst, to->src, to->dst);
	__u32 l3 = addrs, l4 = 0;

	if (quote_store_l4(skb, quote, to, addrs, &l4) ||
	    (pkt->v6 ? quote_rewrite_v6(skb, pkt, quote, to, outer) :
		       quote_rewrite_v4(skb, quote, to, outer, addrs, &l3)))
		return -1;
	return bpf_l4_csum_replace(skb, check, 0, csum_add(l3, l4), 0) ? -1 : 0;
}
#endif

#endif
