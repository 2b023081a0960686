/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A histogram of microseconds with 64 buckets for each power of two: any
 * quantile within 1.6 %, 24 KiB, whatever the number of samples.
 */
#ifndef E2E_HISTOGRAM_H
#define E2E_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB 64u
#define HISTOGRAM_BUCKETS (HISTOGRAM_SUB * 48)

struct histogram {
	uint64_t bucket[HISTOGRAM_BUCKETS];
	uint64_t n;
	uint64_t max_us;
};

static inline unsigned histogram_index(uint64_t us)
{
	unsigned shift = 0;

	while (us >= 2 * HISTOGRAM_SUB) {
		us >>= 1;
		shift++;
	}
	return shift * HISTOGRAM_SUB + us;
}

static inline void histogram_add(struct histogram *histogram, uint64_t us)
{
	histogram->bucket[histogram_index(us)]++;
	histogram->n++;
	if (us > histogram->max_us)
		histogram->max_us = us;
}

/* The smallest value of a bucket. */
static inline uint64_t histogram_value(unsigned index)
{
	unsigned shift = index < 2 * HISTOGRAM_SUB ? 0 : index / HISTOGRAM_SUB - 1;

	return (uint64_t)(index - shift * HISTOGRAM_SUB) << shift;
}

/* The value below which `share` (0-1) of all samples lie; 0 without samples. */
static inline uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
	uint64_t wanted = share * histogram->n, seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->bucket[i];
		if (seen > wanted)
			return histogram_value(i);
	}
	return histogram->max_us;
}

#endif
