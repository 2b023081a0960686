// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arithmetic of a pick: each row of the cost formula, what is compared with
 * what, and that nothing overflows at the ends of its range.
 */
#include <stdint.h>

#include <sluice/pick.h>

#include "check.h"

#define NOW 1000000000000ull
#define MS 1000000ull
#define REQUESTS(n) ((n) * SL_LOAD_ONE)

static const struct sl_service plain = {.flags = SL_SERVICE_USED};
static const struct sl_service loaded = {.flags = SL_SERVICE_USED | SL_SERVICE_LOADS,
					 .mean_load = REQUESTS(10), .load_ttl_ms = 2000};

/* What was reported, and how long ago. */
static struct sl_replica_config reported(__u32 load, __u32 inflight_then, uint64_t age_ns)
{
	return (struct sl_replica_config){.weight = 100, .flags = SL_REPLICA_HAS_LOAD, .load = load,
					  .inflight_at_report = inflight_then,
					  .report_ns = NOW - age_ns};
}

static long long load_of(const struct sl_service *service, struct sl_replica_config config,
			 __u32 inflight)
{
	return sl_cost_of(service, &config, inflight, NOW).load;
}

TEST(without_loads_inflight_counts)
{
	CHECK_INT(load_of(&plain, (struct sl_replica_config){.weight = 1}, 0), REQUESTS(1));
	CHECK_INT(load_of(&plain, (struct sl_replica_config){.weight = 1}, 7), REQUESTS(8));
	/* a report that the service does not use changes nothing */
	CHECK_INT(load_of(&plain, reported(REQUESTS(50), 7, 0), 7), REQUESTS(8));
}

TEST(a_fresh_report_counts_with_what_came_since)
{
	CHECK_INT(load_of(&loaded, reported(REQUESTS(5), 3, 0), 3), REQUESTS(6));
	CHECK_INT(load_of(&loaded, reported(REQUESTS(5), 3, 0), 7), REQUESTS(10));
	CHECK_INT(load_of(&loaded, reported(128, 0, 0), 0), 128 + REQUESTS(1));
}

TEST(flows_that_ended_since_do_not_make_it_cheaper)
{
	CHECK_INT(load_of(&loaded, reported(REQUESTS(5), 9, 0), 3), REQUESTS(6));
	CHECK_INT(load_of(&loaded, reported(REQUESTS(5), UINT32_MAX, 0), 0), REQUESTS(6));
}

TEST(a_stale_report_is_neutral_never_idle)
{
	CHECK_INT(load_of(&loaded, reported(0, 0, 2000 * MS), 0), REQUESTS(1));
	CHECK_INT(load_of(&loaded, reported(0, 0, 2000 * MS + 1), 0), REQUESTS(11));
	CHECK_INT(load_of(&loaded, reported(0, 3, 2001 * MS), 5), REQUESTS(13));
	CHECK_INT(load_of(&loaded, reported(REQUESTS(90), 3, NOW), 3), REQUESTS(11));
}

TEST(never_a_report_is_neutral_too)
{
	struct sl_replica_config config = {.weight = 100, .load = REQUESTS(3)};

	CHECK_INT(load_of(&loaded, config, 0), REQUESTS(11));
	CHECK_INT(load_of(&loaded, config, 4), REQUESTS(15));
	config.inflight_at_report = 4; /* of no report */
	CHECK_INT(load_of(&loaded, config, 4), REQUESTS(15));
}

/* The agent on another CPU may stamp a report after this one read its clock. */
TEST(a_report_of_the_next_moment_is_fresh)
{
	CHECK_INT(load_of(&loaded, reported(REQUESTS(5), 0, -1ull), 0), REQUESTS(6));
	CHECK_INT(load_of(&loaded, reported(REQUESTS(5), 0, -5 * MS), 0), REQUESTS(6));
}

TEST(no_time_to_live_means_stale_at_once)
{
	struct sl_service service = loaded;

	service.load_ttl_ms = 0;
	CHECK_INT(load_of(&service, reported(REQUESTS(5), 0, 1), 0), REQUESTS(11));
	service.load_ttl_ms = UINT32_MAX; /* 49 days */
	CHECK_INT(load_of(&service, reported(REQUESTS(5), 0, NOW), 0), REQUESTS(6));
}

static struct sl_cost cost(__u64 load, __u32 weight)
{
	return (struct sl_cost){.load = load, .weight = weight};
}

TEST(weight_divides_the_cost)
{
	CHECK(sl_cost_less(cost(10, 200), cost(6, 100)));
	CHECK(!sl_cost_less(cost(6, 100), cost(10, 200)));
	CHECK(sl_cost_less(cost(1, 1), cost(2, 1)));
	CHECK(sl_cost_less(cost(65534, 65535), cost(1, 1)));
	CHECK(!sl_cost_less(cost(65535, 65535), cost(1, 1)));
}

TEST(equal_costs_are_not_less)
{
	CHECK(!sl_cost_less(cost(10, 100), cost(10, 100)));
	CHECK(!sl_cost_less(cost(20, 200), cost(10, 100)));
	CHECK(!sl_cost_less(cost(10, 100), cost(20, 200)));
}

TEST(weight_zero_counts_as_one)
{
	struct sl_replica_config config = {.weight = 0};

	CHECK_INT(sl_cost_of(&plain, &config, 0, NOW).weight, SL_WEIGHT_ONE);
}

TEST(the_largest_numbers_do_not_overflow)
{
	struct sl_replica_config most = reported(UINT32_MAX, 0, 0), light = most;
	struct sl_cost dear, cheap;

	most.weight = 1;
	light.weight = 65535;
	dear = sl_cost_of(&loaded, &most, UINT32_MAX, NOW);
	cheap = sl_cost_of(&loaded, &light, UINT32_MAX, NOW);
	CHECK_INT(dear.load, UINT32_MAX + (1ull << 40));
	CHECK(dear.load < 1ull << 42);
	CHECK(dear.load <= UINT64_MAX / cheap.weight);
	CHECK_INT(cheap.weight, 65535 * SL_WEIGHT_ONE);
	CHECK(sl_cost_less(cheap, dear));
	CHECK(!sl_cost_less(dear, cheap));
	dear = sl_cost_of(&plain, &most, UINT32_MAX, NOW);
	CHECK_INT(dear.load, 1ull << 40);
}

TEST(a_draw_takes_the_slot_or_its_alias)
{
	const struct sl_member member = {.replica = 1, .alias = 2, .threshold = 1000};
	const struct sl_member whole = {.replica = 1, .alias = 1, .threshold = UINT32_MAX};

	CHECK_INT(sl_member_draw(&member, 0), 1);
	CHECK_INT(sl_member_draw(&member, 999), 1);
	CHECK_INT(sl_member_draw(&member, 1000), 2);
	CHECK_INT(sl_member_draw(&member, UINT32_MAX), 2);
	CHECK_INT(sl_member_draw(&whole, UINT32_MAX), 1);
}

/* ---- slow start --------------------------------------------------------------------------- */

static struct sl_replica_config warming(__u16 weight, __u16 share)
{
	return (struct sl_replica_config){.weight = weight, .flags = SL_REPLICA_WARMING,
					  .warming = share};
}

static long long weight_of(struct sl_replica_config config)
{
	return sl_weight_of(&config);
}

TEST(slow_start_takes_a_share_of_the_weight)
{
	struct sl_replica_config done = {.weight = 100, .warming = 1}; /* without the flag: nothing */

	CHECK_INT(weight_of(done), 100 * SL_WEIGHT_ONE);
	CHECK_INT(weight_of(warming(100, 32768)), 50 * SL_WEIGHT_ONE);
	CHECK_INT(weight_of(warming(100, 6554)), 641);
	CHECK_INT(weight_of(warming(1, 6554)), 7); /* a tenth of 64, rounded up */
	CHECK_INT(weight_of(warming(1, 1)), 1);    /* never nothing */
	CHECK_INT(weight_of(warming(0, 1)), 1);
	CHECK_INT(weight_of(warming(100, 0)), 100 * SL_WEIGHT_ONE); /* no share was said */
	CHECK_INT(weight_of(warming(65535, 65535)),
		  65535ull * SL_WEIGHT_ONE * 65535 / 65536 + 1);
}

TEST(slow_start_makes_dearer)
{
	struct sl_replica_config cold = warming(100, 16384), warm = {.weight = 100};

	CHECK(sl_cost_less(sl_cost_of(&plain, &warm, 2, NOW), sl_cost_of(&plain, &cold, 0, NOW)));
	CHECK(!sl_cost_less(sl_cost_of(&plain, &warm, 3, NOW), sl_cost_of(&plain, &cold, 0, NOW)));
	CHECK(sl_cost_less(sl_cost_of(&plain, &cold, 0, NOW), sl_cost_of(&plain, &warm, 4, NOW)));
	CHECK_INT(sl_cost_of(&loaded, &cold, 0, NOW).weight, 25 * SL_WEIGHT_ONE);
}

TEST(slow_start_accepts_its_share_of_draws)
{
	struct sl_replica_config half = warming(100, 32768), least = warming(100, 1);
	struct sl_replica_config plain = {.weight = 100, .warming = 1};
	unsigned accepted = 0;

	CHECK(sl_warming_accepts(&half, 0x7fffffff));
	CHECK(!sl_warming_accepts(&half, 0x80000000));
	CHECK(sl_warming_accepts(&least, 0) && !sl_warming_accepts(&least, 65536));
	CHECK(sl_warming_accepts(&plain, UINT32_MAX));
	for (__u32 i = 0; i < 65536; i++) {
		struct sl_replica_config tenth = warming(100, 6554);

		accepted += sl_warming_accepts(&tenth, i << 16);
	}
	CHECK_INT(accepted, 6554);
}
