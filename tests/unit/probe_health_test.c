// SPDX-License-Identifier: GPL-2.0-only
/*
 * The judgement over a replica, told as stories with a fake clock: one row an
 * event, in milliseconds, and what must hold after it.
 */
#include "check.h"
#include "probe_clock.h"
#include "probe_health.h"

#define MS 1000000ull
#define START 1000000u /* the stories' 0, far from the clock's */

static const struct probe_rules defaults = {100 * MS, 3, 1};
static const struct probe_rules patient = {100 * MS, 3, 3};

enum { SENT = -1, WAIT = -2 };

struct step {
	unsigned at_ms;
	int what;          /* SENT, WAIT or a probe's outcome */
	unsigned begun_ms; /* of the probe that ended */
	const char *state; /* "k" known, "s" suspect, "d" down; "" none */
	bool changed;
};

static uint64_t at(unsigned ms)
{
	return (START + ms) * MS;
}

static const char *state_of(const struct probe_judge *judge, char *text)
{
	char *end = text;

	if (judge->health.known)
		*end++ = 'k';
	if (judge->health.suspect)
		*end++ = 's';
	if (judge->health.down)
		*end++ = 'd';
	*end = '\0';
	return text;
}

static void tell_on(struct probe_judge *judge, const struct probe_rules *rules,
		    const struct step *story, size_t n)
{
	char text[4];

	for (size_t i = 0; i < n; i++) {
		const struct step *step = &story[i];
		bool changed = false;

		if (step->what == SENT)
			probe_health_sent(judge, at(step->at_ms));
		else if (step->what == WAIT)
			changed = probe_health_check(judge, rules, at(step->at_ms));
		else
			changed = probe_health_result(judge, rules, step->what, at(step->begun_ms),
						      at(step->at_ms));
		if (strcmp(state_of(judge, text), step->state) || changed != step->changed)
			printf("  step %zu, at %u ms:\n", i, step->at_ms);
		CHECK_STR(state_of(judge, text), step->state);
		CHECK_INT(changed, step->changed);
	}
}

static struct probe_judge tell(const struct probe_rules *rules, const struct step *story, size_t n)
{
	struct probe_judge judge = {0};

	tell_on(&judge, rules, story, n);
	return judge;
}

#define TELL(rules, ...)                                                                           \
	tell(rules, (const struct step[]){__VA_ARGS__},                                            \
	     sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step))

TEST(first_good_answer_makes_known)
{
	struct probe_judge judge = TELL(&defaults, {0, SENT, 0, "", false},
					{1, PROBE_GOOD, 0, "k", true},
					{100, SENT, 0, "k", false},
					{101, PROBE_GOOD, 100, "k", false});

	CHECK_INT(judge.health.sent, 2);
	CHECK_INT(judge.health.failed, 0);
}

TEST(first_bad_answer_makes_known_and_down)
{
	TELL(&defaults, {0, SENT, 0, "", false}, {1, PROBE_BAD, 0, "kd", true},
	     {100, SENT, 0, "kd", false}, {101, PROBE_GOOD, 100, "k", true});
}

TEST(first_resets_go_by_the_numbers)
{
	TELL(&defaults, {0, SENT, 0, "", false}, {1, PROBE_FAILED, 0, "", false},
	     {100, SENT, 0, "", false}, {101, PROBE_FAILED, 100, "", false},
	     {200, SENT, 0, "", false}, {201, PROBE_FAILED, 200, "kd", true});
}

TEST(success_threshold_holds_from_the_start_and_after_down)
{
	TELL(&patient, {1, PROBE_GOOD, 0, "", false}, {101, PROBE_GOOD, 100, "", false},
	     {201, PROBE_GOOD, 200, "k", true}, {301, PROBE_REFUSED, 300, "kd", true},
	     {1301, PROBE_GOOD, 1300, "kd", false}, {1401, PROBE_BAD, 1400, "kd", false},
	     {2401, PROBE_GOOD, 2400, "kd", false}, {2501, PROBE_GOOD, 2500, "kd", false},
	     {2601, PROBE_GOOD, 2600, "k", true});
}

TEST(overlapping_good_answers_count_once)
{
	/* A server hung while ten probes waited and then answers them all at once. */
	TELL(&patient, {0, PROBE_REFUSED, 0, "kd", true}, {500, PROBE_GOOD, 100, "kd", false},
	     {501, PROBE_GOOD, 200, "kd", false}, {502, PROBE_GOOD, 300, "kd", false},
	     {601, PROBE_GOOD, 600, "kd", false}, {701, PROBE_GOOD, 700, "k", true});
}

TEST(suspect_after_three_silent_intervals)
{
	TELL(&defaults, {0, SENT, 0, "", false}, {1, PROBE_GOOD, 0, "k", true},
	     {100, SENT, 0, "k", false}, {200, SENT, 0, "k", false}, {200, WAIT, 0, "k", false},
	     {300, SENT, 0, "k", false}, {300, WAIT, 0, "k", false}, {301, WAIT, 0, "ks", true},
	     {400, WAIT, 0, "ks", false}, {450, PROBE_GOOD, 300, "k", true});
}

TEST(silence_alone_is_not_suspect)
{
	/* Nobody asked: the loop was busy elsewhere. Then the question must be two intervals old. */
	TELL(&defaults, {1, PROBE_GOOD, 0, "k", true}, {5000, WAIT, 0, "k", false},
	     {5000, SENT, 0, "k", false}, {5100, WAIT, 0, "k", false},
	     {5199, WAIT, 0, "k", false}, {5200, WAIT, 0, "ks", true});
}

TEST(a_slow_server_that_answers_is_not_suspect)
{
	struct probe_judge judge = {0};
	const struct probe_rules *rules = &defaults;

	/* 400 ms for each answer: silent at first, then one every interval. */
	for (unsigned ms = 0; ms < 5000; ms += 10) {
		if (ms % 100 == 0)
			probe_health_sent(&judge, at(ms));
		if (ms >= 400 && ms % 100 == 0)
			probe_health_result(&judge, rules, PROBE_GOOD, at(ms - 400), at(ms));
		probe_health_check(&judge, rules, at(ms));
		if (judge.health.suspect != (ms >= 300 && ms < 400))
			printf("  at %u ms\n", ms);
		CHECK_INT(judge.health.suspect, ms >= 300 && ms < 400);
	}
	CHECK_INT(judge.health.down, false);
}

TEST(a_bad_answer_is_an_answer)
{
	TELL(&defaults, {1, PROBE_GOOD, 0, "k", true}, {100, SENT, 0, "k", false},
	     {310, WAIT, 0, "ks", true}, {320, PROBE_BAD, 100, "k", true},
	     {400, SENT, 0, "k", false}, {401, PROBE_BAD, 400, "k", false},
	     {500, SENT, 0, "k", false}, {501, PROBE_BAD, 500, "kd", true});
}

TEST(resets_do_not_end_suspicion)
{
	const struct probe_rules lenient = {100 * MS, 10, 1};

	TELL(&lenient, {1, PROBE_GOOD, 0, "k", true}, {100, SENT, 0, "k", false},
	     {101, PROBE_FAILED, 100, "k", false}, {200, SENT, 0, "k", false},
	     {201, PROBE_FAILED, 200, "k", false}, {310, WAIT, 0, "ks", true},
	     {311, PROBE_FAILED, 300, "ks", false}, {401, PROBE_GOOD, 400, "k", true});
}

TEST(three_timeouts_that_do_not_overlap_make_down)
{
	struct probe_judge judge = {0};
	const struct probe_rules *rules = &defaults;
	unsigned down_at = 0;

	probe_health_result(&judge, rules, PROBE_GOOD, at(0), at(1));
	/* A probe every 100 ms, each timing out after 1 s. */
	for (unsigned ms = 100; ms < 5000 && !down_at; ms += 100) {
		probe_health_sent(&judge, at(ms));
		if (ms >= 1100 &&
		    probe_health_result(&judge, rules, PROBE_TIMED_OUT, at(ms - 1000), at(ms)))
			down_at = ms;
	}
	/* Probes of 100, 1100 and 2100 ms count: the others overlap with them. */
	CHECK_INT(down_at, 3100);
	CHECK_INT(judge.failures, 3);
	CHECK_INT(judge.health.failed, 21);
}

TEST(one_good_answer_breaks_a_row)
{
	TELL(&defaults, {1, PROBE_GOOD, 0, "k", true}, {1100, PROBE_TIMED_OUT, 100, "k", false},
	     {2200, PROBE_TIMED_OUT, 1200, "k", false},
	     {2300, PROBE_GOOD, 1900, "k", false}, /* late, and yet a good answer */
	     {3300, PROBE_TIMED_OUT, 2300, "k", false}, {4300, PROBE_TIMED_OUT, 3300, "k", false},
	     {5300, PROBE_TIMED_OUT, 4300, "kd", true});
}

TEST(a_refusing_port_is_down_at_once_and_news_only_once)
{
	struct probe_judge judge = TELL(
		&defaults, {1, PROBE_GOOD, 0, "k", true}, {101, PROBE_REFUSED, 100, "kd", true},
		{1101, PROBE_REFUSED, 1100, "kd", false}, {2101, PROBE_TIMED_OUT, 2100, "kd", false},
		{3101, PROBE_REFUSED, 3100, "kd", false}, {4101, PROBE_GOOD, 4100, "k", true},
		{4201, PROBE_REFUSED, 4200, "kd", true});

	CHECK_INT(judge.health.failed, 5);
}

TEST(a_down_replica_that_begins_to_refuse_is_news)
{
	TELL(&defaults, {1, PROBE_BAD, 0, "kd", true}, {101, PROBE_REFUSED, 100, "kd", true},
	     {201, PROBE_REFUSED, 200, "kd", false});
}

TEST(whether_the_port_refuses_now)
{
	struct probe_judge judge = TELL(&defaults, {101, PROBE_REFUSED, 100, "kd", true});

	CHECK(judge.health.refuses);
	/* It was asked while there was a listener. */
	probe_health_result(&judge, &defaults, PROBE_TIMED_OUT, at(50), at(1050));
	CHECK(judge.health.refuses);
	probe_health_result(&judge, &defaults, PROBE_VOID, at(1100), at(1100));
	CHECK(judge.health.refuses);
	/* A server that was started anew, and hangs. */
	probe_health_result(&judge, &defaults, PROBE_TIMED_OUT, at(1200), at(2200));
	CHECK(!judge.health.refuses);
	probe_health_result(&judge, &defaults, PROBE_REFUSED, at(3200), at(3201));
	CHECK(judge.health.refuses);
	probe_health_result(&judge, &defaults, PROBE_GOOD, at(4200), at(4201));
	CHECK(!judge.health.refuses);
}

TEST(our_own_fault_counts_for_nothing)
{
	struct probe_judge judge = {0};
	const struct probe_rules *rules = &defaults;

	probe_health_result(&judge, rules, PROBE_GOOD, at(0), at(1));
	for (unsigned ms = 100; ms < 3000; ms += 100) {
		probe_health_sent(&judge, at(ms));
		CHECK(!probe_health_result(&judge, rules, PROBE_VOID, at(ms), at(ms)));
		CHECK(!probe_health_check(&judge, rules, at(ms + 50)));
	}
	CHECK_INT(judge.health.suspect, false);
	CHECK_INT(judge.health.down, false);
	CHECK_INT(judge.health.failed, 0);
	CHECK_INT(judge.health.voided, 29);
}

TEST(a_down_replica_is_asked_slowly_until_it_answers_well)
{
	struct probe_judge judge = TELL(&patient, {1, PROBE_REFUSED, 0, "kd", true});

	CHECK(probe_health_is_slow(&judge));
	probe_health_result(&judge, &patient, PROBE_GOOD, at(1000), at(1001));
	CHECK(judge.health.down);
	CHECK(!probe_health_is_slow(&judge));
	probe_health_result(&judge, &patient, PROBE_BAD, at(1100), at(1101));
	CHECK(probe_health_is_slow(&judge));
}

TEST(a_down_replica_is_not_suspected)
{
	TELL(&defaults, {1, PROBE_REFUSED, 0, "kd", true}, {1000, SENT, 0, "kd", false},
	     {1900, WAIT, 0, "kd", false});
}

TEST(without_a_probe_it_is_trusted)
{
	struct probe_judge judge = TELL(&defaults, {1, PROBE_REFUSED, 0, "kd", true});

	CHECK(probe_health_trust(&judge));
	CHECK(judge.health.known && !judge.health.down && !judge.health.suspect);
	CHECK(!probe_health_trust(&judge));
}

/* ---- the clock that does not count our own sleep -------------------------------- */

TEST(clock_follows_a_loop_in_time)
{
	struct probe_clock clock;
	uint64_t start;

	probe_clock_init(&clock, 500 * MS);
	start = clock.awake_ns;
	for (unsigned i = 1; i <= 100; i++)
		probe_clock_tick(&clock, (500 + 11 * i) * MS);
	CHECK_INT(clock.awake_ns - start, 1100 * MS);
	CHECK_INT(probe_clock_read(&clock, (1600 + 3) * MS) - clock.awake_ns, 3 * MS);
}

TEST(clock_skips_our_own_sleep)
{
	struct probe_clock clock;
	uint64_t start;

	probe_clock_init(&clock, 0);
	start = clock.awake_ns;
	CHECK_INT(probe_clock_read(&clock, 5000 * MS) - start, PROBE_CLOCK_STEP_NS);
	probe_clock_tick(&clock, 5000 * MS);
	CHECK_INT(clock.awake_ns - start, PROBE_CLOCK_STEP_NS);
}

/* A replica asked every 100 ms by a loop that sleeps for `sleep_ms` right after asking; whether
 * that made it suspect before its answer could be heard. */
static bool sleeps_into_suspicion(unsigned sleep_ms)
{
	struct probe_judge judge = {0};
	struct probe_clock clock;
	unsigned real_ms = 100 + sleep_ms;

	probe_clock_init(&clock, 0);
	for (unsigned ms = 10; ms <= 100; ms += 10)
		probe_clock_tick(&clock, ms * MS);
	probe_health_result(&judge, &defaults, PROBE_GOOD, 1, 2 * MS);
	probe_health_sent(&judge, clock.awake_ns);
	for (unsigned i = 0; i < 15; i++, real_ms += 10)
		if (probe_health_check(&judge, &defaults, probe_clock_tick(&clock, real_ms * MS)))
			return true;
	return false;
}

TEST(a_late_loop_suspects_nobody)
{
	CHECK(!sleeps_into_suspicion(10));
	CHECK(!sleeps_into_suspicion(150));
	CHECK(!sleeps_into_suspicion(250));
	CHECK(!sleeps_into_suspicion(60000));
}

TEST(a_silent_replica_is_suspected_after_our_sleep_too)
{
	struct probe_judge judge = {0};
	struct probe_clock clock;
	unsigned real_ms = 10000, waited = 0;

	probe_clock_init(&clock, 0);
	probe_health_result(&judge, &defaults, PROBE_GOOD, 1, 2);
	probe_health_sent(&judge, clock.awake_ns);
	while (!probe_health_check(&judge, &defaults, probe_clock_tick(&clock, real_ms * MS)) &&
	       waited < 1000) {
		real_ms += 10;
		waited += 10;
	}
	CHECK(waited >= 270 && waited <= 300);
}
