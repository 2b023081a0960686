// SPDX-License-Identifier: GPL-2.0-only
/*
 * The curve of slow start and its inverse. Owns the formula, refuses clocks and
 * rows: those are for reconcile_warmup.c, which calls it.
 */
#include "warmup.h"

#include <math.h>

#include <sluice/pick.h>

__u16 warmup_share(const struct model_warmup *rules, uint64_t since_ms)
{
	double share = pow((double)since_ms / rules->duration_ms, 100.0 / rules->aggression_percent);
	double minimum = rules->minimum_percent / 100.0;

	if (share < minimum)
		share = minimum;
	share *= SL_WARMING_ALL;
	if (share < 1)
		return 1;
	return share < SL_WARMING_ALL - 1 ? (__u16)share : SL_WARMING_ALL - 1;
}

uint64_t warmup_since(const struct model_warmup *rules, __u16 share)
{
	double part = pow((double)share / SL_WARMING_ALL, rules->aggression_percent / 100.0);

	return share <= warmup_share(rules, 0) ? 0 : (uint64_t)(part * rules->duration_ms);
}
