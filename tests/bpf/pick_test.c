// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which replica a SYN gets: the least in-flight by weight, never one that is
 * unfit while another is fit, and what reported load makes of it.
 */
#include <time.h>

#include "bpf_fixture.h"
#include "check.h"

#define MANY 1000 /* more than are ever scanned whole without loads */

static const struct fixture_options large = {.flow_sets = 4096};

/* Opens `n` flows towards vip:80, each from a port of its own; returns how many were translated. */
static unsigned open_flows(struct fixture *f, unsigned n)
{
	static unsigned port;
	struct fixture_result result;
	char line[PACKET_TEXT_LEN];
	unsigned opened = 0;

	for (unsigned i = 0; i < n; i++) {
		port = port % 65535 + 1;
		snprintf(line, sizeof(line), "client:%u > vip:80 S seq 7 len 0", port);
		fixture_send(f, FROM_POD, line, &result);
		opened += result.verdict == NEXT;
	}
	return opened;
}

static unsigned inflight(const struct fixture *f, __u32 replica)
{
	return f->replicas[replica].state.inflight;
}

static void set_inflight(struct fixture *f, const unsigned *values, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		f->replicas[i].state.inflight = values[i];
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void report(struct fixture *f, __u32 replica, __u32 requests, uint64_t age_ns)
{
	struct sl_replica_config *config = &f->replicas[replica].config;

	config->load = requests * 256;
	config->inflight_at_report = inflight(f, replica);
	config->report_ns = now_ns() - age_ns;
	config->flags |= SL_REPLICA_HAS_LOAD;
}

/* ---- in-flight and weights -----------------------------------------------------*/

static void least(struct fixture *f)
{
	fixture_simple(f, 0, 4);
	set_inflight(f, (unsigned[]){5, 3, 4, 9}, 4);
	CHECK_INT(open_flows(f, 1), 1);
	CHECK_INT(inflight(f, 1), 4);
	CHECK_INT(open_flows(f, 2), 2);
	CHECK_INT(inflight(f, 0) + inflight(f, 3), 14);
	CHECK_INT(inflight(f, 1) + inflight(f, 2), 10);
	CHECK_INT(open_flows(f, 15), 15); /* 5 5 5 9 first, then all alike */
	for (unsigned i = 0; i < 4; i++)
		CHECK(inflight(f, i) >= 9 && inflight(f, i) <= 10);
}

TEST(a_syn_takes_the_replica_with_the_least_in_flight)
{
	fixture_each(least, NULL);
}

static void equals(struct fixture *f)
{
	unsigned first = 0;

	fixture_simple(f, 0, 4);
	for (unsigned round = 0; round < 40; round++) {
		unsigned before = inflight(f, 0);

		CHECK_INT(open_flows(f, 1), 1);
		first += inflight(f, 0) > before;
		CHECK_INT(open_flows(f, 3), 3);
		for (unsigned i = 0; i < 4; i++)
			CHECK_INT(inflight(f, i), round + 1);
	}
	CHECK(first > 0 && first < 40); /* not always the same one among equals */
}

TEST(equal_replicas_fill_evenly_from_a_random_start)
{
	fixture_once(equals, NULL);
}

static void weights(struct fixture *f)
{
	__u32 service = fixture_simple(f, 0, 3);

	f->replicas[0].config.weight = 50;
	f->replicas[2].config.weight = 350;
	fixture_publish(f, service);
	CHECK_INT(open_flows(f, 200), 200);
	CHECK(inflight(f, 0) >= 19 && inflight(f, 0) <= 21);
	CHECK(inflight(f, 1) >= 39 && inflight(f, 1) <= 41);
	CHECK(inflight(f, 2) >= 139 && inflight(f, 2) <= 141);
}

TEST(in_flight_follows_weights)
{
	fixture_once(weights, NULL);
}

/* ---- who is fit ------------------------------------------------------------------*/

static void unfit(struct fixture *f)
{
	static const __u16 flags[] = {SL_REPLICA_NOT_SERVING, SL_REPLICA_PROBE_DOWN,
				      SL_REPLICA_DRAINING, SL_REPLICA_SUSPECT};

	fixture_simple(f, 0, 2);
	for (unsigned i = 0; i < 4; i++) {
		f->replicas[0].config.flags |= flags[i];
		CHECK_INT(open_flows(f, 20), 20);
		CHECK_INT(inflight(f, 0), 0);
		f->replicas[0].config.flags &= ~flags[i];
	}
	f->replicas[0].config.admin = SL_ADMIN_DRAINED;
	CHECK_INT(open_flows(f, 20), 20);
	CHECK_INT(inflight(f, 0), 0);
	f->replicas[0].config.admin = 0;
	CHECK_INT(inflight(f, 1), 100);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 0);
	CHECK_INT(open_flows(f, 20), 20); /* fit again: it has the least */
	CHECK_INT(inflight(f, 0), 20);
}

TEST(an_unfit_replica_is_never_picked_while_another_is_fit)
{
	fixture_once(unfit, NULL);
}

static void draining_last(struct fixture *f)
{
	fixture_simple(f, 0, 3);
	f->replicas[0].config.flags |= SL_REPLICA_DRAINING;
	f->replicas[1].config.flags |= SL_REPLICA_PROBE_DOWN;
	f->replicas[2].config.flags |= SL_REPLICA_NOT_SERVING;
	CHECK_INT(open_flows(f, 20), 20);
	CHECK_INT(inflight(f, 0), 20);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 0);
}

TEST(a_draining_replica_serves_before_a_down_one)
{
	fixture_once(draining_last, NULL);
}

static void panic(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_REPLACE, 3);
	f->replicas[0].config.flags |= SL_REPLICA_PROBE_DOWN;
	f->replicas[1].config.flags |= SL_REPLICA_SUSPECT;
	f->replicas[2].config.flags |= SL_REPLICA_NOT_SERVING;
	CHECK_INT(open_flows(f, 20), 20);
	CHECK_INT(inflight(f, 0), 10);
	CHECK_INT(inflight(f, 1), 10);
	CHECK_INT(inflight(f, 2), 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 20);
	f->replicas[0].config.flags |= SL_REPLICA_NOT_SERVING;
	f->replicas[1].config.flags |= SL_REPLICA_NOT_SERVING;
	CHECK_INT(open_flows(f, 3), 0);
	CHECK_INT(fixture_drops(f, SL_DROP_NO_REPLICA), 3);
}

TEST(when_all_are_down_picks_go_to_all_that_serve)
{
	fixture_once(panic, NULL);
}

/* ---- many replicas ------------------------------------------------------------------*/

static __u32 many(struct fixture *f, unsigned n)
{
	__u32 service = fixture_add_service(f, 0);
	char replica[32];

	fixture_add_vip(f, service, "vip:80");
	for (unsigned i = 0; i < n; i++) {
		snprintf(replica, sizeof(replica), "10.3.%u.%u:8000", i / 250, 1 + i % 250);
		fixture_add_replica(f, service, replica, 100);
	}
	return service;
}

static void many_weighted(struct fixture *f)
{
	__u32 service = many(f, 100);
	unsigned heavy = 0;

	for (unsigned i = 0; i < 10; i++)
		f->replicas[i].config.weight = 1000;
	fixture_publish(f, service);
	CHECK_INT(open_flows(f, 3800), 3800);
	for (unsigned i = 0; i < 100; i++) {
		unsigned share = i < 10 ? 200 : 20;

		heavy += i < 10 ? inflight(f, i) : 0;
		CHECK(inflight(f, i) > share * 7 / 10 && inflight(f, i) < share * 13 / 10);
	}
	CHECK(heavy > 1950 && heavy < 2050);
}

TEST(of_many_replicas_three_weighted_draws_follow_weights)
{
	fixture_once(many_weighted, &large);
}

/* The needle must be found, however large the haystack. */
static void one_fit(struct fixture *f)
{
	many(f, MANY);
	for (unsigned i = 0; i < MANY; i++)
		if (i != 777)
			f->replicas[i].config.flags |=
				i % 2 ? SL_REPLICA_DRAINING : SL_REPLICA_SUSPECT;
	CHECK_INT(open_flows(f, 200), 200);
	CHECK_INT(inflight(f, 777), 200);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 0);
}

TEST(the_only_fit_one_of_a_thousand_is_found)
{
	fixture_once(one_fit, &large);
}

static void none_serves(struct fixture *f)
{
	many(f, MANY);
	for (unsigned i = 0; i < MANY; i++)
		f->replicas[i].config.flags |= SL_REPLICA_NOT_SERVING;
	CHECK_INT(open_flows(f, 20), 0);
	CHECK_INT(fixture_drops(f, SL_DROP_NO_REPLICA), 20);
	f->replicas[3].config.flags &= ~SL_REPLICA_NOT_SERVING;
	f->replicas[3].config.flags |= SL_REPLICA_PROBE_DOWN;
	CHECK_INT(open_flows(f, 20), 20);
	CHECK_INT(inflight(f, 3), 20);
}

TEST(the_only_serving_one_of_a_thousand_is_found)
{
	fixture_once(none_serves, &large);
}

/* ---- slow start ------------------------------------------------------------------------*/

static void warm_up(struct fixture *f, __u32 replica, unsigned percent)
{
	f->replicas[replica].config.warming = percent * 65536 / 100;
	f->replicas[replica].config.flags |= SL_REPLICA_WARMING;
}

static void warming_scan(struct fixture *f)
{
	fixture_simple(f, 0, 4);
	warm_up(f, 0, 10);
	CHECK_INT(open_flows(f, 310), 310);
	CHECK(inflight(f, 0) >= 9 && inflight(f, 0) <= 11); /* 100 100 100 10 */
	warm_up(f, 0, 50);
	CHECK_INT(open_flows(f, 40), 40); /* 100 100 100 50 */
	CHECK(inflight(f, 0) >= 49 && inflight(f, 0) <= 51);
	f->replicas[0].config.flags &= ~SL_REPLICA_WARMING;
	CHECK_INT(open_flows(f, 50), 50);
	CHECK(inflight(f, 0) >= 99 && inflight(f, 0) <= 101);
}

TEST(a_warming_replica_fills_to_its_share)
{
	fixture_once(warming_scan, &large);
}

static void warming_light(struct fixture *f)
{
	__u32 service = fixture_simple(f, 0, 2);

	f->replicas[0].config.weight = f->replicas[1].config.weight = 1;
	fixture_publish(f, service);
	warm_up(f, 0, 25);
	CHECK_INT(open_flows(f, 100), 100);
	CHECK(inflight(f, 0) >= 19 && inflight(f, 0) <= 21);
}

TEST(a_share_of_weight_one_is_a_share_too)
{
	fixture_once(warming_light, NULL);
}

static void warming_draws(struct fixture *f)
{
	many(f, 40);
	warm_up(f, 7, 10);
	CHECK_INT(open_flows(f, 3910), 3910); /* 100 each, and 10 */
	CHECK(inflight(f, 7) >= 4 && inflight(f, 7) <= 20);
}

TEST(of_many_replicas_a_warming_one_takes_its_share_of_draws)
{
	fixture_once(warming_draws, &large);
}

/* Each as good as no share: the draws that look at it would find nobody. */
static void all_warming(struct fixture *f)
{
	many(f, 40);
	for (unsigned i = 0; i < 40; i++) {
		f->replicas[i].config.warming = 1;
		f->replicas[i].config.flags |= SL_REPLICA_WARMING;
	}
	CHECK_INT(open_flows(f, 400), 400);
	for (unsigned i = 0; i < 40; i++)
		CHECK(inflight(f, i) >= 5 && inflight(f, i) <= 15);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 0);
}

TEST(when_all_are_warming_all_are_picked)
{
	fixture_once(all_warming, &large);
}

static void all_warming_scanned(struct fixture *f)
{
	fixture_simple(f, 0, 4);
	for (unsigned i = 0; i < 4; i++)
		warm_up(f, i, 1);
	CHECK_INT(open_flows(f, 40), 40);
	for (unsigned i = 0; i < 4; i++)
		CHECK_INT(inflight(f, i), 10);
}

TEST(when_all_of_few_are_warming_they_are_equals)
{
	fixture_once(all_warming_scanned, NULL);
}

static void warming_beats_unfit(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_LOADS, 4);
	for (unsigned i = 1; i < 4; i++)
		f->replicas[i].config.flags |= SL_REPLICA_DRAINING;
	f->replicas[0].config.warming = 1; /* as good as no share */
	f->replicas[0].config.flags |= SL_REPLICA_WARMING;
	CHECK_INT(open_flows(f, 200), 200);
	CHECK_INT(inflight(f, 0), 200);
}

TEST(a_warming_replica_goes_before_a_draining_one)
{
	fixture_once(warming_beats_unfit, &large);
}

/* ---- reported load --------------------------------------------------------------------*/

/*
 * With loads there is no full scan: of two replicas each draw gives either, so the cheaper one
 * is met by three draws in seven of eight picks. Sends 200 SYNs; returns the share of replica 0.
 */
static unsigned percent_of_first(struct fixture *f)
{
	unsigned before = inflight(f, 0);

	CHECK_INT(open_flows(f, 200), 200);
	return (inflight(f, 0) - before) / 2;
}

static void fresh_loads(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_LOADS, 2);
	f->services[0].load_ttl_ms = 60000;
	report(f, 0, 1000, 0);
	report(f, 1, 5000, 0);
	CHECK(percent_of_first(f) > 75);
	report(f, 0, 9000, 0);
	CHECK(percent_of_first(f) < 25);
}

TEST(the_less_loaded_replica_gets_more)
{
	fixture_once(fresh_loads, &large);
}

static void delta_since(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_LOADS, 2);
	f->services[0].load_ttl_ms = 60000;
	report(f, 0, 0, 0);
	report(f, 1, 100, 0);
	CHECK_INT(open_flows(f, 1000), 1000);
	/* after a hundred more the first is as loaded as the second: then both grow alike */
	CHECK(inflight(f, 0) > inflight(f, 1) + 60);
	CHECK(inflight(f, 0) < inflight(f, 1) + 140);
}

TEST(what_came_since_a_report_counts)
{
	fixture_once(delta_since, &large);
}

static void weighted_loads(struct fixture *f)
{
	__u32 service = fixture_simple(f, SL_SERVICE_LOADS, 2);

	f->services[0].load_ttl_ms = 60000;
	f->replicas[0].config.weight = 1000;
	fixture_publish(f, service);
	report(f, 0, 5000, 0);
	report(f, 1, 1000, 0); /* a tenth of the capacity, a fifth of the load */
	CHECK(percent_of_first(f) > 75);
}

TEST(load_is_divided_by_weight)
{
	fixture_once(weighted_loads, &large);
}

static void stale_loads(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_LOADS, 2);
	f->services[0].mean_load = 5000 * 256;
	report(f, 0, 0, 10000000000ull); /* idle, ten seconds ago */
	f->services[0].load_ttl_ms = 9000;
	report(f, 1, 1000, 0);
	CHECK(percent_of_first(f) < 25);
	report(f, 1, 9000, 0);
	CHECK(percent_of_first(f) > 75);
}

TEST(a_stale_report_counts_as_the_mean)
{
	fixture_once(stale_loads, &large);
}

static void never_reported(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_LOADS, 2);
	f->services[0].mean_load = 5000 * 256;
	f->services[0].load_ttl_ms = 60000;
	report(f, 1, 1000, 0);
	CHECK(percent_of_first(f) < 25);
	report(f, 1, 9000, 0);
	CHECK(percent_of_first(f) > 75);
}

TEST(a_replica_that_never_reported_counts_as_the_mean)
{
	fixture_once(never_reported, &large);
}

static void unfit_with_loads(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_LOADS, 4);
	for (unsigned i = 0; i < 4; i++)
		report(f, i, i ? 1000 : 0, 0);
	f->replicas[0].config.flags |= SL_REPLICA_SUSPECT; /* idle, since nobody reaches it */
	CHECK_INT(open_flows(f, 200), 200);
	CHECK_INT(inflight(f, 0), 0);
}

/* Few replicas are drawn too where they report load: eight draws of 32 may miss the only fit one. */
static void one_fit_with_loads(struct fixture *f)
{
	many(f, 32);
	f->services[0].flags |= SL_SERVICE_LOADS;
	for (unsigned i = 0; i < 32; i++)
		if (i != 17)
			f->replicas[i].config.flags |= SL_REPLICA_PROBE_DOWN;
	CHECK_INT(open_flows(f, 100), 100);
	CHECK_INT(inflight(f, 17), 100);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 0);
}

TEST(the_only_fit_one_of_few_with_loads_is_found)
{
	fixture_once(one_fit_with_loads, &large);
}

TEST(an_idle_but_suspect_replica_attracts_nothing)
{
	fixture_once(unfit_with_loads, &large);
}
