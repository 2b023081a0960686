/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Is this packet ours? The filter bit says "no" in a nanosecond for nearly all
 * foreign packets, the index says which VIP, replica or source address it is.
 * Both are written by the agent (user/index.c); nothing here takes a lock or
 * calls a helper.
 */
#ifndef SLUICE_BPF_LOOKUP_H
#define SLUICE_BPF_LOOKUP_H

#include <stdbool.h>

#include <sluice/hash.h>

#include "config.h"
#include "maps.h"
#include "verifier.h"

static __always_inline bool addr_equal(const union sl_addr *a, const union sl_addr *b)
{
	return a->d[1] == b->d[1] && a->d[0] == b->d[0];
}

static __always_inline bool filter_has(enum sl_filter_id id, __u64 hash)
{
	__u32 row = id, bit = sl_filter_bit(hash);
	struct sl_filter *filter = bpf_map_lookup_elem(&filters, &row);

	return filter && filter->word[bit / 64] & 1ull << bit % 64;
}

/* The start of a search is unknown to the verifier, so that all ways look alike to it and what
 * follows is verified once, not once for each way (16 times the instructions otherwise). */
static __always_inline struct sl_index_entry *index_find_in(__u32 set_row,
							    const union sl_addr *addr, __be16 port,
							    __u8 proto, enum sl_index_kind kind)
{
	struct sl_index_set *set = bpf_map_lookup_elem(&addr_index, &set_row);

	if (!set)
		return NULL;
	opaque(set_row);
	for (__u32 i = 0; i < SL_INDEX_WAYS; i++) {
		struct sl_index_entry *entry = &set->way[(set_row + i) & (SL_INDEX_WAYS - 1)];
		__u8 found = READ_ONCE(entry->kind);

		if (found != kind)
			continue;
		entry = load_after(entry, found); /* the agent stores the kind last */
		if (entry->addr.d[1] == addr->d[1] && entry->addr.d[0] == addr->d[0] &&
		    entry->port == port && entry->proto == proto)
			return entry;
	}
	return NULL;
}

/* The row of that kind, or -1. */
static __always_inline __s64 index_find(const union sl_addr *addr, __be16 port, __u8 proto,
					__u64 hash, enum sl_index_kind kind)
{
	struct sl_index_entry *entry = index_find_in(sl_index_set_1(hash), addr, port, proto, kind);

	if (!entry)
		entry = index_find_in(sl_index_set_2(hash), addr, port, proto, kind);
	return entry ? (__s64)entry->id : -1;
}

/* Row in vips of (address, port, protocol), or -1. */
static __always_inline __s64 vip_find(const union sl_addr *addr, __be16 port, __u8 proto)
{
	__u64 hash = sl_hash_addr(addr, port, proto, seed);

	if (likely(!filter_has(SL_FILTER_VIP, hash)))
		return -1;
	return index_find(addr, port, proto, hash, SL_INDEX_VIP);
}

/* Whether a VIP takes new flows: neither the agent nor `sluice hand-back` withdrew it. */
static __always_inline bool vip_takes_new(const struct sl_vip *vip)
{
	return !(vip->flags & SL_VIP_NO_NEW || vip->admin & SL_ADMIN_HANDED_BACK);
}

/* Row in replicas, or -1. */
static __always_inline __s64 replica_find(const union sl_addr *addr, __be16 port, __u8 proto)
{
	__u64 hash = sl_hash_addr(addr, port, proto, seed);

	if (likely(!filter_has(SL_FILTER_REPLICA, hash)))
		return -1;
	return index_find(addr, port, proto, hash, SL_INDEX_REPLICA);
}

/* Row in sources, or -1. */
static __always_inline __s64 source_find(const union sl_addr *addr)
{
	return index_find(addr, 0, 0, sl_hash_addr(addr, 0, 0, seed), SL_INDEX_SOURCE);
}

/* Whether it is an address of this node. */
static __always_inline bool is_local_address(const union sl_addr *addr)
{
	__u64 hash = sl_hash_addr(addr, 0, 0, seed);

	return filter_has(SL_FILTER_VIP, hash) &&
	       index_find(addr, 0, 0, hash, SL_INDEX_LOCAL) >= 0;
}

/* Whether it may be a VIP's or this node's: what an answer of a replica can be addressed to, if it is
 * not the client's own. */
static __always_inline bool is_known_address(const union sl_addr *addr)
{
	return filter_has(SL_FILTER_VIP, sl_hash_addr(addr, 0, 0, seed));
}

/* Row of one VIP of this address, or -1: for packets that have no ports. */
static __always_inline __s64 vip_find_any(const union sl_addr *addr)
{
	__u64 hash = sl_hash_addr(addr, 0, 0, seed);

	return filter_has(SL_FILTER_VIP, hash) ? index_find(addr, 0, 0, hash, SL_INDEX_ADDRESS) : -1;
}

/* Whether any VIP has this address. */
static __always_inline bool is_vip_address(const union sl_addr *addr)
{
	return vip_find_any(addr) >= 0;
}

#endif
