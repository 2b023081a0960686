/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The arithmetic of success rates: which replicas of a service answer so much worse than their peers
 * that they are outliers. Pure. After Envoy's success-rate detection, with its defaults.
 */
#ifndef SLUICE_OUTLIER_RATE_H
#define SLUICE_OUTLIER_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTLIER_MIN_REPLICAS 5 /* that have answered enough: fewer have no mean to speak of */
#define OUTLIER_MIN_ANSWERS 100
#define OUTLIER_DEVIATIONS 1.9

/* What a replica answered in one interval. */
struct outlier_sample {
	uint32_t replica; /* row */
	uint64_t answers, failed;
};

struct outlier_rates {
	double mean;  /* share of good answers, 0-1, over replicas that have answered enough */
	double limit; /* mean - 1.9 standard deviations (of the whole population) */
};

/* Whether it answered enough to be judged. */
bool outlier_rate_counts(const struct outlier_sample *sample);
/* Share of good answers, 0-1; it must have answered. */
double outlier_rate_of(const struct outlier_sample *sample);

/* Mean and limit of `n` samples. 0; -ENODATA: too few replicas have answered enough. */
int outlier_rates(const struct outlier_sample *samples, size_t n, struct outlier_rates *ret);

#endif
