/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * VIP -> replica: what happens to a packet on its way from a client, top to
 * bottom. Called at the ingress of pod interfaces and of the uplink, and at the
 * egress of SL_NODE_DEVICE.
 */
#ifndef SLUICE_BPF_FROM_CLIENT_H
#define SLUICE_BPF_FROM_CLIENT_H

#include "event.h"
#include "fragment.h"
#include "hairpin.h"
#include "icmp.h"
#include "lookup.h"
#include "mtu.h"
#include "open.h"
#include "park.h"
#include "refuse.h"
#include "reset.h"
#include "rewrite.h"

/* The node's own client has a replica in the node's own network: it comes back in as the VIP's. */
static __always_inline int client_forward_hairpin(struct __sk_buff *skb, const struct packet *pkt,
						  const struct sl_vip *vip,
						  const struct new_end *dst)
{
	struct new_end src = {.addr = &vip->addr, .port = pkt->sport};

	src.sum_old = sl_addr_sum(&pkt->src);
	src.sum_new = vip->addr_sum;
	if (rewrite(skb, pkt, &src, dst))
		return drop(SL_DROP_CHECKSUM);
	return bpf_redirect(node_ifindex, BPF_F_INGRESS);
}

/* Sends it on with the replica as destination; through the node's own stack, past it, or, with an
 * address of ours as its source, straight to the neighbour: the stack would take that for a martian. */
static __always_inline int client_forward(struct __sk_buff *skb, const struct packet *pkt,
					  const struct sl_flow *flow, const struct sl_vip *vip)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &flow->replica);
	struct new_end src, dst;
	struct sl_source *source;
	__u32 row = flow->source;
	__u32 mtu;

	if (!replica)
		return drop(SL_DROP_NO_REPLICA);
	dst.addr = &replica->config.addr;
	dst.sum_old = vip->addr_sum;
	dst.sum_new = replica->config.addr_sum;
	dst.port = replica->config.port;
	if (likely(flow->hook == SL_HOOK_POD || flow->hook == SL_HOOK_UPLINK))
		return rewrite(skb, pkt, NULL, &dst) ? drop(SL_DROP_CHECKSUM) : NEXT;
	if (hook_is_fast(flow->hook) && replica->config.flags & SL_REPLICA_LOCAL)
		return rewrite(skb, pkt, NULL, &dst) ? drop(SL_DROP_CHECKSUM) :
						       fast_to_replica(skb, replica);
	if (mtu_matters(skb, pkt)) { /* nobody else looks from here on */
		mtu = mtu_exceeded(skb, pkt, replica->config.out_ifindex);
		if (unlikely(mtu))
			return mtu_answer(skb, pkt, mtu);
	}
	if (flow->hook == SL_HOOK_NODE && unlikely(addr_equal(&pkt->src, dst.addr)))
		return client_forward_hairpin(skb, pkt, vip, &dst);
	if (flow->hook >= SL_HOOK_NODE)
		return rewrite(skb, pkt, NULL, &dst) ? drop(SL_DROP_CHECKSUM) :
						       fast_by_neighbour(replica);

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
		       (ref->state & SL_FLOW_RESET ||
			flow_age(ref->flow, now) > (__s32)(SILENT_S * hz) ||
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

/* A packet to a VIP's address of which no port is known: an ICMP error says it in what it quotes. */
static __always_inline int client_unreadable(struct __sk_buff *skb, const struct packet *pkt,
					     enum parse_result result)
{
	int found;

	if ((result == PARSE_FOREIGN && likely(!packet_is_icmp(pkt))) || !pkt->addressed ||
	    !is_vip_address(&pkt->dst))
		return NOT_OURS;
	if (result == PARSE_FOREIGN) {
		found = icmp_find_reply(skb, pkt);
		return found > 0 ? icmp_to_replica(skb, pkt, found - 1) : NOT_OURS;
	}
	if (is_local_address(&pkt->dst)) /* a VIP for its node ports alone: tunnels have fragments too */
		return NOT_OURS;
	return result == PARSE_FRAGMENT ? fragment_to_vip(skb, pkt) : drop(SL_DROP_TRUNCATED);
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

/* Its client begins anew from the same port, and not with us: what is left of the flow must not translate
 * packets of the new connection, which is kube-proxy's. A global function: verified by itself. */
__noinline int client_forget(__u32 slot, __u64 state)
{
	struct sl_flow *flow = table_slot(slot);

	if (!flow)
		return 0;
	if (SL_FLOW_PHASE(state) != SL_FLOW_DONE)
		flow_advance(slot, state, 0, FLOW_OVER);
	return !flow_bars(flow);
}

/* What a packet is to a flow, or to none. */
enum client_wish {
	CLIENT_GOES_ON,
	CLIENT_OPENS,
	CLIENT_MOVES, /* its replica refused, or did not answer in time, or it is parked: to another one */
	CLIENT_WAITS, /* it is parked */
};

/* The flow is offered to a replica for the first time: its SYN is kept, to be offered again. */
static __always_inline void client_keep_syn(struct __sk_buff *skb, const struct packet *pkt,
					    const struct flow_ref *ref, bool at_home)
{
	count(SL_COUNT_PICKS);
	if (pkt->proto != IPPROTO_TCP || ref->state & SL_FLOW_SPILLED)
		return;
	if (unlikely(pkt->l4_length != pkt->l4_header))
		flow_advance(ref->slot, ref->state, SL_FLOW_SYN_DATA, 0);
	else
		pending_open(skb, pkt, ref->slot, SL_FLOW_GENERATION(ref->state), at_home);
}

/* Says that a replica's connects go elsewhere: an event a second and service, and how many there were
 * since the last one. */
static __always_inline void client_say_moved(struct sl_service_state *state,
					     const struct sl_pending *p, __u32 service, __u32 from)
{
	int i = p ? pending_index(p, from) : -1;
	bool silent = i >= 0 && p->waiting & 1u << (i & (SL_TRIED_MAX - 1));
	bool full = i >= 0 && p->full & 1u << (i & (SL_TRIED_MAX - 1));

	__sync_fetch_and_add(&state->retries_unsaid, 1);
	if (event_is_due(&state->retried_at, hz))
		event_add(SL_EVENT_RETRY, service, from,
			  __sync_lock_test_and_set(&state->retries_unsaid, 0),
			  silent ? EVENT_TEXT_UNANSWERED :
			  full ? EVENT_TEXT_FULL : EVENT_TEXT_REFUSED);
}

static __always_inline void client_book_moved(struct sl_service_state *state,
					      const struct sl_pending *p, __u32 service, __u32 from)
{
	struct sl_replica *left = bpf_map_lookup_elem(&replicas, &from);

	count(SL_COUNT_RETRIES);
	if (left)
		__sync_fetch_and_add(&left->state.retries, 1);
	if (!state)
		return;
	__sync_fetch_and_add(&state->retries, 1);
	client_say_moved(state, p, service, from);
}

/* The flow in `slot`, in a new generation, has been moved from replica `from` to the one it has now. A
 * global function: the stack of those who call has no room for what it calls. */
__noinline int client_moved(__u32 slot, __u32 generation, __u32 from, __u32 now)
{
	struct sl_flow *flow = table_slot(slot);
	struct sl_service_state *state;
	struct sl_service *service;
	struct sl_replica *replica;
	__u32 service_row, row, old_ref;
	struct sl_pending *p;

	if (!flow)
		return 0;
	row = flow->replica;
	service_row = flow->key.service;
	p = flow->pending ? pending_row(flow->pending - 1) : NULL;
	replica = bpf_map_lookup_elem(&replicas, &row);
	service = bpf_map_lookup_elem(&services, &service_row);
	state = bpf_map_lookup_elem(&service_states, &service_row);
	if (!p || !p->ticket) /* else an offer of the waiting line's, which goes round as it must */
		client_book_moved(state, p, service_row, from);
	if (!p || !replica || !service || p->slot != slot)
		return 0;
	p->generation = generation;
	old_ref = p->deadline;
	pending_offer(p, service, replica, row, now);
	if (from == SL_NO_REPLICA)
		park_offered(p, flow->pending, old_ref);
	return 1;
}

/* There is no other replica to move to. As long as any that was asked may still answer, the flow stays;
 * silence goes to the same one again. After a refusal by all the client is told, or waits. */
static __always_inline int client_stays(struct __sk_buff *skb, const struct packet *pkt,
					const struct flow_ref *ref, const struct opening *o)
{
	struct sl_pending *p = pending_of(ref);
	bool hopes = p && READ_ONCE(p->waiting) & SL_PENDING_TRIED;
	bool refused = ref->state & SL_FLOW_REFUSED;

	if (SL_FLOW_PHASE(ref->state) == SL_FLOW_PARKED) {
		park_keep(ref->slot, ref->state, o->body.pending);
		return drop(SL_DROP_PARKED);
	}
	if (!hopes && o->reason == SL_DROP_FULL && park_again(ref->slot, ref->state))
		return drop(SL_DROP_PARKED);
	if (hopes || !refused) {
		if (p)
			__sync_fetch_and_or(&p->waiting, SL_PENDING_REPEATED);
		__sync_val_compare_and_swap(&ref->flow->state, ref->state,
					    ref->state & ~(SL_FLOW_RETRY | SL_FLOW_REFUSED));
		return refused ? drop(SL_DROP_AWAITS_OTHERS) : NEXT;
	}
	/* Another CPU deals with another copy of this SYN, the client's own retransmit, say. */
	if (READ_ONCE(ref->flow->state) != ref->state)
		return drop(SL_DROP_AWAITS_OTHERS);
	park_refused(ref->slot, ref->state);
	flow_ref_advance(ref, 0, FLOW_OVER);
	return refuse(skb, pkt, o->reason);
}

/* A new flow found no replica: it waits, if its service wants that, or is refused. */
static __always_inline int client_park(struct __sk_buff *skb, const struct packet *pkt,
				       struct opening *o)
{
	enum open_result result = OPEN_REFUSED;
	struct sl_flow *flow;
	__u64 state;

	if (pkt->l4_length == pkt->l4_header) /* one with data cannot be sent again */
		result = park_open(o);
	if (result == OPEN_EXISTS)
		return drop(SL_DROP_PARKED);
	if (result != OPEN_OK)
		return refuse(skb, pkt, o->reason);
	flow = table_slot(o->slot);
	state = flow ? READ_ONCE(flow->state) : 0;
	if (pending_open(skb, pkt, o->slot, SL_FLOW_GENERATION(state), o->at_home))
		return drop(SL_DROP_PARKED);
	park_end(o->slot, state, false); /* the line is full by now, or there is no row for it */
	return refuse(skb, pkt, o->reason);
}

/* Whether those who wait already are before it: then it is as if no replica had room. */
static __always_inline bool client_queues(struct opening *o, const struct sl_service *service,
					  enum client_wish wish)
{
	if (likely(!service || wish != CLIENT_OPENS ||
		   !park_queues(service, o->body.key.service)))
		return false;
	o->reason = service->flags & SL_SERVICE_WAIT_FULL ? SL_DROP_FULL : SL_DROP_NO_REPLICA;
	return true;
}

/* Fills in the rest of *o, whose key is there. Returns the replica that a flow which moves has now, else
 * 0. */
static __always_inline __u32 client_fill(struct opening *o, const struct __sk_buff *skb,
					 const struct packet *pkt, const struct sl_service *service,
					 const struct flow_ref *ref, enum sl_hook hook,
					 enum client_wish wish, __u32 now)
{
	__u32 from = 0;

	__builtin_memset(&o->body.state, 0, sizeof(*o) - offsetof(struct opening, body.state));
	if (wish == CLIENT_MOVES) {
		o->body.state = ref->state;
		from = ref->flow->replica;
		if (likely(from != SL_NO_REPLICA))
			o->body.pending = ref->flow->pending;
		else if (SL_FLOW_PHASE(ref->state) == SL_FLOW_PARKED)
			o->body.pending = park_renew(ref->slot);
	}
	o->body.isn = pkt->seq;
	o->body.last_seen = now;
	o->body.request = pkt->proto == IPPROTO_UDP ? now : 0;
	o->ifindex = skb->ifindex;
	o->hook = hook;
	o->replace = service && service->flags & SL_SERVICE_REPLACE;
	o->body.flags = sniff_flag(service, pkt->proto);
	return from;
}

/* A packet that has no flow, is to begin another one, or to move its own: NEXT and *ref, or what is
 * to become of it. Of *o, only the key is filled in. */
static __always_inline int client_begin(struct __sk_buff *skb, const struct packet *pkt,
					struct opening *o, const struct sl_vip *vip,
					__u32 vip_row, enum sl_hook hook, enum client_wish wish,
					__u32 now, struct flow_ref *ref)
{
	__u32 row = vip->service, from;
	struct sl_service *service = bpf_map_lookup_elem(&services, &row);
	enum open_result result;

	from = client_fill(o, skb, pkt, service, ref, hook, wish, now);
	o->body.vip = vip_row;
	if (wish == CLIENT_GOES_ON || (wish == CLIENT_OPENS && !vip_takes_new(vip)))
		return client_unknown(skb, pkt, o->replace);
	if (unlikely(from == SL_NO_REPLICA) && SL_FLOW_PHASE(ref->state) != SL_FLOW_PARKED)
		return drop(SL_DROP_PARKED); /* by another CPU, just now */
	if (fast_path_new && hook != SL_HOOK_NODE)
		o->at_home = fast_is_at_home(skb, pkt);
	if (client_queues(o, service, wish) || (from == SL_NO_REPLICA && !o->body.pending))
		result = OPEN_REFUSED;
	else
		result = client_open(o);
	if (wish == CLIENT_MOVES && result != OPEN_OK && result != OPEN_EXISTS)
		return client_stays(skb, pkt, ref, o);
	if (result == OPEN_NO_ROOM) /* here, not in there: keys of maps must lie on the stack before 6.4 */
		result = client_spill(o);
	switch (result) {
	case OPEN_OK:
	case OPEN_EXISTS:
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
		return client_park(skb, pkt, o);
	}
	if (!ref->flow)
		return drop(SL_DROP_TABLE_FULL);
	ref->state = READ_ONCE(ref->flow->state);
	if (unlikely(result == OPEN_EXISTS)) {
		if (from == SL_NO_REPLICA)
			park_keep(o->slot, 0, o->body.pending);
		return SL_FLOW_PHASE(ref->state) == SL_FLOW_PARKED ? drop(SL_DROP_PARKED) : NEXT;
	}
	if (wish == CLIENT_MOVES)
		client_moved(ref->slot, SL_FLOW_GENERATION(ref->state), from, now);
	else
		client_keep_syn(skb, pkt, ref, o->at_home);
	return NEXT;
}

/* Whether the SYN of a flow that nobody has answered is to be offered to another replica: ours
 * that comes again, or the client's own retransmit. */
static __always_inline bool client_moves(const struct flow_ref *ref, const struct packet *pkt,
					 __u32 now)
{
	return SL_FLOW_PHASE(ref->state) == SL_FLOW_SYN && ref->flow->isn == pkt->seq &&
	       !(ref->state & (SL_FLOW_ANSWERED | SL_FLOW_SYN_DATA | SL_FLOW_SPILLED)) &&
	       pkt->l4_length == pkt->l4_header &&
	       (ref->state & SL_FLOW_RETRY ||
		flow_age(ref->flow, now) >= (__s32)(SYN_AGAIN_MS * hz / 1000));
}

static __always_inline bool client_is_syn(const struct packet *pkt)
{
	return (pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

static __always_inline enum client_wish client_wants(const struct packet *pkt,
						     const struct flow_ref *ref, __u32 now)
{
	if (pkt->proto == IPPROTO_UDP)
		return client_datagram_opens(ref, now) ? CLIENT_OPENS : CLIENT_GOES_ON;
	if (ref->flow && unlikely(SL_FLOW_PHASE(ref->state) == SL_FLOW_PARKED) &&
	    (!client_is_syn(pkt) || ref->flow->isn == pkt->seq))
		return CLIENT_WAITS;
	if (!client_is_syn(pkt))
		return CLIENT_GOES_ON;
	if (!ref->flow || client_reopens(ref, pkt, now))
		return CLIENT_OPENS;
	return client_moves(ref, pkt, now) ? CLIENT_MOVES : CLIENT_GOES_ON;
}

/* Whether a half-open flow left with a source address that the way to its replica has no longer, so
 * that no answer may come: it ends here, and its SYN begins anew. A global function for its stack. */
__noinline int client_is_astray(__u32 slot, __u64 state)
{
	struct sl_flow *flow = table_slot(slot);
	struct sl_replica *replica;
	__u32 row;

	if (!flow || flow->hook != SL_HOOK_FABRIC)
		return 0;
	row = flow->replica;
	replica = bpf_map_lookup_elem(&replicas, &row);
	if (!replica || replica->config.flags & SL_REPLICA_LOCAL || !replica->config.source ||
	    replica->config.source == flow->source + 1)
		return 0;
	return flow_advance(slot, state, 0, FLOW_OVER);
}

static __always_inline int from_client(struct __sk_buff *skb, const struct packet *pkt,
				       enum parse_result result, enum sl_hook hook)
{
	struct opening o;
	struct sl_flow_key *key = &o.body.key; /* in place: the stack of 512 bytes is nearly full */
	struct flow_ref ref;
	struct sl_vip *vip;
	__u32 now, vip_row;
	enum client_wish wish;
	__s64 found;
	int verdict;

	if (unlikely(result != PARSE_OK))
		return client_unreadable(skb, pkt, result);
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
	wish = client_wants(pkt, &ref, now);
	if (unlikely(!ref.flow || wish != CLIENT_GOES_ON)) {
		if (wish == CLIENT_WAITS) {
			verdict = park_hear(pkt, ref.slot, ref.state);
			if (verdict != PARK_OFFERS)
				return verdict == PARK_ENDS ? refuse(skb, pkt, SL_DROP_FULL) :
							      drop(SL_DROP_PARKED);
			wish = CLIENT_MOVES;
		}
		if (wish == CLIENT_MOVES && client_is_astray(ref.slot, ref.state))
			wish = CLIENT_OPENS;
		if (wish == CLIENT_OPENS && ref.flow &&
		    SL_FLOW_PHASE(ref.state) == SL_FLOW_PARKED)
			park_end(ref.slot, ref.state, true); /* its client begins anew */
		if (wish != CLIENT_MOVES)
			ref.flow = NULL;
		verdict = client_begin(skb, pkt, &o, vip, vip_row, hook, wish, now, &ref);
		if (!ref.flow && verdict == NEXT && ref.state && wish == CLIENT_OPENS &&
		    !(ref.state & SL_FLOW_SPILLED)) /* spilled: of replace mode, which passes none */
			client_forget(ref.slot, ref.state);
		if (!ref.flow || verdict != NEXT)
			return verdict;
	}
	if (unlikely(ref.state & SL_FLOW_RESET && !(pkt->tcp_flags & TCP_RST)))
		return reset_answer(skb, pkt, &ref);
	flow_track_client(&ref, pkt, now);
	return client_forward(skb, pkt, ref.flow, vip);
}

#endif
