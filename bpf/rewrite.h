/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rewrites one or both ends of a packet, checksums kept right in every state an
 * skb can be in: complete in the packet (NONE), to be finished by the device
 * (PARTIAL: only the pseudo-header counts), or summed by the NIC (COMPLETE: the
 * helpers keep skb->csum in step). IPv4 headers are stored directly, since their
 * own checksum makes up for the change; IPv6 addresses go through a helper, since
 * nothing in that header does (a NIC that sums packets would see EBADMSG).
 *
 * Source: RFC 1624 for the arithmetic; net/core/utils.c of the kernel,
 * inet_proto_csum_replace_by_diff(), for what the helpers do.
 */
#ifndef SLUICE_BPF_REWRITE_H
#define SLUICE_BPF_REWRITE_H

#include "parse.h"
#include "verifier.h"

/* The new value of one end; sums as sl_addr_sum() makes them. */
struct new_end {
	const union sl_addr *addr;
	__u32 sum_old, sum_new;
	__be16 port;
};

static __always_inline __u32 csum_add(__u32 a, __u32 b)
{
	__u64 sum = (__u64)a + b;

	return (__u32)sum + (__u32)(sum >> 32);
}

static __always_inline __u32 csum_sub(__u32 a, __u32 b)
{
	return csum_add(a, ~b);
}

static __always_inline __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* What an end's change adds to the sum over addresses, and over ports. */
struct delta {
	__u32 addrs, ports;
};

static __always_inline void delta_add(struct delta *delta, const struct new_end *end,
				      __be16 port_old)
{
	delta->addrs = csum_add(delta->addrs, csum_sub(end->sum_new, end->sum_old));
	if (end->port != port_old)
		delta->ports = csum_add(delta->ports, csum_sub(end->port, port_old));
}

static __always_inline int rewrite_v4(struct __sk_buff *skb, const struct packet *pkt,
				      const struct new_end *src, const struct new_end *dst,
				      __u32 delta)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + L3_OFFSET;
	__be16 *ports;

	if ((void *)(ip + 1) > data_end)
		return -1;
	if (src)
		ip->saddr = src->addr->w[3];
	if (dst)
		ip->daddr = dst->addr->w[3];
	ip->check = ~csum_fold(csum_add((__u16)~ip->check, delta));
	ports = data + (pkt->l4_offset & L4_OFFSET_MASK);
	if ((void *)(ports + 2) > data_end)
		return -1;
	if (src)
		ports[0] = src->port;
	if (dst)
		ports[1] = dst->port;
	return 0;
}

static __always_inline int rewrite_v6(struct __sk_buff *skb, const struct packet *pkt,
				      const struct new_end *src, const struct new_end *dst)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	__be16 *ports = data + (pkt->l4_offset & L4_OFFSET_MASK);

	if ((void *)(ports + 2) > data_end)
		return -1;
	if (src)
		ports[0] = src->port;
	if (dst)
		ports[1] = dst->port;
	if (src && bpf_skb_store_bytes(skb, L3_OFFSET + offsetof(struct ipv6hdr, saddr), src->addr,
				       16, BPF_F_RECOMPUTE_CSUM))
		return -1;
	if (dst && bpf_skb_store_bytes(skb, L3_OFFSET + offsetof(struct ipv6hdr, daddr), dst->addr,
				       16, BPF_F_RECOMPUTE_CSUM))
		return -1;
	return 0;
}

/* Where the checksum lies in the L4 header. */
static __always_inline __u32 check_offset(const struct packet *pkt)
{
	return pkt->proto == IPPROTO_UDP ? offsetof(struct udphdr, check) :
					   offsetof(struct tcphdr, check);
}

/* Rewrites source, destination or both (NULL: leave). 0, or -1: drop it. Packet pointers are stale after. */
static __always_inline int rewrite(struct __sk_buff *skb, const struct packet *pkt,
				   const struct new_end *src, const struct new_end *dst)
{
	bool udp = pkt->proto == IPPROTO_UDP;
	__u32 check = (pkt->l4_offset & L4_OFFSET_MASK) + check_offset(pkt);
	__u64 flags = udp ? BPF_F_MARK_MANGLED_0 : 0;
	struct delta delta = {};

	if (src)
		delta_add(&delta, src, pkt->sport);
	if (dst)
		delta_add(&delta, dst, pkt->dport);
	if (pkt->v6 ? rewrite_v6(skb, pkt, src, dst) : rewrite_v4(skb, pkt, src, dst, delta.addrs))
		return -1;
	if (pkt->unsummed) { /* nothing to mend in the packet; the NIC's sum, if any, saw the ports */
		bpf_csum_update(skb, delta.ports);
		return 0;
	}
	if (bpf_l4_csum_replace(skb, check, 0, delta.addrs, flags | BPF_F_PSEUDO_HDR))
		return -1;
	if (delta.ports && bpf_l4_csum_replace(skb, check, 0, delta.ports, flags))
		return -1;
	return 0;
}

#endif
