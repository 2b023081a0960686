// SPDX-License-Identifier: GPL-2.0-only
/*
 * The flow table against a plain kernel hash map, in one run and with the same
 * keys: nanoseconds per look-up and per insert, net of making the key. Both hold
 * half of what they have room for; flows come in a scattered order. "hash, both":
 * two entries, since a hash map finds a flow by one key only and replies have another.
 * "one line" is the floor: the hash, and one read where the flow most likely lies.
 *
 * usage: store_bench     (root; half a minute; 400 MB of maps)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sluice/abi.h>

#include "bench.h"
#include "store.h"

#define ROUNDS 5
#define REPEAT (1u << 19)
#define MIN_SETS 64u

struct store {
	struct bpf_object *object;
	struct store_cursor *cursor;
	struct sl_flow_set *flows;
	unsigned n, sets; /* flows, and sets of the table */
	int key_only, one_line, table_lookup, table_miss, table_add;
	int hash_lookup, hash_miss, hash_add, hash_add_both, hash_del;
};

static void resize(struct store *store, const char *map, unsigned entries)
{
	struct bpf_map *found = bpf_object__find_map_by_name(store->object, map);

	if (!found || bpf_map__set_max_entries(found, entries))
		bench_die(map, ENOENT);
}

static void store_open(struct store *store, unsigned n)
{
	static const char *const needed[] = {"cursors",   "hash",   "flows", "flow_locks",
					     "flow_tags", "kernel", "spill"};
	struct bpf_map *map;
	int err;

	*store = (struct store){.object = bench_open_object("store"), .n = n};
	store->sets = n * 2 / SL_FLOW_WAYS < MIN_SETS ? MIN_SETS : n * 2 / SL_FLOW_WAYS;
	bpf_object__for_each_map(map, store->object) {
		bool keep = strstr(bpf_map__name(map), ".rodata");

		for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
			keep |= !strcmp(bpf_map__name(map), needed[i]);
		bpf_map__set_pin_path(map, NULL);
		bpf_map__set_autocreate(map, keep);
	}
	resize(store, "flows", store->sets);
	resize(store, "flow_locks", store->sets);
	resize(store, "flow_tags", store->sets);
	resize(store, "hash", 4 * (n < 256 ? 256 : n)); /* two entries a flow, half full */
	bench_set_knob(store->object, "flow_sets", store->sets);
	err = bpf_object__load(store->object);
	if (err)
		bench_die("store", err);
	store->cursor = bench_map_memory(store->object, "cursors");
	store->flows = bench_map_memory(store->object, "flows");
	store->cursor->mask = n - 1;
	store->cursor->spread = 0x9e3779b1;
#define PROGRAM(name) store->name = bench_program_fd(store->object, #name)
	PROGRAM(key_only);
	PROGRAM(one_line);
	PROGRAM(table_lookup);
	PROGRAM(table_miss);
	PROGRAM(table_add);
	PROGRAM(hash_lookup);
	PROGRAM(hash_miss);
	PROGRAM(hash_add);
	PROGRAM(hash_add_both);
	PROGRAM(hash_del);
#undef PROGRAM
}

/* Each call must do what it is for: all but one in a thousand (both sets of a key may be full). */
static double run(struct store *store, int fd, unsigned repeat)
{
	unsigned char frame[64] = {0};
	double ns;

	store->cursor->next = 0;
	store->cursor->hits = 0;
	ns = bench_run_ns(fd, frame, sizeof(frame), repeat, NULL);
	if (store->cursor->hits < repeat - repeat / 1000) {
		fprintf(stderr, "bench: %u of %u calls did nothing\n",
			repeat - store->cursor->hits, repeat);
		exit(1);
	}
	return ns;
}

/* Median of rounds, net of the baseline; `undo` empties the store after each. */
static double measure(struct store *store, int fd, unsigned repeat, void (*undo)(struct store *))
{
	double net[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		double base = run(store, store->key_only, repeat);

		net[i] = run(store, fd, repeat) - base;
		if (undo)
			undo(store);
	}
	return bench_median(net, ROUNDS);
}

static void empty_table(struct store *store)
{
	memset(store->flows, 0, store->sets * sizeof(*store->flows));
}

static void empty_hash(struct store *store)
{
	run(store, store->hash_del, store->n);
}

static void print_row(unsigned flows, const char *what, double table, double hash, double both)
{
	printf("%8u %-10s %10.1f", flows, what, table);
	if (hash > 0)
		printf(" %10.1f", hash);
	if (both > 0)
		printf(" %10.1f", both);
	printf("\n");
	fflush(stdout);
}

static void bench_size(unsigned n)
{
	double table, hash, both;
	struct store store;

	store_open(&store, n);
	table = measure(&store, store.table_add, n, empty_table);
	hash = measure(&store, store.hash_add, n, empty_hash);
	both = measure(&store, store.hash_add_both, n, empty_hash);
	print_row(n, "insert", table, hash, both);
	run(&store, store.table_add, n);
	run(&store, store.hash_add_both, n);
	print_row(n, "one line", measure(&store, store.one_line, REPEAT, NULL), 0, 0);
	table = measure(&store, store.table_lookup, REPEAT, NULL);
	hash = measure(&store, store.hash_lookup, REPEAT, NULL);
	print_row(n, "found", table, hash, 0);
	table = measure(&store, store.table_miss, REPEAT, NULL);
	hash = measure(&store, store.hash_miss, REPEAT, NULL);
	print_row(n, "not found", table, hash, 0);
	bpf_object__close(store.object);
}

int main(void)
{
	static const unsigned sizes[] = {1, 4096, 65536, 1048576};

	bench_pin_cpu();
	printf("%8s %-10s %10s %10s %10s\n", "flows", "ns", "table", "hash", "hash, both");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		bench_size(sizes[i]);
	return 0;
}
