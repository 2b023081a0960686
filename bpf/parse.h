/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One look at a packet: Ethernet, IPv4 or IPv6, TCP or UDP, into a small struct
 * of values and offsets. parse_frame() and parse_bare_frame() are pure, so the
 * same lines run under a fuzzer on the host; parse() and parse_bare() add what
 * only an skb needs. "Bare" is a packet of a device without Ethernet headers
 * (ipip, wireguard): it begins with its IP header. Tags (VLAN), tunnels and IPv6
 * extension headers but the fragment header, and the one that tells the length of
 * a packet beyond 64 KiB, are not ours: FOREIGN.
 */
#ifndef SLUICE_BPF_PARSE_H
#define SLUICE_BPF_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <sluice/abi.h>

#include "verifier.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define L3_OFFSET ETH_HLEN
#define MAX_HEADERS (ETH_HLEN + 60 + sizeof(struct tcphdr)) /* IPv4 with all its options */

/* No L4 header begins beyond this. For the verifier, which forgets what a struct holds when a
 * global function was given a pointer to it. */
#define L4_OFFSET_MASK 127u

#define LENGTH_UNSAID 0xffffu

enum parse_result {
	PARSE_OK,
	PARSE_FOREIGN,   /* not IP, or not TCP and not UDP: nothing of ours */
	PARSE_FRAGMENT,  /* addresses are valid, ports are not */
	PARSE_TRUNCATED, /* ends within its own headers; addresses valid if `addressed` */
};

struct packet {
	union sl_addr src, dst;
	__be16 sport, dport;
	__u8 proto;
	__u8 tcp_flags; /* 0 for UDP */
	bool v6;
	bool unsummed;   /* UDP without a checksum */
	bool addressed;
	__u16 l4_offset; /* from the start of the frame */
	__u16 l4_length; /* L4 header and payload, by the IP header, host byte order */
	__u16 l4_header; /* TCP: with its options; 8 for UDP */
	__be32 seq, ack; /* TCP only */
};

static __always_inline bool packet_is_syn_ack(const struct packet *pkt)
{
	return pkt->proto == IPPROTO_TCP &&
	       (pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == (TCP_SYN | TCP_ACK);
}

static __always_inline void addr_set_v4(union sl_addr *addr, __be32 v4)
{
	addr->d[0] = 0;
	addr->w[2] = SL_V4_MARK;
	addr->w[3] = v4;
}

static __always_inline void addr_set_v6(union sl_addr *addr, const struct in6_addr *v6)
{
	addr->w[0] = v6->in6_u.u6_addr32[0];
	addr->w[1] = v6->in6_u.u6_addr32[1];
	addr->w[2] = v6->in6_u.u6_addr32[2];
	addr->w[3] = v6->in6_u.u6_addr32[3];
}

static __always_inline enum parse_result parse_l4(void *l4, void *data_end, struct packet *pkt)
{
	if (pkt->proto == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > data_end)
			return PARSE_TRUNCATED;
		pkt->sport = tcp->source;
		pkt->dport = tcp->dest;
		pkt->seq = tcp->seq;
		pkt->ack = tcp->ack_seq;
		pkt->tcp_flags = ((__u8 *)tcp)[13];
		pkt->l4_header = tcp->doff * 4;
		if (pkt->l4_header < sizeof(*tcp) || pkt->l4_length < pkt->l4_header)
			return PARSE_TRUNCATED;
		return PARSE_OK;
	}
	if (pkt->proto == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > data_end)
			return PARSE_TRUNCATED;
		pkt->sport = udp->source;
		pkt->dport = udp->dest;
		pkt->l4_header = sizeof(*udp);
		pkt->unsummed = !udp->check;
		return pkt->l4_length < sizeof(*udp) ? PARSE_TRUNCATED : PARSE_OK;
	}
	return PARSE_FOREIGN;
}

/* `l3` lies at `offset` of the frame. */
static __always_inline enum parse_result parse_v4(void *l3, void *data_end, __u32 offset,
						  struct packet *pkt)
{
	struct iphdr *ip = l3;
	__u32 header, total;

	if ((void *)(ip + 1) > data_end)
		return PARSE_TRUNCATED;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (!total) /* BIG TCP: more than fits the field */
		total = LENGTH_UNSAID;
	if (header < sizeof(*ip) || total < header)
		return PARSE_FOREIGN;
	addr_set_v4(&pkt->src, ip->saddr);
	addr_set_v4(&pkt->dst, ip->daddr);
	pkt->addressed = true;
	pkt->proto = ip->protocol;
	if (ip->frag_off & bpf_htons(0x3fff)) /* more fragments, or an offset */
		return PARSE_FRAGMENT;
	pkt->l4_offset = offset + header;
	pkt->l4_length = total - header;
	return parse_l4(l3 + header, data_end, pkt);
}

/* The hop-by-hop header that says the length of a packet beyond 64 KiB (BIG TCP), and nothing else. */
struct jumbo_header {
	__u8 next, length, option, option_length;
	__be32 payload;
};

#define JUMBO_OPTION 0xc2 /* RFC 2675 */

static __always_inline enum parse_result parse_jumbo(void *l3_end, void *data_end,
						     struct packet *pkt)
{
	struct jumbo_header *jumbo = l3_end;

	if ((void *)(jumbo + 1) > data_end)
		return PARSE_TRUNCATED;
	if (jumbo->length || jumbo->option != JUMBO_OPTION)
		return PARSE_FOREIGN;
	pkt->proto = jumbo->next;
	pkt->l4_offset += sizeof(*jumbo);
	return parse_l4(jumbo + 1, data_end, pkt);
}

static __always_inline enum parse_result parse_v6(void *l3, void *data_end, __u32 offset,
						  struct packet *pkt)
{
	struct ipv6hdr *ip = l3;

	if ((void *)(ip + 1) > data_end)
		return PARSE_TRUNCATED;
	addr_set_v6(&pkt->src, &ip->saddr);
	addr_set_v6(&pkt->dst, &ip->daddr);
	pkt->addressed = true;
	pkt->v6 = true;
	pkt->proto = ip->nexthdr;
	if (ip->nexthdr == IPPROTO_FRAGMENT)
		return PARSE_FRAGMENT;
	pkt->l4_offset = offset + sizeof(*ip);
	pkt->l4_length = bpf_ntohs(ip->payload_len);
	if (unlikely(!ip->payload_len)) {
		pkt->l4_length = LENGTH_UNSAID;
		if (ip->nexthdr == IPPROTO_HOPOPTS)
			return parse_jumbo(ip + 1, data_end, pkt);
	}
	return parse_l4(ip + 1, data_end, pkt);
}

/* `pkt` must be zeroed. [data, data_end) is the frame as far as it is linear. */
static __always_inline enum parse_result parse_frame(void *data, void *data_end, struct packet *pkt)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > data_end)
		return PARSE_FOREIGN;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return parse_v4(eth + 1, data_end, L3_OFFSET, pkt);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return parse_v6(eth + 1, data_end, L3_OFFSET, pkt);
	return PARSE_FOREIGN;
}

/* The same for a frame that begins with its IP header, whose version says which one it is. */
static __always_inline enum parse_result parse_bare_frame(void *data, void *data_end,
							  struct packet *pkt)
{
	__u8 *version = data;

	if ((void *)(version + 1) > data_end)
		return PARSE_FOREIGN;
	if (*version >> 4 == 4)
		return parse_v4(data, data_end, 0, pkt);
	if (*version >> 4 == 6)
		return parse_v6(data, data_end, 0, pkt);
	return PARSE_FOREIGN;
}

#ifdef __bpf__
/* Parses; when headers lie outside the linear part, pulls them in and parses again. */
static __always_inline enum parse_result parse(struct __sk_buff *skb, struct packet *pkt)
{
	__u32 want = skb->len < MAX_HEADERS ? skb->len : MAX_HEADERS;
	enum parse_result result;

	/* Keeps it in memory: split into variables, clang 14 spills and zeroes each of them on each
	 * path (to_pod: 23 instead of 11 ns for a packet that is not ours). */
	opaque(pkt);
	if (skb->vlan_present) /* the tag is beside the frame: not of this network, nor are its errors */
		return PARSE_FOREIGN;
	result = parse_frame((void *)(long)skb->data, (void *)(long)skb->data_end, pkt);
	if (result != PARSE_TRUNCATED || skb->data_end - skb->data >= want ||
	    bpf_skb_pull_data(skb, want))
		return result;
	return parse_frame((void *)(long)skb->data, (void *)(long)skb->data_end, pkt);
}

/* The same for a bare packet. */
static __always_inline enum parse_result parse_bare(struct __sk_buff *skb, struct packet *pkt)
{
	__u32 most = MAX_HEADERS - ETH_HLEN, want = skb->len < most ? skb->len : most;
	enum parse_result result;

	opaque(pkt); /* as above */
	result = parse_bare_frame((void *)(long)skb->data, (void *)(long)skb->data_end, pkt);
	if (result != PARSE_TRUNCATED || skb->data_end - skb->data >= want ||
	    bpf_skb_pull_data(skb, want))
		return result;
	return parse_bare_frame((void *)(long)skb->data, (void *)(long)skb->data_end, pkt);
}
#endif

#endif
