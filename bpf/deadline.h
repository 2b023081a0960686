/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Watches handshakes that nobody answers, from a timer of the kernel's own: at its deadline a SYN
 * is to go to another replica, which takes the agent (no helper transmits from a timer; it is told
 * through the ring buffer `wakeups` and runs `inject`); a second without an answer is a failure
 * of the replica. With the agent dead the client's own retransmit is offered to another replica.
 */
#ifndef SLUICE_BPF_DEADLINE_H
#define SLUICE_BPF_DEADLINE_H

#include <linux/errno.h>

#include "eject.h"
#include "park.h"
#include "pending.h"
#include "retry.h"

#define DEADLINE_CHUNK 32u

/* Charges replicas that had their second. */
static __always_inline void deadline_charge(struct sl_pending *p, __u32 service, __u32 age)
{
	__u32 waiting = READ_ONCE(p->waiting);

	for (__u32 i = 0; waiting & SL_PENDING_TRIED && i < SL_TRIED_MAX; i++) {
		if (!(waiting & 1u << i) || (__s32)(age - p->sent[i]) < (__s32)(SYN_CHARGE_S * hz))
			continue;
		pending_heard(p, i);
		eject_failure(service, p->tried[i], eject_witness(&p->client), FAILURE_UNANSWERED);
	}
}

/* Asks the agent to send the SYN again, if it is time. */
static __always_inline void deadline_wake(struct sl_pending *p, __u32 row, __u32 service_row,
					  __u32 now)
{
	struct sl_service *service = bpf_map_lookup_elem(&services, &service_row);
	struct sl_wakeup wakeup = {.pending = row, .generation = p->generation};

	if (!service || (__s32)(now - READ_ONCE(p->deadline)) < 0 ||
	    p->resends >= service->retry_attempts || p->n_tried >= SL_TRIED_MAX ||
	    service->flags & SL_SERVICE_NO_RETRY)
		return;
	p->resends++; /* whether or not anybody hears of it: the client's retransmit comes anyway */
	p->deadline = now + (SYN_DEADLINE_MS * hz + 999) / 1000;
	bpf_ringbuf_output(&wakeups, &wakeup, sizeof(wakeup), 0);
}

/* Looks at one row; 1: it holds back pending_tail. A global function: verified by itself. */
__noinline int deadline_check(__u32 row, __u32 now)
{
	struct sl_pending *p = pending_row(row);
	struct sl_flow *flow;
	__u64 state;
	bool open;

	if (!p || READ_ONCE(p->phase) != SL_PENDING_WAITING)
		return p && READ_ONCE(p->phase) == SL_PENDING_CLAIMED;
	flow = table_slot(p->slot);
	state = flow ? READ_ONCE(flow->state) : 0;
	if (!flow || SL_FLOW_PHASE(state) == SL_FLOW_CLAIMED)
		return 1;
	if (READ_ONCE(flow->pending) != row + 1 ||
	    !(SL_FLOW_PHASE(state) == SL_FLOW_SYN || READ_ONCE(p->waiting) & SL_PENDING_ANSWERED)) {
		pending_close(p); /* the client gave up: nobody is to blame */
		return 0;
	}
	deadline_charge(p, flow->key.service, now - p->begun);
	open = SL_FLOW_PHASE(state) == SL_FLOW_SYN && !(state & SL_FLOW_ANSWERED);
	if (open)
		deadline_wake(p, row, flow->key.service, now);
	/* Nobody owes an answer: the flow has one, or its client repeats itself for long. */
	if (!(READ_ONCE(p->waiting) & SL_PENDING_TRIED) &&
	    (!open || (__s32)(now - p->begun) > (__s32)(PENDING_S * hz)))
		pending_close(p);
	return 1;
}

/* So many rows from `from` on. How many of the first may be forgotten. A global function: verified
 * by itself. It counts without branches, from a number that the verifier does not know: that of 6.1
 * follows every count and every branch of each turn otherwise. */
__noinline int deadline_chunk(__u32 from, __u32 n, __u32 now)
{
	__u32 tail = from, held = 0;

	for (__u32 i = 0; i < DEADLINE_CHUNK && i < n; i++) {
		held |= deadline_check((from + i) & (SL_PENDING - 1), now) & 1;
		opaque(held);
		tail += held ^ 1;
	}
	return tail - from;
}

/* All rows that may wait. */
static __always_inline void deadline_pass(struct sl_kernel *k)
{
	__u32 head = READ_ONCE(k->pending_head), from = k->pending_tail, now = bpf_jiffies64(), n;
	__u32 forgotten, tail, held = 0; /* without branches, as above */

	if (head - from > SL_PENDING) /* the circle closed: old rows were taken again */
		from = head - SL_PENDING;
	tail = from;
	for (__u32 i = 0; i < SL_PENDING / DEADLINE_CHUNK && from != head; i++) {
		n = head - from < DEADLINE_CHUNK ? head - from : DEADLINE_CHUNK;
		forgotten = deadline_chunk(from, n, now);
		tail += forgotten & (held - 1);
		held |= (forgotten - n) >> 31; /* fewer than n */
		opaque(held);
		from += n;
	}
	k->pending_tail = tail;
}

static int deadline_tick(void *map, __u32 *key, struct sweep_timer *timer)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	if (k)
		deadline_pass(k);
	bpf_timer_start(&timer->timer, PENDING_TICK_MS * 1000000ull, 0);
	return 0;
}

/* The flow of a row has ended, or uses another row: if it stands in line, it leaves, unless that other
 * row is just taking over its place. */
static __always_inline void deadline_orphan(struct sl_pending *p, const struct sl_flow *flow)
{
	__u32 ref = flow ? READ_ONCE(flow->pending) : 0;
	struct sl_pending *now = ref ? pending_row(ref - 1) : NULL;
	struct sl_line *line = line_of(p->service);

	if (now && now != p && now->ticket == p->ticket && now->service == p->service)
		return;
	if (pending_free(p, SL_PENDING_PARKED) && line)
		WRITE_ONCE(line->offered, 0);
}

/* The interface where the SYN of a parked flow came in is gone or down, and so is its client: the next
 * one's turn. */
static __always_inline void deadline_strand(const struct flow_ref *ref, __u32 service)
{
	struct sl_line *line = line_of(service);

	if (park_end(ref->slot, ref->state | SL_FLOW_RETRY, true) && line)
		WRITE_ONCE(line->offered, 0);
}

/*
 * Run by the agent with the SYN of row cb[0], generation cb[1], in the frame: puts it where it came
 * in, if the flow still waits for an answer, or in line. 0: so it did; 1: there was no need, or no way.
 */
static __always_inline int deadline_inject(struct __sk_buff *skb)
{
	struct sl_pending *p = pending_row(skb->cb[0]);
	struct flow_ref ref;
	long error;

	if (!p || p->generation != skb->cb[1])
		return 1;
	ref.slot = p->slot;
	ref.flow = table_slot(ref.slot);
	ref.state = ref.flow ? READ_ONCE(ref.flow->state) : 0;
	if (SL_FLOW_PHASE(ref.state) == SL_FLOW_CLAIMED)
		return 1;
	if (!ref.flow || READ_ONCE(ref.flow->pending) != skb->cb[0] + 1 ||
	    SL_FLOW_GENERATION(ref.state) != skb->cb[1] ||
	    ((SL_FLOW_PHASE(ref.state) != SL_FLOW_SYN || ref.state & SL_FLOW_ANSWERED) &&
	     SL_FLOW_PHASE(ref.state) != SL_FLOW_PARKED)) {
		deadline_orphan(p, ref.flow);
		return 1;
	}
	if (retry_mark(&ref, 0))
		return 1;
	error = bpf_clone_redirect(skb, p->ifindex, client_side(p->ifindex));
	if (error < 0 && error != -ENOMEM && SL_FLOW_PHASE(ref.state) == SL_FLOW_PARKED)
		deadline_strand(&ref, p->service);
	return error ? 1 : 0;
}

#endif
