// SPDX-License-Identifier: GPL-2.0-only
/*
 * Alias tables. Owns the arithmetic that turns weights into slots; refuses to
 * know where the slots lie or who reads them. Called by the datapath whenever
 * the members or the weights of a service change.
 */
#include "alias.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

/*
 * With W the sum of weights, slot i starts with weight i * n shares and every
 * slot holds W of them. A slot that has too few is filled up from one that has
 * too many, which becomes its alias. All sums stay exact, so no slot is left
 * over half full at the end.
 */
struct work {
	uint64_t share;
	uint32_t stack; /* of slots: too poor ones grow from the bottom, rich ones from the top */
};

static void fill_uniform(const __u32 *replicas, size_t n, struct sl_member *ret)
{
	for (size_t i = 0; i < n; i++)
		ret[i] = (struct sl_member){
			.replica = replicas[i], .alias = replicas[i], .threshold = UINT32_MAX};
}

/* Which side of the stack slot i goes to. */
static void sort_in(struct work *work, uint32_t i, uint64_t capacity, size_t *poor, size_t *rich)
{
	if (work[i].share < capacity)
		work[(*poor)++].stack = i;
	else
		work[--*rich].stack = i;
}

int alias_build(const __u32 *replicas, const __u16 *weights, size_t n, struct sl_member *ret)
{
	size_t poor = 0, rich = n; /* first free place above, last taken place below */
	struct work *work;
	uint64_t sum = 0;

	if (n > UINT16_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		sum += weights[i];
	if (!sum) {
		fill_uniform(replicas, n, ret);
		return 0;
	}
	work = malloc(n * sizeof(*work));
	if (!work)
		return -ENOMEM;

	/* A slot that nobody fills up keeps itself as alias: then no threshold is wrong. */
	fill_uniform(replicas, n, ret);
	for (size_t i = 0; i < n; i++) {
		work[i].share = (uint64_t)weights[i] * n;
		sort_in(work, i, sum, &poor, &rich);
	}
	while (poor > 0) {
		uint32_t taker = work[--poor].stack, giver = work[rich++].stack;

		/* share < sum < 2^32, so the shift loses nothing */
		ret[taker].threshold = (work[taker].share << 32) / sum;
		ret[taker].alias = replicas[giver];
		work[giver].share -= sum - work[taker].share;
		sort_in(work, giver, sum, &poor, &rich);
	}
	free(work);
	return 0;
}
