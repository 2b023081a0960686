// SPDX-License-Identifier: GPL-2.0-only
/*
 * The index. Owns the rows of `index` and the bits of `filters`; refuses to
 * know what an id means. Called by the datapath.
 *
 * A reader looks at the filter bit, then at `kind`, then at the rest of a row,
 * so a row appears in the order bit, body, kind and goes in the order kind,
 * bit. A reader may still hold a row that has just gone: its place therefore
 * rests before another key is written over it. Fences and releases are for
 * arm64; on x86 the compiler alone has to be told.
 */
#include "index.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/hash.h>

#define INDEX_REST_NS 1000000000ull
#define NO_FILTER (-1)

static int filter_of_kind(__u8 kind)
{
	switch (kind) {
	case SL_INDEX_VIP:
	case SL_INDEX_ADDRESS:
	case SL_INDEX_LOCAL:
	case SL_INDEX_SOURCE:
		return SL_FILTER_VIP;
	case SL_INDEX_REPLICA:
		return SL_FILTER_REPLICA;
	default:
		return NO_FILTER;
	}
}

static __u64 hash_of(const struct index *index, const union sl_addr *addr, __be16 port, __u8 proto)
{
	return sl_hash_addr(addr, port, proto, index->seed);
}

static __u64 hash_of_key(const struct index *index, const struct index_key *key)
{
	return hash_of(index, &key->addr, key->port, key->proto);
}

static uint16_t *rows_of_bit(struct index *index, int filter, __u32 bit)
{
	return &index->rows_of_bit[(size_t)filter * SL_FILTER_BITS + bit];
}

static void store_bit(struct index *index, int filter, __u32 bit, bool value)
{
	__u64 *word = &index->filters[filter].word[bit / 64];
	__u64 mask = 1ull << bit % 64;

	__atomic_store_n(word, value ? *word | mask : *word & ~mask, __ATOMIC_RELEASE);
}

static void bit_get(struct index *index, __u8 kind, __u64 hash)
{
	int filter = filter_of_kind(kind);

	uint16_t *rows;

	if (filter == NO_FILTER)
		return;
	rows = rows_of_bit(index, filter, sl_filter_bit(hash));
	if (!*rows)
		store_bit(index, filter, sl_filter_bit(hash), true);
	*rows += *rows < UINT16_MAX; /* so many: the bit stays for good */
}

static void bit_put(struct index *index, __u8 kind, __u64 hash)
{
	int filter = filter_of_kind(kind);

	uint16_t *rows;

	if (filter == NO_FILTER)
		return;
	rows = rows_of_bit(index, filter, sl_filter_bit(hash));
	*rows -= *rows < UINT16_MAX;
	if (!*rows)
		store_bit(index, filter, sl_filter_bit(hash), false);
}

int index_init(struct index *index, struct sl_index_set *sets, struct sl_filter *filters,
	       uint64_t seed)
{
	const size_t n_bits = (size_t)SL_FILTER_MAX * SL_FILTER_BITS;
	uint16_t *rows = calloc(n_bits, sizeof(*rows));

	if (!rows)
		return -ENOMEM;
	*index = (struct index){
		.sets = sets, .filters = filters, .seed = seed, .rows_of_bit = rows};
	for (size_t i = 0; i < SL_INDEX_SETS * SL_INDEX_WAYS; i++) {
		struct sl_index_entry *row = &sets[i / SL_INDEX_WAYS].way[i % SL_INDEX_WAYS];

		if (row->kind == SL_INDEX_FREE)
			continue;
		bit_get(index, row->kind, hash_of(index, &row->addr, row->port, row->proto));
		index->n_rows++;
	}
	for (size_t i = 0; i < n_bits; i++)
		if (!rows[i])
			store_bit(index, i / SL_FILTER_BITS, i % SL_FILTER_BITS, false);
	return 0;
}

void index_done(struct index *index)
{
	free(index->rows_of_bit);
	*index = (struct index){0};
}

static bool row_is(const struct sl_index_entry *row, const struct index_key *key)
{
	return row->kind == key->kind && row->port == key->port && row->proto == key->proto &&
	       !memcmp(&row->addr, &key->addr, sizeof(row->addr));
}

static struct sl_index_entry *find_row(const struct index *index, const struct index_key *key)
{
	__u64 hash = hash_of_key(index, key);
	struct sl_index_set *sets[] = {&index->sets[sl_index_set_1(hash)],
				       &index->sets[sl_index_set_2(hash)]};

	for (size_t i = 0; i < 2 * SL_INDEX_WAYS; i++) {
		struct sl_index_entry *row = &sets[i / SL_INDEX_WAYS]->way[i % SL_INDEX_WAYS];

		if (row_is(row, key))
			return row;
	}
	return NULL;
}

static unsigned count_free(const struct sl_index_set *set)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SL_INDEX_WAYS; i++)
		n += set->way[i].kind == SL_INDEX_FREE;
	return n;
}

/* The free way of `set` that has rested longest; `reserved` of a free row holds when it was freed.
 * NULL when none is free. */
static struct sl_index_entry *oldest_free(struct sl_index_set *set)
{
	struct sl_index_entry *oldest = NULL;

	for (unsigned i = 0; i < SL_INDEX_WAYS; i++) {
		struct sl_index_entry *row = &set->way[i];

		if (row->kind == SL_INDEX_FREE && (!oldest || row->reserved < oldest->reserved))
			oldest = row;
	}
	return oldest;
}

/* A way for a new row: in the emptier set, unless only the other has one that has rested. */
static struct sl_index_entry *choose_way(struct index *index, __u64 hash, uint64_t now_ns)
{
	struct sl_index_set *set = &index->sets[sl_index_set_1(hash)];
	struct sl_index_set *other = &index->sets[sl_index_set_2(hash)], *swap;
	struct sl_index_entry *row, *other_row;

	if (count_free(other) > count_free(set)) {
		swap = set;
		set = other;
		other = swap;
	}
	row = oldest_free(set);
	if (!row || !row->reserved || now_ns - row->reserved >= INDEX_REST_NS)
		return row;
	other_row = oldest_free(other);
	return other_row && other_row->reserved < row->reserved ? other_row : row;
}

int index_add(struct index *index, const struct index_key *key, __u32 id, uint64_t now_ns)
{
	__u64 hash = hash_of_key(index, key);
	struct sl_index_entry *row;

	if (key->kind == SL_INDEX_FREE || key->kind > SL_INDEX_LOCAL)
		return -EINVAL;
	if (find_row(index, key))
		return -EEXIST;
	row = choose_way(index, hash, now_ns);
	if (!row)
		return -ENOSPC;
	bit_get(index, key->kind, hash);
	row->addr = key->addr;
	row->port = key->port;
	row->proto = key->proto;
	row->id = id;
	row->reserved = 0;
	__atomic_store_n(&row->kind, key->kind, __ATOMIC_RELEASE);
	index->n_rows++;
	return 0;
}

int index_del(struct index *index, const struct index_key *key, uint64_t now_ns)
{
	struct sl_index_entry *row = find_row(index, key);

	if (!row)
		return -ENOENT;
	__atomic_store_n(&row->kind, SL_INDEX_FREE, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_RELEASE); /* before the body of the next row here */
	row->reserved = now_ns;
	bit_put(index, key->kind, hash_of_key(index, key));
	index->n_rows--;
	return 0;
}

int index_find(const struct index *index, const struct index_key *key, __u32 *ret_id)
{
	const struct sl_index_entry *row = find_row(index, key);

	if (!row)
		return -ENOENT;
	*ret_id = row->id;
	return 0;
}
