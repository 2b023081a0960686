/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table, nothing else: sets of 8 entries of one cache line in an array
 * of our own. An entry may lie in one of two sets. Look-ups are here and take no
 * lock; inserts are in insert.h. What a flow's states mean is flow.h's business.
 *
 * Order of stores: state CLAIMED (next generation), body, state published. The
 * swaps are full barriers in the BPF memory model; a reader checks the state
 * before and after it looked. On arm64 its second look may come too early: then a
 * flow that is just being inserted passes for the finished one whose place it
 * takes, and its opener meets it under the lock.
 */
#ifndef SLUICE_BPF_TABLE_H
#define SLUICE_BPF_TABLE_H

#include <sluice/hash.h>

#include "config.h"
#include "maps.h"
#include "verifier.h"

/* Whose packet looks the flow up. */
enum table_side {
	SIDE_CLIENT,
	SIDE_REPLICA,
	SIDE_ANY, /* by the key alone */
};

/* A flow as found: the entry, and its state when it was seen whole. */
struct flow_ref {
	struct sl_flow *flow; /* NULL: none */
	__u64 state;
	__u32 slot;           /* set * SL_FLOW_WAYS + way; meaningless in the spill table */
};

static __always_inline __u32 flow_set_1(__u64 hash)
{
	return hash & (flow_sets - 1);
}

static __always_inline __u32 flow_set_2(__u64 hash)
{
	return hash >> 32 & (flow_sets - 1);
}

static __always_inline bool flow_key_equal(const struct sl_flow_key *a, const struct sl_flow_key *b)
{
	const __u64 *tail_a = (const __u64 *)&a->port, *tail_b = (const __u64 *)&b->port;

	return *tail_a == *tail_b && a->client.d[1] == b->client.d[1] &&
	       a->client.d[0] == b->client.d[0];
}

/* Way `i` of a search that starts at the key's home way: most flows lie there, and one line is read.
 * (Unknown to the verifier, so that it need not follow each way by itself.) */
static __always_inline __u32 flow_way(__u64 hash, __u32 i)
{
	__u32 way = (__u32)(hash >> 24) + i;

	opaque(way);
	return way & (SL_FLOW_WAYS - 1);
}

/* The byte by which an entry is known without a look at it. */
static __always_inline __u8 flow_tag(__u64 hash)
{
	return hash >> 56;
}

/* One of the two sets in which a key may lie. A tag may be stale (then a line is read in vain); that
 * of a published entry is never missing. */
struct flow_place {
	struct sl_flow_set *set;
	struct flow_tags *tags;
};

static __always_inline bool flow_place_init(struct flow_place *place, __u32 row)
{
	place->set = bpf_map_lookup_elem(&flows, &row);
	place->tags = bpf_map_lookup_elem(&flow_tags, &row);
	return place->set && place->tags;
}

static __always_inline void table_find_in(__u32 row, __u64 hash, const struct sl_flow_key *key,
					  enum table_side side, __u32 id, struct flow_ref *ret)
{
	struct flow_place place;

	if (!flow_place_init(&place, row))
		return;
	for (__u32 i = 0; i < SL_FLOW_WAYS; i++) {
		__u32 way = flow_way(hash, i);
		struct sl_flow *flow = &place.set->way[way];
		__u64 state;

		if (READ_ONCE(place.tags->way[way]) != flow_tag(hash))
			continue;
		state = READ_ONCE(flow->state);
		if (SL_FLOW_PHASE(state) < SL_FLOW_SYN)
			continue;
		flow = load_after(flow, state);
		if (!flow_key_equal(&flow->key, key) ||
		    (side != SIDE_ANY && (side == SIDE_CLIENT ? flow->vip : flow->replica) != id) ||
		    SL_FLOW_GENERATION(READ_ONCE(flow->state)) != SL_FLOW_GENERATION(state))
			continue;
		ret->flow = flow;
		ret->state = state;
		ret->slot = row * SL_FLOW_WAYS + way;
		return;
	}
}

/* The entry of a slot; NULL: no such slot. */
static __always_inline struct sl_flow *table_slot(__u32 slot)
{
	__u32 row = slot / SL_FLOW_WAYS;
	struct sl_flow_set *set = bpf_map_lookup_elem(&flows, &row);

	if (!set)
		return NULL;
	opaque(set); /* clang 14 would add the offset before the test, which the verifier forbids */
	return &set->way[slot & (SL_FLOW_WAYS - 1)];
}

static __always_inline void table_find_spilled(const struct sl_flow_key *key, enum table_side side,
					       __u32 id, struct flow_ref *ret)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);
	struct sl_flow *flow;

	if (likely(!k || !READ_ONCE(k->spilled)))
		return;
	flow = bpf_map_lookup_elem(&spill, key);
	if (!flow || (side != SIDE_ANY && (side == SIDE_CLIENT ? flow->vip : flow->replica) != id))
		return;
	ret->flow = flow;
	ret->state = READ_ONCE(flow->state);
}

/* The flow of `key` towards VIP `id` (SIDE_CLIENT) or on replica `id` (SIDE_REPLICA). */
static __always_inline struct flow_ref table_find(const struct sl_flow_key *key, __u64 hash,
						  enum table_side side, __u32 id)
{
	struct flow_ref ref = {};

	table_find_in(flow_set_1(hash), hash, key, side, id, &ref);
	if (likely(ref.flow))
		return ref;
	table_find_in(flow_set_2(hash), hash, key, side, id, &ref);
	if (!ref.flow)
		table_find_spilled(key, side, id, &ref);
	return ref;
}

/* Slot + 1 of what table_find_slow() finds; 0: none. A global function: verified by itself. */
__noinline int table_look_up(const struct sl_flow_key *key, __u32 side, __u32 id)
{
	struct flow_ref ref = {};
	__u64 hash;

	if (!key)
		return 0;
	hash = sl_hash_flow(key, seed);
	table_find_in(flow_set_1(hash), hash, key, side, id, &ref);
	if (!ref.flow)
		table_find_in(flow_set_2(hash), hash, key, side, id, &ref);
	return ref.flow ? ref.slot + 1 : 0;
}

/* As table_find(), for slow paths: by a call, so that the verifier follows the search once in all and
 * not in each of them; the spill table is left out. */
static __always_inline struct flow_ref table_find_slow(const struct sl_flow_key *key,
						       enum table_side side, __u32 id)
{
	__u32 found = table_look_up(key, side, id);
	struct flow_ref ref = {}, none = {};

	if (!found)
		return none;
	ref.slot = found - 1;
	ref.flow = table_slot(ref.slot);
	if (!ref.flow)
		return none;
	ref.state = READ_ONCE(ref.flow->state);
	ref.flow = load_after(ref.flow, ref.state);
	/* It may have become another one meanwhile. */
	if (SL_FLOW_PHASE(ref.state) < SL_FLOW_SYN || !flow_key_equal(&ref.flow->key, key) ||
	    (side != SIDE_ANY && (side == SIDE_CLIENT ? ref.flow->vip : ref.flow->replica) != id))
		return none;
	return ref;
}

/* Whether the flow holds a source-NAT port. */
static __always_inline bool flow_has_port(const struct sl_flow *flow)
{
	return flow->hook == SL_HOOK_FABRIC && flow->snat_port;
}

/* The source-NAT port that a flow holds; .d 0: none. */
static __always_inline union sl_snat_key flow_snat_key(const struct sl_flow *flow)
{
	union sl_snat_key key = {};

	if (!flow_has_port(flow))
		return key;
	key.replica = flow->replica;
	key.port = flow->snat_port;
	key.proto = flow->key.proto;
	key.source = flow->source;
	return key;
}

#define FLOW_ANY_RST (SL_FLOW_CLIENT_RST | SL_FLOW_REPLICA_RST)

/* Jiffies since the flow's last packet; below 0 when that came after `now` was read. */
static __always_inline __s32 flow_age(const struct sl_flow *flow, __u32 now)
{
	return now - flow->last_seen;
}

/* Whether a flow of another VIP keeps its client's port from being used towards its replica again,
 * which could not tell the two apart. A finished one does not: it gives way at once. */
static __always_inline bool flow_bars(struct sl_flow *flow)
{
	__u64 state = READ_ONCE(flow->state);

	return SL_FLOW_PHASE(state) != SL_FLOW_DONE ||
	       __sync_val_compare_and_swap(&flow->state, state, state & ~0xffffffffull) != state;
}

#endif
