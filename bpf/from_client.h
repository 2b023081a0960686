/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * VIP -> replica: what happens to a packet on its way from a client, top to
 * bottom. Called at the ingress of pod interfaces and of the uplink.
 */
#ifndef SLUICE_BPF_FROM_CLIENT_H
#define SLUICE_BPF_FROM_CLIENT_H

#include "flow.h"
#include "lookup.h"
#include "pick.h"
#include "refuse.h"
#include "rewrite.h"

/* Sends it on with the replica as destination; through the node's own stack, or, with source
 * NAT, straight to the neighbour: the stack would take our own source address for a martian. */
static __always_inline int client_forward(struct __sk_buff *skb, const struct packet *pkt,
					  const struct sl_flow *flow, const struct sl_vip *vip)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &flow->replica);
	struct new_end src, dst;
	struct sl_source *source;
	__u32 row = flow->source;

	if (!replica)
		return drop(SL_DROP_NO_REPLICA);
	dst.addr = &replica->config.addr;
	dst.sum_old = vip->addr_sum;
	dst.sum_new = replica->config.addr_sum;
	dst.port = replica->config.port;
	if (likely(flow->hook != SL_HOOK_FABRIC))
		return rewrite(skb, pkt, NULL, &dst) ? drop(SL_DROP_CHECKSUM) : NEXT;

	source = bpf_map_lookup_elem(&sources, &row);
	if (!source || !flow->snat_port || !replica->config.out_ifindex)
		return drop(SL_DROP_SNAT_NO_SOURCE);
	src.addr = &source->addr;
	src.sum_old = sl_addr_sum(&pkt->src);
	src.sum_new = source->addr_sum;
	src.port = flow->snat_port;
	if (rewrite(skb, pkt, &src, &dst))
		return drop(SL_DROP_CHECKSUM);
	return bpf_redirect_neigh(replica->config.out_ifindex, NULL, 0, 0);
}

static __always_inline bool half_open_is_full(void)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	/* Signed: a flow may end before the CPU that opened it has counted it. */
	return k && (__s32)READ_ONCE(k->half_open) >= (__s32)(flow_sets * SL_FLOW_WAYS / 2);
}

/* Where replies will be translated, and with which source the flow leaves. */
static __always_inline bool client_route(struct sl_flow *body, const struct sl_replica *replica,
					 enum sl_hook hook)
{
	body->hook = hook;
	if (hook == SL_HOOK_POD || replica->config.flags & SL_REPLICA_LOCAL)
		return true;
	if (!replica->config.source)
		return false;
	body->hook = SL_HOOK_FABRIC;
	body->source = replica->config.source - 1;
	return true;
}

/* A flow to be opened: in: body (key, vip, isn, last_seen), where its packet came in, whether
 * nobody else serves it; out: where it went, or why it went nowhere. */
struct opening {
	struct sl_flow body;
	__u32 ifindex;
	__u8 hook;    /* enum sl_hook */
	__u8 replace; /* bool */
	__u16 reason; /* enum sl_drop_reason */
	__u32 slot;
};

enum open_result {
	OPEN_OK,
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

/* Books what a successful insert left to do: the flow it replaced, the counts of the new one. */
static __always_inline void client_book(struct sl_replica *replica, const struct insert *insert,
					__u32 now)
{
	if (insert->replaced)
		flow_uncount(insert->replaced, insert->replaced_replica);
	if (insert->replaced_snat.d)
		snat_release(&insert->replaced_snat, now);
	half_open_add(1);
	__sync_fetch_and_add(&replica->state.picks, 1);
	count(SL_COUNT_PICKS);
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

	body->snat_port = 0;
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

/* One attempt: picks, counts at the pick so that a burst of SYNs spreads, inserts. */
static __always_inline enum insert_result client_try(struct opening *o, __u32 avoid, __u32 require)
{
	struct sl_flow *body = &o->body;
	int row = pick_replica(body->key.service, avoid, require);
	struct insert insert = {};
	struct sl_replica *replica;
	enum insert_result result;

	body->replica = row;
	/* A key on the stack: before 6.4 none may lie in a global function's argument. */
	replica = row < 0 ? NULL : bpf_map_lookup_elem(&replicas, &row);
	if (!avoid) /* else the first attempt's reason stands */
		o->reason = SL_DROP_NO_REPLICA;
	if (!replica)
		return INSERT_NOTHING;
	o->reason = SL_DROP_SNAT_NO_SOURCE;
	if (!client_route(body, replica, o->hook))
		return INSERT_NO_SNAT;
	o->reason = SL_DROP_HALF_OPEN;
	if (half_open_is_full())
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
		client_book(replica, &insert, body->last_seen);
	} else {
		__sync_fetch_and_add(&replica->state.inflight, -1);
		if (body->snat_port)
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
	enum insert_result result;

	if (!o)
		return OPEN_REFUSED;
	result = client_try(o, 0, 0);
	if (result == INSERT_COLLISION)
		result = client_try(o, o->body.replica + 1, 0);
	else if (result == INSERT_NO_SNAT) /* one that needs none */
		result = client_try(o, o->body.replica + 1, SL_REPLICA_LOCAL);
	switch (result) {
	case INSERT_OK:
		if (o->body.snat_port)
			client_publish(o);
		return OPEN_OK;
	case INSERT_EXISTS:
		return OPEN_OK;
	case INSERT_FULL:
		return OPEN_NO_ROOM;
	default:
		return OPEN_REFUSED;
	}
}

/* Whether nobody is behind a flow any more: its replica was taken out for good reason. */
static __always_inline bool client_is_orphan(const struct sl_flow *flow)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &flow->replica);

	return !replica ||
	       replica->config.flags & (SL_REPLICA_NOT_SERVING | SL_REPLICA_PROBE_DOWN);
}

/* Whether a SYN begins something new although a flow of its client and VIP is there. */
static __always_inline bool client_reopens(const struct flow_ref *ref, const struct packet *pkt,
					   __u32 now)
{
	switch (SL_FLOW_PHASE(ref->state)) {
	case SL_FLOW_DONE:
		return true;
	case SL_FLOW_SYN:
		return ref->flow->isn != pkt->seq;
	default: /* the replica's own stack answers a stray SYN, unless nobody is there any more */
		return ref->flow->isn != pkt->seq &&
		       (flow_age(ref->flow, now) > (__s32)(SILENT_S * hz) ||
			client_is_orphan(ref->flow));
	}
}

/* A conversation that nobody answers, whose replica is gone, goes to another one; it ends here, for
 * datagrams have no sequence number by which the table could tell the new one from the old. */
static __always_inline bool client_datagram_opens(const struct flow_ref *ref, __u32 now)
{
	if (!ref->flow || SL_FLOW_PHASE(ref->state) == SL_FLOW_DONE)
		return true;
	if (likely((__s32)(now - ref->flow->request) <= (__s32)(UDP_ORPHAN_S * hz)) ||
	    !client_is_orphan(ref->flow))
		return false;
	flow_ref_advance(ref, 0, FLOW_OVER);
	return true;
}

/* A packet to a VIP's address of which no port is known. */
static __always_inline int client_unreadable(const struct packet *pkt, enum parse_result result)
{
	if (result == PARSE_FOREIGN || !pkt->addressed || !is_vip_address(&pkt->dst))
		return NOT_OURS;
	return drop(result == PARSE_FRAGMENT ? SL_DROP_FRAGMENT : SL_DROP_TRUNCATED);
}

/* No flow, and no right to open one. */
static __always_inline int client_unknown(struct __sk_buff *skb, const struct packet *pkt,
					  bool replace)
{
	if (replace)
		return refuse(skb, pkt, SL_DROP_UNKNOWN_FLOW);
	count(SL_COUNT_PASSED_MIDFLOW);
	return NEXT;
}

/* A packet that has no flow, or is to begin another one: NEXT and *ref, or what is to become of it.
 * Of *o, only the key is filled in. */
static __always_inline int client_begin(struct __sk_buff *skb, const struct packet *pkt,
					struct opening *o, const struct sl_vip *vip,
					__u32 vip_row, enum sl_hook hook, bool opens, __u32 now,
					struct flow_ref *ref)
{
	__u32 row = vip->service;
	struct sl_service *service = bpf_map_lookup_elem(&services, &row);
	enum open_result result;

	__builtin_memset(&o->body.state, 0, sizeof(*o) - offsetof(struct opening, body.state));
	o->body.vip = vip_row;
	o->body.isn = pkt->seq;
	o->body.last_seen = now;
	o->body.request = pkt->proto == IPPROTO_UDP ? now : 0;
	o->ifindex = skb->ifindex;
	o->hook = hook;
	o->replace = service && service->flags & SL_SERVICE_REPLACE;
	if (!opens || vip->flags & SL_VIP_NO_NEW)
		return client_unknown(skb, pkt, o->replace);
	result = client_open(o);
	if (result == OPEN_NO_ROOM) /* here, not in there: keys of maps must lie on the stack before 6.4 */
		result = client_spill(o);
	switch (result) {
	case OPEN_OK:
		ref->slot = o->slot;
		ref->flow = table_slot(o->slot);
		break;
	case OPEN_SPILLED:
		ref->flow = bpf_map_lookup_elem(&spill, &o->body.key);
		break;
	case OPEN_NO_ROOM:
		if (o->replace)
			return drop(o->reason);
		count(SL_COUNT_PASSED_FULL);
		return NEXT;
	default:
		return refuse(skb, pkt, o->reason);
	}
	if (!ref->flow)
		return drop(SL_DROP_TABLE_FULL);
	ref->state = READ_ONCE(ref->flow->state);
	return NEXT;
}

static __always_inline bool client_opens(const struct packet *pkt, const struct flow_ref *ref,
					 __u32 now)
{
	if (pkt->proto == IPPROTO_UDP)
		return client_datagram_opens(ref, now);
	return (pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN &&
	       (!ref->flow || client_reopens(ref, pkt, now));
}

static __always_inline int from_client(struct __sk_buff *skb, const struct packet *pkt,
				       enum parse_result result, enum sl_hook hook)
{
	struct opening o;
	struct sl_flow_key *key = &o.body.key; /* in place: the stack of 512 bytes is nearly full */
	struct flow_ref ref;
	struct sl_vip *vip;
	__u32 now, vip_row;
	__s64 found;
	bool opens;
	int verdict;

	if (unlikely(result != PARSE_OK))
		return client_unreadable(pkt, result);
	found = vip_find(&pkt->dst, pkt->dport, pkt->proto);
	if (likely(found < 0))
		return NOT_OURS;
	vip_row = found;
	vip = bpf_map_lookup_elem(&vips, &vip_row);
	if (!vip)
		return NOT_OURS;
	key->flags = 0;
	key->client = pkt->src;
	key->port = pkt->sport;
	key->proto = pkt->proto;
	key->service = vip->service;
	now = bpf_jiffies64();
	ref = table_find(key, sl_hash_flow(key, seed), SIDE_CLIENT, vip_row);
	opens = client_opens(pkt, &ref, now);
	if (unlikely(!ref.flow || opens)) {
		ref.flow = NULL;
		verdict = client_begin(skb, pkt, &o, vip, vip_row, hook, opens, now, &ref);
		if (!ref.flow || verdict != NEXT)
			return verdict;
	}
	flow_track_client(&ref, pkt, now);
	return client_forward(skb, pkt, ref.flow, vip);
}

#endif
