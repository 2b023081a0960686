// SPDX-License-Identifier: GPL-2.0-only
/*
 * Source NAT: an outside client and a replica on another node. Which port is
 * taken, when it may be taken again, and that nothing keeps one for ever.
 */
#include "bpf_fixture.h"
#include "check.h"

#define PORT_MIN 1024 /* of the usual range; the first one taken */

static const struct fixture_options four_ports = {.snat_port_min = 2000, .snat_port_max = 2003};

/* vip:80, and `n` replicas on other nodes, reached from `node`. */
static void remote(struct fixture *f, __u32 flags, unsigned n)
{
	__u32 source = fixture_add_source(f, "node");

	fixture_simple(f, flags, n);
	for (unsigned i = 0; i < n; i++)
		fixture_make_remote(f, i, source);
}

static void both_ways(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0 opts 20", REDIRECT,
		 "node:1024 > r1:8000 S seq 7 len 0 opts 20"},
		{FROM_UPLINK, "r1:8000 > node:1024 SA seq 100 ack 8 len 0 opts 20", REDIRECT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20"},
		{FROM_UPLINK, "client:4000 > vip:80 PA seq 8 ack 101 len 500", REDIRECT,
		 "node:1024 > r1:8000 PA seq 8 ack 101 len 500"},
		/* over a tunnel the answer comes in elsewhere */
		{FROM_FABRIC, "r1:8000 > node:1024 A seq 101 ack 508 len 1400", REDIRECT,
		 "vip:80 > client:4000 A seq 101 ack 508 len 1400"},
		/* at every other hook it passes */
		{FROM_POD, "r1:8000 > node:1024 A seq 101 ack 508 len 1400", NEXT, NULL},
		{TO_POD, "r1:8000 > node:1024 A seq 101 ack 508 len 1400", NEXT, NULL},
		{TO_UPLINK, "r1:8000 > node:1024 A seq 101 ack 508 len 1400", NEXT, NULL},
		/* as does what is nobody's */
		{FROM_UPLINK, "r1:8000 > node:1025 A seq 101 ack 508 len 1400", NEXT, NULL},
		{FROM_UPLINK, "r1:8000 > client:4000 A seq 101 ack 508 len 1400", NEXT, NULL},
		{FROM_UPLINK, "other:8000 > node:1024 A seq 101 ack 508 len 1400", NEXT, NULL},
		{FROM_UPLINK, "udp r1:8000 > node:1024 len 10", NEXT, NULL},
		{FROM_UPLINK, "client:4000 > vip:80 A seq 508 ack 101 len 3 badsum", REDIRECT,
		 "node:1024 > r1:8000 A seq 508 ack 101 len 3 badsum"},
	};

	remote(f, 0, 1);
	STEPS(f, steps);
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_OPEN);
	CHECK_INT(fixture_flow(f)->hook, SL_HOOK_FABRIC);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 1);
}

TEST(both_ends_are_translated_both_ways)
{
	fixture_each(both_ways, NULL);
}

/* The way to the replica has another source address now: a SYN that nobody has answered goes there with
 * it, an established flow keeps its own. */
static void moved_route(struct fixture *f)
{
	static const struct step syn = {FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
					"node:1024 > r1:8000 S seq 7 len 0"};
	static const struct step after[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "other:1025 > r1:8000 S seq 7 len 0"},
		{FROM_FABRIC, "r1:8000 > other:1025 SA seq 100 ack 8 len 0", REDIRECT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0"},
		{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 101 len 5", REDIRECT,
		 "other:1025 > r1:8000 A seq 8 ack 101 len 5"},
	};
	static const struct step kept = {FROM_UPLINK, "client:4000 > vip:80 A seq 13 ack 101 len 5",
					 REDIRECT, "other:1025 > r1:8000 A seq 13 ack 101 len 5"};
	__u32 other;

	remote(f, 0, 1);
	other = fixture_add_source(f, "other");
	CHECK(fixture_step(f, &syn));
	fixture_age(f, 1);
	CHECK(fixture_step(f, &syn)); /* the same way: it stays */
	fixture_make_remote(f, 0, other);
	fixture_age(f, 1);
	STEPS(f, after);
	fixture_make_remote(f, 0, 0);
	fixture_age(f, 1);
	CHECK(fixture_step(f, &kept));
	CHECK_INT(f->replicas[0].state.inflight, 1);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 1);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 1);
}

TEST(a_half_open_flow_follows_the_route)
{
	fixture_each(moved_route, NULL);
}

/* A pod reaches a remote replica with its own address. */
static void pod_client(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0"},
		{TO_POD, "r1:8000 > client:4000 SA seq 1 ack 8 len 0", NEXT,
		 "vip:80 > client:4000 SA seq 1 ack 8 len 0"},
	};

	remote(f, 0, 1);
	STEPS(f, steps);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 0);
}

TEST(a_pod_needs_no_source_nat)
{
	fixture_once(pod_client, NULL);
}

static void unique(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:1024 > r1:8000 S seq 7 len 0"},
		{FROM_UPLINK, "client2:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:1025 > r1:8000 S seq 7 len 0"},
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:1024 > r1:8000 S seq 7 len 0"},
		{FROM_UPLINK, "udp client:4000 > vip:80 len 5", REDIRECT,
		 "udp node:1024 > r2:8000 len 5"},
		{FROM_UPLINK, "udp r2:8000 > node:1024 len 6", REDIRECT,
		 "udp vip:80 > client:4000 len 6"},
		{FROM_UPLINK, "r1:8000 > node:1025 SA seq 1 ack 8 len 0", REDIRECT,
		 "vip:80 > client2:4000 SA seq 1 ack 8 len 0"},
		{FROM_UPLINK, "udp client2:4000 > vip:80 len 5 nosum", REDIRECT,
		 "udp node:1025 > r2:8000 len 5 nosum"},
	};
	__u32 service;

	remote(f, 0, 1);
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "udp vip:80");
	fixture_make_remote(f, fixture_add_replica(f, service, "udp r2:8000", 1), 0);
	STEPS(f, steps);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 4);
}

TEST(a_port_is_unique_for_each_replica_and_protocol)
{
	fixture_each(unique, NULL);
}

/* Opens a flow of client port `port` and expects source port `snat`; 0: refused. */
static void open_flow(struct fixture *f, unsigned port, unsigned snat)
{
	char in[PACKET_TEXT_LEN], out[PACKET_TEXT_LEN];

	snprintf(in, sizeof(in), "client:%u > vip:80 S seq 7 len 0", port);
	if (snat)
		snprintf(out, sizeof(out), "node:%u > r1:8000 S seq 7 len 0", snat);
	else
		snprintf(out, sizeof(out), "vip:80 > client:%u RA seq 0 ack 8 len 0 back", port);
	CHECK(fixture_step(f, &(struct step){FROM_UPLINK, in, REDIRECT, out}));
}

static void reset_flow(struct fixture *f, unsigned port, unsigned snat)
{
	char in[PACKET_TEXT_LEN], out[PACKET_TEXT_LEN];

	snprintf(in, sizeof(in), "client:%u > vip:80 R seq 8 len 0", port);
	snprintf(out, sizeof(out), "node:%u > r1:8000 R seq 8 len 0", snat);
	CHECK(fixture_step(f, &(struct step){FROM_UPLINK, in, REDIRECT, out}));
}

static void exhaustion(struct fixture *f)
{
	remote(f, SL_SERVICE_REPLACE, 1);
	for (unsigned i = 0; i < 4; i++)
		open_flow(f, 4000 + i, 2000 + i);
	open_flow(f, 4004, 0);
	open_flow(f, 4005, 0);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_EXHAUSTED), 2);
	CHECK_INT(f->replicas[0].state.inflight, 4);
	CHECK_INT(f->kernel->half_open, 4);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN), 4);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 4);
}

TEST(when_no_port_is_left_the_client_is_told)
{
	fixture_each(exhaustion, &four_ports);
}

static void quarantine(struct fixture *f)
{
	remote(f, SL_SERVICE_REPLACE, 1);
	for (unsigned i = 0; i < 4; i++)
		open_flow(f, 4000 + i, 2000 + i);
	reset_flow(f, 4002, 2002);
	reset_flow(f, 4001, 2001);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 2);
	fixture_age(f, 50);
	open_flow(f, 4010, 0);
	fixture_age(f, 11);
	open_flow(f, 4011, 2001);
	open_flow(f, 4012, 2002);
	open_flow(f, 4013, 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 0);
}

TEST(a_port_rests_a_minute)
{
	fixture_once(quarantine, &four_ports);
}

static void oldest_first(struct fixture *f)
{
	remote(f, SL_SERVICE_REPLACE, 1);
	for (unsigned round = 0; round < 5; round++)
		for (unsigned i = 0; i < 4; i++) {
			open_flow(f, 4000 + i, 2000 + i);
			reset_flow(f, 4000 + i, 2000 + i);
			fixture_age(f, 16);
		}
}

TEST(ports_are_taken_in_a_circle)
{
	fixture_once(oldest_first, &four_ports);
}

static struct sl_snat *only_entry(struct fixture *f)
{
	for (__u32 i = 0; i < f->snat_sets * SL_SNAT_WAYS; i++)
		if (f->snat[i / SL_SNAT_WAYS].way[i % SL_SNAT_WAYS].phase)
			return &f->snat[i / SL_SNAT_WAYS].way[i % SL_SNAT_WAYS];
	return NULL;
}

/* Another key was in the way when this one was placed, and has gone since. */
static void own_place(struct fixture *f)
{
	remote(f, SL_SERVICE_REPLACE, 1);
	for (unsigned shift = 1; shift < SL_SNAT_WAYS; shift++) {
		struct sl_snat *entry, *moved;

		f->replicas[0].state.snat_cursor = 0;
		open_flow(f, 4000 + shift, 2000);
		reset_flow(f, 4000 + shift, 2000);
		entry = only_entry(f);
		moved = (struct sl_snat *)((uintptr_t)entry & ~(sizeof(struct sl_snat_set) - 1)) +
			(((uintptr_t)entry / sizeof(*entry) + shift) & (SL_SNAT_WAYS - 1));
		*moved = *entry;
		*entry = (struct sl_snat){0};
		fixture_age(f, 61);
		f->replicas[0].state.snat_cursor = 0;
		open_flow(f, 4100 + shift, 2000);
		CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 0);
		reset_flow(f, 4100 + shift, 2000);
		CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 0);
		fixture_age(f, 61);
		fixture_sweep(f);
	}
}

TEST(a_port_goes_back_to_its_own_place)
{
	fixture_once(own_place, &four_ports);
}

/* Whatever ends a flow gives its port back. */
static void given_back(struct fixture *f)
{
	static const struct step answered[] = {
		{FROM_UPLINK, "r1:8000 > node:2001 SA seq 1 ack 8 len 0", REDIRECT,
		 "vip:80 > client:4002 SA seq 1 ack 8 len 0"},
	};
	static const struct step another_isn[] = {
		{FROM_UPLINK, "client:4001 > vip:80 S seq 99 len 0", REDIRECT,
		 "node:2003 > r1:8000 S seq 99 len 0"},
		/* an answer to what was replaced finds nobody */
		{FROM_UPLINK, "r1:8000 > node:2002 SA seq 1 ack 8 len 0", NEXT, NULL},
		{FROM_UPLINK, "r1:8000 > node:2003 SA seq 1 ack 100 len 0", REDIRECT,
		 "vip:80 > client:4001 SA seq 1 ack 100 len 0"},
		{FROM_UPLINK, "client:4001 > vip:80 A seq 100 ack 2 len 0", REDIRECT,
		 "node:2003 > r1:8000 A seq 100 ack 2 len 0"},
	};

	remote(f, SL_SERVICE_REPLACE, 1);
	open_flow(f, 4000, 2000);
	open_flow(f, 4002, 2001);
	STEPS(f, answered);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 2);
	fixture_age(f, 6);
	fixture_sweep(f); /* nobody answered the one, nobody acknowledged the other */
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 0);
	open_flow(f, 4001, 2002);
	STEPS(f, another_isn);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 1);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 3);
	fixture_age(f, 61);
	fixture_sweep(f);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_FREE), f->snat_sets * SL_SNAT_WAYS - 1);
	CHECK_INT(f->replicas[0].state.inflight, 1);
}

TEST(every_end_of_a_flow_gives_its_port_back)
{
	fixture_once(given_back, &four_ports);
}

/* Its flow fell silent for so long that it is over. Its ends do not know, and go on: not with a port that
 * another flow may have by then. */
static void idle_out(struct fixture *f)
{
	static const struct step handshake[] = {
		{FROM_UPLINK, "r1:8000 > node:2000 SA seq 0 ack 8 len 0", REDIRECT,
		 "vip:80 > client:4000 SA seq 0 ack 8 len 0"},
		{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 1 len 0", REDIRECT,
		 "node:2000 > r1:8000 A seq 8 ack 1 len 0"},
	};
	static const struct step goes_on = {FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 1 len 5",
					    REDIRECT, "node:2000 > r1:8000 A seq 8 ack 1 len 5"};
	static const struct step forgotten = {FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 1 len 5",
					      REDIRECT, "vip:80 > client:4000 R seq 1 len 0 back"};

	remote(f, SL_SERVICE_REPLACE, 1);
	f->services[0].idle_ticks = 300 * FIXTURE_HZ;
	open_flow(f, 4000, 2000);
	STEPS(f, handshake);
	fixture_age(f, 301);
	for (__u32 i = 0; i < f->flow_sets && fixture_count_flows(f, SL_FLOW_OPEN); i++)
		fixture_tick(f);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_DONE), 1);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 1);
	CHECK(fixture_step(f, &goes_on));
	fixture_sweep(f);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_FREE), f->flow_sets * SL_FLOW_WAYS);
	CHECK(fixture_step(f, &forgotten));
}

TEST(a_flow_that_idled_out_does_not_live_on_its_old_port)
{
	fixture_once(idle_out, &four_ports);
}

static void late_reply(struct fixture *f)
{
	static const struct step late[] = {
		{FROM_UPLINK, "r1:8000 > node:1024 A seq 1 ack 8 len 7", REDIRECT,
		 "vip:80 > client:4000 A seq 1 ack 8 len 7"},
	};
	static const struct step handshake[] = {
		{FROM_UPLINK, "r1:8000 > node:1024 SA seq 0 ack 8 len 0", REDIRECT,
		 "vip:80 > client:4000 SA seq 0 ack 8 len 0"},
		{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 1 len 0", REDIRECT,
		 "node:1024 > r1:8000 A seq 8 ack 1 len 0"},
	};
	static const struct step too_late[] = {
		{FROM_UPLINK, "r1:8000 > node:1024 A seq 1 ack 8 len 7", NEXT, NULL},
	};

	remote(f, 0, 1);
	open_flow(f, 4000, PORT_MIN);
	STEPS(f, handshake);
	reset_flow(f, 4000, PORT_MIN);
	STEPS(f, late);
	fixture_age(f, 50); /* an RST need not have been believed: a minute, as long as the port rests */
	fixture_sweep(f);
	STEPS(f, late);
	CHECK_INT(f->replicas[0].state.inflight, 1); /* the replica goes on: it did not believe the RST */
	reset_flow(f, 4000, PORT_MIN);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	fixture_age(f, 61);
	fixture_sweep(f);
	STEPS(f, too_late);
}

TEST(a_late_reply_is_translated_while_the_flow_lingers)
{
	fixture_once(late_reply, NULL);
}

static void no_source(struct fixture *f)
{
	static const struct step lost_route[] = {
		{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 9 len 0", SHOT, NULL},
	};

	remote(f, SL_SERVICE_REPLACE, 1);
	open_flow(f, 4000, PORT_MIN);
	f->replicas[0].config.source = 0;
	open_flow(f, 4001, 0);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_NO_SOURCE), 1);
	CHECK_INT(f->replicas[0].state.inflight, 1);
	f->replicas[0].config.out_ifindex = 0;
	STEPS(f, lost_route);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_NO_SOURCE), 2);
}

TEST(without_a_route_there_is_no_source)
{
	fixture_once(no_source, NULL);
}
