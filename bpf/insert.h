/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Inserts into the flow table: under the spin lock of the key's first set, so that
 * no key is inserted twice, into a slot claimed by compare-and-swap on its state,
 * since another key's inserter may want the same one. Called by open.h, park.h and
 * owner.h.
 */
#ifndef SLUICE_BPF_INSERT_H
#define SLUICE_BPF_INSERT_H

#include "table.h"

#define INSERT_TRIES 4

enum insert_result {
	INSERT_OK,
	INSERT_EXISTS,    /* another CPU was first: `slot` is its flow */
	INSERT_COLLISION, /* this client port already leads to that replica, through another VIP */
	INSERT_FULL,
	INSERT_RACED,     /* the entry to replace changes just now; table_insert() tries again */
	INSERT_NO_SNAT,   /* this replica cannot be reached by source NAT, a local one might do */
	INSERT_NOTHING,   /* there was nothing to insert */
};

/* What an insert did. */
struct insert {
	__u32 slot;             /* of the flow, for INSERT_OK and INSERT_EXISTS */
	__u32 replaced_replica; /* whose in-flight count the replaced flow still holds */
	__u64 replaced;         /* state of the flow that it ended in place; 0: none */
	union sl_snat_key replaced_snat; /* the source-NAT port that flow still holds; 0: none */
};

/* What a new flow may take the slot of, free ones apart. Each kind includes the ones before. */
enum insert_need {
	NEED_LITTLE, /* of a finished flow that nothing will miss any more */
	NEED_MORE,   /* also of one that an RST ended, although both ends may go on */
	NEED_BADLY,  /* also of one that closed a second ago, and of which no replica owes an answer */
	NEEDS
};

static __always_inline bool flow_gives_way(const struct sl_flow *flow, __u64 state, __u32 now,
					   enum insert_need need)
{
	bool reset = state & FLOW_ANY_RST;

	if (SL_FLOW_PHASE(state) != SL_FLOW_DONE)
		return SL_FLOW_PHASE(state) == SL_FLOW_FREE;
	if (flow_age(flow, now) > (__s32)(LINGER_S * hz))
		return need >= NEED_MORE || !reset;
	return need == NEED_BADLY && !reset && !READ_ONCE(flow->pending) &&
	       flow_age(flow, now) > (__s32)(LINGER_LEAST_S * hz);
}

/* The state in which a flow begins: one without a replica waits for one. */
static __always_inline __u64 table_first_state(const struct sl_flow *body)
{
	return (body->replica == SL_NO_REPLICA ? SL_FLOW_PARKED : SL_FLOW_SYN) |
	       (body->key.flags & SL_FLOW_OWNED ? SL_FLOW_PLACE : 0) |
	       (body->flags & SL_FLOW_SNIFF);
}

/* Takes the slot for `body`, which becomes its next generation. Under the lock of the key's first set. */
static __always_inline bool flow_claim(const struct flow_place *place, __u32 way, __u64 hash,
				       __u64 old, const struct sl_flow *body)
{
	struct sl_flow *flow = &place->set->way[way & (SL_FLOW_WAYS - 1)];
	__u64 next = (old & ~0xffffffffull) + SL_FLOW_GENERATION_ONE;

	if (__sync_val_compare_and_swap(&flow->state, old, next | SL_FLOW_CLAIMED) != old)
		return false;
	WRITE_ONCE(place->tags->way[way & (SL_FLOW_WAYS - 1)], flow_tag(hash));
	flow->key = body->key;
	flow->replica = body->replica;
	flow->vip = body->vip;
	flow->isn = body->isn;
	flow->last_seen = body->last_seen;
	flow->request = body->request;
	flow->snat_port = body->snat_port;
	flow->hook = body->hook;
	flow->source = body->source;
	flow->pending = body->pending;
	__sync_lock_test_and_set(&flow->state, next | table_first_state(body));
	return true;
}

#define WAY_NONE (-1)
#define WAY_CLAIMED (-2) /* by who moves that flow to another replica, without the lock: late.h */

/* Looks for the key in one set: the same flow (its way, or WAY_*), or one that bars the replica. */
static __always_inline int table_conflict(const struct flow_place *place, __u64 hash,
					  const struct sl_flow *body, bool *collides)
{
	int same = WAY_NONE;

	for (__u32 i = 0; i < SL_FLOW_WAYS; i++) {
		__u32 way = flow_way(hash, i);
		struct sl_flow *flow = &place->set->way[way];

		__u32 phase = SL_FLOW_PHASE(READ_ONCE(flow->state));

		if (READ_ONCE(place->tags->way[way]) != flow_tag(hash) || phase == SL_FLOW_FREE ||
		    !flow_key_equal(&flow->key, &body->key))
			continue;
		if (phase == SL_FLOW_CLAIMED)
			return WAY_CLAIMED;
		if (flow->vip == body->vip)
			same = way;
		else if (flow->replica == body->replica && body->replica != SL_NO_REPLICA &&
			 flow_bars(flow))
			*collides = true;
	}
	return same;
}

/* Claims a free slot of one set, from the key's home way on. The way, or -1. */
static __always_inline int table_claim(const struct flow_place *place, __u64 hash,
				       const struct sl_flow *body, enum insert_need need)
{
	for (__u32 i = 0; i < SL_FLOW_WAYS; i++) {
		__u32 way = flow_way(hash, i);
		struct sl_flow *flow = &place->set->way[way];
		__u64 state = READ_ONCE(flow->state);

		if (flow_gives_way(flow, state, body->last_seen, need) &&
		    flow_claim(place, way, hash, state, body))
			return way;
	}
	return -1;
}

/* A flow of the same client and VIP is there: this very one, opened by another CPU (same
 * initial sequence number; UDP: any), unless it is to move to another replica (body->state: the
 * state in which it was found); or one that the new SYN ends. Both are replaced in place. A parked one
 * is so by its own offer alone: another SYN's has to take it out of its line first (park_end()). */
static __always_inline enum insert_result table_replace(const struct flow_place *place, int way,
							__u64 hash, const struct sl_flow *body,
							bool collides, struct insert *ret)
{
	struct sl_flow *same = &place->set->way[way & (SL_FLOW_WAYS - 1)];
	__u64 state = READ_ONCE(same->state);

	if (SL_FLOW_PHASE(state) == SL_FLOW_CLAIMED || !flow_key_equal(&same->key, &body->key))
		return INSERT_RACED;
	if (SL_FLOW_PHASE(state) != SL_FLOW_DONE && !(body->state && state == body->state) &&
	    (same->isn == body->isn || SL_FLOW_PHASE(state) == SL_FLOW_PARKED))
		return INSERT_EXISTS;
	if (collides)
		return INSERT_COLLISION;
	ret->replaced_replica = same->replica;
	ret->replaced_snat = flow_snat_key(same);
	if (!flow_claim(place, way, hash, state, body)) {
		ret->replaced_snat.d = 0;
		return INSERT_RACED;
	}
	ret->replaced = state;
	return INSERT_OK;
}

/* One attempt of table_insert(); -1 for a NULL. A global function: verified by itself. */
__noinline int table_try_insert(const struct sl_flow *body, struct insert *ret)
{
	__u64 hash = body ? sl_hash_flow(&body->key, seed) : 0;
	__u32 row_1 = flow_set_1(hash), row_2 = flow_set_2(hash), row = row_1;
	struct flow_lock *lock = bpf_map_lookup_elem(&flow_locks, &row_1);
	enum insert_result result = INSERT_FULL;
	struct flow_place first, second;
	bool collides = false;
	int way, way_2;

	if (!body || !ret || !lock || !flow_place_init(&first, row_1) ||
	    !flow_place_init(&second, row_2))
		return -1;
	bpf_spin_lock(&lock->lock);
	way = table_conflict(&first, hash, body, &collides);
	way_2 = table_conflict(&second, hash, body, &collides);
	if (way == WAY_CLAIMED || way_2 == WAY_CLAIMED) {
		result = INSERT_RACED;
	} else if (way >= 0) {
		result = table_replace(&first, way, hash, body, collides, ret);
	} else if (way_2 >= 0) {
		row = row_2;
		way = way_2;
		result = table_replace(&second, way, hash, body, collides, ret);
	} else if (collides) {
		result = INSERT_COLLISION;
	} else {
		for (__u32 need = NEED_LITTLE; way < 0 && need < NEEDS; need++) {
			row = row_1;
			way = table_claim(&first, hash, body, need);
			if (way >= 0)
				break;
			row = row_2;
			way = table_claim(&second, hash, body, need);
		}
		if (way >= 0)
			result = INSERT_OK;
	}
	bpf_spin_unlock(&lock->lock);
	ret->slot = row * SL_FLOW_WAYS + (way & (SL_FLOW_WAYS - 1));
	return result;
}

/* Inserts `body`, its state SYN or PARKED in a new generation, and SL_FLOW_SNIFF if body->flags have it. While the
 * last packets of the flow that it replaces are under way on another CPU, that entry may change under it. */
static __always_inline enum insert_result table_insert(const struct sl_flow *body, struct insert *ret)
{
	enum insert_result result = INSERT_RACED;

	for (int i = 0; result == INSERT_RACED && i < INSERT_TRIES; i++)
		result = table_try_insert(body, ret);
	return result == INSERT_RACED ? INSERT_FULL : result;
}

#endif
