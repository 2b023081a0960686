/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sluice's maps, small ones, pinned and filled by a test instead of the agent
 * and the programs: what readers are tested against. Plain system calls, so
 * that a stand-alone helper can use it as well as a unit test.
 *
 * What is in them:
 *   default/llm  http 80/TCP, overlay, its two variants; replicas 10.244.0.5:8000
 *                (ready, here, 3 in flight) and 10.244.1.5:8000 (suspect)
 *   prod/embed   53/UDP, unnamed port, replace; replicas [fd00:244::7]:8000 (load 2.5)
 *                and [fd00:244::8]:8000 (down, its load is old)
 *   default/old  http 8080/TCP, nothing behind it, its VIP withdrawn
 */
#ifndef SLUICE_TEST_PINNED_H
#define SLUICE_TEST_PINNED_H

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <sluice/abi.h>

enum {
	PINNED_SERVICES = 16,
	PINNED_VIPS = 16,
	PINNED_REPLICAS = 64,
	PINNED_MEMBERS = 64,
	PINNED_SETS = 16,
	PINNED_EVENTS = 64,
	PINNED_HZ = 250,
	PINNED_NOW = 100, /* the programs' clock, just after it wrapped */
};

/* The same memory as in struct maps, writable. */
struct pinned {
	struct sl_control *control;
	struct sl_kernel *kernel;
	struct sl_vip *vips;
	struct sl_service *services;
	struct sl_service_state *service_states;
	struct sl_replica *replicas;
	struct sl_replica_services *replica_services;
	struct sl_flow_set *flows;
	struct sl_event *events;
	struct sl_event_head *event_head;
	int drops_fd, counters_fd, service_names_fd, replica_names_fd, spill_fd;
};

static inline long pinned_bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

/* Creates one map and pins it. Its descriptor, or -errno. */
static inline int pinned_create(const char *dir, const char *name, enum bpf_map_type type,
				__u32 key_size, __u32 value_size, __u32 max_entries, __u32 flags)
{
	union bpf_attr attr = {.map_type = type, .key_size = key_size, .value_size = value_size,
			       .max_entries = max_entries, .map_flags = flags};
	char path[512];
	int fd;

	snprintf(attr.map_name, sizeof(attr.map_name), "%.15s", name);
	fd = pinned_bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uintptr_t)path;
	attr.bpf_fd = fd;
	return pinned_bpf(BPF_OBJ_PIN, &attr) ? -errno : fd;
}

/* A mapped array, pinned. NULL: it failed. */
static inline void *pinned_array(const char *dir, const char *name, size_t value_size, __u32 rows)
{
	int fd = pinned_create(dir, name, BPF_MAP_TYPE_ARRAY, sizeof(__u32), value_size, rows,
			       BPF_F_MMAPABLE);
	void *data;

	if (fd < 0)
		return NULL;
	data = mmap(NULL, value_size * rows, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return data == MAP_FAILED ? NULL : data;
}

/* A pinned array that is there, mapped writable. NULL: it failed. */
static inline void *pinned_open(const char *dir, const char *name, size_t size)
{
	union bpf_attr attr = {0};
	char path[512];
	void *data;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	attr.pathname = (uintptr_t)path;
	fd = pinned_bpf(BPF_OBJ_GET, &attr);
	if (fd < 0)
		return NULL;
	data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return data == MAP_FAILED ? NULL : data;
}

static inline int pinned_update(int fd, const void *key, const void *value)
{
	union bpf_attr attr = {.map_fd = fd, .key = (uintptr_t)key, .value = (uintptr_t)value};

	return pinned_bpf(BPF_MAP_UPDATE_ELEM, &attr) ? -errno : 0;
}

static inline union sl_addr pinned_addr(const char *text)
{
	union sl_addr addr = {.w = {0, 0, SL_V4_MARK, 0}};

	if (inet_pton(AF_INET, text, &addr.w[3]) != 1)
		inet_pton(AF_INET6, text, &addr);
	return addr;
}

static inline uint64_t pinned_clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* All maps, empty but for control.layout. False: the kernel refused one (errno). */
static inline bool pinned_init(const char *dir, struct pinned *ret)
{
	__u32 four = sizeof(__u32);
	struct pinned p = {0};

	p.control = pinned_array(dir, "control", sizeof(*p.control), 1);
	p.kernel = pinned_array(dir, "kernel", sizeof(*p.kernel), 1);
	p.vips = pinned_array(dir, "vips", sizeof(*p.vips), PINNED_VIPS);
	p.services = pinned_array(dir, "services", sizeof(*p.services), PINNED_SERVICES);
	p.replicas = pinned_array(dir, "replicas", sizeof(*p.replicas), PINNED_REPLICAS);
	p.replica_services = pinned_array(dir, "replica_services", sizeof(*p.replica_services),
					  PINNED_REPLICAS);
	p.service_states = pinned_array(dir, "service_states", sizeof(*p.service_states),
					PINNED_SERVICES);
	p.flows = pinned_array(dir, "flows", sizeof(*p.flows), PINNED_SETS);
	p.events = pinned_array(dir, "events", sizeof(*p.events), PINNED_EVENTS);
	p.event_head = pinned_array(dir, "event_head", sizeof(*p.event_head), 1);
	p.drops_fd = pinned_create(dir, "drops", BPF_MAP_TYPE_PERCPU_ARRAY, four, 8, SL_DROP_MAX, 0);
	p.counters_fd = pinned_create(dir, "counters", BPF_MAP_TYPE_PERCPU_ARRAY, four, 8,
				      SL_COUNT_MAX, 0);
	p.service_names_fd = pinned_create(dir, "service_names", BPF_MAP_TYPE_HASH, four,
					   sizeof(struct sl_service_name), PINNED_SERVICES,
					   BPF_F_NO_PREALLOC);
	p.replica_names_fd = pinned_create(dir, "replica_names", BPF_MAP_TYPE_HASH, four,
					   sizeof(struct sl_replica_name), PINNED_REPLICAS,
					   BPF_F_NO_PREALLOC);
	p.spill_fd = pinned_create(dir, "spill", BPF_MAP_TYPE_LRU_HASH, sizeof(struct sl_flow_key),
				   sizeof(struct sl_flow), 64, 0);
	if (!p.control || !p.kernel || !p.vips || !p.services || !p.replicas ||
	    !p.service_states ||
	    !p.replica_services || !p.flows || !p.events || !p.event_head || p.drops_fd < 0 ||
	    p.counters_fd < 0 || p.service_names_fd < 0 || p.replica_names_fd < 0 || p.spill_fd < 0)
		return false;
	/* Read by nobody's writer here. */
	if (!pinned_array(dir, "members", sizeof(struct sl_member), PINNED_MEMBERS) ||
	    !pinned_array(dir, "outliers", sizeof(struct sl_outlier), PINNED_REPLICAS) ||
	    !pinned_array(dir, "first_bytes", sizeof(struct sl_first_byte), PINNED_SERVICES) ||
	    !pinned_array(dir, "sources", sizeof(struct sl_source), 4) ||
	    !pinned_array(dir, "snat", sizeof(struct sl_snat_set), PINNED_SETS))
		return false;
	p.control->layout = SL_LAYOUT_VERSION;
	*ret = p;
	return true;
}

static inline void pinned_service(struct pinned *p, __u32 row, const char *service,
				  const char *port_name, int port, int proto, bool external)
{
	struct sl_service_name name = {.port = htons(port), .proto = proto, .external = external};

	snprintf(name.service, sizeof(name.service), "%s", service);
	snprintf(name.port_name, sizeof(name.port_name), "%s", port_name);
	pinned_update(p->service_names_fd, &row, &name);
	p->services[row].flags = SL_SERVICE_USED;
	p->services[row].idle_ticks = 3600 * PINNED_HZ;
}

/* outlierDetection, retries and caps of a row. */
static inline void pinned_policy(struct pinned *p, __u32 row)
{
	struct sl_service *service = &p->services[row];

	service->flags |= SL_SERVICE_SNIFF | SL_SERVICE_WAIT_FULL | SL_SERVICE_KEEP;
	service->retry_attempts = 3;
	service->retry_budget = 1000;
	service->syn_deadline_ticks = 5;
	service->max_parked = 1024;
	service->eject_5xx = 5;
	service->latency_factor = 275;
	service->max_ejection_percent = 10;
	service->base_ejection_ticks = 30 * PINNED_HZ;
	service->max_ejection_ticks = 300 * PINNED_HZ;
	service->reset_after_ds = 25;
}

static inline void pinned_vip(struct pinned *p, __u32 row, const char *addr, int port, int proto,
			      __u32 service)
{
	p->vips[row] = (struct sl_vip){.addr = pinned_addr(addr), .port = htons(port),
				       .proto = proto, .flags = SL_VIP_USED, .service = service};
}

static inline void pinned_replica(struct pinned *p, __u32 row, const char *addr, int proto,
				  __u16 flags, const char *pod, const char *node)
{
	struct sl_replica_config *config = &p->replicas[row].config;
	struct sl_replica_name name = {0};

	*config = (struct sl_replica_config){.addr = pinned_addr(addr), .port = htons(8000),
					     .proto = proto, .weight = 100,
					     .flags = SL_REPLICA_USED | flags};
	snprintf(name.pod, sizeof(name.pod), "%s", pod);
	snprintf(name.node, sizeof(name.node), "%s", node);
	pinned_update(p->replica_names_fd, &row, &name);
}

static inline void pinned_join(struct pinned *p, __u32 replica, __u32 service)
{
	struct sl_replica_services *of = &p->replica_services[replica];

	of->service[of->n++] = service;
}

static inline struct sl_flow pinned_flow(const char *client, int port, int proto, __u32 service,
					 __u32 vip, __u32 replica, __u64 state)
{
	return (struct sl_flow){
		.key = {.client = pinned_addr(client), .port = htons(port), .proto = proto,
			.service = service},
		.state = state, .replica = replica, .vip = vip, .last_seen = PINNED_NOW,
		.hook = SL_HOOK_POD};
}

static inline void pinned_event(struct sl_event *ring, struct sl_event_head *head,
				struct sl_event event, uint64_t ago_ns, const char *text)
{
	uint64_t seq = head->last + 1;

	event.time_ns = pinned_clock_ns(CLOCK_REALTIME) - ago_ns;
	snprintf(event.text, sizeof(event.text), "%s", text);
	ring[seq % PINNED_EVENTS] = event;
	__atomic_store_n(&ring[seq % PINNED_EVENTS].seq, seq, __ATOMIC_RELEASE);
	__atomic_store_n(&head->last, seq, __ATOMIC_RELEASE);
}

static inline void pinned_fill_objects(struct pinned *p)
{
	uint64_t now_ns = pinned_clock_ns(CLOCK_MONOTONIC);

	pinned_service(p, 0, "prod/embed", "", 53, IPPROTO_UDP, false);
	p->services[0].flags |= SL_SERVICE_REPLACE | SL_SERVICE_LOADS;
	p->services[0].load_ttl_ms = 60000;
	pinned_service(p, 1, "default/llm", "http", 80, IPPROTO_TCP, true);
	pinned_service(p, 2, "default/llm", "http", 80, IPPROTO_TCP, false);
	p->service_states[1].parked = 2;
	p->service_states[2].parked = 1;
	pinned_policy(p, 1);
	pinned_policy(p, 2);
	pinned_service(p, 3, "default/old", "http", 8080, IPPROTO_TCP, false);
	pinned_vip(p, 0, "fd00:96::1", 53, IPPROTO_UDP, 0);
	pinned_vip(p, 1, "192.0.2.10", 80, IPPROTO_TCP, 1);
	pinned_vip(p, 2, "10.96.0.10", 80, IPPROTO_TCP, 2);
	pinned_vip(p, 3, "10.96.0.11", 8080, IPPROTO_TCP, 3);
	p->vips[3].flags |= SL_VIP_NO_NEW;
	pinned_replica(p, 0, "fd00:244::8", IPPROTO_UDP, SL_REPLICA_PROBE_DOWN | SL_REPLICA_HAS_LOAD,
		       "", "");
	pinned_replica(p, 1, "fd00:244::7", IPPROTO_UDP, SL_REPLICA_HAS_LOAD, "prod/embed-0", "node2");
	pinned_replica(p, 5, "10.244.1.5", IPPROTO_TCP, SL_REPLICA_SUSPECT | SL_REPLICA_HELD,
		       "default/llm-b", "node2");
	pinned_replica(p, 6, "10.244.0.5", IPPROTO_TCP, SL_REPLICA_LOCAL, "default/llm-a", "node1");
	p->replicas[0].config.load = 256;
	p->replicas[0].config.report_ns = now_ns - 3600000000000ull;
	p->replicas[1].config.load = 640;
	p->replicas[1].config.report_ns = now_ns;
	p->replicas[5].config.weight = 400;
	p->replicas[5].config.max_connections = 64;
	p->replicas[5].config.probe_good = PINNED_NOW - 2 * PINNED_HZ;
	p->replicas[5].state = (struct sl_replica_state_row){.inflight = 1, .picks = 7,
							     .connect_failures = 2, .ejections = 1,
							     .retries = 4, .full = 9};
	p->replicas[6].state = (struct sl_replica_state_row){.inflight = 3, .owned = 5, .picks = 10};
	pinned_join(p, 0, 0);
	pinned_join(p, 1, 0);
	pinned_join(p, 5, 2);
	pinned_join(p, 6, 1); /* both variants: one row to show */
	pinned_join(p, 6, 2);
}

static inline void pinned_fill_flows(struct pinned *p)
{
	__u64 open = SL_FLOW_OPEN | 7 * SL_FLOW_GENERATION_ONE;
	struct sl_flow *slot, spilled;

	slot = &p->flows[0].way[0];
	*slot = pinned_flow("10.244.0.9", 40000, IPPROTO_TCP, 2, 2, 6, open);
	slot->last_seen = PINNED_NOW - PINNED_HZ; /* a second ago, before the clock wrapped */
	slot = &p->flows[3].way[7];
	*slot = pinned_flow("198.51.100.1", 5555, IPPROTO_TCP, 1, 1, 5, SL_FLOW_SYN);
	slot->snat_port = htons(1024);
	slot->hook = SL_HOOK_FABRIC;
	slot = &p->flows[PINNED_SETS - 1].way[2];
	*slot = pinned_flow("fd00:244::9", 6000, IPPROTO_UDP, 0, 0, 1, open);
	slot->last_seen = PINNED_NOW + 5; /* the published clock lags */
	p->flows[6].way[0] = pinned_flow("10.244.0.9", 40001, IPPROTO_TCP, 2, 2, 6, SL_FLOW_DONE);
	p->flows[7].way[0] = pinned_flow("10.244.0.9", 40002, IPPROTO_TCP, 2, 2, 6, SL_FLOW_CLAIMED);
	spilled = pinned_flow("10.244.0.10", 40003, IPPROTO_TCP, 2, 2, 6, open | SL_FLOW_SPILLED);
	pinned_update(p->spill_fd, &spilled.key, &spilled);
}

static inline void pinned_fill_accounts(struct pinned *p)
{
	uint64_t values[4096] = {0}; /* one a CPU, more than any kernel here has */
	struct sl_event state = {.kind = SL_EVENT_REPLICA_STATE, .service = 3, .port = htons(8000),
				 .value = SL_STATE_SUSPECT, .addr = pinned_addr("10.244.1.5")};
	__u32 row = SL_DROP_NO_REPLICA;

	p->control->agent_pid = 4711;
	p->control->heartbeat_ns = pinned_clock_ns(CLOCK_MONOTONIC);
	p->control->started_ns = pinned_clock_ns(CLOCK_REALTIME) - 5000000000ull;
	p->control->hz = PINNED_HZ;
	p->control->snat_port_min = 1024;
	p->control->snat_port_max = 29999;
	p->control->applied = 3;
	*p->kernel = (struct sl_kernel){.half_open = 1, .spilled = 1, .sweep_count = 42, .live = 3,
					.lingering = 1, .now = PINNED_NOW};
	values[0] = 2;
	values[1] = 3; /* ignored where there is one CPU */
	pinned_update(p->drops_fd, &row, values);
	row = SL_COUNT_PICKS;
	pinned_update(p->counters_fd, &row, values);
	pinned_event(p->events, p->event_head, (struct sl_event){.kind = SL_EVENT_AGENT_START},
		     7200000000000ull, "fresh");
	pinned_event(p->events, p->event_head, state, 600000000000ull,
		     "http GET \"/health\": \033[31m503\xff, 3 of 3");
	pinned_event(p->events, p->event_head, (struct sl_event){.kind = SL_EVENT_CONFIG_APPLIED},
		     1000000000ull, "3 services");
}

static inline void pinned_fill(struct pinned *p)
{
	pinned_fill_objects(p);
	pinned_fill_flows(p);
	pinned_fill_accounts(p);
}

#endif
