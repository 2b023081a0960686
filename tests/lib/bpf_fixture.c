// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fixture of the packet tables: loading. Owns a loaded skeleton and its
 * mapped maps; refuses to pin or attach anything. A setup that fails ends the
 * program: no row could be trusted. Used by tests/bpf and tests/bench.
 *
 * Cases with the same options share one load of the programs (it takes the
 * verifier long); every map is emptied in between.
 */
#include "bpf_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "xdp.h"

void fixture_die(const char *what, int error)
{
	fprintf(stderr, "fixture: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static size_t memory_len(const struct bpf_map *map)
{
	size_t value = (bpf_map__value_size(map) + 7) & ~7u, page = sysconf(_SC_PAGESIZE);

	return (value * bpf_map__max_entries(map) + page - 1) & ~(page - 1);
}

static void *map_memory(const struct bpf_map *map)
{
	void *memory = mmap(NULL, memory_len(map), PROT_READ | PROT_WRITE, MAP_SHARED,
			    bpf_map__fd(map), 0);

	if (memory == MAP_FAILED)
		fixture_die(bpf_map__name(map), errno);
	return memory;
}

/* Every mapped map, with the pointer to it. */
#define FOR_EACH_MAPPED(X)                                                                         \
	X(control, control) X(kernel, kernel) X(filters, filters) X(addr_index, sets)              \
	X(vips, vips) X(services, services) X(members, members) X(replicas, replicas)              \
	X(replica_services, replica_services) X(sources, sources) X(flows, flows) X(snat, snat)    \
	X(outliers, outliers) X(service_states, service_states) X(pending, pending) X(lines, lines)                \
	X(events, events) X(event_head, event_head) X(first_bytes, first_bytes)

static void set_sizes(struct fixture *fixture, const struct fixture_options *options)
{
	struct sluice_bpf *skel = fixture->skel;

	fixture->flow_sets = options->flow_sets ? options->flow_sets : 64;
	fixture->snat_sets = options->snat_sets ? options->snat_sets : 64;
	skel->rodata->seed = FIXTURE_SEED;
	skel->rodata->hz = options->hz ? options->hz : FIXTURE_HZ;
	skel->rodata->node_ifindex = options->node_ifindex;
	skel->rodata->fast_path = options->fast_path;
	skel->rodata->fast_path_new = options->fast_path;
	skel->rodata->flow_sets = fixture->flow_sets;
	skel->rodata->snat_sets = fixture->snat_sets;
	if (options->snat_port_max) {
		skel->rodata->snat_port_min = options->snat_port_min;
		skel->rodata->snat_port_max = options->snat_port_max;
	}
	bpf_map__set_max_entries(skel->maps.flows, fixture->flow_sets);
	bpf_map__set_max_entries(skel->maps.flow_locks, fixture->flow_sets);
	bpf_map__set_max_entries(skel->maps.flow_tags, fixture->flow_sets);
	bpf_map__set_max_entries(skel->maps.snat, fixture->snat_sets);
	skel->rodata->event_rows = FIXTURE_EVENTS;
	bpf_map__set_max_entries(skel->maps.events, FIXTURE_EVENTS);
}

/* What the agent writes before anything else. */
static void start(struct fixture *fixture)
{
	fixture->control->layout = SL_LAYOUT_VERSION;
	fixture->control->seed = FIXTURE_SEED;
	fixture->control->hz = FIXTURE_HZ;
	if (index_init(&fixture->index, fixture->sets, fixture->filters, FIXTURE_SEED) ||
	    ranges_init(&fixture->ranges, SL_MAX_MEMBERS))
		fixture_die("index", ENOMEM);
	fixture->ifindex = 0;
	fixture->n_vips = fixture->n_services = fixture->n_replicas = fixture->n_sources = 0;
}

int fixture_open(struct fixture *fixture, const struct fixture_options *options)
{
	static const struct fixture_options usual;
	struct bpf_map *map;
	int err;

	*fixture = (struct fixture){.skel = sluice_bpf__open()};
	if (!fixture->skel)
		return -errno;
	bpf_object__for_each_map(map, fixture->skel->obj)
		bpf_map__set_pin_path(map, NULL);
	set_sizes(fixture, options ? options : &usual);
	if (xdp_has_frags())
		bpf_program__set_flags(fixture->skel->progs.uplink, BPF_F_XDP_HAS_FRAGS);
	err = sluice_bpf__load(fixture->skel);
	if (err) {
		sluice_bpf__destroy(fixture->skel);
		return err;
	}
#define MAP(map_name, field) fixture->field = map_memory(fixture->skel->maps.map_name);
	FOR_EACH_MAPPED(MAP)
#undef MAP
	start(fixture);
	return 0;
}

void fixture_close(struct fixture *fixture)
{
#define UNMAP(map_name, field) munmap(fixture->field, memory_len(fixture->skel->maps.map_name));
	FOR_EACH_MAPPED(UNMAP)
#undef UNMAP
	index_done(&fixture->index);
	ranges_done(&fixture->ranges);
	sluice_bpf__destroy(fixture->skel);
}

static void clear_counts(const struct bpf_map *map)
{
	__u64 zeros[libbpf_num_possible_cpus()];

	memset(zeros, 0, sizeof(zeros));
	for (__u32 row = 0; row < bpf_map__max_entries(map); row++)
		bpf_map_update_elem(bpf_map__fd(map), &row, zeros, BPF_ANY);
}

static void clear_hash(const struct bpf_map *map)
{
	struct sl_flow_key key;

	while (!bpf_map_get_next_key(bpf_map__fd(map), NULL, &key))
		bpf_map_delete_elem(bpf_map__fd(map), &key);
}

static void clear_queue(const struct bpf_map *map)
{
	unsigned char value[bpf_map__value_size(map)];

	while (!bpf_map_lookup_and_delete_elem(bpf_map__fd(map), NULL, value))
		;
}

/* As it was when it was opened. */
static void reset(struct fixture *fixture)
{
#define CLEAR(map_name, field) memset(fixture->field, 0, memory_len(fixture->skel->maps.map_name));
	FOR_EACH_MAPPED(CLEAR)
#undef CLEAR
	clear_counts(fixture->skel->maps.drops);
	clear_counts(fixture->skel->maps.counters);
	clear_hash(fixture->skel->maps.spill);
	clear_hash(fixture->skel->maps.line_places);
	clear_hash(fixture->skel->maps.fast_devices);
	clear_queue(fixture->skel->maps.ejections_due);
	index_done(&fixture->index);
	ranges_done(&fixture->ranges);
	start(fixture);
}

/* The fixture of these options, as if just opened. */
static struct fixture *fresh(const struct fixture_options *options)
{
	static struct fixture_options loaded, none;
	static struct fixture fixture;
	int err;

	options = options ? options : &none;
	if (fixture.skel && !memcmp(&loaded, options, sizeof(loaded))) {
		reset(&fixture);
		return &fixture;
	}
	if (fixture.skel)
		fixture_close(&fixture);
	err = fixture_open(&fixture, options);
	if (err)
		fixture_die("load", err);
	loaded = *options;
	return &fixture;
}

void fixture_once(fixture_fn *fn, const struct fixture_options *options)
{
	struct fixture *fixture = fresh(options);

	fixture->v6 = fixture->complete = false;
	fn(fixture);
}

void fixture_each(fixture_fn *fn, const struct fixture_options *options)
{
	for (int v6 = 0; v6 <= 1; v6++)
		for (int complete = 0; complete <= fixture_has_complete(); complete++) {
			struct fixture *fixture = fresh(options);

			fixture->v6 = v6;
			fixture->complete = complete;
			fn(fixture);
		}
}

bool fixture_has_complete(void)
{
	static const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K}, /* r0 = 0 */
		{.code = BPF_JMP | BPF_EXIT},
	};
	unsigned char frame[60] = {[12] = 8, [14] = 0x45};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .flags = FIXTURE_FLAG_COMPLETE);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "probe", "GPL", insns, 2, NULL), err;

	if (fd < 0)
		fixture_die("probe", errno);
	err = bpf_prog_test_run_opts(fd, &opts);
	close(fd);
	return !err;
}
