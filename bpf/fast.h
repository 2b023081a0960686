/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fast path (--fast-path): a flow's packets go from the hook where they come in straight into
 * the pod at the other end, or out to the neighbour, past the node's stack in both directions. The
 * egress hooks are skipped with it: a reply is translated where it comes in, and its flow says to
 * which device it then goes. Who may take it is decided at the pick (client_route()), from what the
 * agent says of the replica (SL_REPLICA_FAST) and of the client's interface (the map fast_devices).
 *
 * Replies go where the SYN came in, whatever source address it had: so only a client whose address
 * the node's routes look for there may take it (fast_is_at_home()).
 *
 * What leaves by a neighbour is compared with the MTU (mtu.h); a pod takes what a veth hands it. The
 * TTL stays as it is.
 */
#ifndef SLUICE_BPF_FAST_H
#define SLUICE_BPF_FAST_H

#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "config.h"
#include "count.h"
#include "maps.h"
#include "parse.h"
#include "verifier.h"

#define FAST_AF_INET 2 /* AF_*, of a header that BPF cannot include */
#define FAST_AF_INET6 10
#define LOOPBACK 1 /* its ifindex */

/* Whether the node itself would send an answer to this packet's sender to the interface where the packet
 * came in, or to the bridge that this is a port of: else it may have any address for its source. Only
 * the device of the answer matters, not whether a neighbour is known there; without a route it stays
 * the loopback. A global function for its stack. */
__noinline int fast_is_at_home(struct __sk_buff *skb, const struct packet *pkt)
{
	struct bpf_fib_lookup fib = {.ifindex = LOOPBACK};
	__u32 key = skb->ifindex, *home;

	if (!pkt)
		return 0;
	home = bpf_map_lookup_elem(&fast_devices, &key);
	if (!home)
		return 0;
	fib.l4_protocol = pkt->proto;
	fib.sport = pkt->dport;
	fib.dport = pkt->sport;
	if (pkt->v6) {
		fib.family = FAST_AF_INET6;
		__builtin_memcpy(fib.ipv6_src, &pkt->dst, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &pkt->src, sizeof(fib.ipv6_dst));
	} else {
		fib.family = FAST_AF_INET;
		fib.ipv4_src = pkt->dst.w[3];
		fib.ipv4_dst = pkt->src.w[3];
	}
	bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return fib.ifindex == *home;
}

/* The hook that translates replies of a flow whose client comes in at `hook`, to this replica, by
 * the interface `ifindex`: that of the fast path, or 0 where the node's stack must do. */
static __always_inline enum sl_hook fast_hook(const struct sl_replica *replica, enum sl_hook hook,
					      __u32 ifindex)
{
	const struct sl_replica_config *config = &replica->config;
	__u32 key = ifindex; /* on the stack: before 6.4 none may lie in a global function's argument */

	if (!(config->flags & SL_REPLICA_FAST) || ifindex > SL_FLOW_IFINDEX_MAX)
		return SL_HOOK_NONE;
	/* Its owner counts at the egress hook; a pod that is its own replica needs another source. */
	if (config->flags & SL_REPLICA_LOCAL &&
	    (config->max_connections || !config->peer_ifindex || config->peer_ifindex == ifindex))
		return SL_HOOK_NONE;
	if (!bpf_map_lookup_elem(&fast_devices, &key))
		return SL_HOOK_NONE;
	return hook == SL_HOOK_POD ? SL_HOOK_FAST_POD : SL_HOOK_FAST_UPLINK;
}

static __always_inline bool hook_is_fast(enum sl_hook hook)
{
	return fast_path && hook >= SL_HOOK_FAST_POD;
}

/* Whether what goes back to the flow's client is translated at `hook`; SL_HOOK_NODE: the ingress of a
 * pod interface. At the egress also that of a fast flow, when it came by a device where no program of
 * ours was to send it on. */
static __always_inline bool flow_is_here(const struct sl_flow *flow, __u32 hook)
{
	if (likely(flow->hook == hook))
		return true;
	if (hook == SL_HOOK_FABRIC || hook == SL_HOOK_NODE)
		return flow->hook >= SL_HOOK_NODE;
	return hook_is_fast(flow->hook) &&
	       flow->hook == (hook == SL_HOOK_POD ? SL_HOOK_FAST_POD : SL_HOOK_FAST_UPLINK);
}

/* Into the pod behind a pod interface, as if its veth had carried the packet: whoever it was
 * addressed to on a bridge, it is the pod's. */
static __always_inline int fast_into_pod(struct __sk_buff *skb, __u32 ifindex)
{
	if (unlikely(skb->pkt_type != PACKET_HOST))
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(ifindex, 0);
}

/* A translated packet to a replica over the device of its route, past the node's stack; where that has
 * gone since the pick, the stack says so. */
static __always_inline int fast_by_neighbour(const struct sl_replica *replica)
{
	return likely(replica->config.out_ifindex) ?
		       bpf_redirect_neigh(replica->config.out_ifindex, NULL, 0, 0) : NEXT;
}

/* The same to a replica on the fast path, which may be a pod of this node. */
static __always_inline int fast_to_replica(struct __sk_buff *skb, const struct sl_replica *replica)
{
	if (!(replica->config.flags & SL_REPLICA_LOCAL))
		return fast_by_neighbour(replica);
	return likely(replica->config.peer_ifindex) ?
		       fast_into_pod(skb, replica->config.peer_ifindex) : NEXT;
}

/* A translated packet of the replica's. */
static __always_inline int fast_to_client(struct __sk_buff *skb, const struct sl_flow *flow)
{
	__u32 ifindex = SL_FLOW_IFINDEX(flow);

	return flow->hook == SL_HOOK_FAST_POD ? fast_into_pod(skb, ifindex) :
						bpf_redirect_neigh(ifindex, NULL, 0, 0);
}

#endif
