// SPDX-License-Identifier: GPL-2.0-only
/*
 * The node's own client: out by the egress of SL_NODE_DEVICE (here the device with index 1, which
 * BPF_PROG_TEST_RUN takes all packets to be on), back at the ingress of the device where the reply
 * arrives; what is refused; retries; and a replica in the node's own network, which shares an address
 * with its client.
 */
#include "bpf_fixture.h"
#include "check.h"

static const struct fixture_options with_device = {.node_ifindex = 1};

/* vip:80 of a service in replace mode, and `n` replicas of falling weight: r1 is picked first. */
static void begin(struct fixture *f, unsigned n)
{
	fixture_add_local(f, "node");
	fixture_simple(f, SL_SERVICE_REPLACE, n);
	for (unsigned i = 0; i < n; i++)
		f->replicas[i].config.weight = 4000 / (i + 1);
}

static void both_ways(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0 opts 20", REDIRECT,
		 "node:4000 > r1:8000 S seq 7 len 0 opts 20"},
		{FROM_POD, "r1:8000 > node:4000 SA seq 100 ack 8 len 0 opts 20", REDIRECT,
		 "vip:80 > node:4000 SA seq 100 ack 8 len 0 opts 20 tonode"},
		{FROM_NODE, "node:4000 > vip:80 PA seq 8 ack 101 len 500", REDIRECT,
		 "node:4000 > r1:8000 PA seq 8 ack 101 len 500"},
		/* over the uplink or a tunnel, when the replica is on another node */
		{FROM_UPLINK, "r1:8000 > node:4000 A seq 101 ack 508 len 1400", REDIRECT,
		 "vip:80 > node:4000 A seq 101 ack 508 len 1400 tonode"},
		{FROM_FABRIC, "r1:8000 > node:4000 A seq 1501 ack 508 len 1400", REDIRECT,
		 "vip:80 > node:4000 A seq 1501 ack 508 len 1400 tonode"},
		/* at every other hook it passes, as does what is nobody's */
		{TO_POD, "r1:8000 > node:4000 A seq 101 ack 508 len 1400", NEXT, NULL},
		{TO_UPLINK, "r1:8000 > node:4000 A seq 101 ack 508 len 1400", NEXT, NULL},
		{FROM_POD, "r1:8000 > node:4001 A seq 101 ack 508 len 1400", NEXT, NULL},
		{FROM_POD, "other:8000 > node:4000 A seq 101 ack 508 len 1400", NEXT, NULL},
		{FROM_POD, "udp r1:8000 > node:4000 len 10", NEXT, NULL},
		{FROM_POD, "r1:8000 > node:4000 FA seq 2901 ack 508 len 0", REDIRECT,
		 "vip:80 > node:4000 FA seq 2901 ack 508 len 0 tonode"},
		{FROM_NODE, "node:4000 > vip:80 FA seq 508 ack 2902 len 0", REDIRECT,
		 "node:4000 > r1:8000 FA seq 508 ack 2902 len 0"},
	};

	begin(f, 1);
	STEPS(f, steps);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_DONE), 1);
	CHECK_INT(f->replicas[0].state.inflight, 0);
}

TEST(the_nodes_own_client_is_translated_both_ways)
{
	fixture_each(both_ways, &with_device);
}

/* By routes alone: r1 is behind the pod interface to which its route leads, or on that bridge. */
static void of_another_pod(struct fixture *f)
{
	static const struct step syn = {FROM_NODE, "node:4000 > vip:80 S seq 7 len 0", REDIRECT,
					"node:4000 > r1:8000 S seq 7 len 0"};
	static const struct step foreign = {FROM_POD, "r1:8000 > node:4000 SA seq 100 ack 8 len 0", NEXT,
					    NULL};
	static const struct step right = {FROM_POD, "r1:8000 > node:4000 SA seq 100 ack 8 len 0",
					  REDIRECT,
					  "vip:80 > node:4000 SA seq 100 ack 8 len 0 tonode"};

	begin(f, 1);
	f->replicas[0].config.out_ifindex = FIXTURE_PEER;
	CHECK(fixture_step(f, &syn));
	fixture_set_fast_client(f, FIXTURE_IFINDEX);
	CHECK(fixture_step(f, &foreign));
	fixture_set_fast_client(f, FIXTURE_PEER);
	CHECK(fixture_step(f, &right));
}

TEST(only_the_replicas_own_interface_answers_for_it)
{
	fixture_each(of_another_pod, &with_device);
}

static void datagrams(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_NODE, "udp node:4000 > vip:53 len 5", REDIRECT, "udp node:4000 > r2:53 len 5"},
		{FROM_POD, "udp r2:53 > node:4000 len 6", REDIRECT, "udp vip:53 > node:4000 len 6 tonode"},
		{FROM_NODE, "udp node:4000 > vip:53 len 7 nosum", REDIRECT,
		 "udp node:4000 > r2:53 len 7 nosum"},
	};
	__u32 service;

	begin(f, 1);
	service = fixture_add_service(f, SL_SERVICE_REPLACE);
	fixture_add_vip(f, service, "udp vip:53");
	fixture_add_replica(f, service, "udp r2:53", 100);
	STEPS(f, steps);
}

TEST(datagrams_likewise)
{
	fixture_each(datagrams, &with_device);
}

static void refusals(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_NODE, "node:4000 > vip:81 S seq 7 len 0", REDIRECT,
		 "vip:81 > node:4000 RA seq 0 ack 8 len 0 back"},
		{FROM_NODE, "node:4000 > other:80 A seq 7 ack 9 len 0", REDIRECT,
		 "other:80 > node:4000 R seq 9 len 0 back"},
		{FROM_NODE, "udp node:4000 > vip:81 len 5", SHOT, NULL},
		{FROM_NODE, "node:4000 > vip:80 A seq 7 ack 9 len 0", REDIRECT,
		 "vip:80 > node:4000 R seq 9 len 0 back"},
		/* it came by an interface that we are not at: its replies would pass none of ours */
		{FROM_NODE, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "vip:80 > client:4000 RA seq 0 ack 8 len 0 back"},
		{FROM_NODE, "udp client:4000 > vip:80 len 5", SHOT, NULL},
	};

	begin(f, 1);
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_NO_PORT), 3);
	CHECK_INT(fixture_drops(f, SL_DROP_UNKNOWN_FLOW), 1);
	CHECK_INT(fixture_drops(f, SL_DROP_NOT_NODES), 2);
	CHECK_INT(fixture_counter(f, SL_COUNT_PICKS), 0);
}

TEST(nothing_passes_the_device_untouched)
{
	fixture_each(refusals, &with_device);
}

/* The refusal comes in where a reply does: from a pod of this node, from another node. */
static void refused(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0 opts 20", REDIRECT,
		 "node:4000 > r1:8000 S seq 7 len 0 opts 20"},
		{FROM_POD, "r1:8000 > node:4000 RA seq 0 ack 8 len 0", TRIMMED,
		 "node:4000 > vip:80 S seq 7 len 0 opts 20"},
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0 opts 20", REDIRECT,
		 "node:4000 > r2:8000 S seq 7 len 0 opts 20"},
		{FROM_UPLINK, "r2:8000 > node:4000 RA seq 0 ack 8 len 0", TRIMMED,
		 "node:4000 > vip:80 S seq 7 len 0 opts 20"},
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0 opts 20", REDIRECT,
		 "node:4000 > r3:8000 S seq 7 len 0 opts 20"},
		{FROM_POD, "r3:8000 > node:4000 SA seq 300 ack 8 len 0", REDIRECT,
		 "vip:80 > node:4000 SA seq 300 ack 8 len 0 tonode"},
	};

	begin(f, 3);
	STEPS(f, steps);
	CHECK_INT(fixture_counter(f, SL_COUNT_RETRIES), 2);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->replicas[1].state.inflight, 0);
	CHECK_INT(f->replicas[2].state.inflight, 1);
}

TEST(a_refused_syn_goes_out_by_the_device_again)
{
	fixture_each(refused, &with_device);
}

static void last_refusal(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0 opts 20", REDIRECT,
		 "node:4000 > r1:8000 S seq 7 len 0 opts 20"},
		{FROM_POD, "r1:8000 > node:4000 RA seq 0 ack 8 len 0", REDIRECT,
		 "vip:80 > node:4000 RA seq 0 ack 8 len 0 tonode"},
	};

	begin(f, 1);
	f->services[0].flags |= SL_SERVICE_NO_RETRY;
	STEPS(f, steps);
	CHECK_INT(f->replicas[0].state.inflight, 0);
}

TEST(the_last_refusal_is_the_clients)
{
	fixture_each(last_refusal, &with_device);
}

/* The owner spares what the node says to a replica itself, not its clients of a VIP. */
static void capped(struct fixture *f)
{
	static const struct step steps[] = {
		{TO_POD, "node:5000 > r1:8000 S seq 7 len 0", NEXT, NULL},
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:4000 > r1:8000 S seq 7 len 0"},
		{TO_POD, "node:4000 > r1:8000 S seq 7 len 0", NEXT, NULL},
		{TO_POD, "node:5001 > r1:8000 S seq 7 len 0", NEXT, NULL},
		{TO_POD, "client:4000 > r1:8000 S seq 7 len 0", REDIRECT,
		 "r1:8000 > client:4000 RA seq 0 ack 8 len 0 win 20942 back"},
	};

	begin(f, 1);
	fixture_set_cap(f, 0, 1);
	STEPS(f, steps);
	CHECK_INT(f->replicas[0].state.owned, 1);
}

TEST(its_clients_count_against_caps)
{
	fixture_each(capped, &with_device);
}

/* Without a device there are no such flows, and what is addressed to the node passes. */
static void no_device(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "r1:8000 > node:4000 SA seq 100 ack 8 len 0", NEXT, NULL},
		{FROM_UPLINK, "r1:8000 > node:4000 SA seq 100 ack 8 len 0", NEXT, NULL},
	};

	begin(f, 1);
	STEPS(f, steps);
}

TEST(without_the_device_nothing_is_the_nodes)
{
	fixture_each(no_device, NULL);
}

/* ---- a replica in the node's own network ------------------------------------------------------*/

static void hairpin(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0 opts 20", REDIRECT,
		 "vip:4000 > node:8000 S seq 7 len 0 opts 20"},
		{FROM_NODE, "node:8000 > vip:4000 SA seq 100 ack 8 len 0 opts 20", REDIRECT,
		 "vip:80 > node:4000 SA seq 100 ack 8 len 0 opts 20 tonode"},
		{FROM_NODE, "node:4000 > vip:80 PA seq 8 ack 101 len 500", REDIRECT,
		 "vip:4000 > node:8000 PA seq 8 ack 101 len 500"},
		{FROM_NODE, "node:8000 > vip:4000 A seq 101 ack 508 len 1400", REDIRECT,
		 "vip:80 > node:4000 A seq 101 ack 508 len 1400 tonode"},
		{FROM_NODE, "node:8000 > vip:4001 A seq 101 ack 508 len 0", REDIRECT,
		 "vip:4001 > node:8000 R seq 508 len 0 back"},
		{FROM_NODE, "node:8001 > vip:4000 A seq 101 ack 508 len 0", REDIRECT,
		 "vip:4000 > node:8001 R seq 508 len 0 back"},
	};

	fixture_add_local(f, "node");
	fixture_add_replica(f, fixture_simple(f, SL_SERVICE_REPLACE, 0), "node:8000", 100);
	STEPS(f, steps);
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_OPEN);
	CHECK_INT(f->replicas[0].state.inflight, 1);
}

TEST(a_replica_on_the_clients_own_address_sees_the_vip)
{
	fixture_each(hairpin, &with_device);
}

static void hairpin_refused(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0 opts 20", REDIRECT,
		 "vip:4000 > node:8000 S seq 7 len 0 opts 20"},
		{FROM_NODE, "node:8000 > vip:4000 RA seq 0 ack 8 len 0", TRIMMED,
		 "node:4000 > vip:80 S seq 7 len 0 opts 20"},
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0 opts 20", REDIRECT,
		 "node:4000 > r1:8000 S seq 7 len 0 opts 20"},
	};
	__u32 service;

	fixture_add_local(f, "node");
	service = fixture_simple(f, SL_SERVICE_REPLACE, 1);
	f->replicas[fixture_add_replica(f, service, "node:8000", 100)].config.weight = 4000;
	STEPS(f, steps);
}

TEST(it_may_refuse_as_any_other)
{
	fixture_each(hairpin_refused, &with_device);
}

/* Its client comes from another address of the node, or from a port that is the VIP's as well. */
static void hairpin_barred(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_NODE, "other:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "vip:80 > other:4000 RA seq 0 ack 8 len 0 back"},
		{FROM_NODE, "node:80 > vip:80 S seq 7 len 0", REDIRECT,
		 "vip:80 > node:80 RA seq 0 ack 8 len 0 back"},
	};
	static const struct step with_another[] = {
		{FROM_NODE, "other:4001 > vip:80 S seq 7 len 0", REDIRECT,
		 "other:4001 > r1:8000 S seq 7 len 0"},
	};
	__u32 service;

	fixture_add_local(f, "node");
	fixture_add_local(f, "other");
	service = fixture_simple(f, SL_SERVICE_REPLACE, 0);
	fixture_add_replica(f, service, "node:8000", 100);
	f->replicas[0].config.weight = 4000;
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_NO_WAY_BACK), 2);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	fixture_add_replica(f, service, "r1:8000", 100);
	STEPS(f, with_another);
}

TEST(one_that_could_not_be_told_apart_is_not_taken)
{
	fixture_each(hairpin_barred, &with_device);
}
