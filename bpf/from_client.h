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

	return k && READ_ONCE(k->half_open) >= flow_sets * SL_FLOW_WAYS / 2;
}

/* Gives a flow that needs one its source-NAT port. */
static __always_inline bool client_snat(const struct flow_ref *ref, __u32 client_ifindex, __u32 now)
{
	union sl_snat_key key = {};
	__be16 port;

	key.replica = ref->flow->replica;
	key.proto = ref->flow->key.proto;
	key.source = ref->flow->source;
	port = snat_allocate(&key, ref->slot, SL_FLOW_GENERATION(ref->state), client_ifindex, now);
	WRITE_ONCE(ref->flow->snat_port, port);
	return port;
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

/* A flow opened, or why not. */
struct opened {
	struct flow_ref ref; /* .flow NULL: not opened */
	enum sl_drop_reason reason;
	bool no_room;        /* the table's fault: somebody else may still serve it */
};

/* Keeps a flow for which there is no room outside the table and outside every count. */
static __always_inline void client_spill(struct sl_flow *body, struct opened *ret)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	if (!k || body->hook == SL_HOOK_FABRIC) /* a source-NAT port needs a slot to point to */
		return;
	body->state = SL_FLOW_GENERATION_ONE | SL_FLOW_SPILLED | SL_FLOW_SYN;
	if (bpf_map_update_elem(&spill, &body->key, body, BPF_ANY))
		return;
	__sync_fetch_and_add(&k->spilled, 1);
	count(SL_COUNT_SPILLS);
	ret->ref.flow = bpf_map_lookup_elem(&spill, &body->key);
	ret->ref.state = body->state;
}

/* Books what a successful insert left to do: the flow it replaced, the counts of the new one. */
static __always_inline void client_book(struct sl_replica *replica, const struct insert *insert)
{
	if (insert->replaced)
		flow_uncount(insert->replaced, insert->replaced_replica);
	half_open_add(1);
	__sync_fetch_and_add(&replica->state.picks, 1);
	count(SL_COUNT_PICKS);
}

/* One attempt: picks, counts at the pick so that a burst of SYNs spreads, inserts. */
static __always_inline enum insert_result client_try(struct sl_flow *body, __u32 avoid,
						     __u32 ifindex, enum sl_hook hook,
						     struct opened *ret)
{
	int row = pick_replica(body->key.service, avoid);
	struct insert insert = {};
	struct sl_replica *replica;
	enum insert_result result;

	body->replica = row;
	replica = row < 0 ? NULL : bpf_map_lookup_elem(&replicas, &body->replica);
	if (!replica) {
		ret->reason = avoid ? SL_DROP_COLLISION : SL_DROP_NO_REPLICA;
		return INSERT_FULL;
	}
	if (!client_route(body, replica, hook)) {
		ret->reason = SL_DROP_SNAT_NO_SOURCE;
		return INSERT_FULL;
	}
	if (half_open_is_full()) {
		ret->reason = SL_DROP_HALF_OPEN;
		ret->no_room = true;
		return INSERT_FULL;
	}
	__sync_fetch_and_add(&replica->state.inflight, 1);
	result = table_insert(body, &insert);
	if (result == INSERT_OK)
		client_book(replica, &insert);
	else
		__sync_fetch_and_add(&replica->state.inflight, -1);
	ret->reason = result == INSERT_COLLISION ? SL_DROP_COLLISION : SL_DROP_TABLE_FULL;
	ret->no_room = result == INSERT_FULL;
	if (result != INSERT_OK && result != INSERT_EXISTS)
		return result;

	ret->ref.slot = insert.slot;
	ret->ref.flow = table_slot(insert.slot);
	if (!ret->ref.flow)
		return result;
	ret->ref.state = READ_ONCE(ret->ref.flow->state);
	if (result == INSERT_OK && body->hook == SL_HOOK_FABRIC &&
	    !client_snat(&ret->ref, ifindex, body->last_seen)) {
		flow_advance(insert.slot, ret->ref.state, 0, FLOW_OVER);
		ret->ref.flow = NULL;
		ret->reason = SL_DROP_SNAT_EXHAUSTED;
	}
	return result;
}

/* Opens a flow for a SYN, or for the first datagram of a conversation. */
static __always_inline struct opened client_open(struct __sk_buff *skb, const struct packet *pkt,
						 const struct sl_flow_key *key, __u32 vip,
						 bool replace, enum sl_hook hook, __u32 now)
{
	struct sl_flow body = {.key = *key, .vip = vip, .isn = pkt->seq, .last_seen = now};
	struct opened opened = {};
	__u32 avoid = 0;

	for (int i = 0; i < 2; i++) {
		if (client_try(&body, avoid, skb->ifindex, hook, &opened) != INSERT_COLLISION)
			break;
		avoid = body.replica + 1;
	}
	if (!opened.ref.flow && opened.no_room && replace)
		client_spill(&body, &opened);
	return opened;
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
		return ref->flow->isn != pkt->seq && now - ref->flow->last_seen > SILENT_S * hz;
	}
}

/* A packet to a VIP's address of which no port is known. */
static __always_inline int client_unreadable(const struct packet *pkt, enum parse_result result)
{
	if (!pkt->addressed || !is_vip_address(&pkt->dst))
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

static __always_inline int from_client(struct __sk_buff *skb, const struct packet *pkt,
				       enum parse_result result, enum sl_hook hook)
{
	struct sl_flow_key key = {};
	struct sl_service *service;
	struct flow_ref ref;
	struct sl_vip *vip;
	bool replace, opens;
	__u32 now, vip_row;
	__s64 found;
	__u64 hash;

	if (unlikely(result != PARSE_OK))
		return client_unreadable(pkt, result);
	found = vip_find(&pkt->dst, pkt->dport, pkt->proto);
	if (likely(found < 0))
		return NOT_OURS;
	vip_row = found;
	vip = bpf_map_lookup_elem(&vips, &vip_row);
	if (!vip)
		return NOT_OURS;
	key.client = pkt->src;
	key.port = pkt->sport;
	key.proto = pkt->proto;
	key.service = vip->service;
	hash = sl_hash_flow(&key, seed);
	now = bpf_jiffies64();
	ref = table_find(&key, hash, SIDE_CLIENT, vip_row);

	if (pkt->proto == IPPROTO_TCP)
		opens = (pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN &&
			(!ref.flow || client_reopens(&ref, pkt, now));
	else
		opens = !ref.flow || SL_FLOW_PHASE(ref.state) == SL_FLOW_DONE;
	if (unlikely(!ref.flow || opens)) {
		service = bpf_map_lookup_elem(&services, &vip->service);
		replace = service && service->flags & SL_SERVICE_REPLACE;
		if (!opens || vip->flags & SL_VIP_NO_NEW)
			return client_unknown(skb, pkt, replace);
		struct opened opened =
			client_open(skb, pkt, &key, vip_row, replace, hook, now);

		if (!opened.ref.flow && opened.no_room && !replace) {
			count(SL_COUNT_PASSED_FULL);
			return NEXT;
		}
		if (!opened.ref.flow)
			return opened.no_room ? drop(opened.reason) :
						refuse(skb, pkt, opened.reason);
		ref = opened.ref;
	}
	flow_track_client(&ref, pkt, now);
	return client_forward(skb, pkt, ref.flow, vip);
}

#endif
