// SPDX-License-Identifier: GPL-2.0-only
/*
 * The flow table at its limits: half-open flows fill half of it at most, a full
 * one leaves the rest to kube-proxy or to the spill table; and, whatever clients
 * and replicas do, every count returns to zero.
 */
#include <stdlib.h>

#include "bpf_fixture.h"
#include "check.h"

/* One set: eight flows, four of them half-open. */
static const struct fixture_options tiny = {.flow_sets = 1};

static bool translated(struct fixture *f, enum fixture_hook at, const char *format, unsigned port)
{
	struct fixture_result result;
	char line[PACKET_TEXT_LEN];

	snprintf(line, sizeof(line), format, port);
	fixture_send(f, at, line, &result);
	return result.verdict == NEXT && memcmp(result.in.data, result.out.data, result.in.len);
}

static bool syn(struct fixture *f, unsigned port)
{
	return translated(f, FROM_POD, "client:%u > vip:80 S seq 7 len 0", port);
}

static bool answer(struct fixture *f, unsigned port)
{
	return translated(f, TO_POD, "r1:8000 > client:%u SA seq 100 ack 8 len 0", port);
}

static bool acknowledge(struct fixture *f, unsigned port)
{
	return translated(f, FROM_POD, "client:%u > vip:80 A seq 8 ack 101 len 0", port);
}

static bool data(struct fixture *f, unsigned port)
{
	return translated(f, FROM_POD, "client:%u > vip:80 PA seq 8 ack 101 len 5", port);
}

static bool reset(struct fixture *f, unsigned port)
{
	return translated(f, FROM_POD, "client:%u > vip:80 R seq 8 len 0", port);
}

/* Opens flows of ports 1 to `n`. */
static void fill(struct fixture *f, unsigned n)
{
	for (unsigned port = 1; port <= n; port++) {
		CHECK(syn(f, port));
		CHECK(answer(f, port));
		CHECK(acknowledge(f, port));
	}
}

static void half_open_overlay(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	for (unsigned port = 1; port <= 4; port++)
		CHECK(syn(f, port));
	CHECK(!syn(f, 5)); /* kube-proxy's */
	CHECK_INT(fixture_counter(f, SL_COUNT_PASSED_FULL), 1);
	CHECK_INT(f->kernel->half_open, 4);
	CHECK_INT(f->replicas[0].state.inflight, 4);
	CHECK(syn(f, 4)); /* a retransmission needs no room */
	CHECK(answer(f, 1));
	CHECK(!syn(f, 5)); /* the client may be a mere flood */
	CHECK(acknowledge(f, 1));
	CHECK(syn(f, 5));
	CHECK_INT(f->kernel->half_open, 4);
	CHECK_INT(f->replicas[0].state.inflight, 5);
}

TEST(half_open_flows_fill_half_the_table_then_overlay_passes)
{
	fixture_once(half_open_overlay, &tiny);
}

static void half_open_replace(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	for (unsigned port = 1; port <= 4; port++)
		CHECK(syn(f, port));
	CHECK(syn(f, 5)); /* spilled */
	CHECK_INT(fixture_counter(f, SL_COUNT_SPILLS), 1);
	CHECK_INT(fixture_count_spilled(f), 1);
	CHECK_INT(f->kernel->half_open, 4);
	CHECK_INT(f->replicas[0].state.inflight, 4);
}

TEST(half_open_flows_fill_half_the_table_then_replace_spills)
{
	fixture_once(half_open_replace, &tiny);
}

/* Another CPU ended a flow before this one had counted it. */
static void below_zero(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	f->kernel->half_open = -2;
	for (unsigned port = 1; port <= 6; port++)
		CHECK(syn(f, port));
	CHECK_INT(fixture_count_spilled(f), 0);
	CHECK_INT(f->kernel->half_open, 4);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN), 6);
}

TEST(half_open_below_zero_for_a_moment_refuses_nobody)
{
	fixture_once(below_zero, &tiny);
}

static void full_overlay(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	fill(f, 8);
	CHECK(!syn(f, 9));
	CHECK_INT(fixture_counter(f, SL_COUNT_PASSED_FULL), 1);
	CHECK_INT(f->replicas[0].state.inflight, 8);
	CHECK(!data(f, 9)); /* kube-proxy's too */
	CHECK(data(f, 8));
	CHECK(reset(f, 3));
	CHECK(!syn(f, 9)); /* still lingering */
	fixture_age(f, 2);
	CHECK(!syn(f, 9));
	fixture_age(f, 2);
	CHECK(syn(f, 9)); /* in place, without a sweep */
	CHECK_INT(f->replicas[0].state.inflight, 8);
	CHECK_INT(fixture_count_spilled(f), 0);
}

TEST(a_full_table_leaves_syns_to_kube_proxy)
{
	fixture_once(full_overlay, &tiny);
}

static void close_both(struct fixture *f, unsigned port)
{
	CHECK(translated(f, FROM_POD, "client:%u > vip:80 FA seq 8 ack 101 len 0", port));
	CHECK(translated(f, TO_POD, "r1:8000 > client:%u FA seq 101 ack 9 len 0", port));
}

/* Finished 4, 4 and 2 seconds ago: by an RST, closed, closed; and one closed and one reset just now. */
static void who_makes_room(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	fill(f, 8);
	CHECK(reset(f, 1));
	close_both(f, 2);
	fixture_age(f, 2);
	close_both(f, 3);
	fixture_age(f, 2);
	close_both(f, 4);
	CHECK(reset(f, 5));
	CHECK(syn(f, 9));
	CHECK(!data(f, 2));
	CHECK(data(f, 1));
	CHECK(syn(f, 10));
	CHECK(!data(f, 1));
	CHECK(data(f, 3));
	CHECK(syn(f, 11));
	CHECK(!data(f, 3));
	CHECK(!syn(f, 12));
	CHECK(data(f, 4));
	CHECK(data(f, 5));
	CHECK_INT(f->replicas[0].state.inflight, 6);
}

TEST(finished_flows_make_room_by_the_harm_that_it_does)
{
	fixture_once(who_makes_room, &tiny);
}

/* Its first replica may still be charged with silence, or answer. */
static void who_is_owed_an_answer_stays(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	fill(f, 8);
	close_both(f, 1);
	for (unsigned i = 0; i < f->flow_sets * SL_FLOW_WAYS; i++)
		if (SL_FLOW_PHASE(f->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS].state) == SL_FLOW_DONE)
			f->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS].pending = 1;
	fixture_age(f, 2);
	CHECK(syn(f, 9));
	CHECK_INT(fixture_count_spilled(f), 1);
	fixture_age(f, 2);
	CHECK(syn(f, 10));
	CHECK_INT(fixture_count_spilled(f), 1);
}

TEST(one_whose_handshake_is_not_over_makes_no_room_at_once)
{
	fixture_once(who_is_owed_an_answer_stays, &tiny);
}

static void full_replace(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	fill(f, 8);
	for (unsigned port = 9; port <= 12; port++) {
		CHECK(syn(f, port));
		CHECK(syn(f, port)); /* retransmitted: found, not spilled again */
		CHECK(answer(f, port));
		CHECK(acknowledge(f, port));
		CHECK(data(f, port));
	}
	CHECK_INT(fixture_count_spilled(f), 4);
	CHECK_INT(fixture_counter(f, SL_COUNT_SPILLS), 4);
	CHECK_INT(f->replicas[0].state.inflight, 8);
	CHECK_INT(f->kernel->half_open, 0);
	CHECK(reset(f, 9)); /* spilled flows are outside of every count, at their end too */
	CHECK(reset(f, 1));
	CHECK_INT(f->replicas[0].state.inflight, 7);
	CHECK_INT(f->kernel->half_open, 0);
	CHECK(data(f, 12));
	CHECK(data(f, 8));
}

TEST(a_full_table_spills_a_replaced_services_flows)
{
	fixture_each(full_replace, &tiny);
}

/* ---- a storm -------------------------------------------------------------------*/

#define CLIENTS 400
#define REPLICAS 4

/* What client or replica may say, at any time, in any order. */
static const struct {
	bool client;
	const char *rest;
} sayings[] = {
	{true, "S seq %u len 0"},         {true, "A seq %u ack 101 len 0"},
	{true, "PA seq %u ack 101 len 5"},{true, "FA seq %u ack 101 len 0"},
	{true, "R seq %u len 0"},         {false, "SA seq %u ack 8 len 0"},
	{false, "A seq %u ack 8 len 9"},  {false, "FA seq %u ack 8 len 0"},
	{false, "RA seq %u ack 8 len 0"},
};

static void say_something(struct fixture *f)
{
	unsigned i = rand() % (sizeof(sayings) / sizeof(sayings[0])), port = 1 + rand() % CLIENTS;
	char rest[64], line[PACKET_TEXT_LEN];
	struct fixture_result result;
	bool outside = port % 2;

	snprintf(rest, sizeof(rest), sayings[i].rest, rand() % 3);
	if (sayings[i].client)
		snprintf(line, sizeof(line), "client:%u > vip%s:80 %s", port, port % 3 ? "" : "2",
			 rest);
	else
		snprintf(line, sizeof(line), "r%u:8000 > client:%u %s", 1 + rand() % REPLICAS, port,
			 rest);
	fixture_send(f, sayings[i].client ? (outside ? FROM_UPLINK : FROM_POD) :
					    (outside ? TO_UPLINK : TO_POD), line, &result);
	CHECK(result.verdict == NEXT || result.verdict == SHOT || result.verdict == REDIRECT);
}

/* In-flight is what the table holds, replica by replica. */
static void check_books(struct fixture *f)
{
	unsigned held[REPLICAS] = {0}, half_open = 0;

	for (__u32 i = 0; i < f->flow_sets * SL_FLOW_WAYS; i++) {
		struct sl_flow *flow = &f->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS];
		__u32 phase = SL_FLOW_PHASE(flow->state);

		if (phase == SL_FLOW_SYN || phase == SL_FLOW_OPEN)
			held[flow->replica]++;
		half_open += phase == SL_FLOW_SYN;
	}
	for (unsigned i = 0; i < REPLICAS; i++)
		CHECK_INT(f->replicas[i].state.inflight, held[i]);
	CHECK_INT(f->kernel->half_open, half_open);
}

static void storm(struct fixture *f)
{
	__u32 service = fixture_simple(f, SL_SERVICE_REPLACE, REPLICAS);

	srand(23);
	fixture_add_vip(f, service, "vip2:80");
	fixture_make_remote(f, 3, fixture_add_source(f, "node"));
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 1000; i++)
			say_something(f);
		check_books(f);
		fixture_age(f, rand() % 8);
		if (round % 3 == 0)
			fixture_sweep(f);
		check_books(f);
	}
	fixture_age(f, 8000);
	fixture_sweep(f);
	fixture_sweep(f);
	for (unsigned i = 0; i < REPLICAS; i++)
		CHECK_INT(f->replicas[i].state.inflight, 0);
	CHECK_INT(f->kernel->half_open, 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 0);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_FREE), f->flow_sets * SL_FLOW_WAYS);
}

TEST(after_any_storm_every_count_is_zero)
{
	fixture_once(storm, NULL);
}

/* The same with a table that is always full. */
TEST(after_a_storm_over_a_full_table_too)
{
	static const struct fixture_options small = {.flow_sets = 8};

	fixture_once(storm, &small);
}
