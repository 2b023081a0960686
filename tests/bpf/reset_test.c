// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an RST does to an open flow. Both ends may go on as if it had never been (a stack drops one
 * outside its window): the flow is uncounted and goes on being translated, and the first segment
 * of the end that was to believe the RST, a second later, undoes it.
 */
#include "bpf_fixture.h"
#include "check.h"

#define DONE (SL_FLOW_DONE | SL_FLOW_ANSWERED)
#define OPEN (SL_FLOW_OPEN | SL_FLOW_ANSWERED)

static const struct fixture_options tiny = {.flow_sets = 1};
static const struct fixture_options four_ports = {.snat_port_min = 2000, .snat_port_max = 2003};

/* Either end may be the one that resets. */
static const struct end {
	const char *rst, *sender, *receiver, *receiver_rst;
	__u32 flag;
} ends[] = {
	{"> R seq 8 len 0", "> PA seq 8 ack 101 len 5", "< PA seq 101 ack 8 len 9",
	 "< R seq 101 len 0", SL_FLOW_CLIENT_RST},
	{"< RA seq 101 ack 8 len 0", "< PA seq 101 ack 8 len 9", "> PA seq 8 ack 101 len 5",
	 "> R seq 8 len 0", SL_FLOW_REPLICA_RST},
};
#define ENDS (sizeof(ends) / sizeof(ends[0]))

static void open_flow(struct fixture *f)
{
	CHECK(fixture_say(f, "> S seq 7 len 0"));
	CHECK(fixture_say(f, "< SA seq 100 ack 8 len 0"));
	CHECK(fixture_say(f, "> A seq 8 ack 101 len 0"));
}

/* Says it, which must be translated, and looks what the flow is then. */
static void say(struct fixture *f, const char *line, __u32 state)
{
	struct sl_flow *flow;

	CHECK(fixture_say(f, line));
	flow = fixture_flow(f);
	CHECK(flow);
	CHECK_INT(flow ? (__u32)flow->state : 0, state);
	CHECK_INT(f->replicas[0].state.inflight, SL_FLOW_PHASE(state) == SL_FLOW_OPEN);
	CHECK_INT(f->kernel->half_open, 0);
}

/* ---- doubted ---------------------------------------------------------------------*/

static void doubted(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	for (unsigned i = 0; i < ENDS; i++) {
		const struct end *end = &ends[i];
		__u32 fins = SL_FLOW_CLIENT_FIN | SL_FLOW_REPLICA_FIN;

		open_flow(f);
		say(f, end->rst, DONE | end->flag);
		say(f, end->receiver, DONE | end->flag); /* on its way when the RST came */
		say(f, end->sender, DONE | end->flag);
		fixture_age(f, 2);
		say(f, end->sender, DONE | end->flag);
		say(f, end->receiver_rst, DONE | end->flag);
		say(f, end->receiver, OPEN);
		say(f, end->receiver, OPEN);
		say(f, end->sender, OPEN);
		say(f, "> FA seq 13 ack 110 len 0", OPEN | SL_FLOW_CLIENT_FIN);
		say(f, "< FA seq 110 ack 14 len 0", DONE | fins);
		say(f, "> A seq 14 ack 111 len 0", DONE | fins);
		fixture_age(f, 2);
		say(f, "< FA seq 110 ack 14 len 0", DONE | fins);
		say(f, "> A seq 14 ack 111 len 0", DONE | fins);
	}
	CHECK_INT(f->replicas[0].state.picks, ENDS);
}

TEST(an_rst_that_nobody_believed_undoes_itself)
{
	fixture_each(doubted, NULL);
}

static void again(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	open_flow(f);
	for (unsigned i = 0; i < 4; i++) {
		const struct end *end = &ends[i % ENDS];

		say(f, end->rst, DONE | end->flag);
		say(f, end->rst, DONE | end->flag);
		fixture_age(f, 500); /* a silence, which the entry outlives */
		fixture_sweep(f);
		say(f, end->receiver, OPEN);
	}
	CHECK_INT(SL_FLOW_GENERATION(fixture_flow(f)->state), 1);
	fixture_age(f, 8000);
	fixture_sweep(f); /* revived, it ends by silence like any other */
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 0);
}

TEST(each_of_many_false_rsts_is_undone)
{
	fixture_once(again, NULL);
}

static void half_closed(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	open_flow(f);
	say(f, "> FA seq 8 ack 101 len 0", OPEN | SL_FLOW_CLIENT_FIN);
	say(f, ends[0].rst, DONE | SL_FLOW_CLIENT_FIN | SL_FLOW_CLIENT_RST);
	fixture_age(f, 2);
	say(f, ends[0].receiver, OPEN | SL_FLOW_CLIENT_FIN);
	say(f, "< FA seq 110 ack 9 len 0", DONE | SL_FLOW_CLIENT_FIN | SL_FLOW_REPLICA_FIN);
}

TEST(a_fin_said_before_it_stands)
{
	fixture_once(half_closed, NULL);
}

/* Nothing was established that could go on. */
static void half_open(struct fixture *f)
{
	for (unsigned i = 0; i < ENDS; i++) {
		if (!i)
			fixture_simple(f, SL_SERVICE_REPLACE, 1);
		CHECK(fixture_say(f, "> S seq 7 len 0"));
		CHECK(fixture_say(f, "< SA seq 100 ack 8 len 0"));
		say(f, ends[i].rst, DONE);
		fixture_age(f, 2);
		say(f, ends[i].receiver, DONE);
		say(f, ends[i].sender, DONE);
	}
}

TEST(a_half_open_flow_stays_reset)
{
	fixture_once(half_open, NULL);
}

/* ---- its slot --------------------------------------------------------------------*/

/* What flow `port` of client's says: true if it was translated. */
static bool flow_says(struct fixture *f, unsigned port, bool client, const char *rest)
{
	struct fixture_result result;
	char line[PACKET_TEXT_LEN];

	snprintf(line, sizeof(line), client ? "client:%u > vip:80 %s" : "r1:8000 > client:%u %s",
		 port, rest);
	fixture_send(f, client ? FROM_POD : TO_POD, line, &result);
	return result.verdict == NEXT && memcmp(result.in.data, result.out.data, result.in.len);
}

static bool begin(struct fixture *f, unsigned port)
{
	return flow_says(f, port, true, "S seq 7 len 0") &&
	       flow_says(f, port, false, "SA seq 100 ack 8 len 0") &&
	       flow_says(f, port, true, "A seq 8 ack 101 len 0");
}

static bool is_known(struct fixture *f, unsigned port)
{
	return flow_says(f, port, true, "A seq 8 ack 101 len 0");
}

/* A full set, of which one flow was ended by RST and another one by FINs. */
static void fill(struct fixture *f, unsigned by_rst, unsigned by_fin)
{
	memset(f->flows, 0, f->flow_sets * sizeof(*f->flows));
	f->replicas[0].state.inflight = 0;
	for (unsigned port = 1; port <= SL_FLOW_WAYS; port++)
		CHECK(begin(f, port));
	CHECK(flow_says(f, by_rst, true, "R seq 8 len 0"));
	CHECK(flow_says(f, by_fin, true, "FA seq 8 ack 101 len 0"));
	CHECK(flow_says(f, by_fin, false, "FA seq 101 ack 9 len 0"));
}

static void slots(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	for (unsigned by_rst = 1; by_rst <= SL_FLOW_WAYS; by_rst++) {
		unsigned by_fin = by_rst % SL_FLOW_WAYS + 1;

		fill(f, by_rst, by_fin);
		CHECK(!begin(f, 20)); /* either may be missed yet */
		fixture_age(f, 4);
		CHECK(begin(f, 21));
		CHECK(is_known(f, by_rst));
		CHECK(!is_known(f, by_fin));
		CHECK(begin(f, 22)); /* nothing else is there */
		CHECK(!is_known(f, by_rst));
		CHECK(!begin(f, 23));
		CHECK_INT(f->replicas[0].state.inflight, SL_FLOW_WAYS);
		CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), SL_FLOW_WAYS);
	}
}

TEST(its_slot_is_taken_after_any_other)
{
	fixture_once(slots, &tiny);
}

/* ---- its source-NAT port -----------------------------------------------------------*/

/* vip:80, one replica on another node, client:4000's open flow to it from port 2000. */
static void open_outside(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:2000 > r1:8000 S seq 7 len 0"},
		{FROM_UPLINK, "r1:8000 > node:2000 SA seq 100 ack 8 len 0", REDIRECT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0"},
		{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 101 len 0", REDIRECT,
		 "node:2000 > r1:8000 A seq 8 ack 101 len 0"},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	STEPS(f, steps);
}

/* Both ends speak, translated. */
static const struct step outside_data[] = {
	{FROM_UPLINK, "client:4000 > vip:80 PA seq 8 ack 101 len 5", REDIRECT,
	 "node:2000 > r1:8000 PA seq 8 ack 101 len 5"},
	{FROM_UPLINK, "r1:8000 > node:2000 PA seq 101 ack 8 len 9", REDIRECT,
	 "vip:80 > client:4000 PA seq 101 ack 8 len 9"},
};
static const struct step outside_rsts[] = {
	{FROM_UPLINK, "client:4000 > vip:80 R seq 8 len 0", REDIRECT,
	 "node:2000 > r1:8000 R seq 8 len 0"},
	{FROM_UPLINK, "r1:8000 > node:2000 R seq 101 len 0", REDIRECT,
	 "vip:80 > client:4000 R seq 101 len 0"},
};

/* Another client's SYN: from source port `snat`, or refused where that is 0. */
static void another(struct fixture *f, unsigned port, unsigned snat)
{
	char in[PACKET_TEXT_LEN], out[PACKET_TEXT_LEN];

	snprintf(in, sizeof(in), "client2:%u > vip:80 S seq 7 len 0", port);
	if (snat)
		snprintf(out, sizeof(out), "node:%u > r1:8000 S seq 7 len 0", snat);
	else
		snprintf(out, sizeof(out), "vip:80 > client2:%u RA seq 0 ack 8 len 0 back", port);
	CHECK(fixture_step(f, &(struct step){FROM_UPLINK, in, REDIRECT, out}));
}

static void check_port_is_kept(struct fixture *f, const struct step *rst)
{
	open_outside(f);
	CHECK(fixture_step(f, rst));
	CHECK_INT(f->replicas[0].state.inflight, 0);
	STEPS(f, outside_data); /* at once, and for minutes */
	for (unsigned i = 0; i < 6; i++) {
		fixture_age(f, 50);
		fixture_sweep(f);
		STEPS(f, outside_data);
		CHECK_INT(f->replicas[0].state.inflight, 1);
	}
	for (unsigned i = 1; i < 4; i++)
		another(f, 4000 + i, 2000 + i);
	another(f, 4004, 0);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_EXHAUSTED), 1);
	STEPS(f, outside_data);
	CHECK_INT(f->replicas[0].state.inflight, 4);
}

static void client_rst_keeps_port(struct fixture *f)
{
	check_port_is_kept(f, &outside_rsts[0]);
}

static void replica_rst_keeps_port(struct fixture *f)
{
	check_port_is_kept(f, &outside_rsts[1]);
}

TEST(a_flow_that_runs_on_keeps_its_port)
{
	fixture_each(client_rst_keeps_port, &four_ports);
	fixture_each(replica_rst_keeps_port, &four_ports);
}

static void port_rests(struct fixture *f)
{
	open_outside(f);
	for (unsigned i = 1; i < 4; i++)
		another(f, 4000 + i, 2000 + i);
	CHECK(fixture_step(f, &outside_rsts[0]));
	another(f, 4004, 0);
	fixture_age(f, 59);
	another(f, 4004, 0);
	fixture_age(f, 2);
	another(f, 4004, 2000);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_EXHAUSTED), 2);
	CHECK_INT(f->replicas[0].state.inflight, 4);
}

TEST(the_port_of_one_that_does_not_rests_a_minute)
{
	fixture_once(port_rests, &four_ports);
}
