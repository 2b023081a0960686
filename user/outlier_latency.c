// SPDX-License-Identifier: GPL-2.0-only
/*
 * Means and median of times to first bytes. Sees numbers only. Called by outlier.c.
 */
#include "outlier_latency.h"

#include <errno.h>
#include <stdlib.h>

void outlier_latency_add(uint64_t *sum, uint64_t answers, uint32_t first_byte)
{
	/* A row that another replica took over may seem to have answered more than anybody can. */
	if (answers <= UINT32_MAX)
		*sum += answers * first_byte;
}

uint32_t outlier_latency_mean_ms(uint64_t sum, uint64_t answers, uint32_t hz)
{
	double ms;

	if (!answers || !hz)
		return 0;
	ms = (double)sum / answers / 16 * 1000 / hz;
	return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

bool outlier_latency_counts(const struct outlier_latency_sample *sample)
{
	return sample->answers >= OUTLIER_LATENCY_MIN_ANSWERS;
}

/* Those that count first, the quick ones before the slow ones. */
static int compare(const void *a, const void *b)
{
	const struct outlier_latency_sample *x = a, *y = b;
	int order = outlier_latency_counts(y) - outlier_latency_counts(x);

	return order ? order : (x->mean_ms > y->mean_ms) - (x->mean_ms < y->mean_ms);
}

int outlier_latencies(struct outlier_latency_sample *samples, size_t n, uint32_t factor,
		      struct outlier_latencies *ret)
{
	size_t counted = 0;

	for (size_t i = 0; i < n; i++)
		counted += outlier_latency_counts(&samples[i]);
	if (counted < OUTLIER_LATENCY_MIN_REPLICAS)
		return -ENODATA;
	qsort(samples, n, sizeof(*samples), compare);
	ret->n = counted;
	ret->median_ms = ((double)samples[(counted - 1) / 2].mean_ms +
			  samples[counted / 2].mean_ms) / 2;
	ret->limit_ms = ret->median_ms * factor / 100;
	if (ret->limit_ms < ret->median_ms + OUTLIER_LATENCY_MIN_EXCESS_MS)
		ret->limit_ms = ret->median_ms + OUTLIER_LATENCY_MIN_EXCESS_MS;
	return 0;
}

uint16_t outlier_latency_hundredths(double ms)
{
	double hundredths = ms / 10 + 0.5;

	return hundredths < UINT16_MAX ? (uint16_t)hundredths : UINT16_MAX;
}
