/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs, and nothing but: which stages run at which hook. Loaded and
 * attached by user/datapath.c.
 *
 *   from_pod     ingress of a pod interface   client in a pod -> replica; replica -> the node's own
 *                                             client; replica with a cap -> any
 *   to_pod       egress of a pod interface    replica -> client in that pod; any -> replica with a cap
 *   from_uplink  ingress of the uplink        outside client -> replica;
 *                                             remote replica -> outside client
 *   to_uplink    egress of the uplink         local replica -> outside client
 *   from_fabric  ingress of another device over which replicas are routed
 *   from_fabric_l3  the same, of one without Ethernet headers
 *   from_node    egress of SL_NODE_DEVICE: the node's own client -> replica; a ping of a VIP's
 *   uplink       XDP of the uplink            between outside clients and remote replicas, what is easy
 *   inject       run by the agent at a deadline: a SYN goes out again
 *   reset_flows  run by the agent: resets a dead replica's flows, a slice at a time
 *   sweep_arm    run by the agent once after each load: arms the timers
 *   eject_now    run by the agent (rates, latency, good probes) and by tests: see sl_eject_op
 *   sweep_now    run by tests: one slice at once; SWEEP_SLICES of them are a pass
 */
#include "bare.h"
#include "deadline.h"
#include "echo.h"
#include "from_client.h"
#include "hairpin.h"
#include "owner.h"
#include "sweep.h"
#include "to_client.h"
#include "unpark.h"
#include "xdp.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int verdict(int stage)
{
	return stage == NOT_OURS ? NEXT : stage;
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	struct packet pkt = {};
	enum parse_result result = parse(skb, &pkt);
	int stage = from_client(skb, &pkt, result, SL_HOOK_POD);

	if (stage == NOT_OURS) {
		owner_from_pod(&pkt, result);
		stage = to_client_from_pod(skb, &pkt, result);
	}
	return verdict(stage);
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct packet pkt = {};
	enum parse_result result = parse(skb, &pkt);
	int stage = to_client(skb, &pkt, result, SL_HOOK_POD);

	if (stage == NOT_OURS)
		stage = hairpin_to_pod(skb, &pkt, result);
	if (stage == NOT_OURS)
		stage = owner_to_pod(skb, &pkt, result);
	return verdict(stage);
}

SEC("tc")
int from_uplink(struct __sk_buff *skb)
{
	struct packet pkt = {};
	enum parse_result result = parse(skb, &pkt);
	int stage = from_client(skb, &pkt, result, SL_HOOK_UPLINK);

	if (stage == NOT_OURS)
		stage = to_client(skb, &pkt, result, SL_HOOK_FABRIC);
	return verdict(stage);
}

SEC("tc")
int to_uplink(struct __sk_buff *skb)
{
	struct packet pkt = {};
	enum parse_result result = parse(skb, &pkt);

	return verdict(to_client(skb, &pkt, result, SL_HOOK_UPLINK));
}

SEC("tc")
int from_fabric(struct __sk_buff *skb)
{
	struct packet pkt = {};
	enum parse_result result = parse(skb, &pkt);

	return verdict(to_client(skb, &pkt, result, SL_HOOK_FABRIC));
}

SEC("tc")
int from_fabric_l3(struct __sk_buff *skb)
{
	struct packet pkt = {};
	enum parse_result result = parse_bare(skb, &pkt);

	return verdict(bare_to_client(skb, &pkt, result));
}

/* "xdp", not "xdp.frags": the agent says so at load where the kernel knows that. */
SEC("xdp")
int uplink(struct xdp_md *ctx)
{
	return xdp_uplink(ctx);
}

/* Nobody is behind the device: what is no VIP's is refused, and so is who is not of this node, as when
 * an interface that we are not at leads here: the replies to him would pass no hook of ours. */
SEC("tc")
int from_node(struct __sk_buff *skb)
{
	struct packet pkt = {};
	enum parse_result result = parse(skb, &pkt);
	int stage;

	if (result == PARSE_OK && !is_local_address(&pkt.src))
		return refuse(skb, &pkt, SL_DROP_NOT_NODES);
	stage = from_client(skb, &pkt, result, SL_HOOK_NODE);
	if (stage == NOT_OURS)
		stage = to_client_from_node(skb, &pkt, result);
	if (stage != NOT_OURS && stage != NEXT)
		return stage;
	if (result == PARSE_OK)
		return refuse(skb, &pkt, SL_DROP_NO_PORT);
	stage = echo_answer(skb, &pkt);
	return stage == NOT_OURS ? drop(SL_DROP_NO_PORT) : stage;
}

SEC("tc")
int inject(struct __sk_buff *skb)
{
	return deadline_inject(skb);
}

/* See struct sl_reset. Returns 1 when the packet holds a probe that the agent must send, else 0. */
SEC("tc")
int reset_flows(struct __sk_buff *skb)
{
	return reset_run(skb);
}

/* A running timer keeps the callback of the program that armed it, so every new program arms it
 * anew. 0, or a negative errno of the timer helpers. */
#define ARM(which, callback)                                                                       \
	({                                                                                         \
		__u32 row = which;                                                                 \
		struct sweep_timer *timer = bpf_map_lookup_elem(&sweep_timers, &row);              \
		long error = -1;                                                                   \
                                                                                                   \
		if (timer) {                                                                       \
			bpf_timer_cancel(&timer->timer);                                           \
			error = bpf_timer_init(&timer->timer, &sweep_timers, CLOCK_MONOTONIC);     \
			if (!error || error == -16) /* EBUSY: initialised by an earlier program */ \
				error = bpf_timer_set_callback(&timer->timer, callback);           \
			if (!error)                                                                \
				error = bpf_timer_start(&timer->timer, 0, 0);                      \
		}                                                                                  \
		error;                                                                             \
	})

SEC("tc")
int sweep_arm(struct __sk_buff *skb)
{
	long error = ARM(TIMER_SWEEP, sweep_tick);

	error = error ? error : ARM(TIMER_EJECT, eject_expire);
	error = error ? error : ARM(TIMER_LINE, unpark_tick);
	return error ? error : ARM(TIMER_PENDING, deadline_tick);
}

SEC("tc")
int eject_now(struct __sk_buff *skb)
{
	struct eject_due due = {.service = skb->cb[1], .replica = skb->cb[2], .witnesses = 2};

	switch (skb->cb[0]) {
	case SL_EJECT_OP_EJECT:
		due.cause = skb->cb[3];
		if (due.cause == SL_EJECT_LATENCY)
			due.witnesses = skb->cb[3] >> 16;
		due.run = skb->cb[4];
		due.peers = skb->cb[4] >> 16;
		return eject_try(&due);
	case SL_EJECT_OP_PROBED:
		return eject_probed(due.replica);
	case SL_EJECT_OP_FAILURE:
		return eject_failure(due.service, due.replica, skb->cb[3], skb->cb[4]);
	case SL_EJECT_OP_SUCCESS:
		eject_success(due.service, due.replica, skb->cb[3]);
	}
	return 0;
}

SEC("tc")
int sweep_now(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	if (k)
		sweep_slice(k);
	if (k)
		deadline_pass(k);
	unpark_pass();
	return 0;
}
