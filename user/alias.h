/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Alias tables: a weighted draw in constant time. One random slot and one
 * comparison give replica i with probability weight i / sum of weights; see
 * sl_member_draw() for the reader's half. Pure.
 */
#ifndef SLUICE_ALIAS_H
#define SLUICE_ALIAS_H

#include <stddef.h>

#include <sluice/abi.h>

/**
 * alias_build - fill an alias table, which is the member list as well
 * @replicas: @n rows of the map replicas
 * @weights: @n weights; 0 is never drawn, all 0 draws uniformly
 * @n: 0-65535
 * @ret: @n slots; slot i holds @replicas[i], whatever its weight
 *
 * Vose's method ("A linear algorithm for generating random numbers with a given
 * distribution", 1991) in integers: each slot's share is exact but for rounding
 * down to a multiple of 2^-32. O(n). 0, -EINVAL when @n is too large, -ENOMEM;
 * @ret is untouched on failure.
 */
int alias_build(const __u32 *replicas, const __u16 *weights, size_t n, struct sl_member *ret);

#endif
