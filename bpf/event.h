/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Events that the programs write themselves, so that what happens with the agent dead is known
 * too: rows of the pinned ring `events`, by the same protocol as the agent's (user/events.c). A row
 * is claimed by an atomic add on event_head.last; its seq is 0 while it is written and stored last,
 * so that a reader that finds the same seq before and after its copy has read one event, whole.
 * Nothing here limits how many: a caller that may have much to say asks event_is_due() first.
 *
 * With a constant text: event_add(). With one of its own: event_begin(), BPF_SNPRINTF() into
 * row->text, event_end().
 */
#ifndef SLUICE_BPF_EVENT_H
#define SLUICE_BPF_EVENT_H

#include <stdbool.h>

#include "config.h"
#include "maps.h"
#include "verifier.h"

#define EVENT_TEXT_LEN sizeof(((struct sl_event *)0)->text)

/* Texts of event_add(). */
#define EVENT_TEXTS(X)                                                                             \
	X(EVENT_TEXT_NONE, "", "")                                                                 \
	X(EVENT_TEXT_TIME_OVER, "its time is over", "")                                            \
	X(EVENT_TEXT_PROBED, "a probe succeeded", "")                                              \
	X(EVENT_TEXT_EJECTED_ANEW, "ejected anew", "")                                             \
	X(EVENT_TEXT_REFUSED, "a connect was refused, and sent on", "")                            \
	X(EVENT_TEXT_FULL, "at its connection cap: a connect was sent on", "")                     \
	X(EVENT_TEXT_UNANSWERED, "a connect was not answered in time, and sent on", "")

#define EVENT_CONSTANT_LEN 48 /* of these, with their NUL; a multiple of 8 */
enum event_text { EVENT_TEXTS(SL_ENUM_ROW) EVENT_TEXT_MAX };
static const char event_texts[][EVENT_CONSTANT_LEN] = {EVENT_TEXTS(SL_NAME_ROW)};

/* Claims a row and fills in all but the text, which is zeroed. NULL: there is no such row. The
 * swaps are full barriers. */
static __always_inline struct sl_event *event_begin(__u32 kind, __u32 service_row,
						    __u32 replica_row, __u32 value, __u64 *ret_seq)
{
	__u32 zero = 0, row_number;
	struct sl_event_head *head = bpf_map_lookup_elem(&event_head, &zero);
	struct sl_control *c = bpf_map_lookup_elem(&control, &zero);
	struct sl_service *service = bpf_map_lookup_elem(&services, &service_row);
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);
	struct sl_event *row;

	if (!head || !c || !service || !replica)
		return NULL;
	*ret_seq = __sync_fetch_and_add(&head->last, 1) + 1;
	/* Each is one of them; the mask is for the verifier. */
	__sync_fetch_and_add(&head->kinds[kind % SL_MAX_EVENT_KINDS], 1);
	row_number = *ret_seq % event_rows;
	row = bpf_map_lookup_elem(&events, &row_number);
	if (!row)
		return NULL;
	__sync_lock_test_and_set(&row->seq, 0);
	row->time_ns = bpf_ktime_get_ns() + c->realtime_offset_ns;
	row->kind = kind;
	row->port = replica->config.port;
	row->service = service_row + 1;
	row->value = value;
	row->epoch = service->epoch;
	row->addr = replica->config.addr;
	__builtin_memset(row->text, 0, EVENT_TEXT_LEN);
	return row;
}

static __always_inline void event_end(struct sl_event *row, __u64 seq)
{
	__sync_lock_test_and_set(&row->seq, seq);
}

/* One event about a replica of a service (rows): enum sl_event_kind, what its value means is said in
 * names.h, enum event_text. A global function: verified by itself. */
__noinline int event_add(__u32 kind, __u32 service_row, __u32 replica_row, __u32 value, __u32 text)
{
	struct sl_event *row;
	__u64 seq;

	row = event_begin(kind, service_row, replica_row, value, &seq);
	if (!row)
		return 0;
	if (text < EVENT_TEXT_MAX)
		__builtin_memcpy(row->text, event_texts[text], EVENT_CONSTANT_LEN);
	event_end(row, seq);
	return 0;
}

/* Whether an event of a sort of which there may be many is to be written: at most one in `ticks`
 * jiffies. `stamp`: jiffies of the last one, 0: never; in a map. */
static __always_inline bool event_is_due(__u32 *stamp, __u32 ticks)
{
	__u32 now = (__u32)bpf_jiffies64() ?: 1, last = READ_ONCE(*stamp);

	return (!last || now - last >= ticks) &&
	       __sync_val_compare_and_swap(stamp, last, now) == last;
}

#endif
