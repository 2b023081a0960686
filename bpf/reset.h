/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ends the open flows of a dead replica so that nobody waits for it. No sequence number is
 * tracked: a flow is marked SL_FLOW_RESET, its client is sent a probe, an ACK with a sequence
 * number of no meaning, which it must answer (RFC 9293 section 3.10.7.4), and whatever it sends is
 * turned into two RSTs that fit exactly: one back to the client (seq = its ack), one on to the
 * replica (seq = its seq). UDP flows just end; handshakes under way are for pending.h to retry.
 *
 * reset_run() is called by the program that the agent runs (user/reset.c), reset_answer() by
 * from_client.h. Refuses flows of the spill table: nothing walks it.
 */
#ifndef SLUICE_BPF_RESET_H
#define SLUICE_BPF_RESET_H

#include "flow.h"
#include "refuse.h"

#define RESET_SETS 256 /* of the flow table that one run looks at: well below a millisecond */
#define AF_INET 2
#define AF_INET6 10

/* The words of skb->cb, as struct sl_reset has them. */
enum reset_word { RESET_REPLICA, RESET_SLOT, RESET_MAX, RESET_PASS, RESET_DONE };

/* ---- the probe -----------------------------------------------------------------------*/

struct reset_frame4 {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

struct reset_frame6 {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

/* What lies behind the addresses of a checksum's pseudo-header. */
static __always_inline __u32 reset_pseudo(const union sl_addr *a, const union sl_addr *b)
{
	__u32 sum = csum_add(sl_addr_sum(a), sl_addr_sum(b));

	sum = csum_add(sum, bpf_htons(IPPROTO_TCP));
	return csum_add(sum, bpf_htons(sizeof(struct tcphdr)));
}

/* A segment of the VIP's to the client. The replica's initial sequence number lies before the client's
 * window, and as a keep-alive's does where nothing was sent yet, so that connection tracking lets it
 * pass, for the node's own clients above all; after 2 GiB it is behind, and if it should fall into the
 * window it is not answered, and the next pass's is. */
static __always_inline void reset_probe_tcp(struct tcphdr *tcp, const struct sl_flow *flow,
					    const struct sl_vip *vip, __u32 pass)
{
	__u32 pseudo = reset_pseudo(&flow->key.client, &vip->addr);

	tcp->source = vip->port;
	tcp->dest = flow->key.port;
	tcp->seq = flow->answer ^ (pass & 1 ? bpf_htonl(0x80000000) : 0);
	tcp->ack_seq = bpf_htonl(bpf_ntohl(flow->isn) + 1);
	tcp->doff = sizeof(*tcp) / 4;
	tcp->ack = 1;
	tcp->check = ~csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)tcp, sizeof(*tcp), pseudo));
}

static __always_inline bool reset_write_v4(struct __sk_buff *skb, const struct sl_flow *flow,
					   const struct sl_vip *vip, __u32 pass,
					   struct bpf_fib_lookup *fib)
{
	struct reset_frame4 frame = {.eth.h_proto = bpf_htons(ETH_P_IP)};
	struct tcphdr tcp = {};

	fib->family = AF_INET;
	fib->ipv4_src = frame.ip.saddr = vip->addr.w[3];
	fib->ipv4_dst = frame.ip.daddr = flow->key.client.w[3];
	frame.ip.version = 4;
	frame.ip.ihl = 5;
	frame.ip.ttl = 64;
	frame.ip.protocol = IPPROTO_TCP;
	frame.ip.tot_len = bpf_htons(sizeof(frame) - ETH_HLEN);
	frame.ip.check = ~csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&frame.ip, 20, 0));
	reset_probe_tcp(&tcp, flow, vip, pass);
	frame.tcp = tcp;
	return !bpf_skb_store_bytes(skb, 0, &frame, sizeof(frame), 0);
}

static __always_inline bool reset_write_v6(struct __sk_buff *skb, const struct sl_flow *flow,
					   const struct sl_vip *vip, __u32 pass,
					   struct bpf_fib_lookup *fib)
{
	struct reset_frame6 frame = {.eth.h_proto = bpf_htons(ETH_P_IPV6)};
	struct tcphdr tcp = {};

	fib->family = AF_INET6;
	__builtin_memcpy(fib->ipv6_src, &vip->addr, 16);
	__builtin_memcpy(fib->ipv6_dst, &flow->key.client, 16);
	__builtin_memcpy(&frame.ip.saddr, &vip->addr, 16);
	__builtin_memcpy(&frame.ip.daddr, &flow->key.client, 16);
	frame.ip.version = 6;
	frame.ip.hop_limit = 64;
	frame.ip.nexthdr = IPPROTO_TCP;
	frame.ip.payload_len = bpf_htons(sizeof(struct tcphdr));
	reset_probe_tcp(&tcp, flow, vip, pass);
	frame.tcp = tcp;
	return !bpf_skb_store_bytes(skb, 0, &frame, sizeof(frame), 0);
}

/* Writes the probe of the flow in `slot` into the packet. Returns 0 with *ret_fib asking for the way
 * to its client, or -1. A global function: verified by itself. */
__noinline int reset_write(struct __sk_buff *skb, __u32 slot, struct bpf_fib_lookup *ret_fib)
{
	struct sl_flow *flow = table_slot(slot);
	struct sl_vip *vip;
	bool v4;

	if (!flow || !ret_fib || !(READ_ONCE(flow->state) & SL_FLOW_RESET))
		return -1; /* another flow's by now */
	vip = bpf_map_lookup_elem(&vips, &flow->vip);
	if (!vip)
		return -1;
	v4 = flow->key.client.d[0] == 0 && flow->key.client.w[2] == SL_V4_MARK;
	/* The packet's length and protocol are the agent's choice: one family a replica. */
	if (skb->len != (v4 ? sizeof(struct reset_frame4) : sizeof(struct reset_frame6)))
		return -1;
	ret_fib->l4_protocol = IPPROTO_TCP;
	ret_fib->ifindex = 1; /* as if from the loopback: no interface of a client's matters */
	return (v4 ? reset_write_v4(skb, flow, vip, skb->cb[RESET_PASS], ret_fib) :
		     reset_write_v6(skb, flow, vip, skb->cb[RESET_PASS], ret_fib)) ? 0 : -1;
}

/* Probes the client of the flow in `slot`. True: done; false: the probe lies in the packet, and the
 * node's stack must find the way (a neighbour not known now, a tunnel). */
static __always_inline bool reset_probe(struct __sk_buff *skb, __u32 slot)
{
	struct sl_flow *flow = table_slot(slot);
	struct bpf_fib_lookup fib = {};

	if (reset_write(skb, slot, &fib))
		return true; /* nobody to be told */
	if (flow && flow->hook == SL_HOOK_NODE)
		return !node_address(skb) && !bpf_clone_redirect(skb, node_ifindex, BPF_F_INGRESS);
	if (bpf_fib_lookup(skb, &fib, sizeof(fib), 0) ||
	    bpf_skb_store_bytes(skb, 0, fib.dmac, ETH_ALEN, 0) ||
	    bpf_skb_store_bytes(skb, ETH_ALEN, fib.smac, ETH_ALEN, 0))
		return false;
	return !bpf_clone_redirect(skb, fib.ifindex, 0);
}

/* ---- the walk -------------------------------------------------------------------------*/

static __always_inline void reset_count(const struct sl_flow *flow)
{
	__u32 row = flow->key.service;
	struct sl_service_state *state = bpf_map_lookup_elem(&service_states, &row);

	count(SL_COUNT_RESETS);
	if (state)
		__sync_fetch_and_add(&state->resets, 1);
}

/* Marks the flow, in `state` a moment ago. False: it moved on meanwhile, to its end most likely. */
static __always_inline bool reset_mark(struct sl_flow *flow, __u64 state)
{
	for (int i = 0; i < CAS_TRIES; i++) {
		__u64 seen = __sync_val_compare_and_swap(&flow->state, state,
							 state | SL_FLOW_RESET);

		if (seen == state)
			return true;
		if (SL_FLOW_GENERATION(seen) != SL_FLOW_GENERATION(state) ||
		    SL_FLOW_PHASE(seen) != SL_FLOW_OPEN || seen & SL_FLOW_RESET)
			return false;
		state = seen;
	}
	return false;
}

/* Whether its service wants its flows left alone (on-eject: keep). A replica may be shared. */
static __always_inline bool reset_is_kept(const struct sl_flow *flow)
{
	__u32 row = flow->key.service;
	struct sl_service *service = bpf_map_lookup_elem(&services, &row);

	return service && service->flags & SL_SERVICE_KEEP;
}

/* What became of a slot or a set. */
enum reset_step { RESET_GO_ON, RESET_STOP, RESET_UNSENT };

/* One open flow of the replica's. enum reset_step; UNSENT: its probe lies in the packet. A global
 * function: verified by itself. */
__noinline int reset_slot(struct __sk_buff *skb, __u32 slot, __u64 state)
{
	struct sl_flow *flow = table_slot(slot);
	bool again = skb->cb[RESET_PASS];

	if (!flow || !!(state & SL_FLOW_RESET) != again || reset_is_kept(flow))
		return RESET_GO_ON;
	if (!again) {
		if (flow->key.proto == IPPROTO_UDP ? !flow_advance(slot, state, 0, FLOW_OVER) :
						     !reset_mark(flow, state))
			return RESET_GO_ON;
		/* Its client has from now on to answer, see sweep_timeout(). */
		WRITE_ONCE(flow->last_seen, (__u32)bpf_jiffies64());
		reset_count(flow);
		skb->cb[RESET_DONE] += 1;
	}
	skb->cb[RESET_MAX] -= 1;
	if (flow->key.proto == IPPROTO_TCP && !reset_probe(skb, slot))
		return RESET_UNSENT;
	return skb->cb[RESET_MAX] ? RESET_GO_ON : RESET_STOP;
}

/* The next slots up to the end of their set: enum reset_step. A global function: verified by
 * itself. */
__noinline int reset_set(struct __sk_buff *skb)
{
	__u32 slot = skb->cb[RESET_SLOT], replica = skb->cb[RESET_REPLICA];
	__u32 row = slot / SL_FLOW_WAYS, first = slot % SL_FLOW_WAYS;
	struct sl_flow_set *set = bpf_map_lookup_elem(&flows, &row);
	int step;

	for (__u32 i = 0; set && i < SL_FLOW_WAYS; i++) {
		__u64 state = READ_ONCE(set->way[i].state);

		if (i < first || SL_FLOW_PHASE(state) != SL_FLOW_OPEN ||
		    set->way[i].replica != replica || state & SL_FLOW_PLACE)
			continue;
		skb->cb[RESET_SLOT] = row * SL_FLOW_WAYS + i + 1;
		step = reset_slot(skb, row * SL_FLOW_WAYS + i, state);
		if (step != RESET_GO_ON)
			return step;
	}
	skb->cb[RESET_SLOT] = (row + 1) * SL_FLOW_WAYS;
	return RESET_GO_ON;
}

/* A slice of the table, by the words of skb->cb. 1: the packet holds a probe that the agent must
 * send; else 0. */
static __always_inline int reset_run(struct __sk_buff *skb)
{
	int step = RESET_GO_ON;

	if (!skb->cb[RESET_MAX])
		return 0;
	for (__u32 i = 0; i < RESET_SETS && step == RESET_GO_ON; i++) {
		if (skb->cb[RESET_SLOT] >= flow_sets * SL_FLOW_WAYS)
			break;
		step = reset_set(skb);
	}
	return step == RESET_UNSENT;
}

/* ---- the answer -----------------------------------------------------------------------*/

/* Turns a client's segment into the RST that the client would send, and sends that in where the
 * segment came from, so that it goes the way of all the client's packets to the replica. The packet
 * is spoilt after. A global function: verified by itself. */
__noinline int reset_tell_replica(struct __sk_buff *skb, const struct packet *pkt)
{
	struct segment to = {.keep_tos = true, .tcp.doff = sizeof(struct tcphdr) / 4, .tcp.rst = 1};

	if (!pkt)
		return -1;
	to.src = &pkt->src;
	to.dst = &pkt->dst;
	to.tcp.source = pkt->sport;
	to.tcp.dest = pkt->dport;
	to.tcp.seq = pkt->seq;
	if (rebuild(skb, pkt, &to))
		return -1;
	return bpf_clone_redirect(skb, skb->ifindex, client_side(skb->ifindex));
}

/* A segment of the client's, but no RST, on a flow that is to be reset: ends it, at both ends. */
static __always_inline int reset_answer(struct __sk_buff *skb, const struct packet *pkt,
					const struct flow_ref *ref)
{
	if (flow_ref_advance(ref, 0, FLOW_OVER))
		reset_tell_replica(skb, pkt);
	return refuse(skb, pkt, SL_DROP_RESET);
}

#endif
