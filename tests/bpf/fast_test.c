// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fast path: who takes it, that replies are translated where they come in and nowhere else, and
 * that flows end there as they do elsewhere. What becomes of connects that fail: fast_retry_test.c.
 */
#include <net/if.h>
#include <stdlib.h>

#include <bpf/bpf.h>

#include "fast_case.h"

/* ---- the ways ------------------------------------------------------------------------------*/

static void pod_to_local(struct fixture *f)
{
	static const struct step tcp[] = {
		{FROM_POD, SYN, REDIRECT, SYN_TO("r1")},
		{FROM_POD, ANSWER_OF("r1"), REDIRECT, ANSWER},
		{FROM_POD, "client:4000 > vip:80 PA seq 8 ack 101 len 1400", REDIRECT,
		 "client:4000 > r1:8000 PA seq 8 ack 101 len 1400"},
		{FROM_POD, "r1:8000 > client:4000 PA seq 101 ack 1408 len 999", REDIRECT,
		 "vip:80 > client:4000 PA seq 101 ack 1408 len 999"},
		{FROM_POD, "client:4000 > vip:80 FA seq 1408 ack 1100 len 0", REDIRECT,
		 "client:4000 > r1:8000 FA seq 1408 ack 1100 len 0"},
		{FROM_POD, "r1:8000 > client:4000 FA seq 1100 ack 1409 len 0", REDIRECT,
		 "vip:80 > client:4000 FA seq 1100 ack 1409 len 0"},
	};

	begin(f, 0, 1);
	STEPS(f, tcp);
	check_client(f, SL_HOOK_FAST_POD);
	check_inflight(f, (const __u32[]){0}, 1, 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_FAST_PATH), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_FAST_DECLINED), 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_FREE), f->snat_sets * SL_SNAT_WAYS);
}

static void outside_to_local(struct fixture *f)
{
	static const struct step tcp[] = {
		{FROM_UPLINK, SYN, REDIRECT, SYN_TO("r1")},
		{FROM_POD, ANSWER_OF("r1"), REDIRECT, ANSWER},
		{FROM_UPLINK, "client:4000 > vip:80 PA seq 8 ack 101 len 10", REDIRECT,
		 "client:4000 > r1:8000 PA seq 8 ack 101 len 10"},
	};

	begin(f, 0, 1);
	STEPS(f, tcp);
	check_client(f, SL_HOOK_FAST_UPLINK);
	check_inflight(f, (const __u32[]){1}, 1, 0);
}

static void pod_to_remote(struct fixture *f)
{
	static const struct step tcp[] = {
		{FROM_POD, SYN, REDIRECT, SYN_TO("r1")},
		{FROM_UPLINK, ANSWER_OF("r1"), REDIRECT, ANSWER},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", REDIRECT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
		{FROM_FABRIC, "r1:8000 > client:4000 PA seq 101 ack 8 len 10", REDIRECT,
		 "vip:80 > client:4000 PA seq 101 ack 8 len 10"},
	};

	begin(f, 0, 1);
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	STEPS(f, tcp);
	check_client(f, SL_HOOK_FAST_POD);
}

/* Source NAT is what it was: nothing is to be won there. */
static void outside_to_remote(struct fixture *f)
{
	static const struct step tcp[] = {
		{FROM_UPLINK, SYN, REDIRECT, "node:1024 > r1:8000 S seq 7 len 0 opts 20"},
		{FROM_UPLINK, "r1:8000 > node:1024 SA seq 100 ack 8 len 0 opts 20", REDIRECT, ANSWER},
	};

	begin(f, 0, 1);
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	STEPS(f, tcp);
	CHECK_INT(fixture_flow(f)->hook, SL_HOOK_FABRIC);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_FAST_DECLINED), 0);
}

static void udp(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "udp client:4000 > vip:53 len 30", REDIRECT, "udp client:4000 > r1:53 len 30"},
		{FROM_POD, "udp r1:53 > client:4000 len 90", REDIRECT, "udp vip:53 > client:4000 len 90"},
		{FROM_UPLINK, "udp client2:4000 > vip:53 len 1", REDIRECT, "udp client2:4000 > r1:53 len 1"},
		{FROM_POD, "udp r1:53 > client2:4000 len 0", REDIRECT, "udp vip:53 > client2:4000 len 0"},
	};
	static const struct step nosum = {FROM_POD, "udp client:4000 > vip:53 len 30 nosum", REDIRECT,
					  "udp client:4000 > r1:53 len 30 nosum"};
	__u32 service = fixture_add_service(f, 0);

	fixture_add_vip(f, service, "udp vip:53");
	fixture_make_fast(f, fixture_add_replica(f, service, "udp r1:53", 100), PEER);
	fixture_set_fast_client(f, FIXTURE_IFINDEX);
	STEPS(f, steps);
	if (!f->v6)
		CHECK(fixture_step(f, &nosum));
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 2);
}

TEST(a_pod_and_a_replica_of_this_node)
{
	fixture_each(pod_to_local, &on);
}

TEST(an_outside_client)
{
	fixture_each(outside_to_local, &on);
}

TEST(a_pod_and_a_remote_replica)
{
	fixture_each(pod_to_remote, &on);
}

TEST(an_outside_client_and_a_remote_replica_as_ever)
{
	fixture_each(outside_to_remote, &on);
}

TEST(datagrams)
{
	fixture_each(udp, &on);
}

/* A reply that came by a device without our programs: the egress hook takes it, and no other one. */
static void by_another_way(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, REDIRECT, SYN_TO("r1")},
		{TO_UPLINK, ANSWER_OF("r1"), NEXT, NULL},
		{TO_POD, ANSWER_OF("r1"), NEXT, ANSWER},
		{FROM_UPLINK, "client2:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "client2:4000 > r1:8000 S seq 7 len 0"},
		{TO_POD, "r1:8000 > client2:4000 SA seq 100 ack 8 len 0", NEXT, NULL},
		{TO_UPLINK, "r1:8000 > client2:4000 SA seq 100 ack 8 len 0", NEXT,
		 "vip:80 > client2:4000 SA seq 100 ack 8 len 0"},
	};

	begin(f, 0, 1);
	STEPS(f, steps);
}

TEST(a_reply_that_takes_another_way_is_translated_at_the_egress)
{
	fixture_each(by_another_way, &on);
}

static void foreign(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > other:80 S seq 7 len 0", NEXT, NULL},
		{FROM_POD, "r1:8000 > other:80 PA seq 7 ack 1 len 10", NEXT, NULL},
		{FROM_POD, "r1:9000 > client:4000 PA seq 7 ack 1 len 10", NEXT, NULL},
		{FROM_POD, "r1:8000 > client:4000 SA seq 7 ack 1 len 0", NEXT, NULL},
		{FROM_UPLINK, "r1:8000 > client:4000 PA seq 7 ack 1 len 10", NEXT, NULL},
		{FROM_FABRIC, "r1:8000 > node:1024 PA seq 7 ack 1 len 10", NEXT, NULL},
	};

	fixture_add_source(f, "node");
	begin(f, 0, 1);
	STEPS(f, steps);
}

TEST(what_is_not_ours_stays_with_the_stack)
{
	fixture_each(foreign, &on);
}

/* ---- who only says that he is the replica ----*/

static void of_another_pod(struct fixture *f)
{
	static const struct step syn = {FROM_POD, SYN, REDIRECT, SYN_TO("r1")};
	static const struct step answer = {FROM_POD, ANSWER_OF("r1"), NEXT, NULL};
	static const struct step by_uplink = {FROM_UPLINK, ANSWER_OF("r1"), NEXT, NULL};
	static const struct step right = {FROM_POD, ANSWER_OF("r1"), REDIRECT, ANSWER};

	begin(f, 0, 1);
	CHECK(fixture_step(f, &syn));
	f->ifindex = PEER + 1;
	CHECK(fixture_step(f, &answer));
	CHECK(fixture_step(f, &by_uplink));
	f->ifindex = 0;
	CHECK(fixture_step(f, &right));
}

static void of_another_node(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, REDIRECT, SYN_TO("r1")},
		{FROM_POD, ANSWER_OF("r1"), NEXT, NULL},
		{FROM_FABRIC, ANSWER_OF("r1"), REDIRECT, ANSWER},
	};

	begin(f, 0, 1);
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	STEPS(f, steps);
}

TEST(only_the_replicas_own_interface_answers_for_it)
{
	fixture_each(of_another_pod, &on);
	fixture_each(of_another_node, &on);
}

/* ---- who does not take it ------------------------------------------------------------------*/

/* One new connection of the pod client's takes the node's stack. */
static void check_default_path(struct fixture *f, const char *why)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
		{FROM_POD, ANSWER_OF("r1"), NEXT, NULL},
		{TO_POD, ANSWER_OF("r1"), NEXT, ANSWER},
		{FROM_POD, "client:4000 > vip:80 R seq 8 len 0", NEXT, "client:4000 > r1:8000 R seq 8 len 0"},
	};
	uint64_t declined = fixture_counter(f, SL_COUNT_FAST_DECLINED);
	bool good = fixture_steps(f, steps, sizeof(steps) / sizeof(steps[0]));

	CHECK(good);
	if (!good)
		printf("  in: %s\n", why);
	CHECK_INT(fixture_counter(f, SL_COUNT_FAST_DECLINED), declined + 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_FAST_PATH), 0);
}

static void declined(struct fixture *f)
{
	struct sl_replica_config *config = &f->replicas[0].config;

	begin(f, 0, 1);
	fixture_set_cap(f, 0, 100);
	check_default_path(f, "a cap");
	fixture_set_cap(f, 0, 0);
	config->peer_ifindex = 0;
	check_default_path(f, "no peer");
	config->peer_ifindex = FIXTURE_IFINDEX;
	check_default_path(f, "the client is its own replica");
	config->peer_ifindex = PEER;
	config->flags &= ~SL_REPLICA_FAST;
	check_default_path(f, "the agent says no");
	config->flags |= SL_REPLICA_FAST;
	fixture_set_fast_client(f, 0);
	check_default_path(f, "the client's interface takes no redirects");
	fixture_set_fast_client(f, 99);
	check_default_path(f, "routes look for the client somewhere else");
}

TEST(where_it_cannot_be_the_nodes_stack_does)
{
	fixture_each(declined, &on);
}

static void off(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
		{FROM_POD, ANSWER_OF("r1"), NEXT, NULL},
		{TO_POD, ANSWER_OF("r1"), NEXT, ANSWER},
	};

	begin(f, 0, 1);
	STEPS(f, steps);
	CHECK_INT(fixture_counter(f, SL_COUNT_FAST_DECLINED), 0);
}

TEST(without_the_option_nobody_takes_it)
{
	fixture_each(off, NULL);
}

/* What is said of the replica later is for new flows; open ones keep to their way. */
static void goes_on(struct fixture *f)
{
	static const struct step begins[] = {
		{FROM_POD, SYN, REDIRECT, SYN_TO("r1")},
		{FROM_POD, ANSWER_OF("r1"), REDIRECT, ANSWER},
	};
	static const struct step later[] = {
		{FROM_POD, "client:4000 > vip:80 PA seq 8 ack 101 len 10", REDIRECT,
		 "client:4000 > r1:8000 PA seq 8 ack 101 len 10"},
		{FROM_POD, "r1:8000 > client:4000 PA seq 101 ack 18 len 10", REDIRECT,
		 "vip:80 > client:4000 PA seq 101 ack 18 len 10"},
		{FROM_POD, "client2:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client2:4000 > r1:8000 S seq 7 len 0"},
	};
	static const struct step gone = {FROM_POD, "client:4000 > vip:80 PA seq 18 ack 111 len 10", NEXT,
					 "client:4000 > r1:8000 PA seq 18 ack 111 len 10"};

	begin(f, 0, 1);
	STEPS(f, begins);
	f->replicas[0].config.flags &= ~SL_REPLICA_FAST;
	fixture_set_cap(f, 0, 10);
	STEPS(f, later);
	f->replicas[0].config.peer_ifindex = 0; /* the node's stack says what became of it */
	CHECK(fixture_step(f, &gone));
}

TEST(an_open_flow_keeps_to_its_way)
{
	fixture_each(goes_on, &on);
}

/* ---- numbers of interfaces: 24 bits of them -----------------------------------------------------*/

/* From now on clients come in by a device of this number, which may take redirects. */
static void comes_in_by(struct fixture *f, __u32 ifindex)
{
	__u32 home = FIXTURE_IFINDEX; /* no route leads to a client: see fixture_set_fast_client() */
	char name[IF_NAMESIZE], command[128];

	snprintf(command, sizeof(command),
		 "ip link add wide%x index %u type veth peer name far%x", ifindex, ifindex, ifindex);
	if (!if_indextoname(ifindex, name) && system(command))
		fixture_die(command, errno);
	if (bpf_map_update_elem(bpf_map__fd(f->skel->maps.fast_devices), &ifindex, &home, BPF_ANY))
		fixture_die("fast_devices", errno);
	f->ifindex = ifindex;
}

static void check_ifindex(struct fixture *f, enum sl_hook hook, __u32 ifindex)
{
	struct sl_flow *flow = fixture_flow(f);

	CHECK_INT(flow ? flow->hook : SL_HOOK_NONE, hook);
	CHECK_INT(flow ? SL_FLOW_IFINDEX(flow) : 0, ifindex);
}

static void large_ifindex(struct fixture *f, __u32 ifindex)
{
	static const struct step syn = {FROM_POD, SYN, REDIRECT, SYN_TO("r1")};
	static const struct step answer = {FROM_POD, ANSWER_OF("r1"), REDIRECT, ANSWER};

	begin(f, 0, 1);
	comes_in_by(f, ifindex);
	CHECK(fixture_step(f, &syn));
	check_ifindex(f, SL_HOOK_FAST_POD, ifindex);
	f->ifindex = 0; /* the replica's own */
	CHECK(fixture_step(f, &answer));
}

/* The flow comes back to the fast path, and with it the number. */
static void large_ifindex_late(struct fixture *f)
{
	static const struct step to_r1 = {FROM_POD, SYN, REDIRECT, SYN_TO("r1")};
	static const struct step to_r2 = {FROM_POD, SYN, NEXT, SYN_TO("r2")};
	static const struct step late = {FROM_POD, ANSWER_OF("r1"), REDIRECT, ANSWER};
	struct sl_flow *flow;

	begin(f, 0, 2);
	f->replicas[1].config.peer_ifindex = 0;
	comes_in_by(f, 0x12345);
	CHECK(fixture_step(f, &to_r1));
	flow = fixture_flow(f);
	flow->state |= SL_FLOW_RETRY; /* as `inject` does */
	CHECK(fixture_step(f, &to_r2));
	flow->ifindex_low = flow->ifindex_high = 0; /* by the stack it says nothing */
	f->ifindex = 0;
	CHECK(fixture_step(f, &late));
	check_ifindex(f, SL_HOOK_FAST_POD, 0x12345);
}

static void of_two_halves(struct fixture *f)
{
	large_ifindex(f, 0x12345);
}

static void largest(struct fixture *f)
{
	large_ifindex(f, SL_FLOW_IFINDEX_MAX);
}

static void too_large(struct fixture *f)
{
	begin(f, 0, 1);
	comes_in_by(f, SL_FLOW_IFINDEX_MAX + 1);
	check_default_path(f, "a number of 25 bits");
}

TEST(a_flow_has_room_for_24_bits_of_ifindex)
{
	fixture_each(of_two_halves, &on);
	fixture_each(largest, &on);
	fixture_each(large_ifindex_late, &on);
}

TEST(beyond_them_the_nodes_stack_does)
{
	fixture_each(too_large, &on);
}

/* ---- ends --------------------------------------------------------------------------------------*/

static void reset(struct fixture *f)
{
	static const struct step opens[] = {
		{FROM_POD, SYN, REDIRECT, SYN_TO("r1")},
		{FROM_POD, ANSWER_OF("r1"), REDIRECT, ANSWER},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", REDIRECT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
	};
	static const struct step answer = {FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", TRIMMED,
					   "vip:80 > client:4000 R seq 101 len 0 back"};

	begin(f, 0, 1);
	STEPS(f, opens);
	fixture_flow(f)->state |= SL_FLOW_RESET; /* as `reset_flows` does */
	CHECK(fixture_step(f, &answer));
	check_inflight(f, (const __u32[]){0}, 1, 0);
}

TEST(flows_of_a_dead_replica_are_reset)
{
	fixture_each(reset, &on);
}

/* The sweep takes an ifindex for no source-NAT port. */
static void expires(struct fixture *f)
{
	static const struct step syn = {FROM_UPLINK, SYN, REDIRECT, SYN_TO("r1")};

	begin(f, 0, 1);
	CHECK(fixture_step(f, &syn));
	fixture_age(f, 10);
	fixture_sweep(f);
	CHECK(!fixture_flow(f));
	CHECK_INT(fixture_counter(f, SL_COUNT_EXPIRED_SYN), 1);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_FREE), f->snat_sets * SL_SNAT_WAYS);
	check_inflight(f, (const __u32[]){0}, 1, 0);
}

TEST(a_half_open_flow_expires)
{
	fixture_each(expires, &on);
}

static const struct fixture_options one_set = {.fast_path = true, .flow_sets = 1};

static void spilled(struct fixture *f)
{
	char syn[PACKET_TEXT_LEN];
	struct fixture_result result;
	static const struct step steps[] = {
		{FROM_POD, SYN, REDIRECT, SYN_TO("r1")},
		{FROM_POD, ANSWER_OF("r1"), REDIRECT, ANSWER},
	};

	begin(f, SL_SERVICE_REPLACE, 1);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(syn, sizeof(syn), "client2:%u > vip:80 S seq 7 len 0", 5000 + i);
		fixture_send(f, FROM_POD, syn, &result);
	}
	f->kernel->half_open = 0; /* else none more begins */
	STEPS(f, steps);
	CHECK_INT(fixture_count_spilled(f) > 0, 1);
}

TEST(a_spilled_flow_takes_it_too)
{
	fixture_each(spilled, &one_set);
}
