/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table against a plain kernel hash map: the same keys, looked up and
 * inserted in both, without a packet around it. `key_only` is the baseline: it
 * makes the key and does nothing with it.
 */
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>

#include "../../bpf/insert.h"
#include "store.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct store_cursor);
} cursors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set before load */
	__type(key, struct sl_flow_key);
	__type(value, struct store_value);
} hash SEC(".maps");

static __always_inline struct store_cursor *next_key(struct sl_flow_key *ret)
{
	__u32 zero = 0, n;
	struct store_cursor *cursor = bpf_map_lookup_elem(&cursors, &zero);

	if (!cursor)
		return NULL;
	n = cursor->next++ * cursor->spread & cursor->mask;
	__builtin_memset(ret, 0, sizeof(*ret));
	ret->client.w[2] = SL_V4_MARK;
	ret->client.w[3] = bpf_htonl(0x0a090000 + n / 4096);
	ret->port = bpf_htons(1024 + n % 4096);
	ret->proto = 6;
	return cursor;
}

/* The answer of a reverse lookup by replica, as a design with two entries a flow needs it. */
static __always_inline void reverse(struct sl_flow_key *key)
{
	key->flags = 1;
	key->service = 1;
}

SEC("tc")
int key_only(struct __sk_buff *skb)
{
	struct sl_flow_key key;
	struct store_cursor *cursor = next_key(&key);

	if (!cursor)
		return -1;
	cursor->hits += key.client.w[3] != 0 && key.port != 0;
	return 0;
}

/* What the memory of this machine costs: the one cache line where a flow most likely lies. */
SEC("tc")
int one_line(struct __sk_buff *skb)
{
	struct sl_flow_key key;
	struct store_cursor *cursor = next_key(&key);
	struct sl_flow_set *set;
	__u64 hash;
	__u32 row;

	if (!cursor)
		return -1;
	hash = sl_hash_flow(&key, seed);
	row = flow_set_1(hash);
	set = bpf_map_lookup_elem(&flows, &row);
	cursor->hits += set && READ_ONCE(set->way[flow_way(hash, 0)].state) != 1;
	return 0;
}

SEC("tc")
int table_lookup(struct __sk_buff *skb)
{
	struct sl_flow_key key;
	struct store_cursor *cursor = next_key(&key);
	struct flow_ref ref;

	if (!cursor)
		return -1;
	ref = table_find(&key, sl_hash_flow(&key, seed), SIDE_CLIENT, 0);
	cursor->hits += ref.flow && ref.flow->replica == 7;
	return 0;
}

/* A key that is not there: what each SYN costs first. */
SEC("tc")
int table_miss(struct __sk_buff *skb)
{
	struct sl_flow_key key;
	struct store_cursor *cursor = next_key(&key);
	struct flow_ref ref;

	if (!cursor)
		return -1;
	key.service = 2;
	ref = table_find(&key, sl_hash_flow(&key, seed), SIDE_CLIENT, 0);
	cursor->hits += !ref.flow;
	return 0;
}

SEC("tc")
int table_add(struct __sk_buff *skb)
{
	struct sl_flow body = {};
	struct store_cursor *cursor = next_key(&body.key);
	struct insert insert = {};

	if (!cursor)
		return -1;
	body.replica = 7;
	body.last_seen = bpf_jiffies64();
	cursor->hits += table_insert(&body, &insert) == INSERT_OK;
	return 0;
}

SEC("tc")
int hash_lookup(struct __sk_buff *skb)
{
	struct sl_flow_key key;
	struct store_cursor *cursor = next_key(&key);
	struct store_value *value;

	if (!cursor)
		return -1;
	value = bpf_map_lookup_elem(&hash, &key);
	cursor->hits += value && value->word[1] == 7;
	return 0;
}

SEC("tc")
int hash_miss(struct __sk_buff *skb)
{
	struct sl_flow_key key;
	struct store_cursor *cursor = next_key(&key);

	if (!cursor)
		return -1;
	key.service = 2;
	cursor->hits += !bpf_map_lookup_elem(&hash, &key);
	return 0;
}

SEC("tc")
int hash_add(struct __sk_buff *skb)
{
	struct sl_flow_key key;
	struct store_cursor *cursor = next_key(&key);
	struct store_value value = {.word[1] = 7};

	if (!cursor)
		return -1;
	cursor->hits += !bpf_map_update_elem(&hash, &key, &value, BPF_NOEXIST);
	return 0;
}

SEC("tc")
int hash_add_both(struct __sk_buff *skb)
{
	struct sl_flow_key key;
	struct store_cursor *cursor = next_key(&key);
	struct store_value value = {.word[1] = 7};
	long failed;

	if (!cursor)
		return -1;
	failed = bpf_map_update_elem(&hash, &key, &value, BPF_NOEXIST);
	reverse(&key);
	failed |= bpf_map_update_elem(&hash, &key, &value, BPF_NOEXIST);
	cursor->hits += !failed;
	return 0;
}

/* Undoes both kinds of hash_add. */
SEC("tc")
int hash_del(struct __sk_buff *skb)
{
	struct sl_flow_key key;
	struct store_cursor *cursor = next_key(&key);

	if (!cursor)
		return -1;
	cursor->hits += !bpf_map_delete_elem(&hash, &key);
	reverse(&key);
	bpf_map_delete_elem(&hash, &key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
