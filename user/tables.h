/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The writer's side of the maps, as plain memory: what datapath opens and
 * reconcile fills. Only the agent has one. Stores that programs may read at the
 * same moment are single words; the order of stores is the writer's business.
 */
#ifndef SLUICE_TABLES_H
#define SLUICE_TABLES_H

#include <sluice/abi.h>

struct tables {
	struct sl_control *control;
	const struct sl_kernel *kernel;
	struct sl_filter *filters;                    /* SL_FILTER_MAX */
	struct sl_index_set *addr_index;              /* SL_INDEX_SETS */
	struct sl_vip *vips;                          /* SL_MAX_VIPS */
	struct sl_service *services;                  /* SL_MAX_SERVICES */
	struct sl_member *members;                    /* SL_MAX_MEMBERS */
	struct sl_replica *replicas;                  /* SL_MAX_REPLICAS; `state` is the kernel's */
	struct sl_replica_services *replica_services; /* SL_MAX_REPLICAS */
	struct sl_outlier *outliers;                  /* SL_MAX_REPLICAS; the kernel's */
	struct sl_service_state *service_states;      /* SL_MAX_SERVICES; the kernel's */
	struct sl_source *sources;                    /* SL_MAX_SOURCES */
	struct sl_event_head *event_head;
	int flows_fd, events_fd; /* too large to keep mapped: see reconcile_reclaim.c, events.c */
	int spill_fd;
	int pending_fd, wakeups_fd; /* handshakes under way; the ring buffer of deadlines */
	int inject_fd, eject_fd;    /* programs, for BPF_PROG_TEST_RUN */
	int reset_flows_fd;         /* another */
	int route_mtus_fd;
	int service_names_fd, replica_names_fd;
};

#endif
