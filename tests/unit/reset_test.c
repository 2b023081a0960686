// SPDX-License-Identifier: GPL-2.0-only
/*
 * The queue of replicas to be reset, on a flow table that is a number of flows a row: order, slices,
 * budget, second askings, freeze, doubt. The loop is libuv's own, driven by hand.
 */
#include <stdlib.h>

#include "check.h"
#include "reset.h"

#define SLOTS 1000u
#define ROWS 8

struct kernel {
	unsigned flows[ROWS]; /* open, of each replica; all lie in the first slots */
	unsigned marked[ROWS];
	unsigned asked[ROWS]; /* times its marked flows were asked again */
	unsigned runs, most;  /* flows of one run at most */
	__u32 order[64];      /* whose walks ended */
	__u32 told[64];       /* with how many flows */
	unsigned n_done;
	bool frozen;
	bool void_now[ROWS]; /* what was asked holds no longer */
	int error;
};

static int run(void *context, struct sl_reset *job)
{
	struct kernel *kernel = context;
	unsigned here = job->pass ? 0 : kernel->flows[job->replica];

	if (kernel->error)
		return kernel->error;
	kernel->runs++;
	CHECK(job->max > 0);
	CHECK(!kernel->frozen);
	if (here > job->max)
		here = job->max;
	if (here > kernel->most)
		kernel->most = here;
	if (job->pass)
		kernel->asked[job->replica]++;
	kernel->flows[job->replica] -= here;
	kernel->marked[job->replica] += here;
	job->reset += here;
	job->slot = !job->pass && kernel->flows[job->replica] ? job->slot : SLOTS;
	return 0;
}

static bool is_frozen(void *context)
{
	return ((struct kernel *)context)->frozen;
}

static void done(void *context, const struct reset_request *request, __u32 flows, int error)
{
	struct kernel *kernel = context;

	CHECK_INT(error, kernel->error);
	kernel->order[kernel->n_done] = request->replica;
	kernel->told[kernel->n_done++] = flows;
}

static bool holds(void *context, const struct reset_request *request, bool first_pass)
{
	return !((struct kernel *)context)->void_now[request->replica];
}

static const struct reset_ops ops = {
	.run = run, .is_frozen = is_frozen, .holds = holds, .done = done};

struct bench {
	uv_loop_t loop;
	struct kernel kernel;
	struct reset *reset;
};

static struct bench *bench_new(void)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	uv_loop_init(&bench->loop);
	CHECK_INT(reset_new(&bench->loop, &ops, &bench->kernel, SLOTS, &bench->reset), 0);
	return bench;
}

static void bench_free(struct bench *bench)
{
	reset_free(bench->reset);
	uv_run(&bench->loop, UV_RUN_DEFAULT);
	CHECK_INT(uv_loop_close(&bench->loop), 0);
	free(bench);
}

/* Turns the loop until `n` walks have ended, for 10 s at most. */
static void turn_until(struct bench *bench, unsigned n)
{
	uint64_t end = uv_hrtime() + 10000000000ull;

	while (bench->kernel.n_done < n && uv_hrtime() < end)
		uv_run(&bench->loop, UV_RUN_ONCE);
	CHECK_INT(bench->kernel.n_done, n);
}

static void ask(struct bench *bench, __u32 replica, bool soft, __u32 service)
{
	struct reset_request request = {.replica = replica, .soft = soft, .n_services = 1,
					.services = {service}};

	CHECK_INT(reset_ask(bench->reset, &request), 0);
}

TEST(slices_and_second_askings)
{
	struct bench *bench = bench_new();

	bench->kernel.flows[3] = 1000;
	ask(bench, 3, false, 0);
	CHECK_INT(bench->kernel.runs, 0); /* on the loop, not at once */
	turn_until(bench, 1);
	CHECK_INT(bench->kernel.marked[3], 1000);
	CHECK_INT(bench->kernel.told[0], 1000);
	CHECK(bench->kernel.most <= 64);
	CHECK(bench->kernel.runs >= 1000 / 64);
	uv_run(&bench->loop, UV_RUN_DEFAULT); /* until nothing is left to be done */
	CHECK_INT(bench->kernel.asked[3], RESET_PASSES - 1);
	CHECK_INT(bench->kernel.n_done, 1);
	CHECK_INT(reset_pending(bench->reset), 0);
	bench_free(bench);
}

TEST(nobody_is_asked_again_where_nothing_was_reset)
{
	struct bench *bench = bench_new();

	ask(bench, 3, false, 0);
	turn_until(bench, 1);
	uv_run(&bench->loop, UV_RUN_DEFAULT);
	CHECK_INT(bench->kernel.told[0], 0);
	CHECK_INT(bench->kernel.asked[3], 0);
	bench_free(bench);
}

TEST(hard_evidence_goes_first)
{
	struct bench *bench = bench_new();

	for (__u32 i = 0; i < 4; i++) {
		bench->kernel.flows[i] = 100;
		ask(bench, i, i < 2, i);
	}
	CHECK_INT(reset_pending(bench->reset), 4);
	turn_until(bench, 4);
	CHECK_INT(bench->kernel.order[0], 2);
	CHECK_INT(bench->kernel.order[1], 3);
	CHECK_INT(bench->kernel.order[2], 0);
	CHECK_INT(bench->kernel.order[3], 1);
	bench_free(bench);
}

TEST(soft_evidence_becomes_hard_and_stays_so)
{
	struct bench *bench = bench_new();

	bench->kernel.flows[1] = bench->kernel.flows[2] = 10;
	ask(bench, 2, true, 0);
	ask(bench, 1, true, 0);
	ask(bench, 1, false, 0);
	ask(bench, 1, true, 0);
	CHECK_INT(reset_pending(bench->reset), 2);
	CHECK_INT(reset_void(bench->reset), 1);
	turn_until(bench, 1);
	CHECK_INT(bench->kernel.order[0], 1);
	CHECK_INT(bench->kernel.marked[2], 0);
	bench_free(bench);
}

TEST(asked_again_while_it_goes_on)
{
	struct bench *bench = bench_new();

	bench->kernel.flows[1] = 100;
	ask(bench, 1, false, 0);
	while (!bench->kernel.runs)
		uv_run(&bench->loop, UV_RUN_ONCE);
	ask(bench, 1, false, 0);
	turn_until(bench, 1);
	CHECK_INT(bench->kernel.told[0], 100); /* once, and whole */
	bench->kernel.flows[1] = 7; /* new ones, after the walk */
	ask(bench, 1, false, 0);
	turn_until(bench, 2);
	CHECK_INT(bench->kernel.told[1], 7);
	bench_free(bench);
}

TEST(soft_evidence_has_a_budget)
{
	struct bench *bench = bench_new();
	uint64_t began = uv_hrtime();

	bench->kernel.flows[1] = 2 * RESET_BUDGET + 10;
	bench->kernel.flows[2] = 10;
	ask(bench, 1, true, 5);
	ask(bench, 2, true, 6); /* another service's is its own */
	turn_until(bench, 1);
	CHECK_INT(bench->kernel.order[0], 2);
	CHECK(bench->kernel.marked[1] >= RESET_BUDGET);
	turn_until(bench, 2);
	CHECK_INT(bench->kernel.told[1], 2 * RESET_BUDGET + 10);
	CHECK(uv_hrtime() - began > 1000000000ull); /* three seconds' worth, begun within one */
	bench_free(bench);
}

TEST(hard_evidence_has_none)
{
	struct bench *bench = bench_new();

	bench->kernel.flows[1] = 5 * RESET_BUDGET;
	ask(bench, 1, false, 5);
	turn_until(bench, 1);
	CHECK_INT(bench->kernel.told[0], 5 * RESET_BUDGET);
	CHECK_INT(bench->kernel.runs, 5 * RESET_BUDGET / 64 + 1);
	bench_free(bench);
}

TEST(a_replica_that_came_back)
{
	struct bench *bench = bench_new();

	bench->kernel.flows[1] = 100;
	ask(bench, 1, false, 0);
	while (!bench->kernel.runs)
		uv_run(&bench->loop, UV_RUN_ONCE);
	reset_cancel(bench->reset, 1);
	CHECK_INT(bench->kernel.n_done, 1); /* what was done is told */
	CHECK_INT(bench->kernel.told[0], 64);
	uv_run(&bench->loop, UV_RUN_DEFAULT);
	CHECK_INT(bench->kernel.marked[1], 64);
	reset_cancel(bench->reset, 1);
	bench_free(bench);
}

TEST(frozen)
{
	struct bench *bench = bench_new();

	bench->kernel.flows[1] = 10;
	bench->kernel.frozen = true;
	ask(bench, 1, false, 0);
	for (int i = 0; i < 5; i++)
		uv_run(&bench->loop, UV_RUN_ONCE);
	CHECK_INT(bench->kernel.runs, 0);
	bench->kernel.frozen = false;
	turn_until(bench, 1);
	CHECK_INT(bench->kernel.told[0], 10);
	bench_free(bench);
}

TEST(a_kernel_that_refuses)
{
	struct bench *bench = bench_new();

	bench->kernel.flows[1] = 10;
	bench->kernel.error = -1;
	ask(bench, 1, false, 0);
	turn_until(bench, 1);
	uv_run(&bench->loop, UV_RUN_DEFAULT);
	CHECK_INT(reset_pending(bench->reset), 0);
	bench_free(bench);
}

TEST(what_holds_no_longer_is_given_up_in_a_freeze_too)
{
	struct bench *bench = bench_new();
	uint64_t end = uv_hrtime() + 10000000000ull;

	bench->kernel.flows[2] = bench->kernel.flows[3] = 100;
	bench->kernel.frozen = true;
	ask(bench, 2, false, 0);
	ask(bench, 3, false, 0);
	bench->kernel.void_now[2] = true; /* its row is another's now, say */
	while (reset_pending(bench->reset) > 1 && uv_hrtime() < end)
		uv_run(&bench->loop, UV_RUN_ONCE);
	CHECK_INT(reset_pending(bench->reset), 1);
	bench->kernel.void_now[2] = bench->kernel.frozen = false;
	turn_until(bench, 1);
	CHECK_INT(bench->kernel.marked[2], 0);
	CHECK_INT(bench->kernel.marked[3], 100);
	bench_free(bench);
}
