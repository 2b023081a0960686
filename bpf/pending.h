/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Handshakes that can be retried: of each half-open TCP flow, what it takes to send its SYN again,
 * and which replicas have had it. Rows are taken in a circle and given back when every replica
 * that was asked has answered or had its second. What a retry is, is retry.h's business; who
 * watches the deadlines, deadline.h's.
 */
#ifndef SLUICE_BPF_PENDING_H
#define SLUICE_BPF_PENDING_H

#include "config.h"
#include "count.h"
#include "line.h"
#include "maps.h"
#include "parse.h"
#include "table.h"

#define PENDING_TRIES 32 /* rows looked at for a free one: where half are held, one SYN in 2^32 finds none */

static __always_inline struct sl_pending *pending_row(__u32 row)
{
	return bpf_map_lookup_elem(&pending, &row);
}

/* The row of a flow that was found, or NULL. */
static __always_inline struct sl_pending *pending_of(const struct flow_ref *ref)
{
	__u32 row = READ_ONCE(ref->flow->pending);
	struct sl_pending *p = row ? pending_row(row - 1) : NULL;

	if (!p || p->slot != ref->slot || p->generation != SL_FLOW_GENERATION(ref->state) ||
	    READ_ONCE(p->phase) != SL_PENDING_WAITING)
		return NULL;
	return p;
}

/* Position of a replica among those tried, or -1. */
static __always_inline int pending_index(const struct sl_pending *p, __u32 replica)
{
	int found = -1;

	for (int i = 0; i < (int)SL_TRIED_MAX; i++)
		if (i < p->n_tried && p->tried[i] == replica)
			found = i;
	return found;
}

/* Whether the handshake of `pending` (row + 1) has been offered to the replica. In line, though in a
 * loop of its caller's: before 6.6 a frame counts as 32 bytes at least, and this one is deep. */
static __always_inline bool pending_has_tried(__u32 pending_ref, __u32 replica)
{
	struct sl_pending *p = pending_row(pending_ref - 1);

	return p && pending_index(p, replica) >= 0;
}

/* How long a replica has to answer a SYN: 50 ms, or three of its round trips where that is longer, up
 * to 900 ms; what the service says can only shorten it. Jiffies. */
static __always_inline __u32 pending_patience(const struct sl_service *service,
					      const struct sl_replica *replica)
{
	__u32 ticks = (SYN_DEADLINE_MS * hz + 999) / 1000;
	__u32 by_rtt = READ_ONCE(replica->state.syn_rtt) * 3 / 16 + 1;

	if (ticks < by_rtt)
		ticks = by_rtt;
	if (ticks > SYN_DEADLINE_MAX_MS * hz / 1000)
		ticks = SYN_DEADLINE_MAX_MS * hz / 1000;
	if (service->syn_deadline_ticks && ticks > service->syn_deadline_ticks)
		ticks = service->syn_deadline_ticks;
	return ticks ? ticks : 1;
}

/* The SYN goes to this replica now. */
static __always_inline void pending_offer(struct sl_pending *p, const struct sl_service *service,
					  const struct sl_replica *replica, __u32 row, __u32 now)
{
	__u32 i = p->n_tried;

	if (i >= SL_TRIED_MAX)
		return;
	p->tried[i] = row;
	p->sent[i] = now - p->begun;
	__sync_fetch_and_or(&p->waiting, 1u << i);
	p->n_tried = i + 1;
	WRITE_ONCE(p->deadline, now + pending_patience(service, replica));
}

/* A free row, claimed; its number + 1, or 0. */
static __always_inline __u32 pending_claim(void)
{
	__u32 zero = 0, row;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);
	struct sl_pending *p;

	for (int i = 0; k && i < PENDING_TRIES; i++) {
		row = __sync_fetch_and_add(&k->pending_head, 1) & (SL_PENDING - 1);
		p = pending_row(row);
		if (p && __sync_val_compare_and_swap(&p->phase, SL_PENDING_FREE,
						     SL_PENDING_CLAIMED) == SL_PENDING_FREE)
			return row + 1;
	}
	return 0;
}

/* Copies the SYN's own part. False: the packet cannot be read. */
static __always_inline bool pending_copy(struct sl_pending *p, struct __sk_buff *skb,
					 const struct packet *pkt)
{
	__u32 at = pkt->l4_offset & L4_OFFSET_MASK, n = pkt->l4_header - sizeof(struct tcphdr);
	__be16 window;
	__u8 l3[2];

	if (bpf_skb_load_bytes(skb, 0, p->mac, sizeof(p->mac)) ||
	    bpf_skb_load_bytes(skb, L3_OFFSET, l3, sizeof(l3)) ||
	    bpf_skb_load_bytes(skb, at + offsetof(struct tcphdr, window), &window, sizeof(window)))
		return false;
	p->window = window;
	p->v6 = pkt->v6;
	p->tos = pkt->v6 ? (__u8)(l3[0] << 4 | l3[1] >> 4) : l3[1];
	p->tcp_flags = pkt->tcp_flags;
	p->n_options = n;
	if (!n)
		return true;
	n = minus_1(n);
	return n < SL_SYN_OPTIONS_MAX &&
	       !bpf_skb_load_bytes(skb, at + sizeof(struct tcphdr), p->options, n + 1);
}

/* A handshake stands in its line, PARKED. */
static __always_inline void pending_show(const struct sl_pending *p)
{
	struct sl_line *line = line_of(p->service);

	if (line)
		line_show(line, p->ticket);
}

/* Keeps the SYN of a flow just opened, or parked: then it joins the waiting line. A SYN with data
 * (RFC 7413) is not kept: its data may reach one replica only. A global function: verified by
 * itself. */
__noinline int pending_open(struct __sk_buff *skb, const struct packet *pkt, __u32 slot,
			    __u32 generation, __u32 at_home)
{
	struct sl_flow *flow = table_slot(slot);
	__u32 ref, row, service_row;
	struct sl_service *service;
	struct sl_replica *replica;
	struct sl_pending *p;

	if (!pkt || !flow)
		return 0;
	ref = pending_claim();
	p = ref ? pending_row(ref - 1) : NULL;
	row = flow->replica;
	service_row = flow->key.service;
	replica = bpf_map_lookup_elem(&replicas, &row);
	service = bpf_map_lookup_elem(&services, &service_row);
	if (!p || !service) {
		count(SL_COUNT_NO_PENDING);
		if (p)
			WRITE_ONCE(p->phase, SL_PENDING_FREE);
		return 0;
	}
	p->slot = slot;
	p->generation = generation;
	p->ifindex = skb->ifindex;
	p->begun = flow->last_seen;
	p->vip = flow->vip;
	p->isn = pkt->seq;
	p->client = pkt->src;
	p->port = pkt->sport;
	p->n_tried = 0;
	p->resends = 0;
	p->full = 0;
	p->waiting = at_home ? SL_PENDING_AT_HOME : 0;
	p->ticket = 0;
	p->heard = p->begun;
	if (!pending_copy(p, skb, pkt) || (!replica && row != SL_NO_REPLICA)) {
		WRITE_ONCE(p->phase, SL_PENDING_FREE);
		count(SL_COUNT_NO_PENDING);
		return 0;
	}
	if (!replica && !line_join(p, ref, service_row, service->max_parked)) {
		WRITE_ONCE(p->phase, SL_PENDING_FREE);
		return 0;
	}
	if (replica)
		pending_offer(p, service, replica, row, p->begun);
	WRITE_ONCE(flow->pending, ref);
	__sync_lock_test_and_set(&p->phase, replica ? SL_PENDING_WAITING : SL_PENDING_PARKED);
	if (!replica)
		pending_show(p);
	return ref;
}

/* Frees a row that is in `phase`. False: it is not; another CPU was first. */
static __always_inline bool pending_free(struct sl_pending *p, __u32 phase)
{
	if (__sync_val_compare_and_swap(&p->phase, phase, SL_PENDING_CLAIMED) != phase)
		return false;
	if (unlikely(p->ticket))
		line_forget(p);
	__sync_lock_test_and_set(&p->phase, SL_PENDING_FREE);
	return true;
}

/* Nobody waits for anything here any more. */
static __always_inline void pending_close(struct sl_pending *p)
{
	pending_free(p, SL_PENDING_WAITING);
}

/* Replica number `i` of those tried has spoken: it owes nothing any more. */
static __always_inline void pending_heard(struct sl_pending *p, int i)
{
	__sync_fetch_and_and(&p->waiting, ~(1u << (i & (SL_TRIED_MAX - 1))));
}

/* Replica number `i` of those tried answers: its round trip. Longer ones count at once, shorter ones
 * by and by; none from a second answer, or to a SYN that was sent twice (Karn's rule, RFC 6298). */
static __always_inline void pending_sample(const struct sl_pending *p, int i,
					   struct sl_replica *replica, __u32 now)
{
	__u32 waiting = READ_ONCE(p->waiting);
	__u32 rtt = (__u16)(now - p->begun - p->sent[i & (SL_TRIED_MAX - 1)]) * 16u;
	__u32 known = READ_ONCE(replica->state.syn_rtt);

	if (!(waiting & 1u << (i & (SL_TRIED_MAX - 1))) || waiting & SL_PENDING_REPEATED)
		return;
	if (rtt < known)
		rtt = known - (known - rtt) / 8 - (known > rtt);
	if (rtt != known)
		WRITE_ONCE(replica->state.syn_rtt, rtt);
}

/* A replica sent its SYN-ACK to the flow that it has. 1: which came from the waiting line, and has left
 * it (line_accepted() is to follow). A global function: verified by itself. */
__noinline int pending_answered(__u32 slot, __u64 state)
{
	struct flow_ref ref = {.flow = table_slot(slot), .state = state, .slot = slot};
	struct sl_replica *replica;
	struct sl_pending *p;
	bool waited;
	__u32 row;
	int i;

	p = ref.flow ? pending_of(&ref) : NULL;
	if (!p)
		return 0;
	row = ref.flow->replica;
	replica = bpf_map_lookup_elem(&replicas, &row);
	i = pending_index(p, row);
	if (!replica || i < 0)
		return 0;
	pending_sample(p, i, replica, bpf_jiffies64());
	pending_heard(p, i);
	__sync_fetch_and_or(&p->waiting, SL_PENDING_ANSWERED);
	waited = p->ticket;
	if (unlikely(waited))
		line_forget(p);
	if (!(READ_ONCE(p->waiting) & SL_PENDING_TRIED)) {
		WRITE_ONCE(ref.flow->pending, 0);
		pending_close(p);
	}
	return waited;
}

#endif
