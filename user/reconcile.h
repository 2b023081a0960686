/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes the tables say what the model says: rows for services, VIPs, replicas
 * and sources, member lists, names. Rows keep their numbers for as long as any
 * flow refers to them, over restarts of the agent too; what the model no longer
 * has is retired at once (no new flows) and freed by reclaim once no flow is
 * left. Open flows are never disturbed.
 */
#ifndef SLUICE_RECONCILE_H
#define SLUICE_RECONCILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"
#include "model.h"
#include "tables.h"

/* The way to a replica, as the agent's routes and interfaces have it. */
struct reconcile_path {
	__u32 ifindex;        /* 0: no route */
	union sl_addr source; /* preferred source; all zero: none */
	bool local;           /* over a pod interface or a bridge of theirs, or an address of this node */
	__u32 peer_ifindex;   /* local: the pod interface that it is behind; 0: not to be redirected to */
	bool fast;            /* packets to it can bypass the node's stack */
};

typedef void reconcile_path_fn(void *context, const union sl_addr *to, struct reconcile_path *ret);

struct reconcile;

/* Reads what is in the tables already (warm start). `events` may be NULL. 0, or -errno. */
int reconcile_new(struct tables *tables, struct events *events, reconcile_path_fn *path,
		  void *context, struct reconcile **ret);
void reconcile_free(struct reconcile *reconcile);

/* Applies a model; `node_addresses` are what node ports are served on. 0; -ENOSPC: a table is too
 * small, `error` says which, and nothing is changed; -errno. */
int reconcile_apply(struct reconcile *reconcile, const struct model *model,
		    const union sl_addr *node_addresses, size_t n_node_addresses, char *error,
		    size_t error_len);

/* Asks for the path to every replica anew: routes or interfaces changed. */
void reconcile_paths(struct reconcile *reconcile);

/* Health bits of a replica (SL_REPLICA_PROBE_DOWN, SL_REPLICA_SUSPECT) become `health`; says so in
 * the event ring when the state to be shown changes. */
void reconcile_health(struct reconcile *reconcile, __u32 replica, __u16 health,
		      const char *evidence);

/* Moves slow starts on; call it every 100 ms or so. False: no replica will ever have one, until a
 * model is applied again. */
bool reconcile_warm(struct reconcile *reconcile);

/* Row of a replica, or -ENOENT. */
int64_t reconcile_find_replica(const struct reconcile *reconcile, const union sl_addr *addr,
			       __be16 port, __u8 proto);

/* The same of a replica that was the `nth` of all of the model that was applied last: no search, if it
 * still is. */
int64_t reconcile_find_nth(const struct reconcile *reconcile, size_t nth,
			   const struct model_replica *replica);

/* Row of a service-port, or -ENOENT. */
int64_t reconcile_service(const struct reconcile *reconcile, const struct model_service *service);

/* Whether rows wait to be freed. */
bool reconcile_has_retired(const struct reconcile *reconcile);

/* Looks at one slice of the flow table for rows that are still referred to; after a whole pass frees
 * retired rows that nobody met. Call it every 100 ms or so while rows are retired. */
void reconcile_reclaim(struct reconcile *reconcile);

#endif
