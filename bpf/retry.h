/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * "No" answers a SYN: the client never sees it. The refusal itself is turned back into the
 * client's SYN and put where that came in, so that from_client offers it to another replica, in
 * the same packet's time. Only before any payload was delivered: a flow that was answered, or
 * whose SYN carried data, is left alone. A replica that is only full (owner.h) has not failed: such a
 * refusal is retried whatever the service says of retries. Called by to_client.h.
 */
#ifndef SLUICE_BPF_RETRY_H
#define SLUICE_BPF_RETRY_H

#include "eject.h"
#include "flow.h"
#include "node.h"
#include "pending.h"
#include "rebuild.h"

/* Whether this segment refuses the SYN of the flow (RFC 9293 section 3.10.7.3). */
static __always_inline bool retry_is_refusal(const struct flow_ref *ref, const struct packet *pkt)
{
	return pkt->proto == IPPROTO_TCP &&
	       (pkt->tcp_flags & (TCP_RST | TCP_ACK | TCP_SYN)) == (TCP_RST | TCP_ACK) &&
	       SL_FLOW_PHASE(ref->state) == SL_FLOW_SYN &&
	       !(ref->state & (SL_FLOW_ANSWERED | SL_FLOW_SPILLED)) &&
	       pkt->l4_length == sizeof(struct tcphdr) &&
	       bpf_ntohl(pkt->ack) == bpf_ntohl(ref->flow->isn) + 1;
}

/* Whether the service may have one more retry. While some replica answers, always: a retry then
 * ends somewhere. While none does, so many a second. */
static __always_inline bool retry_is_afforded(const struct sl_service *service,
					      struct sl_service_state *state, __u32 now)
{
	if ((__s32)(now - READ_ONCE(state->last_answer)) <= (__s32)hz && state->last_answer)
		return true;
	if (now - READ_ONCE(state->budget_second) >= hz) {
		WRITE_ONCE(state->budget_second, now);
		WRITE_ONCE(state->budget_used, 0);
	}
	return !service->retry_budget ||
	       __sync_fetch_and_add(&state->budget_used, 1) < service->retry_budget;
}

/* Whether a refusal is an owner's: its replica is at its cap. */
static __always_inline bool retry_says_full(struct __sk_buff *skb, const struct packet *pkt)
{
	__u32 at = (pkt->l4_offset & L4_OFFSET_MASK) + offsetof(struct tcphdr, window);
	__be16 window = 0;

	return pkt->proto == IPPROTO_TCP && !bpf_skb_load_bytes(skb, at, &window, sizeof(window)) &&
	       window == bpf_htons(SL_FULL_WINDOW);
}

/* Books what the refusal says of the replica: dead, or only full. Whether it is full. */
static __always_inline bool retry_book(struct __sk_buff *skb, const struct packet *pkt,
				       const struct sl_flow *flow, __u32 service_row,
				       __u32 replica_row)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);

	if (!retry_says_full(skb, pkt)) {
		eject_failure(service_row, replica_row, eject_witness(&flow->key.client),
			      FAILURE_REFUSED);
		return false;
	}
	count(SL_COUNT_FULL);
	if (replica)
		__sync_fetch_and_add(&replica->state.full, 1);
	return true;
}

/* Notes that the flow's next SYN is ours, and why (SL_FLOW_REFUSED, or 0); 0, or -1: it has moved on
 * meanwhile. */
static __always_inline int retry_mark(const struct flow_ref *ref, __u64 why)
{
	__u64 next = ref->state | SL_FLOW_RETRY | why;

	return __sync_val_compare_and_swap(&ref->flow->state, ref->state, next) == ref->state ? 0 :
											       -1;
}

/* The packet becomes the client's SYN, as it was. The interface where that came in, or -1. A global
 * function: verified by itself. */
__noinline int retry_rebuild(struct __sk_buff *skb, const struct packet *pkt, __u32 pending_ref)
{
	struct sl_pending *p = pending_row(pending_ref - 1);
	struct segment to = {};
	struct sl_vip *vip;
	__u32 vip_row;

	if (!p || !pkt)
		return -1;
	vip_row = p->vip;
	vip = bpf_map_lookup_elem(&vips, &vip_row);
	if (!vip)
		return -1;
	to.src = &p->client;
	to.dst = &vip->addr;
	to.options = p->options;
	to.n_options = p->n_options;
	to.tos = p->tos;
	to.tcp.source = p->port;
	to.tcp.dest = vip->port;
	to.tcp.seq = p->isn;
	to.tcp.doff = 5 + p->n_options / 4;
	to.tcp.window = p->window;
	((__u8 *)&to.tcp)[13] = p->tcp_flags;
	if (rebuild(skb, pkt, &to))
		return -1;
	return bpf_skb_store_bytes(skb, 0, p->mac, sizeof(p->mac), 0) ? -1 : (int)p->ifindex;
}

/* A replica refused the SYN of the flow in `slot`: books it. The row in pending + 1 of the SYN that
 * is to go out again; 0: the client is to have the refusal (nobody is left, retries are off, or
 * nobody remembers the SYN); -1: the flow has moved on. A global function: verified by itself. */
__noinline int retry_judge(struct __sk_buff *skb, const struct packet *pkt, __u32 slot)
{
	struct flow_ref ref = {.flow = table_slot(slot), .slot = slot};
	struct sl_service_state *service_state;
	__u32 service_row, replica_row;
	struct sl_service *service;
	struct sl_pending *p;
	bool full;
	int i;

	if (!pkt || !ref.flow)
		return 0;
	ref.state = READ_ONCE(ref.flow->state);
	/* Said twice, perhaps on two CPUs: the first one books. */
	if (ref.state & SL_FLOW_REFUSED || retry_mark(&ref, SL_FLOW_REFUSED))
		return -1;
	service_row = ref.flow->key.service;
	replica_row = ref.flow->replica;
	service = bpf_map_lookup_elem(&services, &service_row);
	service_state = bpf_map_lookup_elem(&service_states, &service_row);
	full = retry_book(skb, pkt, ref.flow, service_row, replica_row);
	p = pending_of(&ref);
	if (!p || !service || !service_state)
		return 0;
	i = pending_index(p, replica_row);
	pending_heard(p, i);
	if (full) /* that is no failed connect, and from_client says what becomes of it */
		p->full |= 1u << (i & (SL_TRIED_MAX - 1));
	else if (service->flags & SL_SERVICE_NO_RETRY || (p->n_tried >= SL_TRIED_MAX && !p->full))
		return 0;
	if (!full && !retry_is_afforded(service, service_state, bpf_jiffies64())) {
		count(SL_COUNT_RETRIES_SHED);
		__sync_fetch_and_add(&service_state->retries_shed, 1);
		return 0;
	}
	return ref.flow->pending;
}

/* The SYN of the flow in `slot` was refused by this packet. A verdict; NOT_OURS: the client is to
 * have the refusal. */
static __always_inline int retry(struct __sk_buff *skb, const struct packet *pkt, __u32 slot)
{
	int pending_ref = retry_judge(skb, pkt, slot), ifindex;

	if (!pending_ref)
		return NOT_OURS;
	ifindex = pending_ref > 0 ? retry_rebuild(skb, pkt, pending_ref) : -1;
	return ifindex > 0 ? bpf_redirect(ifindex, client_side(ifindex)) : drop(SL_DROP_RETRY_FAILED);
}

#endif
