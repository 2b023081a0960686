// SPDX-License-Identifier: GPL-2.0-only
/* Success rates: mean, deviation, who is an outlier, and who is not judged at all. */
#include <errno.h>

#include "check.h"
#include "outlier_rate.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_near(double a, double b)
{
	return a - b < 1e-9 && b - a < 1e-9;
}

TEST(mean_and_limit)
{
	/* rates 1, 1, 1, 1, 0.5: mean 0.9, deviations 0.1 x 4 and 0.4, variance 0.04 */
	static const struct outlier_sample samples[] = {
		{0, 100, 0}, {1, 200, 0}, {2, 100, 0}, {3, 5000, 0}, {4, 100, 50},
	};
	struct outlier_rates rates;

	CHECK_INT(outlier_rates(samples, COUNT(samples), &rates), 0);
	CHECK(is_near(rates.mean, 0.9));
	CHECK(is_near(rates.limit, 0.9 - 1.9 * 0.2));
	CHECK(outlier_rate_of(&samples[4]) < rates.limit); /* 0.5 < 0.52 */
	CHECK(outlier_rate_of(&samples[0]) >= rates.limit);
}

TEST(equal_rates_have_no_outlier)
{
	struct outlier_sample samples[8];
	struct outlier_rates rates;

	for (unsigned failed = 0; failed <= 300; failed += 100) {
		for (unsigned i = 0; i < 8; i++)
			samples[i] = (struct outlier_sample){i, 300, failed};
		CHECK_INT(outlier_rates(samples, 8, &rates), 0);
		CHECK(is_near(rates.limit, 1 - failed / 300.0));
		for (unsigned i = 0; i < 8; i++)
			CHECK(!(outlier_rate_of(&samples[i]) < rates.limit));
	}
}

TEST(two_bad_ones_of_five_hide_each_other)
{
	/* mean 0.6, deviation 0.49: as Envoy has it, the limit lies below 0 */
	static const struct outlier_sample samples[] = {
		{0, 100, 0}, {1, 100, 0}, {2, 100, 0}, {3, 100, 100}, {4, 100, 100},
	};
	struct outlier_rates rates;

	CHECK_INT(outlier_rates(samples, COUNT(samples), &rates), 0);
	CHECK(rates.limit < 0);
}

TEST(who_answered_little_is_neither_judged_nor_counted)
{
	struct outlier_sample samples[] = {
		{0, 100, 0}, {1, 100, 0}, {2, 100, 0}, {3, 100, 0}, {4, 99, 99}, {5, 0, 0},
	};
	struct outlier_rates rates = {.mean = 7};

	CHECK(!outlier_rate_counts(&samples[4]));
	CHECK(outlier_rate_counts(&samples[3]));
	CHECK_INT(outlier_rates(samples, COUNT(samples), &rates), -ENODATA);
	CHECK(is_near(rates.mean, 7)); /* untouched */
	CHECK_INT(outlier_rates(samples, 0, &rates), -ENODATA);
	samples[5] = (struct outlier_sample){5, 100, 0};
	CHECK_INT(outlier_rates(samples, COUNT(samples), &rates), 0);
	CHECK(is_near(rates.mean, 1));
	CHECK(is_near(rates.limit, 1));
}
