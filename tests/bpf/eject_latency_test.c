// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ejections that the agent asks for because first bytes come late: their evidence, what holds them
 * back, and what is forgotten at their end. Who is late is outlier_latency_test.c's.
 */
#include "bpf_fixture.h"
#include "check.h"
#include "eject_case.h"

static void six(struct fixture *f)
{
	eject_case(f, 4);
	eject_members(f, 0, 2);
}

/* 4.10 s, the median of `n` being 0.09 s. */
static bool eject(struct fixture *f, __u32 replica, unsigned n)
{
	return fixture_eject(f, SL_EJECT_OP_EJECT, 0, replica, SL_EJECT_LATENCY | n << 16,
			     410 | 9 << 16);
}

static void evidence(struct fixture *f)
{
	six(f);
	eject_vouch(f, 2); /* the probe is quick; so many peers are witnesses enough */
	CHECK(eject(f, 2, 6));
	CHECK(eject_is_out(f, 2));
	CHECK_INT(f->replicas[2].state.ejected_for, SL_EJECT_LATENCY);
	CHECK_STR(eject_event(f, SL_EVENT_EJECT)->text,
		  "first byte after 4.10 s, median 0.09 s of 6; for 30 s");
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_PROBED, 0, 2, 0, 0), 0); /* says nothing of latency */
	CHECK(!eject(f, 3, 6));
	CHECK_STR(eject_event(f, SL_EVENT_EJECT_SPARED)->text,
		  "first byte after 4.10 s: enough are ejected");
}

TEST(its_event_says_how_late_it_was_and_what_the_others_take)
{
	fixture_each(evidence, NULL);
}

static void longest(struct fixture *f)
{
	eject_case(f, 4);
	f->services[0].base_ejection_ticks = 0xffffffff;
	f->services[0].max_ejection_ticks = 0;
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_EJECT, 0, 0, SL_EJECT_LATENCY | 0xffffu << 16,
				0xffffffff), 1);
	CHECK_STR(eject_event(f, SL_EVENT_EJECT)->text,
		  "first byte after 655.35 s, median 655.35 s of 65535; for 4294967 s");
}

TEST(its_event_has_room_for_the_largest_numbers)
{
	fixture_once(longest, NULL);
}

static void forgets(struct fixture *f)
{
	six(f);
	f->outliers[0].first_byte = f->outliers[1].first_byte = 77;
	CHECK(eject(f, 0, 6));
	CHECK_INT(f->outliers[0].first_byte, 77); /* open flows may go on to tell */
	eject_pass(f, 0, 31 * FIXTURE_HZ);
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.ejected_until, 0);
	CHECK_INT(f->outliers[0].first_byte, 0);
	CHECK_INT(f->outliers[1].first_byte, 77);
}

TEST(who_is_back_is_not_judged_by_how_slow_it_was)
{
	fixture_once(forgets, NULL);
}

static unsigned picks_of_first(struct fixture *f, unsigned n)
{
	static unsigned port;
	uint64_t before = f->replicas[0].state.picks;
	struct fixture_result result;
	char line[PACKET_TEXT_LEN];

	for (unsigned i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "client:%u > vip:80 S seq 7 len 0",
			 port = port % 60000 + 1);
		fixture_send(f, FROM_POD, line, &result);
		CHECK_INT(result.verdict, NEXT);
	}
	return f->replicas[0].state.picks - before;
}

static void alone(struct fixture *f)
{
	six(f);
	f->services[0].eject_5xx = 0;
	CHECK(eject(f, 0, 6));
	CHECK(picks_of_first(f, 60) > 0); /* no outlier detection at all: nobody is left out */
	f->services[0].latency_factor = 300;
	CHECK_INT(picks_of_first(f, 60), 0);
	CHECK(!eject(f, 1, 6)); /* and its share counts: one of six */
}

TEST(latency_without_any_threshold_is_outlier_detection_too)
{
	fixture_once(alone, NULL);
}
