/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Slow start as Envoy defines it: which share of its weight a replica counts
 * with, so long after it came. Pure.
 */
#ifndef SLUICE_WARMUP_H
#define SLUICE_WARMUP_H

#include <stdint.h>

#include "model.h"

/* max(minimum, (since / duration)^(1 / aggression)), of 65536; 1 to 65535. `rules->duration_ms` is
 * not 0, and `since_ms` below it. */
__u16 warmup_share(const struct model_warmup *rules, uint64_t since_ms);

/* The other way round, for an agent that finds a share and not since when: at least so long ago, in
 * milliseconds; below the duration. */
uint64_t warmup_since(const struct model_warmup *rules, __u16 share);

#endif
