// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an ejection means to picks, how long it lasts, and how it ends; that two CPUs make one of
 * it. Which failures lead to it is eject_test.c's.
 */
#include <pthread.h>

#include "bpf_fixture.h"
#include "check.h"
#include "eject_case.h"

static bool eject(struct fixture *f, __u32 replica)
{
	return fixture_eject(f, SL_EJECT_OP_EJECT, 0, replica, SL_EJECT_RATE, 420);
}

/* Opens `n` flows towards `vip`; where they went is in picks. */
static void open_flows(struct fixture *f, const char *vip, unsigned n)
{
	static unsigned port;
	struct fixture_result result;
	char line[PACKET_TEXT_LEN];

	for (unsigned i = 0; i < n; i++) {
		port = port % 60000 + 1;
		snprintf(line, sizeof(line), "client:%u > %s S seq 7 len 0", port, vip);
		fixture_send(f, FROM_POD, line, &result);
		CHECK_INT(result.verdict, NEXT);
	}
}

/* How many of `n` new flows a replica gets. */
static unsigned gets(struct fixture *f, __u32 replica, unsigned n)
{
	uint64_t before = f->replicas[replica].state.picks;

	open_flows(f, "vip:80", n);
	return f->replicas[replica].state.picks - before;
}

/* ---- picks -----------------------------------------------------------------------------*/

static void unpicked(struct fixture *f)
{
	eject_case(f, 4);
	CHECK(eject(f, 0));
	CHECK_INT(gets(f, 0, 40), 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 0);
	/* Back on time by itself: no sweep, no agent. */
	eject_pass(f, 0, 30 * FIXTURE_HZ + 1);
	CHECK(f->replicas[0].state.ejected_until != 0);
	CHECK(gets(f, 0, 40) > 0);
}

TEST(an_ejected_replica_is_picked_again_when_its_time_is_over)
{
	fixture_once(unpicked, NULL);
}

static void drawn(struct fixture *f)
{
	eject_case(f, 4);
	f->services[0].flags |= SL_SERVICE_LOADS; /* so that replicas are drawn, not scanned */
	CHECK(eject(f, 0));
	CHECK_INT(gets(f, 0, 100), 0);
}

TEST(an_ejected_replica_is_not_drawn_either)
{
	fixture_once(drawn, NULL);
}

static void who_serves(struct fixture *f)
{
	eject_case(f, 3);
	f->services[0].max_ejection_percent = 100;
	f->replicas[0].config.flags |= SL_REPLICA_PROBE_DOWN;
	f->replicas[1].config.flags |= SL_REPLICA_DRAINING;
	CHECK(eject(f, 2));
	CHECK_INT(gets(f, 1, 20), 20); /* a draining one serves before an ejected one */
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 0);
	f->replicas[1].config.flags |= SL_REPLICA_NOT_SERVING;
	CHECK_INT(gets(f, 2, 20), 20); /* and that one before one that fails its probe */
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 20);
	f->replicas[2].config.flags |= SL_REPLICA_PROBE_DOWN;
	CHECK(gets(f, 0, 20) > 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 40);
}

TEST(when_nobody_is_fit_draining_ejected_and_down_ones_serve_in_this_order)
{
	fixture_once(who_serves, NULL);
}

static void others(struct fixture *f)
{
	__u32 second;

	eject_case(f, 2);
	second = fixture_add_service(f, 0);
	fixture_add_vip(f, second, "vip2:80");
	fixture_add_replica(f, second, "r1:8000", 100);
	fixture_add_replica(f, second, "r2:8000", 100);
	CHECK(eject(f, 0));
	CHECK_INT(gets(f, 0, 20), 0);
	open_flows(f, "vip2:80", 20);
	CHECK(f->replicas[0].state.picks > 0);
}

TEST(a_service_without_outlier_detection_picks_whom_another_ejected)
{
	fixture_once(others, NULL);
}

static void min_health(struct fixture *f)
{
	eject_case(f, 4);
	f->services[0].max_ejection_percent = 100;
	f->services[0].min_health_percent = 50;
	CHECK(eject(f, 0) && eject(f, 1)); /* half of them are fit: enough */
	CHECK_INT(gets(f, 0, 20) + gets(f, 1, 20), 0);
	CHECK(eject(f, 2));
	CHECK(gets(f, 0, 20) > 0 && gets(f, 1, 20) > 0 && gets(f, 2, 20) > 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 0);
	eject_pass(f, 2, 31 * FIXTURE_HZ);
	fixture_sweep(f); /* its end weighs again */
	CHECK_INT(gets(f, 0, 20) + gets(f, 1, 20), 0);
	f->replicas[2].config.flags |= SL_REPLICA_PROBE_DOWN;
	fixture_sweep(f); /* nothing was ejected, but fewer are fit */
	CHECK(gets(f, 0, 20) > 0 && gets(f, 1, 20) > 0);
	CHECK_INT(gets(f, 2, 20), 0); /* a down one stays out */
	f->replicas[2].config.flags = f->replicas[3].config.flags;
	f->replicas[3].config.admin = SL_ADMIN_DRAINED;
	fixture_sweep(f);
	CHECK(gets(f, 0, 20) > 0);
	f->replicas[3].config.admin = 0;
	fixture_sweep(f);
	CHECK_INT(gets(f, 0, 20), 0);
}

TEST(below_min_health_percent_ejections_are_ignored)
{
	fixture_once(min_health, NULL);
}

/* ---- time ----------------------------------------------------------------------------------*/

/* How long the newest ejection is to last. */
static unsigned lasts_s(struct fixture *f)
{
	return eject_event(f, SL_EVENT_EJECT)->value;
}

/* Whether a replica's ejection has at most so long to go, and, on however slow a machine, nearly. */
static bool is_about(struct fixture *f, __u32 replica, unsigned seconds)
{
	__s32 ticks = f->replicas[replica].state.ejected_until - eject_now(f);

	return ticks <= (__s32)(seconds * FIXTURE_HZ) &&
	       ticks > (__s32)((seconds - 20) * FIXTURE_HZ);
}

static void back_off(struct fixture *f)
{
	static const unsigned seconds[] = {30, 60, 90, 100, 100};

	eject_case(f, 4);
	f->services[0].max_ejection_ticks = 100 * FIXTURE_HZ;
	for (unsigned i = 0; i < 5; i++) {
		CHECK(eject(f, 0));
		CHECK(!eject(f, 0)); /* it is already */
		CHECK_INT(lasts_s(f), seconds[i]);
		CHECK(is_about(f, 0, seconds[i]));
		eject_pass(f, 0, seconds[i] * FIXTURE_HZ + 1);
		fixture_sweep(f);
	}
	CHECK_INT(f->replicas[0].state.ejected_times, 5);
	CHECK_INT(f->replicas[0].state.ejections, 5);
}

TEST(each_ejection_lasts_longer_than_the_one_before_up_to_a_limit)
{
	fixture_once(back_off, NULL);
}

static void decay(struct fixture *f)
{
	eject_case(f, 4);
	f->replicas[0].state.ejected_times = 2;
	CHECK(eject(f, 0));
	eject_pass(f, 0, 60 * FIXTURE_HZ); /* of 90: while it is out nothing is forgotten */
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.ejected_times, 3);
	eject_pass(f, 0, 31 * FIXTURE_HZ);
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.ejected_until, 0);
	CHECK_INT(f->replicas[0].state.ejected_times, 3);
	eject_pass(f, 0, 9 * FIXTURE_HZ);
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.ejected_times, 3);
	for (int times = 2; times >= 0; times--) {
		eject_pass(f, 0, 10 * FIXTURE_HZ);
		fixture_sweep(f);
		CHECK_INT(f->replicas[0].state.ejected_times, times);
	}
	eject_pass(f, 0, 10 * FIXTURE_HZ);
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.ejected_times, 0);
	CHECK_INT(f->kernel->ejections, 0); /* and the sweep need not look any more */
	CHECK_INT(f->replicas[0].state.ejections, 1);
	CHECK(eject(f, 0));
	CHECK_INT(lasts_s(f), 30);
}

TEST(back_off_forgets_one_ejection_an_interval)
{
	fixture_once(decay, NULL);
}

static void on_time(struct fixture *f)
{
	eject_case(f, 4);
	CHECK(eject(f, 0));
	eject_pass(f, 0, 20 * FIXTURE_HZ);
	fixture_sweep(f);
	CHECK(eject_is_out(f, 0));
	CHECK_INT(eject_event(f, SL_EVENT_EJECT_END)->seq, 0);
	eject_pass(f, 0, 11 * FIXTURE_HZ);
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.ejected_until, 0);
	CHECK_INT(f->replicas[0].state.ejected_for, SL_EJECT_NONE);
	CHECK_STR(eject_event(f, SL_EVENT_EJECT_END)->text, "its time is over");
	CHECK_INT(eject_event(f, SL_EVENT_EJECT_END)->service, 1);
	CHECK_INT(f->event_head->last, 2);
}

TEST(the_sweep_ends_an_ejection_on_time)
{
	fixture_once(on_time, NULL);
}

static void unswept(struct fixture *f)
{
	eject_case(f, 4);
	CHECK(eject(f, 0));
	eject_pass(f, 0, 31 * FIXTURE_HZ);
	CHECK(eject(f, 0));
	CHECK_INT(lasts_s(f), 60);
	CHECK_STR(eject_event(f, SL_EVENT_EJECT_END)->text, "ejected anew");
	CHECK_INT(f->event_head->last, 3);
}

TEST(an_ejection_before_the_sweep_noticed_the_last_ones_end_tells_both)
{
	fixture_once(unswept, NULL);
}

static void wraps(struct fixture *f)
{
	eject_case(f, 4);
	f->services[0].base_ejection_ticks = 0xffffffff;
	f->services[0].max_ejection_ticks = 0xffffffff;
	f->replicas[0].state.ejected_times = 0xfffffff0;
	CHECK(eject(f, 0));
	CHECK(eject_is_out(f, 0)); /* still in the future, as signed jiffies go */
}

TEST(times_beyond_what_jiffies_can_say_are_cut)
{
	fixture_once(wraps, NULL);
}

/* ---- probes -----------------------------------------------------------------------------------*/

static void probed(struct fixture *f)
{
	eject_case(f, 4);
	f->services[0].max_ejection_percent = 100;
	for (unsigned replica = 0; replica < 2; replica++)
		for (unsigned i = 0; i < 5; i++)
			eject_fail(f, 0, replica, i, replica ? FAILURE_5XX : FAILURE_REFUSED);
	fixture_tick(f);
	CHECK(eject_is_out(f, 0) && eject_is_out(f, 1));
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_PROBED, 0, 0, 0, 0), 1);
	CHECK_STR(eject_event(f, SL_EVENT_EJECT_END)->text, "a probe succeeded");
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_PROBED, 0, 1, 0, 0), 0);
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_PROBED, 0, 0, 0, 0), 0);
	CHECK_INT(f->replicas[0].state.ejected_until, 0);
	CHECK(eject_is_out(f, 1));
	CHECK(gets(f, 0, 20) > 0);
	CHECK_INT(gets(f, 1, 20), 0);
}

TEST(a_good_probe_ends_what_failed_connects_began_and_nothing_else)
{
	fixture_once(probed, NULL);
}

/* ---- two CPUs ------------------------------------------------------------------------------------*/

#define ROUNDS 300

struct racer {
	struct fixture *f;
	pthread_barrier_t *barrier;
	__u32 replica;
	unsigned made;
};

static void *race(void *context)
{
	struct racer *racer = context;

	for (unsigned i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(racer->barrier);
		racer->made += eject(racer->f, racer->replica);
		pthread_barrier_wait(racer->barrier);
		pthread_barrier_wait(racer->barrier); /* while the main thread looks */
	}
	return NULL;
}

/* Two threads eject replicas `a` and `b` at the same time, again and again; the most that were ever
 * out, and in *ret how often one was ejected. */
static unsigned race_two(struct fixture *f, __u32 a, __u32 b, unsigned *ret)
{
	pthread_barrier_t barrier;
	struct racer racers[] = {{f, &barrier, a, 0}, {f, &barrier, b, 0}};
	pthread_t threads[2];
	unsigned most = 0;

	pthread_barrier_init(&barrier, NULL, 3);
	for (unsigned i = 0; i < 2; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned out = 0;

		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		for (__u32 replica = 0; replica < 4; replica++) {
			out += !!f->replicas[replica].state.ejected_until;
			f->replicas[replica].state.ejected_until = 0;
		}
		most = out > most ? out : most;
		pthread_barrier_wait(&barrier);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	*ret = racers[0].made + racers[1].made;
	return most;
}

static void racing(struct fixture *f)
{
	unsigned made;

	eject_case(f, 4);
	CHECK_INT(race_two(f, 0, 0, &made), 1);
	CHECK_INT(made, ROUNDS);
	CHECK_INT(f->replicas[0].state.ejections, ROUNDS);
	CHECK_INT(race_two(f, 1, 2, &made), 1);
	CHECK(made <= ROUNDS);
}

TEST(two_cpus_neither_eject_twice_nor_more_than_may_go)
{
	fixture_once(racing, NULL);
}
