/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Opens a flow: a replica is picked, counted, given a source-NAT port where one is
 * needed, and the entry inserted; what fails is undone, and tried once more where
 * another replica might do. Called by from_client.h for a SYN or a first datagram.
 */
#ifndef SLUICE_BPF_OPEN_H
#define SLUICE_BPF_OPEN_H

#include "fast.h"
#include "flow.h"
#include "hairpin.h"
#include "insert.h"
#include "pick.h"

#define OPEN_TRIES 3 /* replicas: one port may be taken, or all */

static __always_inline bool half_open_is_full(void)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	/* Signed: a flow may end before the CPU that opened it has counted it. */
	return k && (__s32)READ_ONCE(k->half_open) >= (__s32)(flow_sets * SL_FLOW_WAYS / 2);
}

/* Puts the flow on the fast path, if it can take it. */
static __always_inline bool client_route_fast(struct sl_flow *body,
					      const struct sl_replica *replica, __u32 ifindex)
{
	enum sl_hook hook = fast_hook(replica, body->hook, ifindex);

	if (!hook)
		return false;
	body->hook = hook;
	body->ifindex_low = ifindex;
	body->ifindex_high = ifindex >> 16;
	return true;
}

/* Where replies will be translated, and with which source the flow leaves. */
static __always_inline bool client_route(struct sl_flow *body, const struct sl_replica *replica,
					 enum sl_hook hook, __u32 ifindex, bool at_home)
{
	body->hook = hook;
	body->snat_port = 0;
	if (hook != SL_HOOK_UPLINK || replica->config.flags & SL_REPLICA_LOCAL) {
		if (fast_path_new && hook != SL_HOOK_NODE)
			count(at_home && client_route_fast(body, replica, ifindex) ?
				      SL_COUNT_FAST_PATH : SL_COUNT_FAST_DECLINED);
		return true;
	}
	if (!replica->config.source)
		return false;
	body->hook = SL_HOOK_FABRIC;
	body->source = replica->config.source - 1;
	return true;
}

/* A flow to be opened: in: body (key, vip, isn, last_seen; for a flow that is to move to another
 * replica also its state, and pending), where its packet came in, whether nobody else serves it, whether
 * its client may take the fast path; out: where it went, or why it went nowhere. */
struct opening {
	struct sl_flow body;
	__u32 ifindex;
	__u8 hook;    /* enum sl_hook */
	__u8 replace; /* bool */
	__u16 reason; /* enum sl_drop_reason */
	__u32 slot;
	__u32 at_home; /* bool: fast_is_at_home() */
};

enum open_result {
	OPEN_OK,
	OPEN_EXISTS,  /* another CPU was first */
	OPEN_SPILLED, /* lies in the spill table */
	OPEN_NO_ROOM, /* the table's fault: somebody else may still serve it */
	OPEN_REFUSED,
};

/* Keeps a flow for which there is no room outside the table and outside every count. */
static __always_inline enum open_result client_spill(struct opening *o)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	if (!k || !o->replace || o->body.hook == SL_HOOK_FABRIC) /* that needs a slot to point to */
		return OPEN_NO_ROOM;
	o->body.state = SL_FLOW_GENERATION_ONE | SL_FLOW_SPILLED | SL_FLOW_SYN;
	if (bpf_map_update_elem(&spill, &o->body.key, &o->body, BPF_ANY))
		return OPEN_NO_ROOM;
	__sync_fetch_and_add(&k->spilled, 1);
	count(SL_COUNT_SPILLS);
	return OPEN_SPILLED;
}

/* Whether the flow comes from the waiting line: an offer like this one is no pick before it is
 * accepted (line_accepted()). */
static __always_inline bool client_is_offered(const struct sl_flow *body)
{
	struct sl_pending *p = body->pending ? pending_row(body->pending - 1) : NULL;

	return unlikely(p && p->ticket);
}

/* Books what a successful insert left to do: the flow it replaced, the counts of the new one. */
static __always_inline void client_book(struct sl_replica *replica, const struct insert *insert,
					const struct sl_flow *body)
{
	__u32 now = body->last_seen;

	if (insert->replaced)
		flow_uncount(insert->replaced, insert->replaced_replica);
	if (insert->replaced_snat.d)
		snat_release(&insert->replaced_snat, now);
	half_open_add(1);
	if (!client_is_offered(body))
		__sync_fetch_and_add(&replica->state.picks, 1);
}

/* Whether this client port leads to the replica already, through another service that shares it:
 * the replica could not tell the two apart. A global function: verified by itself. */
__noinline int client_is_taken(const struct sl_flow *body)
{
	struct sl_replica_services *shared;
	struct sl_flow_key key;
	struct flow_ref ref;
	__u32 row;

	if (!body)
		return 0;
	row = body->replica;
	shared = bpf_map_lookup_elem(&replica_services, &row);
	if (!shared || shared->n < 2)
		return 0;
	key = body->key;
	for (__u32 i = 0; i < SL_MAX_SHARED && i < shared->n; i++) {
		key.service = shared->service[i];
		if (key.service == body->key.service)
			continue;
		ref = table_find(&key, sl_hash_flow(&key, seed), SIDE_REPLICA, row);
		if (ref.flow && flow_bars(ref.flow))
			return 1;
	}
	return 0;
}

/* Reserves a source-NAT port for a flow that needs one. */
static __always_inline bool client_reserve(struct sl_flow *body)
{
	union sl_snat_key key = {};

	if (body->hook != SL_HOOK_FABRIC)
		return true;
	key.replica = body->replica;
	key.proto = body->key.proto;
	key.source = body->source;
	body->snat_port = snat_allocate(&key, body->last_seen);
	return body->snat_port;
}

static __always_inline void client_unreserve(struct sl_flow *body)
{
	union sl_snat_key key = flow_snat_key(body);

	snat_cancel(&key);
	body->snat_port = 0;
}

/* Whom the flow wants: nobody whom it has tried; at its last try, nobody who failed just now. */
static __always_inline int client_pick(const struct sl_flow *body, __u32 avoid, __u32 require)
{
	struct wish wish = {
		.service = body->key.service,
		.avoid = avoid,
		.require = require,
		.pending = body->pending,
		.now = body->last_seen,
	};
	struct sl_pending *p = body->pending ? pending_row(body->pending - 1) : NULL;

	wish.calm = p && p->n_tried == SL_TRIED_MAX - 1;
	wish.full = p && p->full;
	/* One that was asked may still answer: better than one that is out for good reason. */
	wish.choosy = p && SL_FLOW_PHASE(body->state) == SL_FLOW_SYN &&
		      !(body->state & SL_FLOW_REFUSED);
	if (p && p->n_tried >= SL_TRIED_MAX)
		return wish.full ? PICK_FULL : PICK_NONE;
	return pick_replica(&wish);
}

/* One attempt: picks, counts at the pick so that a burst of SYNs spreads, inserts. */
static __always_inline enum insert_result client_try(struct opening *o, __u32 avoid, __u32 require)
{
	struct sl_flow *body = &o->body;
	int row = client_pick(body, avoid, require);
	struct insert insert = {};
	struct sl_replica *replica;
	enum insert_result result;

	body->replica = row;
	/* A key on the stack: before 6.4 none may lie in a global function's argument. */
	replica = row < 0 ? NULL : bpf_map_lookup_elem(&replicas, &row);
	if (!avoid) /* else the first attempt's reason stands */
		o->reason = row == PICK_FULL ? SL_DROP_FULL : SL_DROP_NO_REPLICA;
	if (!replica)
		return INSERT_NOTHING;
	o->reason = SL_DROP_SNAT_NO_SOURCE;
	if (!client_route(body, replica, o->hook, o->ifindex, o->at_home))
		return INSERT_NO_SNAT;
	o->reason = SL_DROP_NO_WAY_BACK;
	if (!hairpin_allows(body, row))
		return INSERT_NO_SNAT;
	o->reason = SL_DROP_HALF_OPEN;
	if (!body->state && half_open_is_full()) /* a flow that moves is half-open already */
		return INSERT_FULL;
	o->reason = SL_DROP_COLLISION;
	if (client_is_taken(body))
		return INSERT_COLLISION;
	o->reason = SL_DROP_SNAT_EXHAUSTED;
	if (!client_reserve(body))
		return INSERT_NO_SNAT;
	o->reason = SL_DROP_COLLISION;
	__sync_fetch_and_add(&replica->state.inflight, 1);
	result = table_insert(body, &insert);
	if (result == INSERT_OK) {
		client_book(replica, &insert, body);
	} else {
		__sync_fetch_and_add(&replica->state.inflight, -1);
		if (flow_has_port(body))
			client_unreserve(body);
	}
	if (result == INSERT_FULL)
		o->reason = SL_DROP_TABLE_FULL;
	o->slot = insert.slot;
	return result;
}

/* Whether the flow in `slot` is still the one that holds the port, and lives. */
static __always_inline bool client_holds(const struct sl_flow *flow, const union sl_snat_key *key,
					 __u64 *ret_state)
{
	*ret_state = READ_ONCE(flow->state);
	return flow_snat_key(flow).d == key->d && (SL_FLOW_PHASE(*ret_state) == SL_FLOW_SYN ||
						   SL_FLOW_PHASE(*ret_state) == SL_FLOW_OPEN);
}

/* Makes the port of the flow just inserted known. Another CPU may have ended the flow, or begun
 * the next, since: whoever did found no port to give back. */
static __always_inline void client_publish(const struct opening *o)
{
	union sl_snat_key key = flow_snat_key(&o->body);
	struct sl_flow *flow = table_slot(o->slot);
	__u64 state, again;

	if (!flow || !client_holds(flow, &key, &state)) {
		snat_cancel(&key);
		return;
	}
	snat_publish(&key, o->slot, SL_FLOW_GENERATION(state), o->ifindex);
	if (!client_holds(flow, &key, &again) ||
	    SL_FLOW_GENERATION(again) != SL_FLOW_GENERATION(state))
		snat_release(&key, o->body.last_seen);
}

/* Opens a flow for a SYN, or for the first datagram of a conversation: enum open_result. A
 * global function: verified by itself. */
__noinline int client_open(struct opening *o)
{
	enum insert_result result = INSERT_NOTHING;
	__u32 avoid = 0;

	if (!o)
		return OPEN_REFUSED;
	for (int i = 0; i < OPEN_TRIES; i++) { /* the last time, one that needs no source NAT */
		result = client_try(o, avoid, i == OPEN_TRIES - 1 ? SL_REPLICA_LOCAL : 0);
		if (result != INSERT_COLLISION && result != INSERT_NO_SNAT)
			break;
		avoid = o->body.replica + 1;
	}
	switch (result) {
	case INSERT_OK:
		if (flow_has_port(&o->body))
			client_publish(o);
		return OPEN_OK;
	case INSERT_EXISTS:
		return OPEN_EXISTS;
	case INSERT_FULL:
		return OPEN_NO_ROOM;
	default:
		return OPEN_REFUSED;
	}
}

#endif
