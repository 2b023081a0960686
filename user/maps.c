// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the reader's view of the pinned maps: read-only memory and read-only
 * descriptors, so nothing here can disturb the datapath. Refuses maps
 * whose sizes or layout version are not those of abi.h, for reading them would
 * be guessing. Called by the CLI and the agent's metrics.
 */
#include "maps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define READ_TRIES 8 /* of one flow entry that changes under our eyes */

/* The arrays that are mapped whole. `count`: where the number of rows goes, 0: there is one row.
 * Arrays with the same `count` must be of the same length. */
static const struct {
	const char *name;
	size_t value_size;
	size_t pointer, count; /* offsets in struct maps */
} arrays[] = {
#define ARRAY(name, type, count) {#name, sizeof(type), offsetof(struct maps, name), count}
#define COUNT(field) offsetof(struct maps, field)
	ARRAY(control, struct sl_control, 0), /* first: without it there is nothing */
	ARRAY(kernel, struct sl_kernel, 0),
	ARRAY(vips, struct sl_vip, COUNT(n_vips)),
	ARRAY(services, struct sl_service, COUNT(n_services)),
	ARRAY(members, struct sl_member, COUNT(n_members)),
	ARRAY(replicas, struct sl_replica, COUNT(n_replicas)),
	ARRAY(outliers, struct sl_outlier, COUNT(n_replicas)),
	ARRAY(service_states, struct sl_service_state, COUNT(n_services)),
	ARRAY(replica_services, struct sl_replica_services, COUNT(n_replicas)),
	ARRAY(sources, struct sl_source, COUNT(n_sources)),
	ARRAY(flows, struct sl_flow_set, COUNT(n_flow_sets)),
	ARRAY(snat, struct sl_snat_set, COUNT(n_snat_sets)),
	ARRAY(events, struct sl_event, COUNT(n_events)),
	ARRAY(event_head, struct sl_event_head, 0),
#undef ARRAY
#undef COUNT
};
#define N_ARRAYS (sizeof(arrays) / sizeof(arrays[0]))

/* The maps that are read through their descriptor. */
static const struct {
	const char *name;
	size_t key_size, value_size;
	size_t fd; /* offset in struct maps */
} tables[] = {
	{"drops", sizeof(__u32), sizeof(__u64), offsetof(struct maps, drops_fd)},
	{"counters", sizeof(__u32), sizeof(__u64), offsetof(struct maps, counters_fd)},
	{"service_names", sizeof(__u32), sizeof(struct sl_service_name),
	 offsetof(struct maps, service_names_fd)},
	{"replica_names", sizeof(__u32), sizeof(struct sl_replica_name),
	 offsetof(struct maps, replica_names_fd)},
	{"first_bytes", sizeof(__u32), sizeof(struct sl_first_byte),
	 offsetof(struct maps, first_bytes_fd)},
	{"spill", sizeof(struct sl_flow_key), sizeof(struct sl_flow),
	 offsetof(struct maps, spill_fd)},
};
#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

static void *field(struct maps *maps, size_t offset)
{
	return (char *)maps + offset;
}

static size_t array_rows(const struct maps *maps, size_t i)
{
	return arrays[i].count ? *(const __u32 *)((const char *)maps + arrays[i].count) : 1;
}

/* A descriptor of the map pinned as `name`; `flags`: BPF_F_RDONLY or 0. */
static int open_pin(const char *bpffs, const char *name, size_t key_size, size_t value_size,
		    __u32 flags, struct bpf_map_info *ret_info)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = flags);
	__u32 len = sizeof(*ret_info);
	char path[512];
	int fd, err;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", bpffs, name) >= sizeof(path))
		return -ENAMETOOLONG;
	fd = bpf_obj_get_opts(path, &opts);
	if (fd < 0)
		return -errno;
	memset(ret_info, 0, sizeof(*ret_info));
	err = bpf_obj_get_info_by_fd(fd, ret_info, &len) ? -errno : 0;
	if (!err && (ret_info->key_size != key_size || ret_info->value_size != value_size))
		err = -EPROTO;
	if (!err)
		return fd;
	close(fd);
	return err;
}

static int map_array(const char *bpffs, struct maps *maps, size_t i)
{
	__u32 *count = arrays[i].count ? field(maps, arrays[i].count) : NULL;
	struct bpf_map_info info;
	void *data;
	int fd, err = 0;

	/* mmap() refuses a read-only descriptor (kernel/bpf/syscall.c, bpf_map_mmap: it is no longer
	 * VM_SHARED); memory mapped with PROT_READ alone never becomes writable all the same. */
	fd = open_pin(bpffs, arrays[i].name, sizeof(__u32), arrays[i].value_size, 0, &info);
	if (fd < 0)
		return fd;
	if (count ? *count && *count != info.max_entries : info.max_entries != 1) {
		close(fd);
		return -EPROTO;
	}
	data = mmap(NULL, info.max_entries * arrays[i].value_size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		err = -errno;
	close(fd);
	if (err)
		return err;
	*(void **)field(maps, arrays[i].pointer) = data;
	if (count)
		*count = info.max_entries;
	return 0;
}

static int open_table(const char *bpffs, struct maps *maps, size_t i)
{
	struct bpf_map_info info;
	int fd = open_pin(bpffs, tables[i].name, tables[i].key_size, tables[i].value_size,
			  BPF_F_RDONLY, &info);

	if (fd < 0)
		return fd;
	*(int *)field(maps, tables[i].fd) = fd;
	return 0;
}

int maps_open(const char *bpffs, struct maps *ret)
{
	struct maps maps = {0};
	int err = 0;

	for (size_t i = 0; i < N_TABLES; i++)
		*(int *)field(&maps, tables[i].fd) = -1;
	for (size_t i = 0; i < N_ARRAYS && !err; i++) {
		err = map_array(bpffs, &maps, i);
		if (i > 0 || err)
			continue;
		/* The version first: of another layout nothing else can be expected. */
		if (maps.control->layout != SL_LAYOUT_VERSION)
			err = maps.control->layout ? -EPROTO : -EAGAIN;
	}
	for (size_t i = 0; i < N_TABLES && !err; i++)
		err = open_table(bpffs, &maps, i);
	if (!err) {
		*ret = maps;
		return 0;
	}
	if (err == -ENOENT && maps.control)
		err = -EAGAIN;
	maps_close(&maps);
	return err;
}

void maps_close(struct maps *maps)
{
	for (size_t i = 0; i < N_ARRAYS; i++) {
		void **data = field(maps, arrays[i].pointer);

		if (*data)
			munmap(*data, array_rows(maps, i) * arrays[i].value_size);
		*data = NULL;
	}
	for (size_t i = 0; i < N_TABLES; i++) {
		int *fd = field(maps, tables[i].fd);

		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
}

static bool is_ejected(const struct sl_replica *replica, __u32 now)
{
	__u32 until = __atomic_load_n(&replica->state.ejected_until, __ATOMIC_RELAXED);

	return until && (__s32)(until - now) > 0;
}

bool maps_is_ejected(const struct maps *maps, __u32 row, const struct sl_replica *replica)
{
	const struct sl_service *service = &maps->services[row];

	if (!service->eject_5xx && !service->eject_gateway && !service->eject_local &&
	    !service->latency_factor)
		return false;
	if (service->min_health_percent && maps->service_states &&
	    maps->service_states[row].unhealthy)
		return false;
	return is_ejected(replica, maps->kernel->now);
}

enum sl_replica_state maps_replica_state(const struct sl_replica *replica, __u32 now)
{
	__u16 flags = __atomic_load_n(&replica->config.flags, __ATOMIC_RELAXED);

	if (flags & (SL_REPLICA_NOT_SERVING | SL_REPLICA_NO_ROUTE | SL_REPLICA_PROBE_DOWN))
		return SL_STATE_DOWN;
	if ((flags & SL_REPLICA_DRAINING) || (replica->config.admin & SL_ADMIN_DRAINED))
		return SL_STATE_DRAINING;
	if (is_ejected(replica, now))
		return SL_STATE_EJECTED;
	if (flags & SL_REPLICA_SUSPECT)
		return SL_STATE_SUSPECT;
	return flags & SL_REPLICA_WARMING ? SL_STATE_WARMING : SL_STATE_READY;
}

__s32 maps_freeze_left(const struct sl_control *control, __u32 now)
{
	__u32 until = __atomic_load_n(&control->frozen_until, __ATOMIC_RELAXED);
	__s32 left = until - now;

	return until && left > 0 && left <= (__s32)(MAPS_FREEZE_MAX_S * control->hz) ? left : 0;
}

/* Row `i` of a per-CPU array of numbers, summed, for each i below n. */
static int sum_percpu(int fd, uint64_t *ret, __u32 n)
{
	int n_cpus = libbpf_num_possible_cpus(), err = 0;
	uint64_t *values;

	if (n_cpus < 0)
		return n_cpus;
	values = calloc(n_cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (__u32 i = 0; i < n && !err; i++) {
		ret[i] = 0;
		if (bpf_map_lookup_elem(fd, &i, values))
			err = -errno;
		for (int cpu = 0; cpu < n_cpus && !err; cpu++)
			ret[i] += values[cpu];
	}
	free(values);
	return err;
}

int maps_read_drops(const struct maps *maps, uint64_t ret[SL_DROP_MAX])
{
	return sum_percpu(maps->drops_fd, ret, SL_DROP_MAX);
}

int maps_read_counters(const struct maps *maps, uint64_t ret[SL_COUNT_MAX])
{
	return sum_percpu(maps->counters_fd, ret, SL_COUNT_MAX);
}

static bool flow_in_use(__u64 state)
{
	return SL_FLOW_PHASE(state) != SL_FLOW_FREE && SL_FLOW_PHASE(state) != SL_FLOW_CLAIMED;
}

bool maps_read_flow(const struct maps *maps, __u32 set, __u32 way, struct sl_flow *ret)
{
	const struct sl_flow *flow = &maps->flows[set].way[way];
	struct sl_flow copy;
	__u64 before, after;

	for (int i = 0; i < READ_TRIES; i++) {
		before = __atomic_load_n(&flow->state, __ATOMIC_ACQUIRE);
		if (!flow_in_use(before))
			return false;
		memcpy(&copy, (const void *)flow, sizeof(copy));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		after = __atomic_load_n(&flow->state, __ATOMIC_RELAXED);
		if (!flow_in_use(after) || SL_FLOW_GENERATION(before) != SL_FLOW_GENERATION(after))
			continue;
		copy.state = after;
		*ret = copy;
		return true;
	}
	return false;
}

int maps_read_event(const struct maps *maps, uint64_t seq, struct sl_event *ret)
{
	const struct sl_event *event = &maps->events[seq % maps->n_events];
	uint64_t found = __atomic_load_n(&event->seq, __ATOMIC_ACQUIRE);

	if (found == seq) {
		memcpy(ret, (const void *)event, sizeof(*ret));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		found = __atomic_load_n(&event->seq, __ATOMIC_RELAXED);
		ret->text[sizeof(ret->text) - 1] = '\0';
	}
	if (found == seq)
		return 0;
	return found > seq ? -ENOENT : -EAGAIN;
}

bool maps_is_handed_back(const struct sl_vip *vip)
{
	return (vip->flags & (SL_VIP_USED | SL_VIP_NO_NEW)) == SL_VIP_USED &&
	       __atomic_load_n(&vip->admin, __ATOMIC_RELAXED) & SL_ADMIN_HANDED_BACK;
}

bool maps_first_bytes(const struct maps *maps, __u32 service, struct sl_first_byte *ret)
{
	return !bpf_map_lookup_elem(maps->first_bytes_fd, &service, ret);
}

bool maps_service_name(const struct maps *maps, __u32 service, struct sl_service_name *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (bpf_map_lookup_elem(maps->service_names_fd, &service, ret))
		return false;
	ret->service[sizeof(ret->service) - 1] = '\0';
	ret->port_name[sizeof(ret->port_name) - 1] = '\0';
	return true;
}

bool maps_replica_name(const struct maps *maps, __u32 replica, struct sl_replica_name *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (bpf_map_lookup_elem(maps->replica_names_fd, &replica, ret))
		return false;
	ret->pod[sizeof(ret->pod) - 1] = '\0';
	ret->node[sizeof(ret->node) - 1] = '\0';
	return true;
}
