// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fixture of the packet tables. Owns a loaded skeleton and its mapped maps;
 * refuses to pin or attach anything. Setup goes through the agent's own writers
 * (index, alias, ranges), so that they are tested together. Used by tests/bpf
 * and tests/bench. A setup that fails ends the program: no row could be trusted.
 */
#include "bpf_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <sluice/hash.h>

#include "addr.h"
#include "alias.h"

#define FLAG_CHECKSUM_COMPLETE (1u << 2) /* BPF_F_TEST_SKB_CHECKSUM_COMPLETE of newer headers */
#define MAX_LIST 4096                    /* members of one service */

static const struct name {
	const char *name, *v4, *v6;
} names[] = {
	{"client", "10.9.0.9", "fd09::9"}, {"client2", "10.9.0.10", "fd09::10"},
	{"vip", "10.1.0.1", "fd01::1"},    {"vip2", "10.1.0.2", "fd01::2"},
	{"r1", "10.2.0.1", "fd02::1"},     {"r2", "10.2.0.2", "fd02::2"},
	{"r3", "10.2.0.3", "fd02::3"},     {"r4", "10.2.0.4", "fd02::4"},
	{"node", "10.5.0.1", "fd05::1"},   {"other", "10.7.0.7", "fd07::7"},
};

static void die(const char *what, int error)
{
	fprintf(stderr, "fixture: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

/* ---- loading --------------------------------------------------------------------*/

static void *map_memory(struct bpf_map *map)
{
	size_t value = (bpf_map__value_size(map) + 7) & ~7u, page = sysconf(_SC_PAGESIZE);
	size_t len = (value * bpf_map__max_entries(map) + page - 1) & ~(page - 1);
	void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	if (memory == MAP_FAILED)
		die(bpf_map__name(map), errno);
	return memory;
}

static void unmap_memory(struct bpf_map *map, void *memory)
{
	size_t value = (bpf_map__value_size(map) + 7) & ~7u, page = sysconf(_SC_PAGESIZE);

	munmap(memory, (value * bpf_map__max_entries(map) + page - 1) & ~(page - 1));
}

/* Every mapped map, with the pointer to it. */
#define FOR_EACH_MAPPED(X)                                                                         \
	X(control, control) X(kernel, kernel) X(filters, filters) X(addr_index, sets)              \
	X(vips, vips) X(services, services) X(members, members) X(replicas, replicas)              \
	X(replica_services, replica_services) X(sources, sources) X(flows, flows) X(snat, snat)

static void set_sizes(struct fixture *fixture, const struct fixture_options *options)
{
	struct sluice_bpf *skel = fixture->skel;

	fixture->flow_sets = options->flow_sets ? options->flow_sets : 64;
	fixture->snat_sets = options->snat_sets ? options->snat_sets : 64;
	skel->rodata->seed = FIXTURE_SEED;
	skel->rodata->hz = FIXTURE_HZ;
	skel->rodata->flow_sets = fixture->flow_sets;
	skel->rodata->snat_sets = fixture->snat_sets;
	if (options->snat_port_max) {
		skel->rodata->snat_port_min = options->snat_port_min;
		skel->rodata->snat_port_max = options->snat_port_max;
	}
	bpf_map__set_max_entries(skel->maps.flows, fixture->flow_sets);
	bpf_map__set_max_entries(skel->maps.flow_locks, fixture->flow_sets);
	bpf_map__set_max_entries(skel->maps.snat, fixture->snat_sets);
	bpf_map__set_max_entries(skel->maps.events, 1);
	if (options->spill_off)
		bpf_map__set_max_entries(skel->maps.spill, 1);
}

int fixture_open(struct fixture *fixture, const struct fixture_options *options)
{
	static const struct fixture_options usual;
	struct bpf_map *map;
	int err;

	fixture->skel = sluice_bpf__open();
	if (!fixture->skel)
		return -errno;
	bpf_object__for_each_map(map, fixture->skel->obj)
		bpf_map__set_pin_path(map, NULL);
	set_sizes(fixture, options ? options : &usual);
	err = sluice_bpf__load(fixture->skel);
	if (err) {
		sluice_bpf__destroy(fixture->skel);
		return err;
	}
#define MAP(map_name, field) fixture->field = map_memory(fixture->skel->maps.map_name);
	FOR_EACH_MAPPED(MAP)
#undef MAP
	fixture->control->layout = SL_LAYOUT_VERSION;
	fixture->control->seed = FIXTURE_SEED;
	fixture->control->hz = FIXTURE_HZ;
	if (index_init(&fixture->index, fixture->sets, fixture->filters, FIXTURE_SEED) ||
	    ranges_init(&fixture->ranges, SL_MAX_MEMBERS))
		die("index", ENOMEM);
	return 0;
}

void fixture_close(struct fixture *fixture)
{
#define UNMAP(map_name, field) unmap_memory(fixture->skel->maps.map_name, fixture->field);
	FOR_EACH_MAPPED(UNMAP)
#undef UNMAP
	index_done(&fixture->index);
	ranges_done(&fixture->ranges);
	sluice_bpf__destroy(fixture->skel);
}

static void run_variant(fixture_fn *fn, const struct fixture_options *options, bool v6,
			bool complete)
{
	struct fixture fixture = {.v6 = v6, .complete = complete};
	int err = fixture_open(&fixture, options);

	if (err)
		die("load", err);
	fn(&fixture);
	fixture_close(&fixture);
}

void fixture_once(fixture_fn *fn, const struct fixture_options *options)
{
	run_variant(fn, options, false, false);
}

void fixture_each(fixture_fn *fn, const struct fixture_options *options)
{
	bool complete = fixture_has_complete();

	for (int v6 = 0; v6 <= 1; v6++)
		for (int c = 0; c <= complete; c++)
			run_variant(fn, options, v6, c);
}

bool fixture_has_complete(void)
{
	/* r0 = 0; exit */
	const struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
	unsigned char frame[60] = {[12] = 8, [14] = 0x45};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .flags = FLAG_CHECKSUM_COMPLETE);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "probe", "GPL", insns, 2, NULL), err;

	if (fd < 0)
		die("probe", errno);
	err = bpf_prog_test_run_opts(fd, &opts);
	close(fd);
	return !err;
}

/* ---- names ------------------------------------------------------------------------*/

/* One word: a name, perhaps with a port, becomes an address; anything else stays. */
static void expand_word(const struct fixture *fixture, const char *word, size_t len, FILE *out)
{
	const char *colon = memchr(word, ':', len);
	size_t name_len = colon ? (size_t)(colon - word) : len;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i].name) != name_len || memcmp(names[i].name, word, name_len))
			continue;
		fprintf(out, fixture->v6 && colon ? "[%s]%.*s" : "%s%.*s",
			fixture->v6 ? names[i].v6 : names[i].v4, (int)(len - name_len),
			word + name_len);
		return;
	}
	fprintf(out, "%.*s", (int)len, word);
}

static const char *expand(const struct fixture *fixture, const char *line,
			  char buf[PACKET_TEXT_LEN])
{
	FILE *out = fmemopen(buf, PACKET_TEXT_LEN, "w");

	if (!out)
		die(line, errno);
	while (*line) {
		size_t len = strcspn(line, " ");

		expand_word(fixture, line, len, out);
		line += len;
		if (*line)
			fputc(*line++, out);
	}
	fclose(out);
	return buf;
}

/* "vip:80", "udp r1:53" */
static struct index_key parse_key(const struct fixture *fixture, const char *text, __u8 kind)
{
	struct index_key key = {.proto = IPPROTO_TCP, .kind = kind};
	char buf[PACKET_TEXT_LEN];

	if (!strncmp(text, "udp ", 4)) {
		key.proto = IPPROTO_UDP;
		text += 4;
	}
	if (addr_parse_port(expand(fixture, text, buf), &key.addr, &key.port))
		die(buf, EINVAL);
	return key;
}

/* ---- rows -------------------------------------------------------------------------*/

static void add_to_index(struct fixture *fixture, const struct index_key *key, __u32 id)
{
	int err = index_add(&fixture->index, key, id, 0);

	if (err)
		die("index_add", err);
}

__u32 fixture_add_service(struct fixture *fixture, __u32 flags)
{
	__u32 row = fixture->n_services++;

	fixture->services[row].load_ttl_ms = 2000;
	fixture->services[row].flags = flags | SL_SERVICE_USED;
	return row;
}

__u32 fixture_add_vip(struct fixture *fixture, __u32 service, const char *vip)
{
	struct index_key key = parse_key(fixture, vip, SL_INDEX_VIP), address = key;
	__u32 row = fixture->n_vips++, id;

	fixture->vips[row] = (struct sl_vip){
		.addr = key.addr, .port = key.port, .proto = key.proto, .flags = SL_VIP_USED,
		.service = service, .addr_sum = sl_addr_sum(&key.addr)};
	address.port = 0;
	address.proto = 0;
	address.kind = SL_INDEX_ADDRESS;
	if (index_find(&fixture->index, &address, &id))
		add_to_index(fixture, &address, 0);
	add_to_index(fixture, &key, row);
	return row;
}

__u32 fixture_add_source(struct fixture *fixture, const char *addr)
{
	struct index_key key = {.kind = SL_INDEX_SOURCE};
	__u32 row = fixture->n_sources++;
	char buf[PACKET_TEXT_LEN];

	if (addr_parse(expand(fixture, addr, buf), &key.addr))
		die(buf, EINVAL);
	fixture->sources[row] = (struct sl_source){
		.addr = key.addr, .addr_sum = sl_addr_sum(&key.addr), .used = 1};
	add_to_index(fixture, &key, row);
	return row;
}

static __u32 new_replica(struct fixture *fixture, const struct index_key *key, __u16 weight)
{
	__u32 row = fixture->n_replicas++;

	fixture->replicas[row].config = (struct sl_replica_config){
		.addr = key->addr, .port = key->port, .proto = key->proto, .weight = weight,
		.flags = SL_REPLICA_USED | SL_REPLICA_LOCAL, .addr_sum = sl_addr_sum(&key->addr),
		.out_ifindex = 1};
	add_to_index(fixture, key, row);
	return row;
}

__u32 fixture_add_replica(struct fixture *fixture, __u32 service, const char *replica,
			  __u16 weight)
{
	struct index_key key = parse_key(fixture, replica, SL_INDEX_REPLICA);
	struct sl_replica_services *services;
	__u32 row;

	if (index_find(&fixture->index, &key, &row))
		row = new_replica(fixture, &key, weight);
	services = &fixture->replica_services[row];
	services->service[services->n++] = service;
	fixture_publish(fixture, service);
	return row;
}

void fixture_publish(struct fixture *fixture, __u32 service)
{
	static __u32 replicas[MAX_LIST];
	static __u16 weights[MAX_LIST];
	__u64 old = fixture->services[service].members;
	__u32 offset, n = 0;
	int err;

	for (__u32 row = 0; row < fixture->n_replicas; row++)
		for (__u32 i = 0; i < fixture->replica_services[row].n; i++)
			if (fixture->replica_services[row].service[i] == service) {
				replicas[n] = row;
				weights[n++] = fixture->replicas[row].config.weight;
			}
	err = ranges_alloc(&fixture->ranges, n, 0, &offset);
	if (!err)
		err = alias_build(replicas, weights, n, &fixture->members[offset]);
	if (err)
		die("members", err);
	__atomic_store_n(&fixture->services[service].members,
			 SL_MEMBERS(offset, n, SL_MEMBERS_GENERATION(old) + 1), __ATOMIC_RELEASE);
	ranges_free(&fixture->ranges, SL_MEMBERS_OFFSET(old), SL_MEMBERS_LENGTH(old), 0);
}

__u32 fixture_simple(struct fixture *fixture, __u32 flags, unsigned n)
{
	static const char *const replicas[] = {"r1:8000", "r2:8000", "r3:8000", "r4:8000"};
	__u32 service = fixture_add_service(fixture, flags);

	fixture_add_vip(fixture, service, "vip:80");
	for (unsigned i = 0; i < n; i++)
		fixture_add_replica(fixture, service, replicas[i], 100);
	return service;
}

/* ---- packets ------------------------------------------------------------------------*/

static int program_fd(const struct fixture *fixture, enum fixture_hook at)
{
	const struct bpf_program *const programs[FIXTURE_HOOKS] = {
		[FROM_POD] = fixture->skel->progs.from_pod,
		[TO_POD] = fixture->skel->progs.to_pod,
		[FROM_UPLINK] = fixture->skel->progs.from_uplink,
		[TO_UPLINK] = fixture->skel->progs.to_uplink,
		[FROM_FABRIC] = fixture->skel->progs.from_fabric,
		[SWEEP_NOW] = fixture->skel->progs.sweep_now,
	};

	return bpf_program__fd(programs[at]);
}

void fixture_send(struct fixture *fixture, enum fixture_hook at, const char *line,
		  struct fixture_result *ret)
{
	char text[PACKET_TEXT_LEN];
	int err;

	if (packet_build(expand(fixture, line, text), &ret->in))
		die(text, EINVAL);
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = ret->in.data, .data_size_in = ret->in.len,
		    .data_out = ret->out.data, .data_size_out = sizeof(ret->out.data),
		    .flags = fixture->complete ? FLAG_CHECKSUM_COMPLETE : 0, .repeat = 1);
	err = bpf_prog_test_run_opts(program_fd(fixture, at), &opts);
	ret->out.len = err ? 0 : opts.data_size_out;
	ret->verdict = err ? err : (int)opts.retval;
	if (err)
		snprintf(ret->text, sizeof(ret->text), "test run: %s", strerror(-err));
	else
		packet_format(&ret->out, ret->text);
}

static bool is_untouched(const struct fixture_result *result)
{
	return result->in.len == result->out.len &&
	       !memcmp(result->in.data, result->out.data, result->in.len);
}

bool fixture_step(struct fixture *fixture, const struct step *step)
{
	char expected[PACKET_TEXT_LEN];
	struct fixture_result result;
	bool same;

	fixture_send(fixture, step->at, step->in, &result);
	if (step->out)
		same = !strcmp(result.text, expand(fixture, step->out, expected));
	else
		same = step->verdict == SHOT || is_untouched(&result);
	if (same && result.verdict == step->verdict)
		return true;
	printf("  [%s%s] %s\n    gave   %d: %s\n    wanted %d: %s\n", fixture->v6 ? "v6" : "v4",
	       fixture->complete ? ", complete" : "", step->in, result.verdict, result.text,
	       step->verdict, step->out ? expected : "(untouched)");
	return false;
}

bool fixture_steps(struct fixture *fixture, const struct step *steps, size_t n)
{
	bool good = true;

	for (size_t i = 0; i < n; i++)
		good &= fixture_step(fixture, &steps[i]);
	return good;
}

void fixture_sweep(struct fixture *fixture)
{
	struct fixture_result result;
	bool complete = fixture->complete;

	fixture->complete = false;
	fixture_send(fixture, SWEEP_NOW, "ether 2054 len 28", &result);
	fixture->complete = complete;
	if (result.verdict < 0)
		die("sweep_now", result.verdict);
}

/* ---- what the tables hold ----------------------------------------------------------*/

struct sl_flow *fixture_flow(struct fixture *fixture)
{
	struct sl_flow *found = NULL;

	for (__u32 i = 0; i < fixture->flow_sets * SL_FLOW_WAYS; i++) {
		struct sl_flow *flow = &fixture->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS];

		if (SL_FLOW_PHASE(flow->state) < SL_FLOW_SYN)
			continue;
		if (found)
			return NULL;
		found = flow;
	}
	return found;
}

unsigned fixture_count_flows(struct fixture *fixture, enum sl_flow_phase phase)
{
	unsigned n = 0;

	for (__u32 i = 0; i < fixture->flow_sets * SL_FLOW_WAYS; i++)
		n += SL_FLOW_PHASE(fixture->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS].state) ==
		     phase;
	return n;
}

unsigned fixture_count_snat(struct fixture *fixture, enum sl_snat_phase phase)
{
	unsigned n = 0;

	for (__u32 i = 0; i < fixture->snat_sets * SL_SNAT_WAYS; i++)
		n += fixture->snat[i / SL_SNAT_WAYS].way[i % SL_SNAT_WAYS].phase == phase;
	return n;
}

void fixture_age(struct fixture *fixture, unsigned seconds)
{
	for (__u32 i = 0; i < fixture->flow_sets * SL_FLOW_WAYS; i++)
		fixture->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS].last_seen -=
			seconds * FIXTURE_HZ;
	for (__u32 i = 0; i < fixture->snat_sets * SL_SNAT_WAYS; i++)
		fixture->snat[i / SL_SNAT_WAYS].way[i % SL_SNAT_WAYS].freed -=
			seconds * FIXTURE_HZ;
}

static uint64_t sum_row(struct bpf_map *map, __u32 row)
{
	int n = libbpf_num_possible_cpus();
	uint64_t values[n], sum = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(map), &row, values))
		die(bpf_map__name(map), errno);
	for (int i = 0; i < n; i++)
		sum += values[i];
	return sum;
}

uint64_t fixture_drops(struct fixture *fixture, enum sl_drop_reason reason)
{
	return sum_row(fixture->skel->maps.drops, reason);
}

uint64_t fixture_counter(struct fixture *fixture, enum sl_counter counter)
{
	return sum_row(fixture->skel->maps.counters, counter);
}

unsigned fixture_count_spilled(struct fixture *fixture)
{
	struct sl_flow_key key, *last = NULL;
	unsigned n = 0;

	while (!bpf_map_get_next_key(bpf_map__fd(fixture->skel->maps.spill), last, &key)) {
		last = &key;
		n++;
	}
	return n;
}
