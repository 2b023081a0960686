// SPDX-License-Identifier: GPL-2.0-only
/* When soft evidence is void: most fail at once, or our own loop did not run. */
#include "check.h"
#include "doubt.h"

#define MS 1000000ull
#define S (1000 * MS)

/* A doubt about `good` replicas that answered once, at second 100. */
static struct doubt fresh(unsigned good)
{
	struct doubt doubt = {};

	for (unsigned i = 0; i < good; i++)
		doubt_add(&doubt);
	CHECK_INT(doubt_look(&doubt, 100 * S, 0), 0);
	return doubt;
}

TEST(more_than_half_at_once)
{
	static const struct {
		unsigned good, fail, reasons;
	} rows[] = {
		{3, 1, 0}, {3, 2, DOUBT_MANY}, {4, 2, 0}, {4, 3, DOUBT_MANY},
		{2, 2, 0}, {1, 1, 0}, {6, 3, 0}, {6, 4, DOUBT_MANY}, {1000, 500, 0},
		{1000, 501, DOUBT_MANY},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct doubt doubt = fresh(rows[i].good);

		for (unsigned j = 0; j < rows[i].fail; j++)
			doubt_fail(&doubt, 100 * S + j * MS / 10);
		CHECK_INT(doubt_look(&doubt, 100 * S + 100 * MS, 0), rows[i].reasons);
	}
}

TEST(one_after_the_other_is_believed)
{
	struct doubt doubt = fresh(6);

	for (unsigned i = 0; i < 6; i++) {
		doubt_fail(&doubt, (101 + 2 * i) * S);
		/* The last three are those that were left: two of them at once are too few. */
		CHECK_INT(doubt_look(&doubt, (101 + 2 * i) * S, 0), 0);
	}
}

TEST(those_that_failed_before_do_not_count)
{
	struct doubt doubt = fresh(10);

	for (unsigned i = 0; i < 4; i++)
		doubt_fail(&doubt, 100 * S + i);
	CHECK_INT(doubt_look(&doubt, 100 * S, 0), 0);
	for (unsigned i = 0; i < 3; i++)
		doubt_fail(&doubt, 110 * S);
	CHECK_INT(doubt_look(&doubt, 110 * S, 0), 0); /* 3 of 6 */
	doubt_fail(&doubt, 110 * S);
	CHECK_INT(doubt_look(&doubt, 110 * S, 0), DOUBT_MANY); /* 4 of 6 */
}

TEST(it_ends_when_most_are_back)
{
	struct doubt doubt = fresh(6);
	char text[160];

	for (unsigned i = 0; i < 5; i++)
		doubt_fail(&doubt, 100 * S);
	CHECK_INT(doubt_look(&doubt, 100 * S, 0), DOUBT_MANY);
	CHECK_STR(doubt_format(&doubt, DOUBT_MANY, text, sizeof(text)),
		  "5 of 6 replicas fail at once: silence is void, nobody is reset");
	CHECK_INT(doubt_look(&doubt, 105 * S, 0), DOUBT_MANY); /* the window is long over */
	doubt_mend(&doubt);
	CHECK_INT(doubt_look(&doubt, 106 * S, 0), DOUBT_MANY);
	doubt_mend(&doubt);
	CHECK_INT(doubt_look(&doubt, 106 * S, 0), 0); /* 3 of 6 */
	CHECK_INT(doubt_look(&doubt, 107 * S, 0), 0);
}

TEST(it_ends_after_a_while_whatever_they_do)
{
	struct doubt doubt = fresh(4);

	for (unsigned i = 0; i < 4; i++)
		doubt_fail(&doubt, 100 * S);
	CHECK_INT(doubt_look(&doubt, 100 * S, 0), DOUBT_MANY);
	CHECK_INT(doubt_look(&doubt, 100 * S + DOUBT_MAX_NS - 1, 0), DOUBT_MANY);
	CHECK_INT(doubt_look(&doubt, 100 * S + DOUBT_MAX_NS, 0), 0);
	CHECK_INT(doubt_look(&doubt, 200 * S, 0), 0);
	for (unsigned i = 0; i < 4; i++)
		doubt_mend(&doubt);
	for (unsigned i = 0; i < 3; i++)
		doubt_fail(&doubt, 300 * S);
	CHECK_INT(doubt_look(&doubt, 300 * S, 0), DOUBT_MANY); /* and may come again */
}

TEST(a_loop_that_stood_still)
{
	struct doubt doubt = fresh(2);
	char text[160];

	CHECK_INT(doubt_look(&doubt, 101 * S, DOUBT_LATE_NS - 1), 0);
	doubt = fresh(2);
	CHECK_INT(doubt_look(&doubt, 105 * S, 4900 * MS), DOUBT_LATE);
	CHECK_STR(doubt_format(&doubt, DOUBT_LATE, text, sizeof(text)),
		  "our own loop did not run for 4900 ms: nobody is left out or reset");
	CHECK_INT(doubt_look(&doubt, 105 * S + 400 * MS, 4900 * MS), DOUBT_LATE);
	CHECK_INT(doubt_look(&doubt, 105 * S + 900 * MS, 4900 * MS), DOUBT_LATE);
	CHECK_STR(doubt_format(&doubt, DOUBT_LATE, text, sizeof(text)), /* what was too much */
		  "our own loop did not run for 4900 ms: nobody is left out or reset");
	CHECK_INT(doubt_look(&doubt, 109 * S, 4900 * MS), 0);
}

TEST(a_loop_that_gets_too_little_time)
{
	struct doubt doubt = fresh(2);
	uint64_t lost = 0;
	unsigned late = 0;

	/* 75 ms of every 100: a cgroup's cpu.max, say. */
	for (unsigned i = 1; i <= 50; i++) {
		lost += 75 * MS;
		late += doubt_look(&doubt, 100 * S + i * 100 * MS, lost) == DOUBT_LATE;
	}
	CHECK(late >= 45);
	/* A little now and then is nothing. */
	doubt = fresh(2);
	for (unsigned i = 1; i <= 50; i++)
		CHECK_INT(doubt_look(&doubt, 100 * S + i * 100 * MS, i * 20 * MS), 0);
}

TEST(a_replica_that_is_probed_no_longer)
{
	struct doubt doubt = fresh(4);

	doubt_fail(&doubt, 100 * S);
	doubt_mend(&doubt);
	doubt_del(&doubt); /* it was the one */
	doubt_fail(&doubt, 110 * S);
	CHECK_INT(doubt_look(&doubt, 110 * S, 0), 0);
	doubt_fail(&doubt, 110 * S);
	CHECK_INT(doubt_look(&doubt, 110 * S, 0), DOUBT_MANY); /* 2 of 3 */
}

TEST(a_loop_that_is_late_for_ever)
{
	struct doubt doubt = fresh(2);
	uint64_t lost = 0;

	for (unsigned i = 1; i <= 300; i++) {
		uint64_t now = 100 * S + i * 100 * MS;
		unsigned reasons;

		lost += 75 * MS;
		reasons = doubt_look(&doubt, now, lost);
		if (i >= 10 && i < 100)
			CHECK_INT(reasons, DOUBT_LATE);
		if (i >= 120)
			CHECK_INT(reasons, DOUBT_SLOW);
	}
	CHECK_INT(doubt_look(&doubt, 140 * S, lost), 0);
	CHECK_INT(doubt_look(&doubt, 141 * S, lost + 900 * MS), DOUBT_LATE); /* and anew */
}

TEST(probed_at_long_intervals)
{
	struct doubt doubt = fresh(6);

	/* All fail at second 110; each is noticed some time within its interval of 3 s. */
	doubt_pace(&doubt, 3 * S);
	for (unsigned i = 0; i < 3; i++) {
		doubt_fail(&doubt, 110 * S + i * 900 * MS);
		CHECK_INT(doubt_look(&doubt, 110 * S + i * 900 * MS, 0), 0);
	}
	doubt_fail(&doubt, 112900 * MS);
	CHECK_INT(doubt_look(&doubt, 112900 * MS, 0), DOUBT_MANY);
	/* Over once, it is not found again in the same onsets. */
	CHECK_INT(doubt_look(&doubt, 112900 * MS + DOUBT_MAX_NS, 0), 0);
	CHECK_INT(doubt_look(&doubt, 113000 * MS + DOUBT_MAX_NS, 0), 0);
	doubt_pace(&doubt, 10 * MS);
	CHECK_INT(doubt.window_ns, DOUBT_WINDOW_NS);
}
