/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reader's side of the pinned maps: opens them below a bpffs directory and
 * maps the arrays into memory, read-only. Shared by the CLI and by the agent's
 * metrics; works with the agent dead. Never writes.
 */
#ifndef SLUICE_MAPS_H
#define SLUICE_MAPS_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/abi.h>

#define MAPS_DEFAULT_BPFFS "/sys/fs/bpf/sluice"

struct maps {
	const struct sl_control *control;
	const struct sl_kernel *kernel;
	const struct sl_vip *vips;
	const struct sl_service *services;
	const struct sl_member *members;
	const struct sl_replica *replicas;
	const struct sl_outlier *outliers;
	const struct sl_service_state *service_states;
	const struct sl_replica_services *replica_services;
	const struct sl_source *sources;
	const struct sl_flow_set *flows;
	const struct sl_snat_set *snat;
	const struct sl_event *events;
	const struct sl_event_head *event_head;
	__u32 n_vips, n_services, n_members, n_replicas, n_sources, n_flow_sets, n_snat_sets, n_events;
	int drops_fd, counters_fd;             /* per-CPU arrays */
	int service_names_fd, replica_names_fd;/* hashes */
	int spill_fd;
	int first_bytes_fd; /* an array */
};

/* 0; -ENOENT: nothing of Sluice is pinned below `bpffs`; -EAGAIN: only part of it is: the agent is
 * starting, or was stopped while it did; -EPROTO: its layout is not ours; -errno. On failure
 * nothing is left open. */
int maps_open(const char *bpffs, struct maps *ret);
void maps_close(struct maps *maps);

/* Jiffies for which ejections and resets are off yet; 0: they are on. `now`: sl_kernel.now. */
#define MAPS_FREEZE_MAX_S 86400 /* the longest: an older word that wraps around is none */
__s32 maps_freeze_left(const struct sl_control *control, __u32 now);

/* The state to show, most severe first. `now`: sl_kernel.now. */
enum sl_replica_state maps_replica_state(const struct sl_replica *replica, __u32 now);

/* Whether picks of this service leave the replica out as ejected: not if the service has no outlier
 * detection, nor while too few of its replicas are fit. */
bool maps_is_ejected(const struct maps *maps, __u32 service, const struct sl_replica *replica);

/* Whether `sluice hand-back` left new flows of this VIP to kube-proxy. */
bool maps_is_handed_back(const struct sl_vip *vip);

/* Times of first bytes of a service row; false when they cannot be read. */
bool maps_first_bytes(const struct maps *maps, __u32 service, struct sl_first_byte *ret);

/* Sum over all CPUs; 0 on success. */
int maps_read_drops(const struct maps *maps, uint64_t ret[SL_DROP_MAX]);
int maps_read_counters(const struct maps *maps, uint64_t ret[SL_COUNT_MAX]);

/* A copy of way `way` of set `set` in which key, state and the rest belong to one generation; false
 * when the slot is free, or changes hands too fast. */
bool maps_read_flow(const struct maps *maps, __u32 set, __u32 way, struct sl_flow *ret);

/* Event number `seq`. 0; -ENOENT: overwritten since; -EAGAIN: not written yet. */
int maps_read_event(const struct maps *maps, uint64_t seq, struct sl_event *ret);

/* Names by row; false and "" when there is none. */
bool maps_service_name(const struct maps *maps, __u32 service, struct sl_service_name *ret);
bool maps_replica_name(const struct maps *maps, __u32 replica, struct sl_replica_name *ret);

#endif
