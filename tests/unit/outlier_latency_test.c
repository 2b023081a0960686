// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arithmetic of latency: means of sums, the median of a service, and who is beyond it.
 */
#include <errno.h>

#include "check.h"
#include "outlier_latency.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

TEST(a_sum_of_sixteenths_of_jiffies_becomes_a_mean_in_ms)
{
	uint64_t sum = 0;

	CHECK_INT(outlier_latency_mean_ms(0, 0, 250), 0); /* no answer */
	outlier_latency_add(&sum, 3, 25 * 16);  /* 0.1 s, three times */
	outlier_latency_add(&sum, 0, 999999);
	outlier_latency_add(&sum, 1, 125 * 16); /* 0.5 s, once */
	CHECK_INT(outlier_latency_mean_ms(sum, 4, 250), 200);
	CHECK_INT(outlier_latency_mean_ms(sum, 4, 1000), 50);
	CHECK_INT(outlier_latency_mean_ms(sum, 4, 0), 0); /* the agent has not said */
	outlier_latency_add(&sum, 1ull << 40, UINT32_MAX); /* nobody answers so much: left out */
	CHECK_INT(outlier_latency_mean_ms(sum, 4, 250), 200);
	CHECK_INT(outlier_latency_mean_ms(UINT64_MAX, 1, 1), UINT32_MAX);
}

TEST(limits_are_a_factor_of_the_median)
{
	static const struct {
		uint32_t ms[7];
		size_t n;
		uint32_t factor;
		double median, limit;
	} rows[] = {
		{{900, 4100, 800, 1000, 900}, 5, 300, 900, 2700},
		{{700, 4100, 800, 1000, 900, 1100}, 6, 150, 950, 1425}, /* between the middle two */
		{{4100, 4100, 4100, 10, 20, 30, 40}, 7, 200, 40, 90},   /* not of the mean, 1771 */
		{{0, 0, 0, 0, 30}, 5, 300, 0, 50}, /* quick ones are not told apart by a tick */
		{{20, 20, 20, 20, 20}, 5, 350, 20, 70}, /* factor and excess are one here */
		{{20, 20, 20, 20, 20}, 5, 360, 20, 72},
		{{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}, 5, 10000,
		 4294967295.0, 429496729500.0},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct outlier_latency_sample samples[7];
		struct outlier_latencies all;

		for (size_t j = 0; j < rows[i].n; j++)
			samples[j] = (struct outlier_latency_sample){j, rows[i].ms[j],
								     OUTLIER_LATENCY_MIN_ANSWERS};
		CHECK_INT(outlier_latencies(samples, rows[i].n, rows[i].factor, &all), 0);
		CHECK_INT(all.n, rows[i].n);
		CHECK(all.median_ms == rows[i].median);
		CHECK(all.limit_ms == rows[i].limit);
		for (size_t j = 0; j < rows[i].n; j++) {
			CHECK_INT(samples[j].mean_ms, rows[i].ms[samples[j].replica]);
			CHECK(j == 0 || samples[j].mean_ms >= samples[j - 1].mean_ms);
		}
	}
}

TEST(who_answered_too_little_neither_counts_nor_is_judged)
{
	struct outlier_latency_sample samples[] = {
		{0, 9000, 19}, {1, 10, 20}, {2, 20, 20}, {3, 0, 0}, {4, 30, 99}, {5, 1000, 20},
		{6, 25, 20}, {7, 1, 19},
	};
	struct outlier_latencies all = {.n = 77};

	CHECK(!outlier_latency_counts(&samples[0]));
	CHECK(outlier_latency_counts(&samples[1]));
	CHECK_INT(outlier_latencies(samples, 5, 300, &all), -ENODATA); /* three of them count */
	CHECK_INT(outlier_latencies(samples, 0, 300, &all), -ENODATA);
	CHECK_INT(all.n, 77);
	CHECK_INT(outlier_latencies(samples, COUNT(samples), 300, &all), 0);
	CHECK_INT(all.n, 5);
	CHECK(all.median_ms == 25);
	CHECK_INT(samples[4].replica, 5); /* the slowest of those that count; then the others */
	for (size_t i = 0; i < COUNT(samples); i++)
		CHECK(outlier_latency_counts(&samples[i]) == (i < all.n));
}

TEST(evidence_is_rounded_and_fits_sixteen_bits)
{
	CHECK_INT(outlier_latency_hundredths(0), 0);
	CHECK_INT(outlier_latency_hundredths(4), 0);
	CHECK_INT(outlier_latency_hundredths(5), 1);
	CHECK_INT(outlier_latency_hundredths(4100), 410);
	CHECK_INT(outlier_latency_hundredths(655350), 65535);
	CHECK_INT(outlier_latency_hundredths(4294967295.0), 65535);
}
