// SPDX-License-Identifier: GPL-2.0-only
/*
 * What goes by itself: half-open flows, silent ones, finished ones past their
 * linger; what must stay; and that the timer really runs.
 */
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "bpf_fixture.h"
#include "check.h"

static const struct step open_tcp[] = {
	{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", NEXT,
	 "client:4000 > r1:8000 S seq 7 len 0"},
	{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT,
	 "vip:80 > client:4000 SA seq 100 ack 8 len 0"},
	{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", NEXT,
	 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
};

static const struct step client_fin = {
	FROM_POD, "client:4000 > vip:80 FA seq 8 ack 101 len 0", NEXT,
	"client:4000 > r1:8000 FA seq 8 ack 101 len 0"};
static const struct step replica_fin = {
	TO_POD, "r1:8000 > client:4000 FA seq 101 ack 8 len 0", NEXT,
	"vip:80 > client:4000 FA seq 101 ack 8 len 0"};
static const struct step replica_rst = {
	TO_POD, "r1:8000 > client:4000 RA seq 101 ack 8 len 0", NEXT,
	"vip:80 > client:4000 RA seq 101 ack 8 len 0"};

/* The only flow must outlive `seconds` of silence, and not one second and a bit more. */
static void check_lifetime(struct fixture *f, unsigned seconds)
{
	struct sl_flow *flow = fixture_flow(f);
	enum sl_flow_phase phase;

	CHECK(flow);
	if (!flow)
		return;
	phase = SL_FLOW_PHASE(flow->state);
	fixture_age(f, seconds - 1);
	fixture_sweep(f);
	CHECK_INT(fixture_count_flows(f, phase), 1);
	CHECK_INT(f->replicas[0].state.inflight, phase != SL_FLOW_DONE);
	fixture_age(f, 2);
	fixture_sweep(f);
	CHECK_INT(fixture_count_flows(f, phase), 0);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->kernel->half_open, 0);
}

static void half_open(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	CHECK(fixture_step(f, &open_tcp[0]));
	check_lifetime(f, 5);
	CHECK_INT(fixture_counter(f, SL_COUNT_EXPIRED_SYN), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_EXPIRED_IDLE), 0);
}

TEST(a_syn_that_nobody_answers_goes_after_five_seconds)
{
	fixture_once(half_open, NULL);
}

/* A flood, a scan: the replica answers, the client never does. */
static void unacknowledged(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	f->services[0].idle_ticks = 7200 * FIXTURE_HZ;
	CHECK(fixture_step(f, &open_tcp[0]));
	CHECK(fixture_step(f, &open_tcp[1]));
	CHECK(fixture_flow(f)->state & SL_FLOW_ANSWERED);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN), 1);
	CHECK_INT(f->kernel->half_open, 1);
	check_lifetime(f, 5);
	CHECK_INT(fixture_counter(f, SL_COUNT_EXPIRED_SYN), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_EXPIRED_IDLE), 0);
}

TEST(an_answer_that_nobody_acknowledges_goes_as_fast)
{
	fixture_once(unacknowledged, NULL);
}

static void retransmitted(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	CHECK(fixture_step(f, &open_tcp[0]));
	fixture_age(f, 4);
	CHECK(fixture_step(f, &open_tcp[0]));
	check_lifetime(f, 5);
}

TEST(a_retransmitted_syn_counts_anew)
{
	fixture_once(retransmitted, NULL);
}

static void idle(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	f->services[0].idle_ticks = 7200 * FIXTURE_HZ;
	STEPS(f, open_tcp);
	fixture_age(f, 1800); /* a generation that says nothing for half an hour */
	fixture_sweep(f);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 1);
	fixture_age(f, -1800);
	check_lifetime(f, 7200);
	CHECK_INT(fixture_counter(f, SL_COUNT_EXPIRED_IDLE), 1);
}

TEST(a_silent_flow_lives_as_long_as_its_service_says)
{
	fixture_once(idle, NULL);
}

static void half_closed(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	f->services[0].idle_ticks = 7200 * FIXTURE_HZ;
	STEPS(f, open_tcp);
	CHECK(fixture_step(f, &client_fin));
	check_lifetime(f, 3600);
	STEPS(f, open_tcp);
	CHECK(fixture_step(f, &replica_fin));
	check_lifetime(f, 60);
	f->services[0].idle_ticks = 30 * FIXTURE_HZ; /* shorter than either */
	STEPS(f, open_tcp);
	CHECK(fixture_step(f, &client_fin));
	check_lifetime(f, 30);
}

TEST(a_half_closed_flow_lives_shorter)
{
	fixture_once(half_closed, NULL);
}

static void finished(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	STEPS(f, open_tcp);
	CHECK(fixture_step(f, &client_fin));
	CHECK(fixture_step(f, &replica_fin));
	check_lifetime(f, 3);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_FREE), f->flow_sets * SL_FLOW_WAYS);
	CHECK_INT(fixture_counter(f, SL_COUNT_EXPIRED_IDLE), 0);
	STEPS(f, open_tcp);
	CHECK(fixture_step(f, &replica_rst)); /* which its receiver may not have believed */
	check_lifetime(f, 600);
	CHECK_INT(f->replicas[0].state.inflight, 0);
}

TEST(a_finished_flow_lingers_three_seconds)
{
	fixture_once(finished, NULL);
}

static void next_generation(struct fixture *f)
{
	struct sl_flow *flow;

	fixture_simple(f, 0, 1);
	for (unsigned generation = 1; generation <= 4; generation++) {
		STEPS(f, open_tcp);
		flow = fixture_flow(f);
		CHECK(flow);
		CHECK_INT(SL_FLOW_GENERATION(flow->state), generation);
		CHECK_INT(flow->state & (SL_FLOW_CLIENT_FIN | SL_FLOW_REPLICA_FIN), 0);
		CHECK(fixture_step(f, &client_fin));
		CHECK(fixture_step(f, &replica_rst));
		if (generation % 2) /* reused once finished, and once free */
			continue;
		fixture_age(f, 601);
		fixture_sweep(f);
		CHECK_INT(fixture_count_flows(f, SL_FLOW_FREE), f->flow_sets * SL_FLOW_WAYS);
	}
	CHECK_INT(f->replicas[0].state.inflight, 0);
}

TEST(each_use_of_a_slot_is_a_generation_of_its_own)
{
	fixture_once(next_generation, NULL);
}

static void accounts(struct fixture *f)
{
	char line[PACKET_TEXT_LEN];
	struct fixture_result result;

	fixture_simple(f, 0, 1);
	for (unsigned port = 1; port <= 100; port++) {
		snprintf(line, sizeof(line), "client:%u > vip:80 S seq 7 len 0", port);
		fixture_send(f, FROM_POD, line, &result);
		snprintf(line, sizeof(line), "client:%u > vip:80 R seq 8 len 0", port);
		if (port > 60)
			fixture_send(f, FROM_POD, line, &result);
	}
	fixture_sweep(f);
	fixture_sweep(f);
	CHECK(f->kernel->sweep_count >= 2);
	CHECK_INT(f->kernel->live, 60);
	CHECK_INT(f->kernel->lingering, 40);
	CHECK_INT(f->kernel->half_open, 60);
}

TEST(the_sweep_counts_what_it_meets)
{
	fixture_once(accounts, NULL);
}

static int run_sweep_arm(struct fixture *f)
{
	unsigned char frame[60] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));
	int err = bpf_prog_test_run_opts(bpf_program__fd(f->skel->progs.sweep_arm), &opts);

	return err ? err : (int)opts.retval;
}

/* Real time, so only as long as it takes: a pass is two seconds, here of a few slices. */
static void timer(struct fixture *f)
{
	__u32 passes;

	fixture_simple(f, 0, 1);
	CHECK(fixture_step(f, &open_tcp[0]));
	fixture_age(f, 6);
	CHECK_INT(run_sweep_arm(f), 0);
	CHECK_INT(run_sweep_arm(f), 0); /* as after an update of the programs */
	for (unsigned ms = 0; ms < 5000 && !fixture_counter(f, SL_COUNT_EXPIRED_SYN); ms += 10)
		usleep(10000);
	CHECK_INT(fixture_counter(f, SL_COUNT_EXPIRED_SYN), 1);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	passes = f->kernel->sweep_count;
	for (unsigned ms = 0; ms < 5000 && f->kernel->sweep_count < passes + 2; ms += 10)
		usleep(10000);
	CHECK(f->kernel->sweep_count >= passes + 2);
}

TEST(the_timer_sweeps_by_itself)
{
	/* sizes that no other case has: its timer would sweep under their hands */
	static const struct fixture_options own = {.flow_sets = 16};

	fixture_once(timer, &own);
}
