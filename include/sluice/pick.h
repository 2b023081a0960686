/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The arithmetic of a pick: what a replica costs and which of two is cheaper.
 * Pure integers, compiled for BPF, the agent, the unit tests and the simulator
 * alike. Which replicas are compared at all is bpf/pick.h's business.
 *
 *   cost = (load + 1) / weight, load in requests:
 *     a fresh report      reported load + flows picked since the report
 *     a stale report      mean fresh load of the service + flows picked since
 *     never a report      mean fresh load of the service + flows in flight
 *     a service without   flows in flight
 *
 * In slow start a replica counts with a growing share of its weight, and is
 * accepted by the same share of the draws that give it. Costs are compared by
 * cross-multiplication: nothing is divided.
 */
#ifndef SLUICE_PICK_H
#define SLUICE_PICK_H

#include "abi.h"

#define SL_LOAD_ONE 256u  /* one request, in units of load */
#define SL_WEIGHT_ONE 64u /* in units of sl_cost.weight: a share of weight 1 is something, too */
#define SL_WARMING_ALL 65536u

struct sl_cost {
	__u64 load;   /* 1/256 requests, this new one included */
	__u32 weight; /* 1/64, at most 65535 * 64; never 0 */
};

/* The share that a replica takes of its picks, of SL_WARMING_ALL; all of them unless it is in slow
 * start. Without a branch: this is met for each replica that is compared, and the verifier follows
 * every way through 32 of them. */
static inline __attribute__((always_inline)) __u32
sl_warming_share(const struct sl_replica_config *config)
{
	__u32 mask = -(__u32)(config->flags / SL_REPLICA_WARMING & 1);

	return (((config->warming & mask) - 1) & (SL_WARMING_ALL - 1)) + 1;
}

/* What a replica's weight counts for now; rounded up, so that it is never nothing. A weight of 0
 * counts as 1. */
static inline __attribute__((always_inline)) __u32
sl_weight_of(const struct sl_replica_config *config)
{
	__u32 zero = (config->weight - 1u) >> 31;
	__u64 parts = (__u64)(config->weight + zero) * sl_warming_share(config);

	return (parts + SL_WARMING_ALL / SL_WEIGHT_ONE - 1) / (SL_WARMING_ALL / SL_WEIGHT_ONE);
}

/* Whether a replica takes a draw that gives it, `random` uniform over 2^32. */
static inline __attribute__((always_inline)) int
sl_warming_accepts(const struct sl_replica_config *config, __u32 random)
{
	return (random >> 16) < sl_warming_share(config);
}

/* Cost of one more flow for a replica of a service without reports; `inflight` are open now. */
static inline __attribute__((always_inline)) struct sl_cost
sl_cost_of_inflight(const struct sl_replica_config *config, __u32 inflight)
{
	struct sl_cost cost = {.load = ((__u64)inflight + 1) * SL_LOAD_ONE,
			       .weight = sl_weight_of(config)};

	return cost;
}

/* Cost of one more flow for a replica of any service.
 * `now_ns`: CLOCK_MONOTONIC; only looked at when the service has loads. */
static inline __attribute__((always_inline)) struct sl_cost
sl_cost_of(const struct sl_service *service, const struct sl_replica_config *config,
	   __u32 inflight, __u64 now_ns)
{
	struct sl_cost cost = sl_cost_of_inflight(config, inflight);
	__s64 age_ns = now_ns - config->report_ns; /* below 0: reported since `now_ns` was read */
	__u32 inflight_then = 0;

	if (!(service->flags & SL_SERVICE_LOADS))
		return cost;
	cost.load = service->mean_load;
	if (config->flags & SL_REPLICA_HAS_LOAD) {
		inflight_then = config->inflight_at_report;
		if (age_ns <= (__s64)service->load_ttl_ms * 1000000)
			cost.load = config->load;
	}
	if (inflight > inflight_then)
		cost.load += (__u64)(inflight - inflight_then) * SL_LOAD_ONE;
	cost.load += SL_LOAD_ONE;
	return cost;
}

/* Whether a is strictly cheaper than b. Loads stay below 2^42 and weights below 2^22, so nothing
 * overflows. */
static inline __attribute__((always_inline)) int sl_cost_less(struct sl_cost a, struct sl_cost b)
{
	return a.load * b.weight < b.load * a.weight;
}

/* The replica that a draw in slot `member` gives, `random` uniform over 2^32. */
static inline __attribute__((always_inline)) __u32 sl_member_draw(const struct sl_member *member,
								  __u32 random)
{
	return random < member->threshold ? member->replica : member->alias;
}

#endif
