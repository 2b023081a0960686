/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The uplink's accelerator: what from_uplink would do to a packet between an outside client and a
 * replica on another node, at XDP, before there is an skb. It finishes a packet or lets it pass without
 * a bit changed, and from_uplink deals with it as if this program were not there.
 *
 * It finishes segments and datagrams of flows that are established (or just closed), and the client's
 * acknowledgement that establishes one. It passes whatever begins, refuses or resets a flow, whatever
 * has to be looked into (an answer that is sniffed, a replica under suspicion), what is no plain IPv4 or
 * IPv6, and what does not leave by the device it came in by.
 *
 * It does not note when a flow was last seen. A flow that TC has not seen for a quarter of a second
 * has its next packets passed: TC notes the time, and its bpf_redirect_neigh() has the neighbour
 * confirmed, which bpf_fib_lookup() never does: a next hop that moved to another MAC would be missed
 * for ever. All packets of one burst pass, or none, so their order stays.
 */
#ifndef SLUICE_BPF_XDP_H
#define SLUICE_BPF_XDP_H

#include "flow.h"
#include "lookup.h"
#include "mtu.h"
#include "rewrite.h"

#define FAMILY_INET 2 /* AF_*, of a header that BPF cannot include */
#define FAMILY_INET6 10
#define IPV6_FLOW_INFO 0x0fffffffu /* all of the first word but the version, host byte order */
#define IPV6_LENGTH_MAX (0xffffu - sizeof(struct ipv6hdr)) /* of what follows the header */

/* States in which a packet is TC's business. */
#define XDP_PASSED_STATES                                                                          \
	(SL_FLOW_RESET | SL_FLOW_SPILLED | SL_FLOW_RETRY | SL_FLOW_REFUSED | FLOW_ANY_RST)

/* What a packet becomes. */
struct xdp_way {
	struct flow_ref ref;
	struct new_end src, dst;
	bool reply;
};

/* Whether it neither begins nor ends a flow by force, and its IP header holds nothing unusual. */
static __always_inline bool xdp_is_plain(const struct packet *pkt, void *data, void *data_end)
{
	struct ipv6hdr *ip6 = data + L3_OFFSET;
	struct iphdr *ip = data + L3_OFFSET;

	if (pkt->tcp_flags & (TCP_SYN | TCP_RST))
		return false;
	if (pkt->v6)
		return (void *)(ip6 + 1) <= data_end && ip6->hop_limit > 1 && ip6->payload_len &&
		       pkt->l4_length <= IPV6_LENGTH_MAX;
	return (void *)(ip + 1) <= data_end && ip->ihl * 4 == sizeof(*ip) && ip->ttl > 1 &&
	       ip->tot_len;
}

static __always_inline bool xdp_may_finish(const struct flow_ref *ref, __u32 now)
{
	return ref->flow->hook == SL_HOOK_FABRIC && !(ref->state & XDP_PASSED_STATES) &&
	       flow_age(ref->flow, now) < (__s32)(XDP_UNSEEN_MS * hz / 1000);
}

/* Whether a datagram's conversation was answered less than so many ticks ago. */
static __always_inline bool xdp_is_answered(const struct flow_ref *ref, __u32 now, __u32 ticks)
{
	return SL_FLOW_PHASE(ref->state) == SL_FLOW_OPEN &&
	       (__s32)(now - ref->flow->request) < (__s32)ticks;
}

/* As from_client() and client_forward(). */
static __always_inline bool xdp_from_client(const struct packet *pkt, __u32 vip_row, __u32 ifindex,
					    struct xdp_way *way)
{
	struct sl_vip *vip = bpf_map_lookup_elem(&vips, &vip_row);
	struct sl_flow_key key = {.client = pkt->src, .port = pkt->sport, .proto = pkt->proto};
	__u32 now = bpf_jiffies64(), row;
	struct sl_replica *replica;
	struct sl_source *source;
	struct sl_flow *flow;

	if (!vip)
		return false;
	key.service = vip->service;
	way->ref = table_find(&key, sl_hash_flow(&key, seed), SIDE_CLIENT, vip_row);
	flow = way->ref.flow;
	if (!flow || !xdp_may_finish(&way->ref, now))
		return false;
	if (pkt->proto == IPPROTO_UDP ?
		    !xdp_is_answered(&way->ref, now, (UDP_ORPHAN_S - 1) * hz) :
		    SL_FLOW_PHASE(way->ref.state) != SL_FLOW_OPEN &&
			    SL_FLOW_PHASE(way->ref.state) != SL_FLOW_DONE &&
			    !flow_is_acknowledged(&way->ref, pkt))
		return false;
	row = flow->replica;
	replica = bpf_map_lookup_elem(&replicas, &row);
	row = flow->source;
	source = bpf_map_lookup_elem(&sources, &row);
	if (!replica || !source || !flow->snat_port || replica->config.out_ifindex != ifindex)
		return false;
	way->src.addr = &source->addr;
	way->src.sum_old = sl_addr_sum(&pkt->src);
	way->src.sum_new = source->addr_sum;
	way->src.port = flow->snat_port;
	way->dst.addr = &replica->config.addr;
	way->dst.sum_old = vip->addr_sum;
	way->dst.sum_new = replica->config.addr_sum;
	way->dst.port = replica->config.port;
	way->reply = false;
	return true;
}

/* Whether an answer is to be looked into: sniff_reply(), witness_payload(). */
static __always_inline bool xdp_is_of_interest(const struct sl_replica *replica,
					       const struct flow_ref *ref, const struct packet *pkt)
{
	return replica->config.flags & (SL_REPLICA_SUSPECT | SL_REPLICA_PROBE_DOWN) ||
	       (ref->state & SL_FLOW_SNIFF && READ_ONCE(ref->flow->request) &&
		(__u32)pkt->l4_length >= pkt->l4_header + SNIFF_BYTES);
}

/* The flow of a reply to a source-NAT port; false: TC may find it. */
static __always_inline bool xdp_find_reply(const struct packet *pkt, __u32 replica_row,
					   __u32 ifindex, struct flow_ref *ref)
{
	__s64 source_row = source_find(&pkt->dst);
	union sl_snat_key key = {};
	struct sl_snat *entry;

	if (source_row < 0)
		return false;
	key.replica = replica_row;
	key.port = pkt->dport;
	key.proto = pkt->proto;
	key.source = source_row;
	entry = snat_find(&key, SL_SNAT_LIVE);
	if (!entry || entry->client_ifindex != ifindex)
		return false;
	ref->slot = entry->flow;
	ref->flow = table_slot(ref->slot);
	if (!ref->flow)
		return false;
	ref->state = READ_ONCE(ref->flow->state);
	return SL_FLOW_GENERATION(ref->state) == entry->generation;
}

/* As reply_undo_snat(). */
static __always_inline bool xdp_from_replica(const struct packet *pkt, __u32 replica_row,
					     __u32 ifindex, struct xdp_way *way)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);
	__u32 now = bpf_jiffies64(), vip_row;
	struct sl_flow *flow;
	struct sl_vip *vip;

	if (!replica || !xdp_find_reply(pkt, replica_row, ifindex, &way->ref) ||
	    !xdp_may_finish(&way->ref, now) || xdp_is_of_interest(replica, &way->ref, pkt))
		return false;
	flow = way->ref.flow;
	if (pkt->proto == IPPROTO_UDP ?
		    !xdp_is_answered(&way->ref, now, XDP_UNSEEN_MS * hz / 1000) :
		    SL_FLOW_PHASE(way->ref.state) != SL_FLOW_OPEN &&
			    SL_FLOW_PHASE(way->ref.state) != SL_FLOW_DONE)
		return false;
	vip_row = flow->vip;
	vip = bpf_map_lookup_elem(&vips, &vip_row);
	if (!vip)
		return false;
	way->src.addr = &vip->addr;
	way->src.sum_old = replica->config.addr_sum;
	way->src.sum_new = vip->addr_sum;
	way->src.port = vip->port;
	way->dst.addr = &flow->key.client;
	way->dst.sum_old = sl_addr_sum(&pkt->dst);
	way->dst.sum_new = sl_addr_sum(&flow->key.client);
	way->dst.port = flow->key.port;
	way->reply = true;
	return true;
}

/* Whether it is no longer than the least MTU that a route over the device has: else TC answers, for
 * bpf_fib_lookup() does not look at a route's MTU in general. */
static __always_inline bool xdp_fits(__u32 ifindex, __u32 length)
{
	__u32 *route;

	if (length <= MTU_LEAST)
		return true;
	route = bpf_map_lookup_elem(&route_mtus, &ifindex);
	return !route || length <= *route;
}

/* Asks the kernel for the way out, as bpf_redirect_neigh() does. True: a neighbour is known, at the
 * device where the packet came in, and it fits through. */
static __always_inline bool xdp_ask_route(struct xdp_md *ctx, const struct packet *pkt,
					  const struct xdp_way *way, struct bpf_fib_lookup *fib)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + L3_OFFSET;

	if ((void *)(ip + 1) > data_end)
		return false;
	fib->ifindex = ctx->ingress_ifindex;
	fib->l4_protocol = pkt->proto;
	if (pkt->v6) {
		fib->family = FAMILY_INET6;
		fib->tot_len = pkt->l4_length + sizeof(struct ipv6hdr);
		fib->flowinfo = *(__be32 *)ip & bpf_htonl(IPV6_FLOW_INFO);
		__builtin_memcpy(fib->ipv6_src, way->src.addr, 16);
		__builtin_memcpy(fib->ipv6_dst, way->dst.addr, 16);
	} else {
		fib->family = FAMILY_INET;
		fib->tot_len = pkt->l4_length + sizeof(struct iphdr);
		fib->tos = ip->tos;
		fib->ipv4_src = way->src.addr->w[3];
		fib->ipv4_dst = way->dst.addr->w[3];
	}
	return xdp_fits(fib->ifindex, fib->tot_len) &&
	       bpf_fib_lookup(ctx, fib, sizeof(*fib), BPF_FIB_LOOKUP_OUTPUT) ==
		       BPF_FIB_LKUP_RET_SUCCESS &&
	       fib->ifindex == ctx->ingress_ifindex;
}

/* The checksum of a TCP segment or datagram whose addresses and ports change by `delta`. */
static __always_inline void xdp_mend(__u16 *check, const struct packet *pkt,
				     const struct delta *delta)
{
	bool udp = pkt->proto == IPPROTO_UDP;
	__u16 sum;

	if (pkt->unsummed)
		return;
	sum = ~csum_fold(csum_add((__u16)~*check, csum_add(delta->addrs, delta->ports)));
	*check = udp && !sum ? 0xffff : sum; /* 0 says that there is none */
}

static __always_inline void xdp_store(void *data, __u16 *check, const struct packet *pkt,
				      const struct xdp_way *way)
{
	struct ipv6hdr *ip6 = data + L3_OFFSET;
	struct iphdr *ip = data + L3_OFFSET;
	__be16 *ports = pkt->v6 ? (__be16 *)(ip6 + 1) : (__be16 *)(ip + 1);
	struct delta delta = {};

	delta_add(&delta, &way->src, pkt->sport);
	delta_add(&delta, &way->dst, pkt->dport);
	if (pkt->v6) {
		__builtin_memcpy(&ip6->saddr, way->src.addr, 16);
		__builtin_memcpy(&ip6->daddr, way->dst.addr, 16);
	} else {
		ip->saddr = way->src.addr->w[3];
		ip->daddr = way->dst.addr->w[3];
		ip->check = ~csum_fold(csum_add((__u16)~ip->check, delta.addrs));
	}
	ports[0] = way->src.port;
	ports[1] = way->dst.port;
	xdp_mend(check, pkt, &delta);
}

/* Whether the frame was sent to this device, not flooded or mirrored to it. */
static __always_inline bool xdp_is_for(const __u8 mac[ETH_ALEN], const struct ethhdr *eth)
{
	const __u16 *a = (const __u16 *)mac, *b = (const __u16 *)eth->h_dest;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

/* Books the packet and rewrites it. XDP_PASS: neither. */
static __always_inline int xdp_finish(struct xdp_md *ctx, const struct packet *pkt,
				      const struct xdp_way *way, const struct bpf_fib_lookup *fib)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	__u32 at = L3_OFFSET + (pkt->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) +
		   (pkt->proto == IPPROTO_UDP ? offsetof(struct udphdr, check) :
						offsetof(struct tcphdr, check));
	struct ethhdr *eth = data;
	__u16 *check = data + at;

	if ((void *)(check + 1) > data_end || !xdp_is_for(fib->smac, eth))
		return XDP_PASS;
	if (way->reply)
		flow_hear_replica(&way->ref, pkt);
	else
		flow_hear_client(&way->ref, pkt, bpf_jiffies64());
	__builtin_memcpy(eth->h_dest, fib->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, fib->smac, ETH_ALEN);
	xdp_store(data, check, pkt, way);
	count(SL_COUNT_XDP);
	return XDP_TX;
}

static __always_inline int xdp_uplink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct bpf_fib_lookup fib = {};
	struct packet pkt = {};
	struct xdp_way way = {};
	__s64 found;
	bool ours;

	if (parse_frame(data, data_end, &pkt) != PARSE_OK || !xdp_is_plain(&pkt, data, data_end))
		return XDP_PASS;
	found = vip_find(&pkt.dst, pkt.dport, pkt.proto);
	if (found >= 0) {
		ours = xdp_from_client(&pkt, found, ctx->ingress_ifindex, &way);
	} else {
		found = replica_find(&pkt.src, pkt.sport, pkt.proto);
		if (likely(found < 0))
			return XDP_PASS;
		ours = xdp_from_replica(&pkt, found, ctx->ingress_ifindex, &way);
	}
	if (!ours || !xdp_ask_route(ctx, &pkt, &way, &fib))
		return XDP_PASS;
	return xdp_finish(ctx, &pkt, &way, &fib);
}

#endif
