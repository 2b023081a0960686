// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mean and deviation of success rates. Sees numbers only. Called by outlier.c.
 */
#include "outlier_rate.h"

#include <errno.h>

bool outlier_rate_counts(const struct outlier_sample *sample)
{
	return sample->answers >= OUTLIER_MIN_ANSWERS;
}

double outlier_rate_of(const struct outlier_sample *sample)
{
	return 1 - (double)sample->failed / sample->answers;
}

/* Newton's method: libm for one root would be a library more. 0 <= x <= 1. */
static double square_root(double x)
{
	double root = 1;

	if (x <= 0)
		return 0;
	for (int i = 0; i < 64; i++)
		root = (root + x / root) / 2;
	return root;
}

int outlier_rates(const struct outlier_sample *samples, size_t n, struct outlier_rates *ret)
{
	double sum = 0, squares = 0, mean;
	size_t counted = 0;

	for (size_t i = 0; i < n; i++) {
		if (!outlier_rate_counts(&samples[i]))
			continue;
		sum += outlier_rate_of(&samples[i]);
		counted++;
	}
	if (counted < OUTLIER_MIN_REPLICAS)
		return -ENODATA;
	mean = sum / counted;
	for (size_t i = 0; i < n; i++) {
		double distance;

		if (!outlier_rate_counts(&samples[i]))
			continue;
		distance = outlier_rate_of(&samples[i]) - mean;
		squares += distance * distance;
	}
	ret->mean = mean;
	ret->limit = mean - OUTLIER_DEVIATIONS * square_root(squares / counted);
	return 0;
}
