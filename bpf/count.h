/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Named counts. Every packet that Sluice drops or refuses goes through drop().
 */
#ifndef SLUICE_BPF_COUNT_H
#define SLUICE_BPF_COUNT_H

#include <linux/pkt_cls.h>

#include "maps.h"

/* Foreign and translated packets alike: the programs behind us still decide.
 * TCX_NEXT under tcx, TC_ACT_UNSPEC under clsact: the same number. */
#define NEXT (-1)
/* From a stage to its caller only: nothing of ours, ask the next stage. */
#define NOT_OURS (-2)

static __always_inline void count(enum sl_counter counter)
{
	__u32 row = counter;
	__u64 *value = bpf_map_lookup_elem(&counters, &row);

	if (value)
		*value += 1;
}

static __always_inline void count_drop(enum sl_drop_reason reason)
{
	__u32 row = reason;
	__u64 *value = bpf_map_lookup_elem(&drops, &row);

	if (value)
		*value += 1;
}

static __always_inline int drop(enum sl_drop_reason reason)
{
	count_drop(reason);
	return TC_ACT_SHOT;
}

#endif
