/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hashes and checksum sums over our keys: pure arithmetic, compiled for BPF
 * and for the host, so that the agent fills the tables in which the kernel
 * programs look. All hashes take the seed of `control`: who sends packets
 * cannot choose where they land.
 */
#ifndef SLUICE_HASH_H
#define SLUICE_HASH_H

#include "abi.h"

/* Multiplications carry upwards only, and our keys differ in their top bits (a v4 address lies
 * there): the top half is folded down before each. Constants of MurmurHash3 and D. Lea's mixer;
 * tests/unit/hash_test.c holds what fewer rounds fail. */
static inline __attribute__((always_inline)) __u64 sl_mix(__u64 h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	return h ^ h >> 32;
}

/* Hash of an address and 64 bits more. */
static inline __attribute__((always_inline)) __u64 sl_hash_with(const union sl_addr *addr,
								__u64 more, __u64 seed)
{
	__u64 h = addr->d[0] * 0x9e3779b97f4a7c15ull ^ addr->d[1] ^ seed;

	h ^= h >> 32;
	h = h * 0xff51afd7ed558ccdull + (more ^ more >> 32) * 0x9fb21c651e98df25ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	return h ^ h >> 32;
}

/* Hash of (address, port, protocol); low 16 bits: filter bit, from bit 16: index set. */
static inline __attribute__((always_inline)) __u64 sl_hash_addr(const union sl_addr *addr,
								__be16 port, __u8 proto, __u64 seed)
{
	return sl_hash_with(addr, (__u64)port << 8 | proto, seed);
}

static inline __attribute__((always_inline)) __u32 sl_filter_bit(__u64 hash)
{
	return hash & (SL_FILTER_BITS - 1);
}

/* An index key lives in one of two sets. */
static inline __attribute__((always_inline)) __u32 sl_index_set_1(__u64 hash)
{
	return (hash >> 16) & (SL_INDEX_SETS - 1);
}

static inline __attribute__((always_inline)) __u32 sl_index_set_2(__u64 hash)
{
	return (hash >> 40) & (SL_INDEX_SETS - 1);
}

/* Hash of a flow key; low bits: first set, bits 32 up: second set, bits 24-26: home way. */
static inline __attribute__((always_inline)) __u64 sl_hash_flow(const struct sl_flow_key *key,
								__u64 seed)
{
	__u64 rest; /* port, protocol, flags, service: one load */

	__builtin_memcpy(&rest, (const __u8 *)key + sizeof(key->client), sizeof(rest));
	return sl_hash_with(&key->client, rest, seed);
}

/* Hash of a source-NAT key. */
static inline __attribute__((always_inline)) __u64 sl_hash_snat(const union sl_snat_key *key,
								__u64 seed)
{
	return sl_mix(key->d ^ seed);
}

/* One's-complement sum of an address as 32-bit words, folded to 32 bits (RFC 1071). A
 * v4-mapped address sums only its last word: the pseudo-header of IPv4 holds no prefix. */
static inline __attribute__((always_inline)) __u32 sl_addr_sum(const union sl_addr *addr)
{
	__u64 sum;

	if (addr->d[0] == 0 && addr->w[2] == (__be32)SL_V4_MARK)
		return addr->w[3];
	sum = (__u64)addr->w[0] + addr->w[1] + addr->w[2] + addr->w[3];
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (__u32)(sum + (sum >> 32));
}

#endif
