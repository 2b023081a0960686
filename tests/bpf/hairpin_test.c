// SPDX-License-Identifier: GPL-2.0-only
/*
 * A pod that calls a VIP and is given itself: its packets get the VIP as their source where they go
 * into the pod, its answers their true destination where they come out; everything else of the same
 * shape passes.
 */
#include "bpf_fixture.h"
#include "check.h"

static __u32 begin(struct fixture *f)
{
	__u32 service = fixture_simple(f, SL_SERVICE_REPLACE, 0);

	fixture_add_replica(f, service, "client:8000", 100);
	f->replicas[0].config.weight = 4000;
	return service;
}

static void both_ways(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0 opts 20", NEXT,
		 "client:4000 > client:8000 S seq 7 len 0 opts 20"},
		{TO_POD, "client:4000 > client:8000 S seq 7 len 0 opts 20", NEXT,
		 "vip:4000 > client:8000 S seq 7 len 0 opts 20"},
		{FROM_POD, "client:8000 > vip:4000 SA seq 100 ack 8 len 0 opts 20", NEXT,
		 "client:8000 > client:4000 SA seq 100 ack 8 len 0 opts 20"},
		{TO_POD, "client:8000 > client:4000 SA seq 100 ack 8 len 0 opts 20", NEXT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20"},
		{FROM_POD, "client:4000 > vip:80 PA seq 8 ack 101 len 500", NEXT,
		 "client:4000 > client:8000 PA seq 8 ack 101 len 500"},
		{TO_POD, "client:4000 > client:8000 PA seq 8 ack 101 len 500", NEXT,
		 "vip:4000 > client:8000 PA seq 8 ack 101 len 500"},
		{FROM_POD, "client:8000 > vip:4000 FA seq 101 ack 508 len 1400", NEXT,
		 "client:8000 > client:4000 FA seq 101 ack 508 len 1400"},
		{TO_POD, "client:8000 > client:4000 FA seq 101 ack 508 len 1400", NEXT,
		 "vip:80 > client:4000 FA seq 101 ack 508 len 1400"},
		{FROM_POD, "client:4000 > vip:80 FA seq 508 ack 1502 len 0", NEXT,
		 "client:4000 > client:8000 FA seq 508 ack 1502 len 0"},
		/* over, and its last packets pass yet */
		{TO_POD, "client:4000 > client:8000 FA seq 508 ack 1502 len 0", NEXT,
		 "vip:4000 > client:8000 FA seq 508 ack 1502 len 0"},
		{FROM_POD, "client:8000 > vip:4000 A seq 1502 ack 509 len 0", NEXT,
		 "client:8000 > client:4000 A seq 1502 ack 509 len 0"},
		{TO_POD, "client:8000 > client:4000 A seq 1502 ack 509 len 0", NEXT,
		 "vip:80 > client:4000 A seq 1502 ack 509 len 0"},
	};

	begin(f);
	STEPS(f, steps);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_DONE), 1);
	CHECK_INT(f->replicas[0].state.inflight, 0);
}

TEST(a_replica_that_is_given_itself)
{
	fixture_each(both_ways, NULL);
}

static void datagrams(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "udp client:4000 > vip:53 len 5", NEXT, "udp client:4000 > client:5353 len 5"},
		{TO_POD, "udp client:4000 > client:5353 len 5", NEXT, "udp vip:4000 > client:5353 len 5"},
		{FROM_POD, "udp client:5353 > vip:4000 len 6 nosum", NEXT,
		 "udp client:5353 > client:4000 len 6 nosum"},
		{TO_POD, "udp client:5353 > client:4000 len 6 nosum", NEXT,
		 "udp vip:53 > client:4000 len 6 nosum"},
	};
	__u32 service = fixture_add_service(f, 0);

	fixture_add_vip(f, service, "udp vip:53");
	fixture_add_replica(f, service, "udp client:5353", 100);
	STEPS(f, steps);
}

TEST(datagrams_likewise)
{
	fixture_each(datagrams, NULL);
}

static void others(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client:4000 > client:8000 S seq 7 len 0"},
		/* of no flow: another port, another replica, a direct connection to oneself */
		{TO_POD, "client:4001 > client:8000 S seq 7 len 0", NEXT, NULL},
		{TO_POD, "client:4000 > client:8001 S seq 7 len 0", NEXT, NULL},
		{TO_POD, "udp client:4000 > client:8000 len 3", NEXT, NULL},
		{FROM_POD, "client:8000 > vip:4001 A seq 7 ack 9 len 0", NEXT, NULL},
		{FROM_POD, "client:8001 > vip:4000 SA seq 7 ack 9 len 0", NEXT, NULL},
		{FROM_POD, "r1:8000 > vip:4000 A seq 7 ack 9 len 0", NEXT, NULL},
		/* of another VIP; to the node, which has VIPs too and is a client itself */
		{FROM_POD, "client:8000 > vip2:4000 A seq 7 ack 9 len 0", NEXT, NULL},
		{FROM_POD, "client:8000 > node:4000 SA seq 7 ack 9 len 0", NEXT, NULL},
		{FROM_POD, "client:8000 > node:4000 A seq 7 ack 9 len 0", NEXT, NULL},
		/* a client on the replica's port, to a port of the VIP's address that is none of the VIP's */
		{FROM_POD, "client:8000 > vip:4001 S seq 7 len 0", NEXT, NULL},
		{FROM_POD, "client:8000 > vip:4001 SAR seq 7 ack 9 len 0", NEXT, NULL},
	};
	__u32 service = begin(f);

	fixture_add_vip(f, service, "vip2:80");
	fixture_add_vip(f, service, "node:30080");
	fixture_add_local(f, "node");
	STEPS(f, steps);
}

TEST(what_only_looks_like_it_passes)
{
	fixture_each(others, NULL);
}

static void node_port(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > node:30080 S seq 7 len 0", NEXT,
		 "client:4000 > client:8000 S seq 7 len 0"},
		{TO_POD, "client:4000 > client:8000 S seq 7 len 0", NEXT,
		 "node:4000 > client:8000 S seq 7 len 0"},
		{FROM_POD, "client:8000 > node:4000 SA seq 100 ack 8 len 0", NEXT,
		 "client:8000 > client:4000 SA seq 100 ack 8 len 0"},
		{TO_POD, "client:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT,
		 "node:30080 > client:4000 SA seq 100 ack 8 len 0"},
	};

	fixture_add_vip(f, begin(f), "node:30080");
	fixture_add_local(f, "node");
	STEPS(f, steps);
}

TEST(by_a_node_port)
{
	fixture_each(node_port, NULL);
}

static void refused(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0 opts 20", NEXT,
		 "client:4000 > client:8000 S seq 7 len 0 opts 20"},
		{FROM_POD, "client:8000 > vip:4000 RA seq 0 ack 8 len 0", NEXT,
		 "client:8000 > client:4000 RA seq 0 ack 8 len 0"},
		{TO_POD, "client:8000 > client:4000 RA seq 0 ack 8 len 0", TRIMMED,
		 "client:4000 > vip:80 S seq 7 len 0 opts 20"},
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0 opts 20", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0 opts 20"},
		/* too late: the flow has moved on, and its client is told by the first answer */
		{FROM_POD, "client:8000 > vip:4000 SA seq 100 ack 8 len 0", NEXT,
		 "client:8000 > client:4000 SA seq 100 ack 8 len 0"},
	};

	fixture_add_replica(f, begin(f), "r1:8000", 100);
	STEPS(f, steps);
	CHECK_INT(fixture_counter(f, SL_COUNT_RETRIES), 1);
}

TEST(its_own_refusal_goes_to_another)
{
	fixture_each(refused, NULL);
}

/* The client's port is a port of the VIP: an answer to it would be a new flow of the replica's. */
static void barred(struct fixture *f)
{
	static const struct step alone[] = {
		{FROM_POD, "client:80 > vip:80 S seq 7 len 0", REDIRECT,
		 "vip:80 > client:80 RA seq 0 ack 8 len 0 back"},
	};
	static const struct step with_another[] = {
		{FROM_POD, "client:80 > vip:80 S seq 9 len 0", NEXT,
		 "client:80 > r1:8000 S seq 9 len 0"},
	};
	__u32 service = begin(f);

	STEPS(f, alone);
	CHECK_INT(fixture_drops(f, SL_DROP_NO_WAY_BACK), 1);
	fixture_add_replica(f, service, "r1:8000", 100);
	STEPS(f, with_another);
}

TEST(not_while_the_clients_port_is_one_of_the_vips)
{
	fixture_each(barred, NULL);
}

/* With a cap, its owner counts the connection as the replica sees it. */
static void capped(struct fixture *f)
{
	static const struct step one[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client:4000 > client:8000 S seq 7 len 0"},
		{TO_POD, "client:4000 > client:8000 S seq 7 len 0", NEXT,
		 "vip:4000 > client:8000 S seq 7 len 0"},
	};
	static const struct step end[] = {
		{FROM_POD, "client:8000 > vip:4000 RA seq 0 ack 8 len 0", NEXT,
		 "client:8000 > client:4000 RA seq 0 ack 8 len 0"},
	};

	begin(f);
	fixture_set_cap(f, 0, 1);
	STEPS(f, one);
	CHECK_INT(f->replicas[0].state.owned, 1);
	STEPS(f, end);
	CHECK_INT(f->replicas[0].state.owned, 0);
}

TEST(its_owner_counts_it)
{
	fixture_each(capped, NULL);
}
