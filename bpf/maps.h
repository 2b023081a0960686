/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map, each with its card: purpose; key -> value; who writes, who reads;
 * how long it lives. All are pinned by name below --bpffs and outlive the agent.
 * Sizes are SL_* of abi.h. "mapped" means memory-mapped by agent and CLI.
 */
#ifndef SLUICE_BPF_MAPS_H
#define SLUICE_BPF_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <sluice/abi.h>

#define NO_FLAGS 0
#define ARRAY(map_name, value_type, entries, flag_bits)                                            \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, entries);                                                      \
		__uint(map_flags, flag_bits);                                                      \
		__uint(pinning, LIBBPF_PIN_BY_NAME);                                               \
		__type(key, __u32);                                                                \
		__type(value, value_type);                                                         \
	} map_name SEC(".maps")

/* Heartbeat, seed, limits. 0 -> sl_control. Agent / all. 64 B. */
ARRAY(control, struct sl_control, 1, BPF_F_MMAPABLE);
/* Table accounts and sweep cursors. 0 -> sl_kernel. Programs / all. 64 B. */
ARRAY(kernel, struct sl_kernel, 1, BPF_F_MMAPABLE);
/* "Not ours" in a nanosecond. sl_filter_id -> bits. Agent, mapped / programs. 16 KiB. */
ARRAY(filters, struct sl_filter, SL_FILTER_MAX, BPF_F_MMAPABLE);
/* (address, port, protocol) -> VIP, replica or source. Agent, mapped / programs. 4 MiB. */
ARRAY(addr_index, struct sl_index_set, SL_INDEX_SETS, BPF_F_MMAPABLE);
/* VIP row -> sl_vip. Agent, mapped / programs, CLI. 512 KiB. */
ARRAY(vips, struct sl_vip, SL_MAX_VIPS, BPF_F_MMAPABLE);
/* Service-port row -> sl_service. Agent, mapped / programs, CLI. 256 KiB. */
ARRAY(services, struct sl_service, SL_MAX_SERVICES, BPF_F_MMAPABLE);
/* Member lists and alias tables, one range a service-port. Agent, mapped / programs, CLI. 4 MiB. */
ARRAY(members, struct sl_member, SL_MAX_MEMBERS, BPF_F_MMAPABLE);
/* Replica row -> config (agent's line) and state (kernel's line). 2 MiB. */
ARRAY(replicas, struct sl_replica, SL_MAX_REPLICAS, BPF_F_MMAPABLE);
/* Replica row -> how it behaved lately. Programs / agent, CLI. 1 MiB. */
ARRAY(outliers, struct sl_outlier, SL_MAX_REPLICAS, BPF_F_MMAPABLE);
/* Service-port row -> what the programs keep of it. Programs / agent, CLI. 256 KiB. */
ARRAY(service_states, struct sl_service_state, SL_MAX_SERVICES, BPF_F_MMAPABLE);
/* Service-port row -> times of first bytes. Programs / agent. 512 KiB. */
ARRAY(first_bytes, struct sl_first_byte, SL_MAX_SERVICES, BPF_F_MMAPABLE);
/* Handshakes under way, taken in a circle. Programs / agent. 3 MiB. */
ARRAY(pending, struct sl_pending, SL_PENDING, BPF_F_MMAPABLE);
/* Replica row -> its service-ports. Agent, mapped / programs. 512 KiB. */
ARRAY(replica_services, struct sl_replica_services, SL_MAX_REPLICAS, BPF_F_MMAPABLE);
/* Own addresses for source NAT. Agent, mapped / programs. 8 KiB. */
ARRAY(sources, struct sl_source, SL_MAX_SOURCES, BPF_F_MMAPABLE);
/* The flow table: sets of 8 entries. Programs / CLI, mapped. 16 MiB. */
ARRAY(flows, struct sl_flow_set, SL_FLOW_SETS, BPF_F_MMAPABLE);
/* Source-NAT ports in use or in quarantine. Programs / CLI, mapped. 8 MiB. */
ARRAY(snat, struct sl_snat_set, SL_SNAT_SETS, BPF_F_MMAPABLE);
/* Event ring and its head. Agent, mapped / CLI. 16 MiB. */
ARRAY(events, struct sl_event, SL_MAX_EVENTS, BPF_F_MMAPABLE);
ARRAY(event_head, struct sl_event_head, 1, BPF_F_MMAPABLE);

struct flow_tags {
	__u8 way[SL_FLOW_WAYS];
};
/* Eight bits of hash of each entry: a look-up that fails reads two lines, not sixteen. Set row ->
 * tags. Programs. 256 KiB. */
ARRAY(flow_tags, struct flow_tags, SL_FLOW_SETS, NO_FLAGS);

struct flow_lock {
	struct bpf_spin_lock lock;
};
/* One lock a set of flows, for inserts. Programs. 128 KiB of locks. */
ARRAY(flow_locks, struct flow_lock, SL_FLOW_SETS, NO_FLAGS);

struct sweep_timer {
	struct bpf_timer timer;
};
enum { TIMER_SWEEP, TIMER_PENDING, TIMER_EJECT, TIMER_LINE, TIMERS };
/* The timers of the sweep, of the deadlines, of ejections that are due, and of the waiting lines.
 * Programs. */
ARRAY(sweep_timers, struct sweep_timer, TIMERS, NO_FLAGS);

/* Device -> the least MTU of routes over it, where that is less than its own. ifindex -> MTU.
 * Agent / programs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SL_MAX_ROUTE_MTUS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} route_mtus SEC(".maps");

/* Service-port row -> its waiting line. Programs. 96 KiB. */
ARRAY(lines, struct sl_line, SL_MAX_SERVICES, BPF_F_MMAPABLE);

/* Who has which ticket. sl_line_place -> row in pending + 1. Programs. 1 MiB. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SL_PENDING);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct sl_line_place);
	__type(value, __u32);
} line_places SEC(".maps");

/* SYNs to be sent again: sl_wakeup. Timers, programs / agent. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} wakeups SEC(".maps");

/* A threshold was reached: what is to be looked into. */
struct eject_due {
	__u32 service;   /* row */
	__u32 replica;   /* row */
	__u16 cause;     /* enum sl_eject_cause */
	__u16 run;       /* failures in a row */
	__u16 witnesses; /* as in sl_outlier; SL_EJECT_LATENCY: replicas that were compared */
	/* SL_EJECT_RATE: mean of its peers, 1/1000; SL_EJECT_LATENCY: median of them all, 1/100 s.
	 * `run` is its own then. */
	__u16 peers;
};
/* Ejections that are due. -> eject_due. Programs / timer. 2 KiB. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 128);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(value, struct eject_due);
} ejections_due SEC(".maps");

/* Flows that found both their sets full. sl_flow_key -> sl_flow. Programs / CLI. LRU: the oldest
 * gives way; outside every count. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SL_MAX_SPILL);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct sl_flow_key);
	__type(value, struct sl_flow);
} spill SEC(".maps");

/* Dropped packets. sl_drop_reason -> count per CPU. Programs / agent, CLI. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SL_DROP_MAX);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

/* Everything else that is counted. sl_counter -> count per CPU. Programs / agent, CLI. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SL_COUNT_MAX);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Devices of clients that packets can be redirected to: pod interfaces whose other end is in another
 * namespace, and uplinks. ifindex -> the device that routes to such clients lead to: the bridge that it
 * is a port of, or itself. Agent / programs, at picks. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SL_MAX_FAST_DEVICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} fast_devices SEC(".maps");

/* Names, for people. service-port row -> sl_service_name. Agent / CLI. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SL_MAX_SERVICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct sl_service_name);
} service_names SEC(".maps");

/* Names, for people. replica row -> sl_replica_name. Agent / CLI. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SL_MAX_REPLICAS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct sl_replica_name);
} replica_names SEC(".maps");

#undef ARRAY
#undef NO_FLAGS
#endif
