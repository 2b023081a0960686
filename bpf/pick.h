/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which replica takes a new flow: of up to 32 replicas without load
 * reports the cheapest of all, from a random start; otherwise the cheapest of
 * three drawn in proportion to weight. The arithmetic is in sluice/pick.h.
 *
 * Four passes, each less demanding: fit replicas; then draining ones too (they
 * still serve); then ejected ones too, for whom at least probes still speak; then all
 * that serve at all, suspect and down ones included. The last two are panic. A replica that does
 * not serve is never picked, nor one that is at its connection cap as far as this node knows (its
 * owner knows exactly); where all that are fit are, none is picked.
 */
#ifndef SLUICE_BPF_PICK_H
#define SLUICE_BPF_PICK_H

#include <sluice/pick.h>

#include "config.h"
#include "count.h"
#include "eject.h"
#include "maps.h"
#include "pending.h"
#include "verifier.h"

#define PICK_DRAWS 8       /* until three candidates are fit */
#define PICK_CANDIDATES 3
#define PICK_CHUNK 32u      /* slots looked at by one pick_first_fit() */
#define PICK_CHUNKS_MAX 160u /* of these: 5120 replicas */
#define PICK_NONE (-1)
#define PICK_EJECTED 0x10000u /* a flag beside SL_REPLICA_*: taken out by outlier detection */
#define PICK_FULL (-2)         /* some are fit, and each of those is at its cap */
#define PICK_AT_CAP 0x20000u   /* a flag beside SL_REPLICA_* */

#define PICK_LOAD_MAX (1ull << 41) /* more than any replica costs */

/* Whom a flow wants. */
struct wish {
	__u32 service; /* row */
	__u32 unfit;   /* SL_REPLICA_* that keep a replica out of this pass */
	__u32 require; /* SL_REPLICA_* without which a replica is not wanted */
	__u32 avoid;   /* row + 1 of a replica not wanted; 0: none */
	__u32 pending; /* row in pending + 1: whom it tried is not wanted; 0: none */
	__u32 now;     /* jiffies */
	__u8 calm;     /* bool: nobody who failed anyone in the last second */
	__u8 full;     /* bool: of those tried, one said that it is full */
	__u8 quiet;    /* bool: a question, nobody is to be picked */
	__u8 choosy;   /* bool: rather none than one that is ejected, suspect or down. (No more words
			* here: before 6.4 the stacks of those who call are full) */
};

/* One search: what is looked through, and the cheapest so far. */
struct search {
	const struct sl_service *service;
	struct wish wish;
	__u32 offset;
	__u32 length;
	__u32 by_share; /* bool: a replica in slow start is taken by its share alone */
	__u64 now_ns;
	struct sl_cost best;
	__s64 found;
};

/* PICK_EJECTED while an ejection lasts, as eject_is_out(). */
static __always_inline __u32 pick_ejection(const struct sl_replica *replica, __u32 now)
{
	__u32 until = READ_ONCE(replica->state.ejected_until);
	__u64 any = ((__u64)until + 0xffffffff) >> 32; /* 0 or 1 */
	__s64 left = (__s32)(until - now);

	return ((__u64)-left >> 63 & any) * PICK_EJECTED;
}

/* PICK_AT_CAP if the replica has as many flows as it may, as far as this node knows. Numbers are
 * signed, as an end may be counted before its beginning. */
static __always_inline __u32 pick_at_cap(const struct sl_replica *replica)
{
	__s64 last = (__u32)(replica->config.max_connections - 1); /* no cap: more than there can be */
	__s64 room = last - (__s32)READ_ONCE(replica->state.inflight);

	room |= last - (__s32)READ_ONCE(replica->state.owned);
	return ((__u64)room >> 63) * PICK_AT_CAP;
}

/* The flags that count for a pick. All without a branch: the verifier follows every way through 32
 * replicas. */
static __always_inline __u32 pick_flags(const struct sl_replica *replica, __u32 now)
{
	__u32 drained = replica->config.admin & SL_ADMIN_DRAINED;

	return replica->config.flags | drained * (SL_REPLICA_DRAINING / SL_ADMIN_DRAINED) |
	       pick_ejection(replica, now) | pick_at_cap(replica);
}

/* Compares one replica; false when it is unfit. `by_load`: as the service says, else in-flight. */
static __always_inline bool search_consider(struct search *search, __u32 row, bool by_load)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &row);
	struct sl_cost cost;
	__u32 flags;

	if (!replica)
		return false;
	flags = pick_flags(replica, search->wish.now);
	if (flags & search->wish.unfit ||
	    (flags & search->wish.require) != search->wish.require ||
	    row + 1 == search->wish.avoid)
		return false;
	if (search->by_share && flags & SL_REPLICA_WARMING &&
	    !sl_warming_accepts(&replica->config, bpf_get_prandom_u32()))
		return false;
	cost = by_load ? sl_cost_of(search->service, &replica->config,
				    READ_ONCE(replica->state.inflight), search->now_ns) :
			 sl_cost_of_inflight(&replica->config, READ_ONCE(replica->state.inflight));
	opaque(cost.load); /* whatever was learnt of it on the way: the verifier follows one path on */
	opaque(cost.weight);
	if (sl_cost_less(cost, search->best)) {
		search->best = cost;
		search->found = row;
	}
	return true;
}

/* A number below `n` from 32 random bits, without a division (Lemire 2019). */
static __always_inline __u32 below(__u32 random, __u32 n)
{
	return (__u64)random * n >> 32;
}

/* Row of the replica `i` slots behind slot `start` of the member list, in a circle; -1: there is
 * no such slot. Computed from `start` each time: carried from slot to slot, the verifier would
 * follow every place where the circle may close. */
static __always_inline __s64 search_slot(const struct search *search, __u32 start, __u32 i)
{
	__s64 at = start + i;
	/* Without a branch, as pick_flags(). */
	__u32 row = search->offset + at - (search->length & ~((at - search->length) >> 63));
	struct sl_member *member = bpf_map_lookup_elem(&members, &row);

	return member ? (__s64)member->replica : -1;
}

/* All slots of the member list, from a random one on. */
static __always_inline void search_scan(struct search *search)
{
	__u32 start = below(bpf_get_prandom_u32(), search->length);

	for (__u32 i = 0; i < SL_SCAN_MAX && i < search->length; i++) {
		__s64 row = search_slot(search, start, i);

		if (row < 0)
			return;
		search_consider(search, row, false);
	}
}

/* Draws in proportion to weight. The last draws take replicas in slow start as they come, so that a
 * service whose replicas all are still has its candidates. */
static __always_inline void search_draw(struct search *search)
{
	__u32 candidates = 0;

	for (int i = 0; i < PICK_DRAWS && candidates < PICK_CANDIDATES; i++) {
		__u32 row = search->offset + below(bpf_get_prandom_u32(), search->length);
		struct sl_member *member = bpf_map_lookup_elem(&members, &row);

		if (!member)
			return;
		search->by_share = i < PICK_DRAWS - PICK_CANDIDATES;
		candidates += search_consider(search,
					      sl_member_draw(member, bpf_get_prandom_u32()), true);
	}
}

/* Makes a search over the members of a service; false when it has none. (The wish is copied: before
 * 6.4 no key of a map may lie in a global function's argument.) */
static __always_inline bool search_init(struct search *search, const struct wish *wish)
{
	__s64 none = PICK_NONE;
	__u32 service_row;
	__u64 list;

	if (!wish)
		return false;
	opaque(none); /* to the verifier all rounds of a search are alike then, from the first on */
	search->wish = *wish;
	service_row = wish->service;
	search->service = bpf_map_lookup_elem(&services, &service_row);
	search->found = none;
	search->best = (struct sl_cost){.load = PICK_LOAD_MAX, .weight = 1};
	opaque(search->best.load);
	opaque(search->best.weight);
	if (!search->service)
		return false;
	list = READ_ONCE(search->service->members);
	search->offset = SL_MEMBERS_OFFSET(list);
	search->length = SL_MEMBERS_LENGTH(list);
	return search->length;
}

/* The cheapest replica that answers the wish, by scan or by draw. Its row, or PICK_NONE. A global
 * function: verified by itself, as the next ones. */
__noinline int pick_cheapest(const struct wish *wish)
{
	struct search search = {};

	if (!search_init(&search, wish))
		return PICK_NONE;
	if (search.service->flags & SL_SERVICE_LOADS)
		search.now_ns = bpf_ktime_get_ns();
	else if (search.length <= SL_SCAN_MAX)
		return search_scan(&search), search.found;
	search_draw(&search);
	return search.found;
}

/* The first fit replica among PICK_CHUNK slots from slot `start` (modulo the length) on. */
__noinline int pick_first_fit(const struct wish *wish, __u32 start)
{
	struct search search = {};

	if (!search_init(&search, wish))
		return PICK_NONE;
	start %= search.length;
	for (__u32 i = 0; i < PICK_CHUNK && i < search.length; i++) {
		__s64 row = search_slot(&search, start, i);

		if (row < 0 || search_consider(&search, row, false))
			break;
	}
	return search.found;
}

/* The first fit replica of all, when no draw met one; from a random start. */
__noinline int pick_any(const struct wish *wish, __u32 length)
{
	__u32 start = bpf_get_prandom_u32();
	int row = PICK_NONE;

	for (__u32 i = 0; i < PICK_CHUNKS_MAX && i * PICK_CHUNK < length; i++) {
		row = pick_first_fit(wish, start + i * PICK_CHUNK);
		if (row != PICK_NONE)
			break;
	}
	return row;
}

/* ---- for a handshake that was offered to others before ---------------------------------------*/

/* The cheapest untried replica so far. */
struct untried {
	struct sl_cost best;
	__s64 found;
};

/* Whether a failure of this replica's is younger than a second. */
static __always_inline bool pick_has_failed(__u32 row, __u32 now)
{
	struct sl_outlier *outlier = bpf_map_lookup_elem(&outliers, &row);

	return outlier && outlier->last_failure &&
	       (__s32)(now - outlier->last_failure) <= (__s32)hz;
}

/* Compares one replica. A global function: in line, the verifier would follow 32 of them one after
 * the other. */
__noinline int pick_weigh(const struct wish *wish, struct untried *untried, __u32 row)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &row);
	struct sl_cost cost;
	__u32 flags;

	if (!wish || !untried || !replica)
		return 0;
	flags = pick_flags(replica, wish->now);
	if (flags & wish->unfit || (flags & wish->require) != wish->require ||
	    row + 1 == wish->avoid || pending_has_tried(wish->pending, row) ||
	    (wish->calm && pick_has_failed(row, wish->now)))
		return 0;
	cost = sl_cost_of_inflight(&replica->config, READ_ONCE(replica->state.inflight));
	if (untried->found == PICK_NONE || sl_cost_less(cost, untried->best)) {
		untried->best = cost;
		untried->found = row;
	}
	return 1;
}

/* The cheapest untried replica among PICK_CHUNK slots from slot `start` (modulo the length) on. */
__noinline int pick_untried_of(const struct wish *wish, __u32 start)
{
	struct untried untried = {.found = PICK_NONE};
	struct search search = {};

	if (!search_init(&search, wish))
		return PICK_NONE;
	start %= search.length;
	for (__u32 i = 0; i < PICK_CHUNK && i < search.length; i++) {
		__s64 row = search_slot(&search, start, i);

		if (row < 0)
			break;
		pick_weigh(wish, &untried, row);
	}
	return untried.found;
}

/* The cheapest untried replica, or of many the cheapest in the first stretch that has one. */
__noinline int pick_untried(const struct wish *wish, __u32 length)
{
	__u32 start = bpf_get_prandom_u32();
	int row = PICK_NONE;

	for (__u32 i = 0; i < PICK_CHUNKS_MAX && i * PICK_CHUNK < length; i++) {
		row = pick_untried_of(wish, start + i * PICK_CHUNK);
		if (row != PICK_NONE)
			break;
	}
	return row;
}

/* ---- the passes ---------------------------------------------------------------------------------*/

/* PICK_EJECTED, or 0 where ejections mean nothing: the service has no outlier detection (it may share
 * a replica with one that has), or so few of its replicas are fit that all must serve. */
static __always_inline __u32 pick_ejected(const struct sl_service *service, __u32 service_row)
{
	struct sl_service_state *state;

	if (!eject_is_on(service))
		return 0;
	if (likely(!service->min_health_percent))
		return PICK_EJECTED;
	state = bpf_map_lookup_elem(&service_states, &service_row);
	return state && READ_ONCE(state->unhealthy) ? 0 : PICK_EJECTED;
}

static __always_inline int pick_pass(const struct wish *wish, __u32 length)
{
	int row;

	if (unlikely(wish->pending))
		return pick_untried(wish, length);
	row = pick_cheapest(wish);
	if (unlikely(row == PICK_NONE)) /* by draws, or none is fit */
		row = pick_any(wish, length);
	return row;
}

/* The same for those below their cap: PICK_FULL when only that keeps all from it. */
static __always_inline int pick_below_cap(struct wish *wish, __u32 unfit, __u32 length)
{
	int row;

	wish->unfit = unfit | PICK_AT_CAP;
	row = pick_pass(wish, length);
	if (likely(row != PICK_NONE))
		return row;
	wish->unfit = unfit;
	return pick_pass(wish, length) == PICK_NONE ? PICK_NONE : PICK_FULL;
}

/* Row of the replica that takes the next flow of a service, or PICK_*. Of the wish, `unfit` is
 * set here. */
static __always_inline int pick_replica(struct wish *wish)
{
	__u32 service_row = wish->service, length, ejected;
	struct sl_service *service = bpf_map_lookup_elem(&services, &service_row);
	int row;

	if (!service)
		return PICK_NONE;
	length = SL_MEMBERS_LENGTH(READ_ONCE(service->members));
	ejected = pick_ejected(service, service_row);
	row = pick_below_cap(wish, SL_REPLICA_UNFIT | ejected, length);
	if (likely(row != PICK_NONE))
		return row;
	if (wish->full) /* it will have room again: no reason for panic */
		return PICK_FULL;
	row = pick_below_cap(wish, (SL_REPLICA_UNFIT & ~SL_REPLICA_DRAINING) | ejected, length);
	if (row != PICK_NONE)
		return row;
	if (wish->choosy)
		return PICK_NONE;
	row = pick_below_cap(wish, SL_REPLICA_UNFIT & ~SL_REPLICA_DRAINING, length);
	if (row == PICK_NONE)
		row = pick_below_cap(wish, SL_REPLICA_NOT_SERVING | SL_REPLICA_NO_ROUTE, length);
	if (row >= 0 && !wish->pending && !wish->quiet) /* a retry has had the healthy ones already */
		count(SL_COUNT_PANIC_PICKS);
	return row;
}

#endif
