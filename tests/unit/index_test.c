// SPDX-License-Identifier: GPL-2.0-only
/*
 * The index: rows found again, filter bits shared and kept, places that rest,
 * adoption, and how full it gets before it refuses.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#include <sluice/hash.h>

#include "check.h"
#include "index.h"

#define SECOND 1000000000ull
#define SEED 0x5eed5eed5eed5eedull

struct table {
	struct sl_index_set *sets;
	struct sl_filter *filters;
	struct index index;
};

static void table_init(struct table *table)
{
	table->sets = calloc(SL_INDEX_SETS, sizeof(*table->sets));
	table->filters = calloc(SL_FILTER_MAX, sizeof(*table->filters));
	CHECK_INT(index_init(&table->index, table->sets, table->filters, SEED), 0);
}

static void table_done(struct table *table)
{
	index_done(&table->index);
	free(table->sets);
	free(table->filters);
}

static struct index_key key_of(__u32 host, __u16 port, __u8 proto, enum sl_index_kind kind)
{
	return (struct index_key){.addr.w = {0, 0, SL_V4_MARK, htonl(0x0a000000 + host)},
				  .port = htons(port), .proto = proto, .kind = kind};
}

static bool has_bit(const struct table *table, const struct index_key *key, int filter)
{
	__u32 bit = sl_filter_bit(sl_hash_addr(&key->addr, key->port, key->proto, SEED));

	return table->filters[filter].word[bit / 64] >> bit % 64 & 1;
}

/* As a kernel program looks: two sets, body compared, kind last. */
static struct sl_index_entry *look_up(const struct table *table, const struct index_key *key)
{
	__u64 hash = sl_hash_addr(&key->addr, key->port, key->proto, SEED);
	struct sl_index_set *sets[] = {&table->sets[sl_index_set_1(hash)],
				       &table->sets[sl_index_set_2(hash)]};

	for (unsigned i = 0; i < 2 * SL_INDEX_WAYS; i++) {
		struct sl_index_entry *row = &sets[i / SL_INDEX_WAYS]->way[i % SL_INDEX_WAYS];

		if (row->kind == key->kind && row->port == key->port &&
		    row->proto == key->proto && !memcmp(&row->addr, &key->addr, 16))
			return row;
	}
	return NULL;
}

TEST(add_find_del)
{
	struct index_key vip = key_of(1, 80, IPPROTO_TCP, SL_INDEX_VIP);
	struct index_key other = key_of(1, 80, IPPROTO_UDP, SL_INDEX_VIP);
	struct table table;
	__u32 id = 99;

	table_init(&table);
	CHECK_INT(index_find(&table.index, &vip, &id), -ENOENT);
	CHECK_INT(id, 99);
	CHECK_INT(index_add(&table.index, &vip, 5, SECOND), 0);
	CHECK_INT(index_add(&table.index, &vip, 6, SECOND), -EEXIST);
	CHECK_INT(index_find(&table.index, &vip, &id), 0);
	CHECK_INT(id, 5);
	CHECK_INT(index_find(&table.index, &other, &id), -ENOENT);
	CHECK(look_up(&table, &vip));
	CHECK_INT(table.index.n_rows, 1);
	CHECK_INT(index_del(&table.index, &other, SECOND), -ENOENT);
	CHECK_INT(index_del(&table.index, &vip, SECOND), 0);
	CHECK_INT(index_del(&table.index, &vip, SECOND), -ENOENT);
	CHECK(!look_up(&table, &vip));
	CHECK_INT(table.index.n_rows, 0);
	table_done(&table);
}

TEST(refuses_what_is_no_kind)
{
	struct index_key key = key_of(1, 80, IPPROTO_TCP, SL_INDEX_FREE);
	struct table table;

	table_init(&table);
	CHECK_INT(index_add(&table.index, &key, 0, 0), -EINVAL);
	key.kind = SL_INDEX_LOCAL + 1;
	CHECK_INT(index_add(&table.index, &key, 0, 0), -EINVAL);
	table_done(&table);
}

/* A hostNetwork replica behind a node port of the same number. */
TEST(one_address_may_be_of_several_kinds)
{
	struct index_key replica = key_of(1, 80, IPPROTO_TCP, SL_INDEX_REPLICA);
	struct index_key vip = key_of(1, 80, IPPROTO_TCP, SL_INDEX_VIP);
	struct table table;
	__u32 id;

	table_init(&table);
	CHECK_INT(index_add(&table.index, &replica, 3, 0), 0);
	CHECK_INT(index_add(&table.index, &vip, 0, 0), 0);
	CHECK_INT(index_find(&table.index, &replica, &id), 0);
	CHECK_INT(id, 3);
	CHECK_INT(index_del(&table.index, &vip, 0), 0);
	CHECK_INT(index_find(&table.index, &replica, &id), 0);
	table_done(&table);
}

TEST(each_kind_sets_its_own_filter)
{
	const struct { enum sl_index_kind kind; bool vip, replica; } rows[] = {
		{SL_INDEX_VIP, true, false},
		{SL_INDEX_ADDRESS, true, false},
		{SL_INDEX_REPLICA, false, true},
		{SL_INDEX_SOURCE, true, false},
		{SL_INDEX_LOCAL, true, false},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct index_key key = key_of(i, 80, IPPROTO_TCP, rows[i].kind);
		struct table table;

		table_init(&table);
		CHECK_INT(index_add(&table.index, &key, 1, 0), 0);
		CHECK_INT(has_bit(&table, &key, SL_FILTER_VIP), rows[i].vip);
		CHECK_INT(has_bit(&table, &key, SL_FILTER_REPLICA), rows[i].replica);
		CHECK_INT(index_del(&table.index, &key, 0), 0);
		CHECK_INT(has_bit(&table, &key, SL_FILTER_VIP), false);
		CHECK_INT(has_bit(&table, &key, SL_FILTER_REPLICA), false);
		table_done(&table);
	}
}

/* Another key whose hash has the same filter bit as `key`. */
static struct index_key same_bit_as(const struct index_key *key)
{
	__u32 bit = sl_filter_bit(sl_hash_addr(&key->addr, key->port, key->proto, SEED));

	for (__u32 host = 1000;; host++) {
		struct index_key other = key_of(host, 80, IPPROTO_TCP, key->kind);

		if (sl_filter_bit(sl_hash_addr(&other.addr, other.port, other.proto, SEED)) == bit)
			return other;
	}
}

TEST(a_shared_bit_stays_until_the_last_row_goes)
{
	struct index_key a = key_of(1, 80, IPPROTO_TCP, SL_INDEX_VIP), b = same_bit_as(&a);
	struct table table;

	table_init(&table);
	CHECK_INT(index_add(&table.index, &a, 1, 0), 0);
	CHECK_INT(index_add(&table.index, &b, 2, 0), 0);
	CHECK_INT(index_del(&table.index, &a, 0), 0);
	CHECK_INT(has_bit(&table, &b, SL_FILTER_VIP), true);
	CHECK_INT(index_del(&table.index, &b, 0), 0);
	CHECK_INT(has_bit(&table, &b, SL_FILTER_VIP), false);
	table_done(&table);
}

TEST(adoption_keeps_rows_and_counts_their_bits)
{
	struct index_key a = key_of(1, 80, IPPROTO_TCP, SL_INDEX_VIP), b = same_bit_as(&a);
	struct index_key lost = key_of(2, 80, IPPROTO_TCP, SL_INDEX_VIP);
	__u32 bit = sl_filter_bit(sl_hash_addr(&lost.addr, lost.port, lost.proto, SEED)), id;
	struct table table;

	table_init(&table);
	CHECK_INT(index_add(&table.index, &a, 1, 0), 0);
	CHECK_INT(index_add(&table.index, &b, 2, 0), 0);
	index_done(&table.index);
	table.filters[SL_FILTER_VIP].word[bit / 64] |= 1ull << bit % 64; /* died before the row */

	CHECK_INT(index_init(&table.index, table.sets, table.filters, SEED), 0);
	CHECK_INT(table.index.n_rows, 2);
	CHECK_INT(has_bit(&table, &lost, SL_FILTER_VIP), false);
	CHECK_INT(index_find(&table.index, &a, &id), 0);
	CHECK_INT(index_del(&table.index, &a, 0), 0);
	CHECK_INT(has_bit(&table, &b, SL_FILTER_VIP), true);
	CHECK_INT(index_del(&table.index, &b, 0), 0);
	CHECK_INT(has_bit(&table, &b, SL_FILTER_VIP), false);
	table_done(&table);
}

TEST(a_freed_place_rests_a_second)
{
	struct index_key key = key_of(1, 80, IPPROTO_TCP, SL_INDEX_VIP);
	struct sl_index_entry *first, *second;
	struct table table;

	table_init(&table);
	CHECK_INT(index_add(&table.index, &key, 1, 0), 0);
	first = look_up(&table, &key);
	CHECK_INT(index_del(&table.index, &key, SECOND), 0);
	CHECK_INT(first->reserved, SECOND);
	CHECK_INT(index_add(&table.index, &key, 1, 2 * SECOND - 1), 0);
	second = look_up(&table, &key);
	CHECK(first != second);
	table_done(&table);
}

/* Fills both sets of `key` with rows of another address. */
static void fill_sets_of(struct table *table, const struct index_key *key)
{
	__u64 hash = sl_hash_addr(&key->addr, key->port, key->proto, SEED);
	__u32 sets[] = {sl_index_set_1(hash), sl_index_set_2(hash)};

	for (unsigned i = 0; i < 2 * SL_INDEX_WAYS; i++)
		table->sets[sets[i / SL_INDEX_WAYS]].way[i % SL_INDEX_WAYS] =
			(struct sl_index_entry){.addr.b[0] = 0xfd, .port = i, .kind = SL_INDEX_VIP};
}

TEST(full_sets_refuse_and_a_resting_place_is_better_than_none)
{
	struct index_key key = key_of(1, 80, IPPROTO_TCP, SL_INDEX_VIP);
	struct sl_index_entry *freed;
	struct table table;
	__u64 hash = sl_hash_addr(&key.addr, key.port, key.proto, SEED);

	table_init(&table);
	fill_sets_of(&table, &key);
	CHECK_INT(index_add(&table.index, &key, 1, SECOND), -ENOSPC);
	CHECK_INT(has_bit(&table, &key, SL_FILTER_VIP), false);
	freed = &table.sets[sl_index_set_2(hash)].way[3];
	freed->kind = SL_INDEX_FREE;
	freed->reserved = SECOND;
	CHECK_INT(index_add(&table.index, &key, 1, SECOND), 0);
	CHECK(look_up(&table, &key) == freed);
	table_done(&table);
}

/* Addresses and ports as clusters have them: neighbours. */
TEST(sixty_thousand_keys_fit)
{
	struct table table;
	__u32 id;

	table_init(&table);
	for (__u32 i = 0; i < 60000; i++) {
		struct index_key key = key_of(i / 4, 8000 + i % 4, IPPROTO_TCP, SL_INDEX_REPLICA);

		if (index_add(&table.index, &key, i, 0)) {
			printf("  full at %u\n", i);
			CHECK(false);
			break;
		}
	}
	for (__u32 i = 0; i < 60000; i += 7) {
		struct index_key key = key_of(i / 4, 8000 + i % 4, IPPROTO_TCP, SL_INDEX_REPLICA);

		CHECK(!index_find(&table.index, &key, &id) && id == i);
		CHECK(look_up(&table, &key));
	}
	table_done(&table);
}

/* Rows come and go for hours; whatever is in there is found and nothing else is. */
TEST(a_long_random_life)
{
	static bool there[500];
	struct table table;
	uint64_t now = SECOND;
	__u32 id, n = 0;

	srand(3);
	table_init(&table);
	for (unsigned round = 0; round < 200000; round++, now += SECOND / 1000) {
		unsigned i = rand() % 500;
		struct index_key key = key_of(i, 80, IPPROTO_TCP, SL_INDEX_VIP);

		CHECK_INT(index_find(&table.index, &key, &id), there[i] ? 0 : -ENOENT);
		if (there[i])
			CHECK_INT(index_del(&table.index, &key, now), 0);
		else
			CHECK_INT(index_add(&table.index, &key, i, now), 0);
		there[i] = !there[i];
		n += there[i] ? 1 : -1;
	}
	CHECK_INT(table.index.n_rows, n);
	for (unsigned i = 0; i < 500; i++) {
		struct index_key key = key_of(i, 80, IPPROTO_TCP, SL_INDEX_VIP);

		if (there[i]) {
			CHECK(has_bit(&table, &key, SL_FILTER_VIP));
			CHECK_INT(index_del(&table.index, &key, now), 0);
		}
	}
	for (unsigned i = 0; i < SL_FILTER_BITS / 64; i++)
		CHECK_INT(table.filters[SL_FILTER_VIP].word[i], 0);
	table_done(&table);
}
