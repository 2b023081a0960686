/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What store_bench.c tells store.bpf.c: which flow comes next.
 */
#ifndef SLUICE_BENCH_STORE_H
#define SLUICE_BENCH_STORE_H

#include <linux/types.h>

struct store_cursor {
	__u32 next;   /* counts calls */
	__u32 mask;   /* flow n: next * spread & mask */
	__u32 spread; /* odd: in which order flows come */
	__u32 hits;   /* calls that did what they should */
};

/* What a hash map would hold for a flow: our entry without its key. */
struct store_value {
	__u64 word[5];
};

#endif
