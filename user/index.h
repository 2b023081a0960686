/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The writer's side of the maps `index` and `filters`: where the kernel
 * programs look up what an (address, port, protocol) is. Pure: it works on
 * memory that happens to be mapped. One writer; the readers are programs on
 * other CPUs that take no lock, which is why the order of stores matters.
 */
#ifndef SLUICE_INDEX_H
#define SLUICE_INDEX_H

#include <stdint.h>

#include <sluice/abi.h>

/* The same address may be a VIP's and a source at once: the kind is part of the key. */
struct index_key {
	union sl_addr addr;
	__be16 port;
	__u8 proto;
	__u8 kind; /* enum sl_index_kind, not SL_INDEX_FREE */
};

struct index {
	struct sl_index_set *sets; /* SL_INDEX_SETS of them */
	struct sl_filter *filters; /* SL_FILTER_MAX of them */
	uint64_t seed;
	uint16_t *rows_of_bit; /* how many rows need each filter bit; our own memory */
	uint32_t n_rows;
};

/* Starts with the rows that are there already (warm start) and mends filter bits that an earlier
 * agent died too early to clear. `sets`, `filters` and `seed` (control.seed) must outlive it.
 * 0, or -ENOMEM. */
int index_init(struct index *index, struct sl_index_set *sets, struct sl_filter *filters,
	       uint64_t seed);
void index_done(struct index *index);

/* Makes a row visible. `now_ns`: CLOCK_MONOTONIC. 0, -EEXIST, -ENOSPC when both sets are full,
 * -EINVAL for a kind that is none. */
int index_add(struct index *index, const struct index_key *key, __u32 id, uint64_t now_ns);

/* Takes a row away; its place rests for a second. 0, or -ENOENT. */
int index_del(struct index *index, const struct index_key *key, uint64_t now_ns);

/* 0 and the row's id, or -ENOENT. */
int index_find(const struct index *index, const struct index_key *key, __u32 *ret_id);

#endif
