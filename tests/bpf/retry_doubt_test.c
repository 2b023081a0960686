// SPDX-License-Identifier: GPL-2.0-only
/*
 * Handshakes that could be taken for something else: a refusal while others may still answer, a
 * SYN-ACK or an acknowledgement with wrong numbers, data that comes with a later SYN, an answer to one
 * of two SYNs, a refusal of a flow outside the table. r1 is picked first, then r2.
 */
#include <string.h>

#include "bpf_fixture.h"
#include "check.h"

#define SYN "client:4000 > vip:80 S seq 7 len 0 opts 20"
#define SYN_TO(r) "client:4000 > " r ":8000 S seq 7 len 0 opts 20"
#define REFUSAL_OF(r) r ":8000 > client:4000 RA seq 0 ack 8 len 0"
#define ANSWER_OF(r) r ":8000 > client:4000 SA seq 100 ack 8 len 0 opts 20"
#define ANSWERED "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20"

static const struct step to_r1 = {FROM_POD, SYN, NEXT, SYN_TO("r1")};
static const struct step to_r2 = {FROM_POD, SYN, NEXT, SYN_TO("r2")};

static void begin(struct fixture *f, unsigned n)
{
	fixture_simple(f, 0, n);
	for (unsigned i = 0; i < n; i++)
		f->replicas[i].config.weight = 4000 / (i + 1);
}

/* The deadline has passed: as `inject` marks the flow. */
static void expire(struct fixture *f)
{
	fixture_flow(f)->state |= SL_FLOW_RETRY;
}

static void slow_and_dead(struct fixture *f)
{
	static const struct step steps[] = {
		{TO_POD, REFUSAL_OF("r2"), TRIMMED, SYN},
		{FROM_POD, SYN, SHOT, NULL}, /* r1 may still answer, */
		{TO_POD, ANSWER_OF("r1"), NEXT, ANSWERED}, /* and does */
	};

	begin(f, 2);
	CHECK(fixture_step(f, &to_r1));
	expire(f);
	CHECK(fixture_step(f, &to_r2));
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_AWAITS_OTHERS), 1);
	CHECK_INT(f->replicas[0].state.inflight, 1);
	CHECK_INT(f->replicas[1].state.inflight, 0);
}

TEST(no_refusal_while_another_replica_may_answer)
{
	fixture_each(slow_and_dead, NULL);
}

static void silence(struct fixture *f)
{
	begin(f, 2);
	f->replicas[1].config.flags |= SL_REPLICA_PROBE_DOWN;
	CHECK(fixture_step(f, &to_r1));
	expire(f);
	CHECK(fixture_step(f, &to_r1)); /* rather again than to one that is down */
	CHECK_INT(f->replicas[0].state.inflight, 1);
}

TEST(silence_does_not_lead_to_a_dead_replica)
{
	fixture_each(silence, NULL);
}

static void late_data(struct fixture *f)
{
	static const struct step with_data = {FROM_POD, "client:4000 > vip:80 S seq 7 len 10", NEXT,
					      "client:4000 > r1:8000 S seq 7 len 10"};

	begin(f, 2);
	CHECK(fixture_step(f, &to_r1));
	fixture_age(f, 1);
	CHECK(fixture_step(f, &with_data));
	fixture_age(f, 1);
	CHECK(fixture_step(f, &with_data));
	CHECK(fixture_step(f, &to_r1));
	CHECK_INT(f->replicas[1].state.picks, 0);
}

TEST(data_in_any_syn_keeps_the_replica)
{
	fixture_each(late_data, NULL);
}

static void numbers(struct fixture *f)
{
	static const struct step guesses[] = {
		{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 424242 len 0", NEXT,
		 "vip:80 > client:4000 SA seq 100 ack 424242 len 0"},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
	};
	static const struct step blind = {FROM_POD, "client:4000 > vip:80 A seq 8 ack 424242 len 0",
					  NEXT, "client:4000 > r1:8000 A seq 8 ack 424242 len 0"};
	static const struct step answer = {TO_POD, ANSWER_OF("r1"), NEXT, ANSWERED};

	begin(f, 1);
	CHECK(fixture_step(f, &to_r1));
	STEPS(f, guesses); /* no answer to this SYN, so nothing to acknowledge */
	CHECK(!(fixture_flow(f)->state & SL_FLOW_ANSWERED));
	CHECK(fixture_step(f, &answer));
	CHECK(fixture_step(f, &blind));
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_SYN);
	CHECK(fixture_step(f, &guesses[1]));
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_OPEN);
}

TEST(only_the_right_numbers_answer_and_open)
{
	fixture_each(numbers, NULL);
}

static void karn(struct fixture *f)
{
	static const struct step answer = {TO_POD, ANSWER_OF("r1"), NEXT, ANSWERED};

	begin(f, 1);
	CHECK(fixture_step(f, &to_r1));
	f->pending[fixture_flow(f)->pending - 1].begun -= 2 * FIXTURE_HZ;
	fixture_age(f, 2);
	CHECK(fixture_step(f, &to_r1)); /* the client's retransmit: which of the two is answered? */
	CHECK(fixture_step(f, &answer));
	CHECK_INT(f->replicas[0].state.syn_rtt, 0);
}

TEST(an_answer_to_one_of_two_syns_tells_no_round_trip)
{
	fixture_once(karn, NULL);
}

/* A flow for which the table has no room; in slot 0 lies somebody else's. */
static void spilled(struct fixture *f)
{
	char syn[80], refusal[80], told[80];
	struct fixture_result result;

	fixture_simple(f, SL_SERVICE_REPLACE, 2);
	for (unsigned port = 1; !fixture_count_spilled(f) && port < 200; port++) {
		snprintf(syn, sizeof(syn), "client:%u > vip:80 S seq 7 len 0", port);
		fixture_send(f, FROM_POD, syn, &result);
		snprintf(refusal, sizeof(refusal), "%s:8000 > client:%u RA seq 0 ack 8 len 0",
			 strstr(result.text, "10.2.0.1:") ? "r1" : "r2", port);
		snprintf(told, sizeof(told), "vip:80 > client:%u RA seq 0 ack 8 len 0", port);
	}
	CHECK_INT(fixture_count_spilled(f), 1);
	CHECK(fixture_step(f, &(struct step){TO_POD, refusal, NEXT, told}));
	for (unsigned i = 0; i < f->flow_sets * SL_FLOW_WAYS; i++)
		CHECK(!(f->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS].state & SL_FLOW_RETRY));
}

TEST(the_refusal_of_a_spilled_flow_is_nobody_elses)
{
	static const struct fixture_options small = {.flow_sets = 2};

	fixture_once(spilled, &small);
}
