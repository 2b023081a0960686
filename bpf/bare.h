/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Replies that come in by a device without Ethernet headers (ipip, wireguard, tun). They are
 * recognised as they are; only then is a packet given an Ethernet header, so that all that follows
 * is as on any other device: the redirect to the client's uplink wants one, and so does a SYN that
 * goes back to where it came in. What is not ours keeps every byte. Called by the program
 * from_fabric_l3.
 */
#ifndef SLUICE_BPF_BARE_H
#define SLUICE_BPF_BARE_H

#include "to_client.h"

/* Whether a flow of ours left with this packet's destination as its source. */
static __always_inline bool bare_is_reply(const struct packet *pkt, __u32 replica)
{
	union sl_snat_key key = {};
	__s64 source = source_find(&pkt->dst);

	if (source < 0)
		return false;
	key.replica = replica;
	key.port = pkt->dport;
	key.proto = pkt->proto;
	key.source = source;
	return snat_find(&key, SL_SNAT_LIVE);
}

/* Whether a flow of the node's own client expects this packet. A global function for its stack. */
__noinline int bare_is_nodes(const struct packet *pkt, __u32 replica)
{
	struct flow_ref ref;

	if (!pkt || !is_local_address(&pkt->dst))
		return 0;
	ref = reply_find(pkt, replica);
	if (ref.flow)
		return ref.flow->hook == SL_HOOK_NODE;
	return packet_is_syn_ack(pkt) && late_answer(pkt, replica, SL_HOOK_NODE) > 0;
}

/* Whether to_client() is to have the packet. A global function for its stack: icmp_find() is
 * deep. */
__noinline int bare_is_ours(struct __sk_buff *skb, const struct packet *pkt, __u32 result)
{
	__s64 replica;

	if (!pkt)
		return 0;
	if (result != PARSE_OK)
		return packet_is_icmp(pkt) && icmp_find(skb, pkt, SL_HOOK_FABRIC) > 0;
	replica = replica_find(&pkt->src, pkt->sport, pkt->proto);
	if (likely(replica < 0))
		return 0;
	if (likely(bare_is_reply(pkt, replica)) || (node_ifindex && bare_is_nodes(pkt, replica)))
		return 1;
	if (pkt->tcp_flags & TCP_RST)
		reply_note_full(skb, pkt, replica);
	return 0;
}

/* Puts an Ethernet header in front, of no address yet. 0, or -1: the packet is as it was. */
static __always_inline int bare_push(struct __sk_buff *skb, struct packet *pkt)
{
	__be16 type = pkt->v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);

	if (bpf_skb_change_head(skb, ETH_HLEN, 0))
		return -1;
	bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type), 0);
	pkt->l4_offset += ETH_HLEN;
	return 0;
}

static __always_inline int bare_to_client(struct __sk_buff *skb, struct packet *pkt,
					  enum parse_result result)
{
	if (likely(!bare_is_ours(skb, pkt, result)))
		return NOT_OURS;
	if (bare_push(skb, pkt))
		return drop(SL_DROP_CHECKSUM);
	return to_client(skb, pkt, result, SL_HOOK_FABRIC);
}

#endif
