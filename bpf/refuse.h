/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Says no: turns a client's TCP segment into the RST that answers it (RFC 9293
 * section 3.5.2) and sends it back where it came from, at the cost of no packet
 * buffer. UDP is dropped.
 */
#ifndef SLUICE_BPF_REFUSE_H
#define SLUICE_BPF_REFUSE_H

#include "count.h"
#include "node.h"
#include "rebuild.h"

static __always_inline int refuse_swap_macs(struct __sk_buff *skb)
{
	__u8 macs[12], swapped[12];

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
		return -1;
	__builtin_memcpy(swapped, macs + 6, 6);
	__builtin_memcpy(swapped + 6, macs, 6);
	return bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0);
}

/* The RST that answers a segment. */
static __always_inline void refuse_answer(const struct packet *pkt, struct tcphdr *tcp)
{
	__u32 length;

	tcp->source = pkt->dport;
	tcp->dest = pkt->sport;
	tcp->doff = 5;
	tcp->rst = 1;
	if (pkt->tcp_flags & TCP_ACK) {
		tcp->seq = pkt->ack;
		return;
	}
	length = pkt->l4_length - pkt->l4_header;
	length += !!(pkt->tcp_flags & TCP_SYN) + !!(pkt->tcp_flags & TCP_FIN);
	tcp->ack = 1;
	tcp->ack_seq = bpf_htonl(bpf_ntohl(pkt->seq) + length);
}

/* Turns the packet into the RST that answers it, with this window. 0, or -1: there is no answer. */
static __always_inline int refuse_turn(struct __sk_buff *skb, const struct packet *pkt,
				       __be16 window)
{
	struct segment to = {.keep_tos = true};

	to.src = &pkt->dst;
	to.dst = &pkt->src;
	if (pkt->proto != IPPROTO_TCP || pkt->tcp_flags & TCP_RST)
		return -1;
	refuse_answer(pkt, &to.tcp);
	to.tcp.window = window;
	return rebuild(skb, pkt, &to) || refuse_swap_macs(skb) ? -1 : 0;
}

/* Whether the packet came in without an Ethernet header: bare.h gave it one, of no address. */
static __always_inline bool refuse_is_bare(const struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	__u16 *mac = data;

	return data + ETH_HLEN <= data_end && !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

/* Sends what answers a packet back to where that came from. A device of many ends without Ethernet
 * headers (IPIP as Calico has it) must be told to which one: the route knows. */
static __always_inline int refuse_send(struct __sk_buff *skb)
{
	if (unlikely(refuse_is_bare(skb)))
		return bpf_redirect_neigh(skb->ifindex, NULL, 0, 0);
	return bpf_redirect(skb->ifindex, is_node_device(skb->ifindex) ? BPF_F_INGRESS : 0);
}

/* Answers a TCP segment with an RST, counted under `reason` (enum sl_drop_reason). Never answers
 * an RST. A global function: verified by itself, with a stack of its own. */
__noinline int refuse(struct __sk_buff *skb, const struct packet *pkt, __u32 reason)
{
	if (!pkt)
		return TC_ACT_SHOT;
	if (refuse_turn(skb, pkt, 0))
		return drop(reason);
	count_drop(reason);
	return refuse_send(skb);
}

/* Answers a SYN that is on its way to a full replica, at the egress of that one's interface, in its
 * name: the answer goes in there, as if the replica had sent it, so that everything on its way back
 * sees it. A global function, as refuse(). */
__noinline int refuse_full(struct __sk_buff *skb, const struct packet *pkt)
{
	if (!pkt || refuse_turn(skb, pkt, bpf_htons(SL_FULL_WINDOW)))
		return drop(SL_DROP_OVER_CAP);
	count_drop(SL_DROP_OVER_CAP);
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

#endif
