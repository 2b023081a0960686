// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cap of a replica, at its owner (its own interface) and at the senders: who gets a place, who
 * is told "full", when a place is free again, and what a sender makes of a full replica.
 */
#include <bpf/bpf.h>

#include "bpf_fixture.h"
#include "check.h"

#define SYN "client:4000 > vip:80 S seq 7 len 0 opts 20"
#define SYN_TO(r) "client:4000 > " r ":8000 S seq 7 len 0 opts 20"
#define FULL_WINDOW " win 20942"
/* Says that it is full, for the replica, at the ingress of that one's interface. */
#define FULL(r, port) r ":8000 > client:" port " RA seq 0 ack 8 len 0" FULL_WINDOW

/* One service of one replica, with a cap. */
static void begin(struct fixture *f, __u32 cap)
{
	fixture_simple(f, 0, 1);
	f->services[0].idle_ticks = 3600 * FIXTURE_HZ;
	fixture_set_cap(f, 0, cap);
}

static unsigned owned(const struct fixture *f, __u32 replica)
{
	return f->replicas[replica].state.owned;
}

static void check_clean(struct fixture *f)
{
	CHECK_INT(owned(f, 0), 0);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->kernel->half_open, 0);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN) + fixture_count_flows(f, SL_FLOW_OPEN), 0);
}

/* A connection at the replica's interface, by hand: `to` what it hears, `from` what it says. */
static void hears(struct fixture *f, const char *line)
{
	struct step step = {TO_POD, line, NEXT, NULL};

	CHECK(fixture_step(f, &step));
}

static void says(struct fixture *f, const char *line)
{
	struct step step = {FROM_POD, line, NEXT, NULL};

	CHECK(fixture_step(f, &step));
}

static void open_4000(struct fixture *f)
{
	hears(f, "client:4000 > r1:8000 S seq 7 len 0");
	says(f, "r1:8000 > client:4000 SA seq 100 ack 8 len 0");
	hears(f, "client:4000 > r1:8000 A seq 8 ack 101 len 0");
}

/* ---- at the owner -----------------------------------------------------------------------*/

static void third_of_two(struct fixture *f)
{
	static const struct step one_more = {TO_POD, "client:4002 > r1:8000 S seq 7 len 0 opts 20",
					     TRIMMED, FULL("r1", "4002") " back"};

	begin(f, 2);
	open_4000(f);
	hears(f, "client2:4000 > r1:8000 S seq 7 len 0");
	CHECK_INT(owned(f, 0), 2);
	CHECK(fixture_step(f, &one_more));
	CHECK_INT(owned(f, 0), 2);
	CHECK_INT(fixture_drops(f, SL_DROP_OVER_CAP), 1);
	says(f, FULL("r1", "4002")); /* comes in again at the replica's interface */
	hears(f, "client:4000 > r1:8000 S seq 7 len 0"); /* a retransmit asks for nothing */
	hears(f, "client2:4000 > r1:8000 S seq 7 len 0");
	hears(f, "client:4003 > r1:8000 A seq 7 ack 3 len 0"); /* not a beginning */
	CHECK_INT(owned(f, 0), 2);
	CHECK_INT(f->kernel->half_open, 0); /* that of the sender is counted at the sender */
	CHECK_INT(f->replicas[0].state.inflight, 0);
}

TEST(a_syn_over_the_cap_is_told_so)
{
	fixture_each(third_of_two, NULL);
}

/* Each way in which a connection ends gives its place back, once. */
static void ends(struct fixture *f)
{
	begin(f, 1);
	open_4000(f);
	hears(f, "client:4000 > r1:8000 FA seq 8 ack 101 len 0");
	CHECK_INT(owned(f, 0), 1);
	says(f, "r1:8000 > client:4000 FA seq 101 ack 9 len 0");
	CHECK_INT(owned(f, 0), 0);
	hears(f, "client:4000 > r1:8000 A seq 9 ack 102 len 0");
	hears(f, "client:4000 > r1:8000 FA seq 8 ack 101 len 0");
	CHECK_INT(owned(f, 0), 0);

	open_4000(f); /* the same port again, in the linger */
	CHECK_INT(owned(f, 0), 1);
	hears(f, "client:4000 > r1:8000 R seq 8 len 0");
	CHECK_INT(owned(f, 0), 0);

	hears(f, "client:4000 > r1:8000 S seq 7 len 0"); /* nobody listens */
	says(f, "r1:8000 > client:4000 RA seq 0 ack 8 len 0");
	CHECK_INT(owned(f, 0), 0);

	hears(f, "client:4001 > r1:8000 S seq 7 len 0"); /* half-open */
	fixture_age(f, 6);
	fixture_sweep(f);
	CHECK_INT(owned(f, 0), 0);

	open_4000(f); /* silent */
	fixture_age(f, 3000);
	fixture_sweep(f);
	CHECK_INT(owned(f, 0), 1);
	fixture_age(f, 700);
	fixture_sweep(f);
	CHECK_INT(owned(f, 0), 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_EXPIRED_SYN) +
		  fixture_counter(f, SL_COUNT_EXPIRED_IDLE), 0);
	check_clean(f);
}

TEST(every_end_gives_its_place_back_once)
{
	fixture_each(ends, NULL);
}

static void unbelieved(struct fixture *f)
{
	begin(f, 1);
	open_4000(f);
	says(f, "r1:8000 > client:4000 R seq 55 len 0");
	CHECK_INT(owned(f, 0), 0);
	fixture_age(f, 2);
	hears(f, "client:4000 > r1:8000 A seq 8 ack 101 len 10");
	CHECK_INT(owned(f, 0), 1);
	hears(f, "client:4000 > r1:8000 FA seq 18 ack 101 len 0");
	says(f, "r1:8000 > client:4000 FA seq 101 ack 19 len 0");
	check_clean(f);
}

TEST(a_connection_that_goes_on_after_an_rst_takes_its_place_again)
{
	fixture_each(unbelieved, NULL);
}

/* A new SYN of a port that holds a place: the connection before it is over, its place goes on. */
static void again(struct fixture *f)
{
	begin(f, 1);
	hears(f, "client:4000 > r1:8000 S seq 7 len 0");
	hears(f, "client:4000 > r1:8000 S seq 900 len 0");
	CHECK_INT(owned(f, 0), 1);
	says(f, "r1:8000 > client:4000 SA seq 100 ack 901 len 0");
	hears(f, "client:4000 > r1:8000 A seq 901 ack 101 len 0");
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 1);
	says(f, "r1:8000 > client:4000 FA seq 101 ack 901 len 0");
	hears(f, "client:4000 > r1:8000 S seq 2000 len 0"); /* it forgot, and so did the replica */
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN), 1);
	CHECK_INT(owned(f, 0), 1);
	says(f, "r1:8000 > client:4000 RA seq 0 ack 2001 len 0");
	check_clean(f);
}

TEST(a_new_syn_keeps_the_place_of_the_one_before)
{
	fixture_each(again, NULL);
}

static void stray(struct fixture *f)
{
	begin(f, 1);
	open_4000(f);
	hears(f, "client:4000 > r1:8000 S seq 900 len 0");
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 1); /* else it would expire in seconds */
	CHECK_INT(owned(f, 0), 1);
}

TEST(a_stray_syn_does_not_end_an_open_connection)
{
	fixture_each(stray, NULL);
}

static void exempt(struct fixture *f)
{
	begin(f, 1);
	fixture_add_local(f, "node");
	open_4000(f);
	hears(f, "node:4000 > r1:8000 S seq 7 len 0");
	says(f, "r1:8000 > node:4000 SA seq 100 ack 8 len 0");
	hears(f, "node:4000 > r1:8000 R seq 8 len 0");
	CHECK_INT(owned(f, 0), 1);
	CHECK_INT(fixture_drops(f, SL_DROP_OVER_CAP), 0);
}

TEST(addresses_of_the_node_are_exempt)
{
	fixture_each(exempt, NULL);
}

static void no_cap(struct fixture *f)
{
	begin(f, 0);
	open_4000(f);
	CHECK_INT(owned(f, 0), 0);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 0);
	fixture_set_cap(f, 0, 1);
	hears(f, "client:4000 > r1:8000 A seq 8 ack 101 len 10"); /* was open before */
	CHECK_INT(owned(f, 0), 0);
	hears(f, "client:4001 > r1:8000 S seq 7 len 0");
	CHECK_INT(owned(f, 0), 1);
	fixture_set_cap(f, 0, 0);
	fixture_sweep(f);
	check_clean(f);
}

TEST(without_a_cap_nothing_is_held)
{
	fixture_each(no_cap, NULL);
}

/* The flows of a dead replica are reset at their senders' nodes; its owner only watches. */
static void reset(struct fixture *f)
{
	struct __sk_buff context = {.cb = {0, 0, 100}};
	unsigned char frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = 1);

	begin(f, 1);
	open_4000(f);
	CHECK_INT(bpf_prog_test_run_opts(bpf_program__fd(f->skel->progs.reset_flows), &opts), 0);
	CHECK(!(fixture_flow(f)->state & SL_FLOW_RESET));
	CHECK_INT(fixture_counter(f, SL_COUNT_RESETS), 0);
	says(f, "r1:8000 > client:4000 R seq 101 len 0");
	check_clean(f);
}

TEST(an_owners_entry_is_not_reset)
{
	fixture_each(reset, NULL);
}

/* ---- at the senders -----------------------------------------------------------------------*/

static unsigned picks_of(const struct fixture *f, __u32 replica)
{
	return f->replicas[replica].state.picks;
}

static void open_some(struct fixture *f, unsigned n, unsigned port, int verdict)
{
	char line[PACKET_TEXT_LEN];
	struct fixture_result result;

	for (unsigned i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "client:%u > vip:80 S seq 7 len 0", port + i);
		fixture_send(f, FROM_POD, line, &result);
		CHECK_INT(result.verdict, verdict);
	}
}

static void below(struct fixture *f)
{
	fixture_simple(f, 0, 3);
	fixture_set_cap(f, 0, 2);
	fixture_set_cap(f, 1, 3);
	open_some(f, 20, 1000, NEXT);
	CHECK_INT(picks_of(f, 0), 2);
	CHECK_INT(picks_of(f, 1), 3);
	CHECK_INT(picks_of(f, 2), 15);
	f->replicas[2].config.flags |= SL_REPLICA_SUSPECT; /* no reason to panic */
	open_some(f, 1, 2000, REDIRECT);
	CHECK_INT(fixture_drops(f, SL_DROP_FULL), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 0);
	f->replicas[0].state.inflight = 0;
	f->replicas[0].state.owned = 2; /* the others' */
	open_some(f, 1, 3000, REDIRECT);
	f->replicas[0].state.owned = 1;
	open_some(f, 1, 4000, NEXT);
	f->replicas[0].state.owned = -1;
	f->replicas[0].state.inflight = -1; /* of a moment */
	open_some(f, 1, 5000, NEXT);
}

TEST(a_replica_at_its_cap_is_not_picked)
{
	fixture_once(below, NULL);
}

#define MANY 60

static void many(struct fixture *f, __u32 flags)
{
	__u32 service = fixture_add_service(f, flags);
	char name[32];

	fixture_add_vip(f, service, "vip:80");
	for (unsigned port = 1; port <= MANY; port++) {
		snprintf(name, sizeof(name), "r1:%u", port);
		fixture_set_cap(f, fixture_add_replica(f, service, name, 100), 1);
	}
	open_some(f, MANY, 1000, NEXT);
	for (unsigned i = 0; i < MANY; i++)
		CHECK_INT(picks_of(f, i), 1);
	open_some(f, 1, 2000, REDIRECT);
	CHECK_INT(fixture_drops(f, SL_DROP_FULL), 1);
}

static void many_drawn(struct fixture *f)
{
	many(f, 0);
}

static void many_loads(struct fixture *f)
{
	many(f, SL_SERVICE_LOADS);
}

TEST(the_last_of_many_below_its_cap_is_found)
{
	fixture_once(many_drawn, NULL);
	fixture_once(many_loads, NULL);
}

static void begin_two(struct fixture *f)
{
	fixture_simple(f, 0, 2);
	f->replicas[0].config.weight = 4000;
	f->services[0].retry_attempts = 3;
	f->services[0].retry_budget = 1;
}

/* All full: an answer at once, nobody has failed, and no budget of retries is touched. */
static void all_full(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
		{TO_POD, FULL("r1", "4000"), TRIMMED, SYN},
		{FROM_POD, SYN, NEXT, SYN_TO("r2")},
		{TO_POD, FULL("r2", "4000"), TRIMMED, SYN},
		{FROM_POD, SYN, TRIMMED, "vip:80 > client:4000 RA seq 0 ack 8 len 0 back"},
	};

	begin_two(f);
	f->services[0].flags |= SL_SERVICE_NO_RETRY; /* of failed connects, which these are not */
	for (unsigned i = 0; i < 3; i++)
		STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_FULL), 3);
	CHECK_INT(fixture_counter(f, SL_COUNT_FULL), 6);
	CHECK_INT(fixture_counter(f, SL_COUNT_CONNECT_FAILURES), 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_RETRIES_SHED), 0);
	CHECK_INT(f->replicas[0].state.full, 3);
	CHECK_INT(f->outliers[0].last_failure, 0);
	CHECK_INT(f->replicas[1].state.inflight, 0);
	check_clean(f);
}

TEST(when_all_are_full_the_client_is_refused)
{
	fixture_each(all_full, NULL);
}

/* A down replica is no refuge from full ones. */
static void no_panic(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
		{TO_POD, FULL("r1", "4000"), TRIMMED, SYN},
		{FROM_POD, SYN, TRIMMED, "vip:80 > client:4000 RA seq 0 ack 8 len 0 back"},
	};

	begin_two(f);
	f->replicas[1].config.flags |= SL_REPLICA_PROBE_DOWN;
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_FULL), 1);
}

TEST(a_down_replica_is_no_refuge_from_full_ones)
{
	fixture_each(no_panic, NULL);
}

static void probe_of_another_node(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "r1:8000 > node:40000 RA seq 0 ack 8 len 0" FULL_WINDOW, NEXT, NULL},
		{FROM_UPLINK, "r1:8000 > node:40000 RA seq 0 ack 8 len 0", NEXT, NULL},
		{FROM_UPLINK, "r1:8000 > client:40000 RA seq 0 ack 8 len 0" FULL_WINDOW, NEXT, NULL},
	};

	begin(f, 1);
	fixture_add_local(f, "node");
	STEPS(f, steps);
	CHECK_INT(f->replicas[0].state.full, 1);
}

TEST(a_probe_that_met_a_full_replica_is_known)
{
	fixture_each(probe_of_another_node, NULL);
}
