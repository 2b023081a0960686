// SPDX-License-Identifier: GPL-2.0-only
/*
 * UDP conversations: opened by a datagram, answered by a reply, ended by
 * silence; and the checksum that may be absent.
 */
#include "bpf_fixture.h"
#include "check.h"

static void udp_service(struct fixture *f, unsigned n)
{
	static const char *const replicas[] = {"udp r1:5300", "udp r2:5300", "udp r3:5300"};
	__u32 service = fixture_add_service(f, 0);

	fixture_add_vip(f, service, "udp vip:53");
	for (unsigned i = 0; i < n; i++)
		fixture_add_replica(f, service, replicas[i], 100);
}

static void conversation(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "udp client:4000 > vip:53 len 30", NEXT,
		 "udp client:4000 > r1:5300 len 30"},
		{FROM_POD, "udp client:4000 > vip:53 len 31", NEXT,
		 "udp client:4000 > r1:5300 len 31"},
		{TO_POD, "udp r1:5300 > client:4000 len 1200", NEXT,
		 "udp vip:53 > client:4000 len 1200"},
		{TO_POD, "udp r1:5300 > client:4000 len 0", NEXT, "udp vip:53 > client:4000 len 0"},
		{FROM_POD, "udp client:4000 > vip:53 len 0", NEXT,
		 "udp client:4000 > r1:5300 len 0"},
		{TO_UPLINK, "udp r1:5300 > client:4000 len 7", NEXT, NULL},
		{TO_POD, "udp r1:5300 > client:4001 len 7", NEXT, NULL},
		{FROM_UPLINK, "udp client2:4000 > vip:53 len 9", NEXT,
		 "udp client2:4000 > r1:5300 len 9"},
		{TO_UPLINK, "udp r1:5300 > client2:4000 len 9", NEXT,
		 "udp vip:53 > client2:4000 len 9"},
	};

	udp_service(f, 1);
	STEPS(f, steps);
	CHECK_INT(f->replicas[0].state.inflight, 2);
	CHECK_INT(f->replicas[0].state.picks, 2);
	CHECK_INT(f->kernel->half_open, 0);
}

TEST(a_conversation_both_ways)
{
	fixture_each(conversation, NULL);
}

/* RFC 768: a checksum of zero means none was made. It must stay so. */
static void no_checksum(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "udp client:4000 > vip:53 len 30 nosum", NEXT,
		 "udp client:4000 > r1:5300 len 30 nosum"},
		{TO_POD, "udp r1:5300 > client:4000 len 30 nosum", NEXT,
		 "udp vip:53 > client:4000 len 30 nosum"},
		{FROM_POD, "udp client:4000 > vip:53 len 30 badsum", NEXT,
		 "udp client:4000 > r1:5300 len 30 badsum"},
	};

	udp_service(f, 1);
	STEPS(f, steps);
}

TEST(a_datagram_without_a_checksum_stays_without)
{
	fixture_each(no_checksum, NULL);
}

/* A client port each makes every checksum occur: one that comes out as zero must be sent as
 * 0xffff, or it would mean none. */
static void every_checksum(struct fixture *f)
{
	char line[PACKET_TEXT_LEN], expected[PACKET_TEXT_LEN];
	struct fixture_result result;

	udp_service(f, 1);
	for (unsigned port = 1; port < 65536; port++) {
		snprintf(line, sizeof(line), "udp client:%u > vip:53 len 2", port);
		fixture_send(f, FROM_POD, line, &result);
		snprintf(line, sizeof(line), "udp client:%u > r1:5300 len 2", port);
		if (strcmp(result.text, fixture_expand(f, line, expected))) {
			CHECK_STR(result.text, expected);
			break;
		}
		/* the table is small: end the flow by hand, as silence would */
		memset(f->flows, 0, f->flow_sets * sizeof(*f->flows));
		f->kernel->half_open = 0;
	}
}

TEST(every_value_of_a_udp_checksum)
{
	fixture_each(every_checksum, NULL);
}

static void keeps_replica(struct fixture *f)
{
	struct fixture_result first, again;
	char line[PACKET_TEXT_LEN];

	udp_service(f, 3);
	for (unsigned port = 1; port <= 15; port++) {
		snprintf(line, sizeof(line), "udp client:%u > vip:53 len 5", port);
		fixture_send(f, FROM_POD, line, &first);
		for (unsigned i = 0; i < 5; i++) {
			fixture_send(f, FROM_POD, line, &again);
			CHECK_STR(again.text, first.text);
		}
	}
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(f->replicas[i].state.inflight, 5);
}

TEST(a_conversation_keeps_its_replica)
{
	fixture_once(keeps_replica, NULL);
}

static void silence(struct fixture *f)
{
	static const struct step ask[] = {
		{FROM_POD, "udp client:4000 > vip:53 len 30", NEXT,
		 "udp client:4000 > r1:5300 len 30"},
	};
	static const struct step answer[] = {
		{TO_POD, "udp r1:5300 > client:4000 len 9", NEXT, "udp vip:53 > client:4000 len 9"},
	};

	udp_service(f, 1);
	f->services[0].idle_ticks = 120 * FIXTURE_HZ;
	STEPS(f, ask);
	fixture_age(f, 29);
	fixture_sweep(f);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN), 1);
	fixture_age(f, 2); /* unanswered for half a minute */
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->kernel->half_open, 0);
	STEPS(f, ask);
	STEPS(f, answer);
	fixture_age(f, 119);
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.inflight, 1);
	fixture_age(f, 2); /* answered, and silent for the service's own time */
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	STEPS(f, ask);
	CHECK_INT(f->replicas[0].state.inflight, 1);
	CHECK_INT(f->replicas[0].state.picks, 3);
}

TEST(silence_ends_a_conversation)
{
	fixture_once(silence, NULL);
}

/* ---- a replica that is gone ------------------------------------------------------*/

static const struct step ask_first = {FROM_POD, "udp client:4000 > vip:53 len 30", NEXT,
				      "udp client:4000 > r1:5300 len 30"};
static const struct step ask_second = {FROM_POD, "udp client:4000 > vip:53 len 30", NEXT,
				       "udp client:4000 > r2:5300 len 30"};
static const struct step first_answers = {TO_POD, "udp r1:5300 > client:4000 len 9", NEXT,
					  "udp vip:53 > client:4000 len 9"};
static const struct step first_is_late = {TO_POD, "udp r1:5300 > client:4000 len 9", NEXT, NULL};
static const struct step second_answers = {TO_POD, "udp r2:5300 > client:4000 len 9", NEXT,
					   "udp vip:53 > client:4000 len 9"};

static void check_counts(struct fixture *f, unsigned first, unsigned second, unsigned half_open)
{
	CHECK_INT(f->replicas[0].state.inflight, first);
	CHECK_INT(f->replicas[1].state.inflight, second);
	CHECK_INT(f->kernel->half_open, half_open);
}

/* Two replicas, a conversation with the first, which is out of service for new ones since. */
static void begin_and_take_out(struct fixture *f, __u16 flag)
{
	udp_service(f, 2);
	f->replicas[1].config.flags |= SL_REPLICA_SUSPECT;
	CHECK(fixture_step(f, &ask_first));
	f->replicas[1].config.flags &= ~SL_REPLICA_SUSPECT;
	f->replicas[0].config.flags |= flag;
}

static void check_answered(struct fixture *f, __u16 flag)
{
	begin_and_take_out(f, flag);
	for (unsigned i = 0; i < 5; i++) { /* whatever is said of it, it answers */
		CHECK(fixture_step(f, &first_answers));
		fixture_age(f, 2);
		CHECK(fixture_step(f, &ask_first));
	}
	check_counts(f, 1, 0, 0);
	fixture_age(f, 2); /* its last answer is four seconds old, and asking changes nothing */
	CHECK(fixture_step(f, &ask_second));
	check_counts(f, 0, 1, 1);
	CHECK(fixture_step(f, &first_is_late));
	CHECK(fixture_step(f, &second_answers));
	CHECK(fixture_step(f, &ask_second));
	check_counts(f, 0, 1, 0);
	CHECK_INT(f->replicas[0].state.picks, 1);
	CHECK_INT(f->replicas[1].state.picks, 1);
}

static void answered_probe_down(struct fixture *f)
{
	check_answered(f, SL_REPLICA_PROBE_DOWN);
}

static void answered_not_serving(struct fixture *f)
{
	check_answered(f, SL_REPLICA_NOT_SERVING);
}

TEST(a_conversation_stays_while_it_is_answered)
{
	fixture_each(answered_probe_down, NULL);
	fixture_each(answered_not_serving, NULL);
}

static void never_answered(struct fixture *f)
{
	begin_and_take_out(f, SL_REPLICA_NOT_SERVING);
	CHECK(fixture_step(f, &ask_first));
	fixture_age(f, 2);
	CHECK(fixture_step(f, &ask_first));
	check_counts(f, 1, 0, 1);
	fixture_age(f, 2);
	CHECK(fixture_step(f, &ask_second));
	check_counts(f, 0, 1, 1);
	fixture_age(f, 31);
	fixture_sweep(f);
	check_counts(f, 0, 0, 0);
}

TEST(one_never_answered_counts_from_its_first_datagram)
{
	fixture_once(never_answered, NULL);
}

/* However silent, a replica of which nothing bad is known keeps what it has. */
static void unanswered(struct fixture *f)
{
	static const __u16 flags[] = {0, SL_REPLICA_DRAINING, SL_REPLICA_SUSPECT};

	begin_and_take_out(f, 0);
	for (unsigned i = 0; i < 3; i++) {
		f->replicas[0].config.flags |= flags[i];
		fixture_age(f, 20);
		CHECK(fixture_step(f, &ask_first));
	}
	check_counts(f, 1, 0, 1);
}

TEST(only_a_dead_replica_is_left)
{
	fixture_once(unanswered, NULL);
}

static void nowhere_to_go(struct fixture *f)
{
	struct fixture_result result;

	begin_and_take_out(f, SL_REPLICA_PROBE_DOWN);
	f->replicas[1].config.flags |= SL_REPLICA_PROBE_DOWN;
	for (unsigned i = 0; i < 10; i++) { /* any of them, in panic */
		fixture_age(f, 4);
		fixture_send(f, FROM_POD, ask_first.in, &result);
		CHECK_INT(result.verdict, NEXT);
		CHECK_INT(f->replicas[0].state.inflight + f->replicas[1].state.inflight, 1);
		CHECK_INT(f->kernel->half_open, 1);
	}
	f->replicas[0].config.flags |= SL_REPLICA_NOT_SERVING;
	f->replicas[1].config.flags |= SL_REPLICA_NOT_SERVING;
	fixture_age(f, 4);
	CHECK(fixture_step(f, &(struct step){FROM_POD, ask_first.in, SHOT, NULL}));
	check_counts(f, 0, 0, 0);
	CHECK_INT(fixture_drops(f, SL_DROP_NO_REPLICA), 1);
}

TEST(when_all_are_dead_counts_stay_exact)
{
	fixture_once(nowhere_to_go, NULL);
}

/* The same number in both protocols is two services and two replicas. */
static void both_protocols(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:53 S seq 7 len 0", NEXT,
		 "client:4000 > r2:5300 S seq 7 len 0"},
		{FROM_POD, "udp client:4000 > vip:53 len 30", NEXT,
		 "udp client:4000 > r1:5300 len 30"},
		{TO_POD, "r2:5300 > client:4000 SA seq 1 ack 8 len 0", NEXT,
		 "vip:53 > client:4000 SA seq 1 ack 8 len 0"},
		{TO_POD, "udp r1:5300 > client:4000 len 9", NEXT, "udp vip:53 > client:4000 len 9"},
		{TO_POD, "udp r2:5300 > client:4000 len 9", NEXT, NULL},
	};
	__u32 service;

	udp_service(f, 1);
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "vip:53");
	fixture_add_replica(f, service, "r2:5300", 1);
	STEPS(f, steps);
}

TEST(tcp_and_udp_of_one_port_do_not_meet)
{
	fixture_each(both_protocols, NULL);
}

/* ---- fragments -----------------------------------------------------------------------------*/

/* Of an answer the first one is dropped where it would be translated; without it the rest is nothing. */
static void fragments_pod(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "udp client:4000 > vip:53 len 30", NEXT, "udp client:4000 > r1:53 len 30"},
		{FROM_POD, "udp r1:53 > client:4000 len 1400 mf", NEXT, NULL},
		{TO_UPLINK, "udp r1:53 > client:4000 len 1400 mf", NEXT, NULL},
		{TO_POD, "udp r1:53 > client:4000 len 1400 mf", SHOT, NULL},
		{TO_POD, "frag r1 > client proto 17 offset 1408 len 100", NEXT, NULL},
		{TO_POD, "udp r1:54 > client:4000 len 1400 mf", NEXT, NULL},
		{TO_POD, "udp r1:53 > client:4001 len 1400 mf", NEXT, NULL},
		{TO_POD, "r1:53 > client:4000 A seq 7 ack 1 len 1400 mf", NEXT, NULL},
	};
	__u32 service = fixture_add_service(f, 0);

	fixture_add_vip(f, service, "udp vip:53");
	fixture_add_replica(f, service, "udp r1:53", 100);
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_FRAGMENT), 1);
}

static void fragments_snat(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "udp client:4000 > vip:53 len 30", REDIRECT, "udp node:1024 > r1:53 len 30"},
		{FROM_UPLINK, "udp r1:53 > node:1024 len 1400 mf", SHOT, NULL},
		{FROM_FABRIC, "udp r1:53 > node:1024 len 1400 mf ipopts 8", SHOT, NULL},
		{FROM_UPLINK, "udp r1:53 > node:1025 len 1400 mf", NEXT, NULL},
	};
	__u32 service = fixture_add_service(f, 0);

	fixture_add_vip(f, service, "udp vip:53");
	fixture_make_remote(f, fixture_add_replica(f, service, "udp r1:53", 100),
			    fixture_add_source(f, "node"));
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_FRAGMENT), 2);
}

TEST(fragments_of_answers_are_dropped_and_counted)
{
	fixture_each(fragments_pod, NULL);
	fixture_each(fragments_snat, NULL);
}
