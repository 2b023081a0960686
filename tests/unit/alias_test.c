// SPDX-License-Identifier: GPL-2.0-only
/*
 * Alias tables: what each replica's slots add up to, which must be its weight.
 */
#include <stdint.h>
#include <stdlib.h>

#include <sluice/pick.h>

#include "alias.h"
#include "check.h"

/* Shares are counted in 2^-32 slots; a whole slot is 2^32 of them. */
#define SLOT 4294967296.0

static __u32 row_of(size_t i)
{
	return 7 + 3 * i;
}

static size_t of_row(__u32 row)
{
	return (row - 7) / 3;
}

/* What each replica gets of all draws. */
static void add_shares(const struct sl_member *members, size_t n, double *shares)
{
	for (size_t i = 0; i < n; i++) {
		double own = members[i].threshold;

		if (members[i].replica == members[i].alias)
			own = SLOT;
		shares[of_row(members[i].replica)] += own;
		shares[of_row(members[i].alias)] += SLOT - own;
	}
}

static void check_shares(const __u16 *weights, size_t n)
{
	struct sl_member *members = calloc(n, sizeof(*members));
	__u32 *replicas = calloc(n, sizeof(*replicas));
	double *shares = calloc(n, sizeof(*shares)), sum = 0;

	for (size_t i = 0; i < n; i++) {
		replicas[i] = row_of(i);
		sum += weights[i];
	}
	CHECK_INT(alias_build(replicas, weights, n, members), 0);
	add_shares(members, n, shares);
	for (size_t i = 0; i < n; i++) {
		double expected = (sum ? weights[i] / sum * n : 1) * SLOT;
		double off = shares[i] - expected;

		CHECK_INT(members[i].replica, replicas[i]);
		if (off < -(double)n - 1 || off > (double)n + 1) {
			printf("  %zu of %zu, weight %u: off by %g\n", i, n, weights[i], off);
			CHECK(false);
		}
	}
	free(shares);
	free(replicas);
	free(members);
}

TEST(one_replica)
{
	check_shares((__u16[]){1}, 1);
	check_shares((__u16[]){65535}, 1);
	check_shares((__u16[]){0}, 1);
}

TEST(few_replicas)
{
	check_shares((__u16[]){100, 100, 100}, 3);
	check_shares((__u16[]){1, 2, 3, 4}, 4);
	check_shares((__u16[]){1, 65535}, 2);
	check_shares((__u16[]){65535, 65535, 1, 1, 1}, 5);
}

TEST(all_weights_zero_is_uniform)
{
	check_shares((__u16[]){0, 0, 0}, 3);
}

TEST(weight_zero_is_never_drawn)
{
	const __u32 replicas[] = {10, 11, 12, 13};
	struct sl_member members[4];

	CHECK_INT(alias_build(replicas, (__u16[]){0, 5, 0, 9}, 4, members), 0);
	for (unsigned slot = 0; slot < 4; slot++)
		for (uint64_t random = 0; random <= UINT32_MAX; random += 0x1000001) {
			__u32 drawn = sl_member_draw(&members[slot], random);

			CHECK(drawn == 11 || drawn == 13);
		}
}

TEST(nothing)
{
	CHECK_INT(alias_build(NULL, NULL, 0, NULL), 0);
}

TEST(too_many)
{
	CHECK_INT(alias_build(NULL, NULL, 65536, NULL), -22);
}

TEST(many_replicas_of_all_weights)
{
	static __u16 weights[1000];

	srand(1);
	for (unsigned i = 0; i < 1000; i++)
		weights[i] = rand() % 10 ? rand() % 65536 : 0;
	check_shares(weights, 1000);
	for (unsigned i = 0; i < 1000; i++)
		weights[i] = 65535;
	check_shares(weights, 1000);
	weights[999] = 1;
	check_shares(weights, 1000);
}

TEST(the_largest_list)
{
	static __u16 weights[65535];

	for (unsigned i = 0; i < 65535; i++)
		weights[i] = i % 2 ? 65535 : 1;
	check_shares(weights, 65535);
	for (unsigned i = 0; i < 65535; i++)
		weights[i] = i ? 65535 : 1;
	check_shares(weights, 65535);
}

/* Draws as the kernel does it: the counts follow the weights. */
TEST(draws_follow_weights)
{
	const __u32 replicas[] = {0, 1, 2, 3};
	const __u16 weights[] = {10, 20, 30, 40};
	unsigned hits[4] = {0};
	struct sl_member members[4];
	uint64_t state = 42;

	CHECK_INT(alias_build(replicas, weights, 4, members), 0);
	for (unsigned i = 0; i < 1000000; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		hits[sl_member_draw(&members[state >> 62], state >> 29 & UINT32_MAX)]++;
	}
	for (unsigned i = 0; i < 4; i++)
		CHECK(hits[i] > weights[i] * 9900u && hits[i] < weights[i] * 10100u);
}
