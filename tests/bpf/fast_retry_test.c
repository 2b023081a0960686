// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connects that fail on the fast path: refusals, by RST and by ICMP, are retried where they come in;
 * late answers lead back to it, or to the stack.
 */
#include "fast_case.h"

/* ---- connects that fail ----------------------------------------------------------------------*/

static void refused(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, REDIRECT, SYN_TO("r1")},
		{FROM_POD, REFUSAL_OF("r1"), RETRIED, SYN},
		{FROM_POD, SYN, NEXT, SYN_TO("r2")}, /* which has a cap */
		{FROM_POD, REFUSAL_OF("r2"), NEXT, NULL},
		{TO_POD, REFUSAL_OF("r2"), RETRIED, SYN},
		{FROM_POD, SYN, REDIRECT, SYN_TO("r3")},
		{FROM_POD, ANSWER_OF("r3"), REDIRECT, ANSWER},
	};

	begin(f, 0, 3);
	fixture_set_cap(f, 1, 100);
	STEPS(f, steps);
	check_client(f, SL_HOOK_FAST_POD);
	check_inflight(f, (const __u32[]){0, 0, 1}, 3, 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_RETRIES), 2);
	CHECK_INT(fixture_counter(f, SL_COUNT_CONNECT_FAILURES), 2);
}

static void all_refuse(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, REDIRECT, SYN_TO("r1")},
		{FROM_POD, REFUSAL_OF("r1"), RETRIED, SYN},
		{FROM_POD, SYN, TRIMMED, "vip:80 > client:4000 RA seq 0 ack 8 len 0 back"},
	};

	begin(f, 0, 1);
	STEPS(f, steps);
	check_inflight(f, (const __u32[]){0}, 1, 0);
}

/* No retries: the client has the refusal, translated where it came in. */
static void not_retried(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, REDIRECT, SYN_TO("r1")},
		{FROM_POD, REFUSAL_OF("r1"), REDIRECT, "vip:80 > client:4000 RA seq 0 ack 8 len 0"},
	};

	begin(f, SL_SERVICE_NO_RETRY, 2);
	STEPS(f, steps);
	check_inflight(f, (const __u32[]){0, 0}, 2, 0);
}

/* Out by source NAT, back here by the fast path. */
static void refused_outside(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, SYN, REDIRECT, "node:1024 > r1:8000 S seq 7 len 0 opts 20"},
		{FROM_UPLINK, "r1:8000 > node:1024 RA seq 0 ack 8 len 0", RETRIED, SYN},
		{FROM_UPLINK, SYN, REDIRECT, SYN_TO("r2")},
		{FROM_POD, REFUSAL_OF("r2"), RETRIED, SYN},
		{FROM_UPLINK, SYN, TRIMMED, "vip:80 > client:4000 RA seq 0 ack 8 len 0 back"},
	};

	fixture_add_source(f, "node");
	begin(f, 0, 2);
	fixture_make_remote(f, 0, 0);
	STEPS(f, steps);
	check_inflight(f, (const __u32[]){0, 0}, 2, 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 1);
}

TEST(a_refusal_is_retried_where_it_comes_in)
{
	fixture_each(refused, &on);
}

TEST(when_nobody_is_left_the_client_is_refused)
{
	fixture_each(all_refuse, &on);
}

TEST(a_refusal_that_is_not_retried_reaches_the_client)
{
	fixture_each(not_retried, &on);
}

TEST(from_source_nat_to_the_fast_path)
{
	fixture_each(refused_outside, &on);
}

/* An ICMP error that quotes the SYN. */
static void unreachable(struct fixture *f, enum fixture_hook at)
{
	static const struct step syn = {FROM_POD, SYN, REDIRECT, SYN_TO("r1")};
	char line[PACKET_TEXT_LEN], text[PACKET_TEXT_LEN];
	bool complete = f->complete;
	struct fixture_result result;
	struct packet inner;
	size_t quoted;

	CHECK(fixture_step(f, &syn));
	if (packet_build(fixture_expand(f, SYN_TO("r1"), text), &inner))
		fixture_die(text, EINVAL);
	quoted = inner.len - 14;
	snprintf(line, sizeof(line), "icmp r1 > client type %d code %d len %zu", f->v6 ? 1 : 3,
		 f->v6 ? 3 : 1, quoted);
	if (packet_build(fixture_expand(f, line, text), &result.in))
		fixture_die(text, EINVAL);
	memcpy(result.in.data + result.in.len - quoted, inner.data + 14, quoted);
	f->complete = false; /* see TRIMMED */
	fixture_send_built(f, at, &result);
	f->complete = complete;
	CHECK_INT(result.verdict, REDIRECT);
	CHECK_STR(result.text, fixture_expand(f, SYN, text));
	CHECK_INT(f->replicas[0].state.connect_failures, 1);
}

static void unreachable_local(struct fixture *f)
{
	begin(f, 0, 2);
	unreachable(f, FROM_POD);
}

static void unreachable_remote(struct fixture *f)
{
	begin(f, 0, 2);
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	unreachable(f, FROM_UPLINK);
}

/* By a device where no program of ours is. */
static void unreachable_elsewhere(struct fixture *f)
{
	begin(f, 0, 2);
	unreachable(f, TO_POD);
}

TEST(an_icmp_error_is_a_refusal_too)
{
	fixture_each(unreachable_elsewhere, &on);
	fixture_each(unreachable_local, &on);
	fixture_each(unreachable_remote, &on);
}

/* ---- late answers ----------------------------------------------------------------------------*/

/* The SYN went to r1, and at its deadline to r2. */
static void move(struct fixture *f, int verdict_r1, int verdict_r2)
{
	const struct step to_r1 = {FROM_POD, SYN, verdict_r1, SYN_TO("r1")};
	const struct step to_r2 = {FROM_POD, SYN, verdict_r2, SYN_TO("r2")};

	CHECK(fixture_step(f, &to_r1));
	fixture_flow(f)->state |= SL_FLOW_RETRY; /* as `inject` does */
	CHECK(fixture_step(f, &to_r2));
	check_inflight(f, (const __u32[]){0, 1}, 2, 1);
}

static void late_wins(struct fixture *f)
{
	static const struct step late[] = {
		{FROM_POD, ANSWER_OF("r1"), REDIRECT, ANSWER},
		/* beaten: refused in the client's name, for nobody else will */
		{FROM_POD, ANSWER_OF("r2"), TRIMMED, "client:4000 > r2:8000 R seq 8 len 0 back"},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", REDIRECT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
	};

	begin(f, 0, 2);
	move(f, REDIRECT, REDIRECT);
	STEPS(f, late);
	check_client(f, SL_HOOK_FAST_POD);
	check_inflight(f, (const __u32[]){1, 0}, 2, 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_LATE_WINS), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_CONNECT_FAILURES), 0);
	CHECK_INT(fixture_drops(f, SL_DROP_LATE_ANSWER), 1);
}

/* The flow comes back to a replica that it reached through the stack. */
static void late_by_the_stack(struct fixture *f)
{
	static const struct step late[] = {
		{FROM_POD, ANSWER_OF("r1"), NEXT, NULL},
		{TO_POD, ANSWER_OF("r1"), NEXT, ANSWER},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
		{FROM_POD, "r1:8000 > client:4000 PA seq 101 ack 8 len 5", NEXT, NULL},
	};

	begin(f, 0, 2);
	fixture_set_cap(f, 0, 100);
	move(f, NEXT, REDIRECT);
	STEPS(f, late);
	CHECK_INT(fixture_flow(f)->hook, SL_HOOK_POD);
	check_inflight(f, (const __u32[]){1, 0}, 2, 0);
}

/* And from the stack's way back to the fast path. */
static void late_from_the_stack(struct fixture *f)
{
	static const struct step late[] = {
		{FROM_POD, ANSWER_OF("r1"), REDIRECT, ANSWER},
		{FROM_POD, ANSWER_OF("r2"), NEXT, NULL},
		{TO_POD, ANSWER_OF("r2"), NEXT, NULL}, /* the client's own stack refuses that */
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", REDIRECT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
	};

	begin(f, 0, 2);
	f->replicas[1].config.peer_ifindex = 0;
	move(f, REDIRECT, NEXT);
	STEPS(f, late);
	check_client(f, SL_HOOK_FAST_POD);
	check_inflight(f, (const __u32[]){1, 0}, 2, 0);
}

/* Whose address is not where his SYN came in has no late answer that way either. */
static void late_to_another(struct fixture *f)
{
	static const struct step late[] = {
		{FROM_POD, ANSWER_OF("r1"), NEXT, NULL},
		{TO_POD, ANSWER_OF("r1"), NEXT, ANSWER},
	};

	begin(f, 0, 2);
	fixture_set_fast_client(f, 99);
	move(f, NEXT, NEXT);
	STEPS(f, late);
	CHECK_INT(fixture_flow(f)->hook, SL_HOOK_POD);
}

TEST(a_late_answer_is_not_redirected_to_a_foreign_address)
{
	fixture_each(late_to_another, &on);
}

TEST(the_first_answer_wins_and_the_next_is_refused)
{
	fixture_each(late_wins, &on);
}

TEST(a_late_answer_leads_back_to_the_stack)
{
	fixture_each(late_by_the_stack, &on);
}

TEST(a_late_answer_leads_back_to_the_fast_path)
{
	fixture_each(late_from_the_stack, &on);
}
