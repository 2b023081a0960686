/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The arithmetic of latency: which replicas of a service begin their answers so much later than the
 * median of all that they are outliers. Pure. Rates have a mean and a deviation; times of first
 * bytes have a long tail, so here it is the median, and a factor that the operator gives.
 */
#ifndef SLUICE_OUTLIER_LATENCY_H
#define SLUICE_OUTLIER_LATENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTLIER_LATENCY_MIN_REPLICAS 5 /* that have answered enough */
#define OUTLIER_LATENCY_MIN_ANSWERS 20 /* fewer than for rates: a slow replica is given less to do */
#define OUTLIER_LATENCY_MIN_EXCESS_MS 50 /* over the median: below it are ticks, and chance */

/* What a replica answered in one interval. */
struct outlier_latency_sample {
	uint32_t replica; /* row */
	uint32_t mean_ms; /* from request to first byte */
	uint64_t answers; /* good ones */
};

struct outlier_latencies {
	double median_ms; /* over the replicas that have answered enough: */
	size_t n;         /* so many */
	double limit_ms;  /* above it is an outlier */
};

/* Adds to a sum what `answers` new answers took: `first_byte` as in sl_outlier, 1/16 jiffies. */
void outlier_latency_add(uint64_t *sum, uint64_t answers, uint32_t first_byte);
/* The mean of such a sum in ms, of `hz` jiffies a second; 0 without an answer. */
uint32_t outlier_latency_mean_ms(uint64_t sum, uint64_t answers, uint32_t hz);

/* Whether it answered enough to be judged. */
bool outlier_latency_counts(const struct outlier_latency_sample *sample);

/* Median and limit of `n` samples, which it sorts. `factor`: 1/100. 0; -ENODATA: too few replicas
 * have answered enough. */
int outlier_latencies(struct outlier_latency_sample *samples, size_t n, uint32_t factor,
		      struct outlier_latencies *ret);

/* Evidence of SL_EJECT_LATENCY: 1/100 s, at most 65535. */
uint16_t outlier_latency_hundredths(double ms);

#endif
