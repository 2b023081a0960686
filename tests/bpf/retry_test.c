// SPDX-License-Identifier: GPL-2.0-only
/*
 * A SYN that is refused, or not answered in time, and what becomes of it: it goes out again as it
 * was, to every replica once, and the client hears of it when nobody is left. Replicas have falling
 * weights, so that r1 is picked first, then r2, and so on.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "bpf_fixture.h"
#include "check.h"

#define SYN "client:4000 > vip:80 S seq 7 len 0 opts 20"
#define SYN_TO(r) "client:4000 > " r ":8000 S seq 7 len 0 opts 20"
#define SYN_AGAIN "client:4000 > vip:80 S seq 7 len 0 opts 20"
#define REFUSAL_OF(r) r ":8000 > client:4000 RA seq 0 ack 8 len 0"
#define ANSWER_OF(r) r ":8000 > client:4000 SA seq 100 ack 8 len 0 opts 20"

/* bpf_skb_change_tail() in a retry drops a CHECKSUM_COMPLETE, like in refuse(). */
#define RETRIED TRIMMED

static __u32 begin(struct fixture *f, __u32 flags, unsigned n)
{
	__u32 service = fixture_simple(f, flags, n);

	for (unsigned i = 0; i < n; i++)
		f->replicas[i].config.weight = 4000 / (i + 1);
	f->services[service].retry_attempts = 3;
	return service;
}

static void check_inflight(struct fixture *f, const __u32 *expected, unsigned n, __u32 half_open)
{
	for (unsigned i = 0; i < n; i++)
		CHECK_INT(f->replicas[i].state.inflight, expected[i]);
	CHECK_INT(f->kernel->half_open, half_open);
}

static unsigned count_pending(struct fixture *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SL_PENDING; i++)
		n += f->pending[i].phase != SL_PENDING_FREE;
	return n;
}

static void refused(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
		{TO_POD, REFUSAL_OF("r1"), RETRIED, SYN_AGAIN},
		{FROM_POD, SYN_AGAIN, NEXT, SYN_TO("r2")},
		{TO_POD, REFUSAL_OF("r2"), RETRIED, SYN_AGAIN},
		{FROM_POD, SYN_AGAIN, NEXT, SYN_TO("r3")},
		{TO_POD, ANSWER_OF("r3"), NEXT, "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20"},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", NEXT,
		 "client:4000 > r3:8000 A seq 8 ack 101 len 0"},
	};

	begin(f, 0, 4);
	STEPS(f, steps);
	check_inflight(f, (const __u32[]){0, 0, 1, 0}, 4, 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_PICKS), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_RETRIES), 2);
	CHECK_INT(fixture_counter(f, SL_COUNT_CONNECT_FAILURES), 2);
	CHECK_INT(f->replicas[0].state.retries, 1);
	CHECK_INT(f->replicas[1].state.retries, 1);
	CHECK_INT(f->service_states[0].retries, 2);
	CHECK_INT(count_pending(f), 0);
}

TEST(a_refused_syn_goes_to_another_replica)
{
	fixture_each(refused, NULL);
}

static void all_refuse(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
		{TO_POD, REFUSAL_OF("r1"), RETRIED, SYN_AGAIN},
		{FROM_POD, SYN_AGAIN, NEXT, SYN_TO("r2")},
		{TO_POD, REFUSAL_OF("r2"), RETRIED, SYN_AGAIN},
		{FROM_POD, SYN_AGAIN, TRIMMED, "vip:80 > client:4000 RA seq 0 ack 8 len 0 back"},
	};

	begin(f, 0, 2);
	STEPS(f, steps);
	check_inflight(f, (const __u32[]){0, 0}, 2, 0);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_DONE), 1);
	fixture_sweep(f);
	CHECK_INT(count_pending(f), 0);
}

TEST(when_nobody_is_left_the_client_is_refused)
{
	fixture_each(all_refuse, NULL);
}

static void twice(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
		{TO_POD, REFUSAL_OF("r1"), RETRIED, SYN_AGAIN},
		{TO_POD, REFUSAL_OF("r1"), SHOT, NULL},
		{FROM_POD, SYN_AGAIN, NEXT, SYN_TO("r2")},
	};

	begin(f, 0, 2);
	STEPS(f, steps);
	CHECK_INT(f->replicas[0].state.connect_failures, 1);
	CHECK_INT(fixture_drops(f, SL_DROP_RETRY_FAILED), 1);
	check_inflight(f, (const __u32[]){0, 1}, 2, 1);
}

TEST(a_refusal_said_twice_counts_once)
{
	fixture_each(twice, NULL);
}

/* What is no refusal of the SYN, or may not be retried, reaches the client. */
static void not_retried(struct fixture *f)
{
	static const struct step strangers[] = {
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
		{TO_POD, "r1:8000 > client:4000 RA seq 0 ack 9 len 0", NEXT,
		 "vip:80 > client:4000 RA seq 0 ack 9 len 0"},
	};
	static const struct step with_data[] = {
		{FROM_POD, "client:4001 > vip:80 S seq 7 len 10 opts 20", NEXT,
		 "client:4001 > r1:8000 S seq 7 len 10 opts 20"},
		{TO_POD, "r1:8000 > client:4001 RA seq 0 ack 8 len 0", NEXT,
		 "vip:80 > client:4001 RA seq 0 ack 8 len 0"},
	};
	static const struct step answered[] = {
		{FROM_POD, "client:4002 > vip:80 S seq 7 len 0 opts 20", NEXT,
		 "client:4002 > r1:8000 S seq 7 len 0 opts 20"},
		{TO_POD, "r1:8000 > client:4002 SA seq 100 ack 8 len 0 opts 20", NEXT,
		 "vip:80 > client:4002 SA seq 100 ack 8 len 0 opts 20"},
		{TO_POD, "r1:8000 > client:4002 RA seq 101 ack 8 len 0", NEXT,
		 "vip:80 > client:4002 RA seq 101 ack 8 len 0"},
	};

	begin(f, 0, 2);
	STEPS(f, strangers);
	STEPS(f, with_data);
	STEPS(f, answered);
	f->services[0].flags |= SL_SERVICE_NO_RETRY;
	CHECK(fixture_say(f, "> S seq 70 len 0"));
	CHECK(fixture_say(f, "< RA seq 0 ack 71 len 0"));
	CHECK_INT(fixture_counter(f, SL_COUNT_RETRIES), 0);
	check_inflight(f, (const __u32[]){0, 0}, 2, 0);
}

TEST(what_is_not_retried)
{
	fixture_each(not_retried, NULL);
}

static void full(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
		{TO_POD, "r1:8000 > client:4000 RA seq 0 ack 8 len 0 win 20942", RETRIED, SYN_AGAIN},
		{FROM_POD, SYN_AGAIN, NEXT, SYN_TO("r2")},
	};

	CHECK_INT(SL_FULL_WINDOW, 20942);
	begin(f, 0, 2);
	STEPS(f, steps);
	CHECK_INT(f->replicas[0].state.connect_failures, 0);
	CHECK_INT(f->replicas[0].state.full, 1);
	CHECK_INT(f->outliers[0].last_failure, 0);
}

TEST(a_full_replica_has_not_failed)
{
	fixture_each(full, NULL);
}

/* ---- deadlines ----------------------------------------------------------------------------------*/

/* As the agent does at a deadline; the frame is not looked at. */
static int inject(struct fixture *f, __u32 row, __u32 generation)
{
	struct __sk_buff context = {.cb = {row, generation}};
	unsigned char frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &context, .ctx_size_in = sizeof(context));

	if (bpf_prog_test_run_opts(bpf_program__fd(f->skel->progs.inject), &opts))
		fixture_die("inject", errno);
	return opts.retval;
}

static struct sl_pending *the_pending(struct fixture *f)
{
	for (unsigned i = 0; i < SL_PENDING; i++)
		if (f->pending[i].phase == SL_PENDING_WAITING)
			return &f->pending[i];
	fixture_die("no pending handshake", ENOENT);
}

static void pass(struct fixture *f, int ticks)
{
	struct sl_pending *p = the_pending(f);

	p->begun -= ticks;
	p->deadline -= ticks;
	fixture_age(f, 0);
	fixture_sweep(f);
}

static void late_wins(struct fixture *f)
{
	static const struct step to_r1 = {FROM_POD, SYN, NEXT, SYN_TO("r1")};
	static const struct step moved = {FROM_POD, SYN_AGAIN, NEXT, SYN_TO("r2")};
	static const struct step late[] = {
		{TO_POD, ANSWER_OF("r1"), NEXT, "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20"},
		{TO_POD, ANSWER_OF("r2"), NEXT, NULL}, /* the client's own stack refuses that */
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
	};

	begin(f, 0, 2);
	CHECK(fixture_step(f, &to_r1));
	fixture_flow(f)->state |= SL_FLOW_RETRY; /* as `inject` does */
	CHECK(fixture_step(f, &moved));
	check_inflight(f, (const __u32[]){0, 1}, 2, 1);
	STEPS(f, late);
	check_inflight(f, (const __u32[]){1, 0}, 2, 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_LATE_WINS), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_CONNECT_FAILURES), 0);
}

TEST(the_first_answer_wins_whoever_sends_it)
{
	fixture_each(late_wins, NULL);
}

static void late_wins_snat(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, SYN, REDIRECT, "node:1024 > r1:8000 S seq 7 len 0 opts 20"},
	};
	static const struct step moved = {FROM_UPLINK, SYN_AGAIN, REDIRECT,
					  "node:1024 > r2:8000 S seq 7 len 0 opts 20"};
	static const struct step late[] = {
		{FROM_UPLINK, "r1:8000 > node:1024 SA seq 100 ack 8 len 0 opts 20", REDIRECT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20"},
		{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 101 len 0", REDIRECT,
		 "node:1024 > r1:8000 A seq 8 ack 101 len 0"},
		{FROM_UPLINK, "r1:8000 > node:1024 PA seq 101 ack 8 len 10", REDIRECT,
		 "vip:80 > client:4000 PA seq 101 ack 8 len 10"},
	};
	__u32 source = fixture_add_source(f, "node");

	begin(f, 0, 2);
	fixture_make_remote(f, 0, source);
	fixture_make_remote(f, 1, source);
	STEPS(f, steps);
	fixture_flow(f)->state |= SL_FLOW_RETRY;
	CHECK(fixture_step(f, &moved));
	CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 1);
	STEPS(f, late);
	check_inflight(f, (const __u32[]){1, 0}, 2, 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 1);
}

TEST(the_first_answer_wins_through_source_nat)
{
	fixture_each(late_wins_snat, NULL);
}

static void refused_snat(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, SYN, REDIRECT, "node:1024 > r1:8000 S seq 7 len 0 opts 20"},
		{FROM_FABRIC, "r1:8000 > node:1024 RA seq 0 ack 8 len 0", RETRIED, SYN_AGAIN},
		{FROM_UPLINK, SYN_AGAIN, NEXT, SYN_TO("r2")},
		{TO_UPLINK, REFUSAL_OF("r2"), RETRIED, SYN_AGAIN},
		{FROM_UPLINK, SYN_AGAIN, TRIMMED, "vip:80 > client:4000 RA seq 0 ack 8 len 0 back"},
	};
	__u32 source = fixture_add_source(f, "node");

	begin(f, 0, 2);
	fixture_make_remote(f, 0, source);
	STEPS(f, steps);
	check_inflight(f, (const __u32[]){0, 0}, 2, 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 0);
}

TEST(from_a_remote_replica_to_a_local_one)
{
	fixture_each(refused_snat, NULL);
}

static void unanswered(struct fixture *f)
{
	static const struct step to_r1 = {FROM_POD, SYN, NEXT, SYN_TO("r1")};
	struct sl_pending *p;

	begin(f, 0, 2);
	CHECK(fixture_step(f, &to_r1));
	p = the_pending(f);
	CHECK_INT(p->n_tried, 1);
	CHECK_INT(p->deadline - p->begun, 13); /* 50 ms, in ticks of 4 ms */
	p->deadline += FIXTURE_HZ; /* this machine may be slow: a tick of 4 ms is no time */
	pass(f, 12);
	CHECK_INT(p->resends, 0);
	p->deadline -= FIXTURE_HZ;
	pass(f, 1);
	CHECK_INT(p->resends, 1);
	CHECK_INT(inject(f, p - f->pending, p->generation + 1), 1); /* another flow's */
	CHECK_INT(f->replicas[0].state.connect_failures, 0);
	pass(f, FIXTURE_HZ);
	CHECK_INT(f->replicas[0].state.connect_failures, 1);
	CHECK_INT(f->outliers[0].last_failure != 0, 1);
}

TEST(a_second_without_an_answer_is_a_failure)
{
	fixture_each(unanswered, NULL);
}

static void round_trips(struct fixture *f)
{
	static const struct step to_r1 = {FROM_POD, SYN, NEXT, SYN_TO("r1")};
	static const struct step answer = {TO_POD, ANSWER_OF("r1"), NEXT,
					   "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20"};
	static const struct step next = {FROM_POD, "client:4001 > vip:80 S seq 7 len 0", NEXT,
					 "client:4001 > r1:8000 S seq 7 len 0"};

	begin(f, 0, 1);
	CHECK(fixture_step(f, &to_r1));
	the_pending(f)->begun -= 20; /* 80 ms */
	CHECK(fixture_step(f, &answer));
	CHECK(f->replicas[0].state.syn_rtt >= 20 * 16);
	CHECK(fixture_step(f, &next));
	CHECK(the_pending(f)->deadline - the_pending(f)->begun >= 61);
}

TEST(a_long_round_trip_lengthens_the_deadline)
{
	fixture_once(round_trips, NULL);
}

/* The client's own retransmit: soon after, it is the same; later, another replica may do. */
static void retransmit(struct fixture *f)
{
	static const struct step same[] = {
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
		{FROM_POD, SYN, NEXT, SYN_TO("r1")},
	};
	static const struct step other = {FROM_POD, SYN, NEXT, SYN_TO("r2")};
	static const struct step stays = {FROM_POD, SYN, NEXT, SYN_TO("r2")};

	begin(f, 0, 2);
	STEPS(f, same);
	fixture_age(f, 1);
	CHECK(fixture_step(f, &other));
	fixture_age(f, 1);
	CHECK(fixture_step(f, &stays)); /* both had it: the last one keeps it */
	check_inflight(f, (const __u32[]){0, 1}, 2, 1);
}

TEST(a_retransmit_goes_to_a_replica_that_has_not_had_it)
{
	fixture_each(retransmit, NULL);
}

static void seventeen(struct fixture *f)
{
	__u32 service = fixture_add_service(f, 0);
	struct fixture_result result;
	char name[32], refusal[64];
	unsigned tried = 0;

	fixture_add_vip(f, service, "vip:80");
	for (unsigned port = 1; port <= 20; port++) {
		snprintf(name, sizeof(name), "r1:%u", port);
		fixture_add_replica(f, service, name, 100);
	}
	fixture_send(f, FROM_POD, SYN, &result);
	while (result.verdict == NEXT && tried < 30) {
		tried++;
		snprintf(refusal, sizeof(refusal), "r1:%u > client:4000 RA seq 0 ack 8 len 0",
			 ntohs(f->replicas[fixture_flow(f)->replica].config.port));
		fixture_send(f, TO_POD, refusal, &result);
		if (result.verdict == REDIRECT)
			fixture_send(f, FROM_POD, SYN_AGAIN, &result);
		else
			break;
	}
	CHECK_INT(tried, SL_TRIED_MAX);
	for (unsigned i = 0; i < 20; i++) {
		CHECK(f->replicas[i].state.connect_failures <= 1);
		CHECK_INT(f->replicas[i].state.inflight, 0);
	}
}

TEST(sixteen_replicas_are_tried_each_once)
{
	fixture_once(seventeen, NULL);
}

/* One event a second and service, however many connects go on; it says how many did. */
static void events(struct fixture *f)
{
	struct sl_event *event = &f->events[1];
	char syn[80], refusal[80];
	struct fixture_result result;

	begin(f, 0, 2);
	for (unsigned port = 4000; port < 4010; port++) {
		snprintf(syn, sizeof(syn), "client:%u > vip:80 S seq 7 len 0", port);
		snprintf(refusal, sizeof(refusal), "r1:8000 > client:%u RA seq 0 ack 8 len 0", port);
		fixture_send(f, FROM_POD, syn, &result);
		fixture_send(f, TO_POD, refusal, &result);
		CHECK_INT(result.verdict, REDIRECT);
		fixture_send(f, FROM_POD, syn, &result);
	}
	CHECK_INT(event->seq, 1);
	CHECK_INT(event->kind, SL_EVENT_RETRY);
	CHECK_INT(event->value, 1);
	CHECK_STR(event->text, "a connect was refused, and sent on");
	CHECK(!memcmp(&event->addr, &f->replicas[0].config.addr, 16));
	CHECK_INT(f->service_states[0].retries, 10);
	CHECK_INT(f->service_states[0].retries_unsaid, 9);
}

TEST(retries_are_told_once_a_second)
{
	fixture_once(events, NULL);
}
