/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fragments. Only the first one carries ports, so none can be translated. To a VIP that nobody else serves
 * they are dropped; a later one counts as its address's VIPs do. Of a reply the first one is dropped where
 * the flow's replies are translated: without it the others are of no use to anybody. Devices without
 * Ethernet headers are left out. Called by from_client.h and to_client.h.
 */
#ifndef SLUICE_BPF_FRAGMENT_H
#define SLUICE_BPF_FRAGMENT_H

#include "fast.h"
#include "icmp.h"

#define FRAGMENT_HEADER 8u /* IPv6 */

/* Where the L4 header of a first fragment begins, and its protocol; 0: it is a later one. */
static __always_inline __u32 fragment_l4(struct __sk_buff *skb, const struct packet *pkt,
					 __u8 *ret_proto)
{
	__u8 head[8]; /* what IPv4 begins with; or an IPv6 fragment header */
	__u32 at = L3_OFFSET + (pkt->v6 ? sizeof(struct ipv6hdr) : 0);

	if (bpf_skb_load_bytes(skb, at, head, sizeof(head)))
		return 0;
	if (pkt->v6) {
		*ret_proto = head[0];
		return head[2] || head[3] & 0xf8 ? 0 : at + FRAGMENT_HEADER;
	}
	*ret_proto = pkt->proto;
	return head[6] & 0x1f || head[7] ? 0 : at + (head[0] & 0xf) * 4;
}

/* A fragment to the address of a VIP: a verdict. A global function: verified by itself. */
__noinline int fragment_to_vip(struct __sk_buff *skb, const struct packet *pkt)
{
	struct sl_service *service;
	__be16 ports[2];
	struct sl_vip *vip;
	__u32 l4, row;
	__u8 proto = 0;
	__s64 found;

	if (!pkt)
		return NOT_OURS;
	l4 = fragment_l4(skb, pkt, &proto);
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return NOT_OURS;
	if (!l4)
		found = vip_find_any(&pkt->dst);
	else if (bpf_skb_load_bytes(skb, l4, ports, sizeof(ports)))
		return NOT_OURS;
	else
		found = vip_find(&pkt->dst, ports[1], proto);
	row = found;
	vip = found < 0 ? NULL : bpf_map_lookup_elem(&vips, &row);
	if (!vip || !vip_takes_new(vip))
		return NOT_OURS;
	row = vip->service;
	service = bpf_map_lookup_elem(&services, &row);
	return service && service->flags & SL_SERVICE_REPLACE ? drop(SL_DROP_FRAGMENT) : NOT_OURS;
}

/* A fragment of a replica's: a verdict. A global function: verified by itself. */
__noinline int fragment_of_reply(struct __sk_buff *skb, const struct packet *pkt, __u32 hook)
{
	struct quote forth = {}; /* what it answers */
	struct flow_ref ref = {};
	__be16 ports[2];
	__s64 replica;
	__u32 l4;

	if (!pkt)
		return NOT_OURS;
	l4 = fragment_l4(skb, pkt, &forth.proto);
	if (!l4 || (forth.proto != IPPROTO_TCP && forth.proto != IPPROTO_UDP) ||
	    bpf_skb_load_bytes(skb, l4, ports, sizeof(ports)))
		return NOT_OURS;
	forth.src = pkt->dst;
	forth.sport = ports[1];
	replica = replica_find(&pkt->src, ports[0], forth.proto);
	if (replica < 0)
		return NOT_OURS;
	if (hook == SL_HOOK_FABRIC)
		icmp_find_snat(&forth, replica, &ref);
	if (!ref.flow)
		icmp_find_client(&forth, replica, &ref);
	if (!ref.flow || !flow_is_here(ref.flow, hook) || SL_FLOW_PHASE(ref.state) == SL_FLOW_DONE)
		return NOT_OURS;
	return drop(SL_DROP_FRAGMENT);
}

#endif
