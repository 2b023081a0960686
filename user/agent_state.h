/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the agent: its state, on agent_run()'s stack, and what its files
 * share. agent.c starts, stops and keeps time; agent_input.c takes in models,
 * links and routes; agent_attach.c brings programs to devices; agent_node.c is
 * the way of the node's own clients; agent_hold.c keeps replicas whose absence
 * from a list is doubted; agent_health.c deals with probes, health and panic.
 */
#ifndef SLUICE_AGENT_STATE_H
#define SLUICE_AGENT_STATE_H

#include <uv.h>

#include "agent.h"
#include "discover_file.h"
#include "facts.h"
#include "fast.h"
#include "hold.h"
#include "http.h"
#include "inject.h"
#include "maps.h"
#include "outlier.h"
#include "peers.h"
#include "probe.h"
#include "reconcile.h"
#include "route.h"

struct agent {
	const struct agent_options *options;
	uv_loop_t loop;
	uv_signal_t sigterm, sigint;
	uv_timer_t heartbeat, reclaim, warmup, panic_check, follow, judge, hold;
	struct policy_options policy;
	struct datapath *datapath;
	struct events events;
	struct maps maps;
	struct interfaces *interfaces;
	struct route *route;
	struct peers *peers; /* NULL: nobody asks for the fast path */
	struct node *node;          /* NULL until routes are known */
	int node_ifindex;           /* of SL_NODE_DEVICE */
	bool node_made;             /* by this agent, at its start */
	struct reconcile *reconcile;
	struct discover_file *discover;
	struct probe_set *probes;
	struct inject *inject;
	struct outlier *outlier;
	struct failures *failures;  /* NULL until there are probes */
	struct http *http;
	struct facts facts;
	struct model *model;        /* in force; NULL before the first */
	bool stale;                 /* the maps have replicas that it holds no longer */
	bool behind;                /* the maps lack some of it, or of the node's addresses */
	struct verdicts ignored;    /* of the input in force */
	struct diag last_refused;
	bool frozen;                /* as last said in the log */
	struct fast_tally fast;     /* likewise */
	char *port_clash;           /* likewise: see port_range_name_vips(); NULL: none */
	struct unattached *unattached; /* devices that could not be attached to */
	size_t n_unattached;
	bool panic[SL_MAX_SERVICES]; /* as last said in an event */
};

/* agent_input.c */
void agent_on_model(void *context, struct model *model, const struct verdicts *verdicts,
		    const struct diag *diag);
void agent_on_watch(void *context, const char *dir, int error);
void agent_on_route(void *context, enum route_change change, const struct route_link *link);
void agent_path(void *context, const union sl_addr *to, struct reconcile_path *ret);

/* agent_attach.c: each of these says once why it fails */
/* interfaces_default_uplink(), interfaces_fabric(), interfaces_link_new() */
typedef int attach_fn(struct interfaces *interfaces, const struct route_link *link);
/* Unless it failed before: then agent_attach_again() tries. */
void agent_attach(struct agent *agent, int ifindex, attach_fn *attach);
/* The default route's interface, unless --uplinks names others. */
void agent_attach_uplink(struct agent *agent);
/* An interface that may have a role by its name. */
void agent_attach_named(struct agent *agent, const struct route_link *link);
/* It is gone. */
void agent_attach_forget(struct agent *agent, int ifindex);
/* Tries what failed a second ago or longer. Whether some of it succeeded. */
bool agent_attach_again(struct agent *agent);

/* Brings the MTUs of routes into the kernel. */
void agent_write_mtus(struct agent *agent);

/* Brings the model in force into the maps and probes. 0, or -errno with the reason in *diag. */
int agent_apply(struct agent *agent, struct diag *diag);
/* The same, of a model that was in force before, `after` something else: no input is at fault when it
 * fails, which is said once. The heartbeat tries again until it, or another model, is in the maps. */
void agent_apply_again(struct agent *agent, const char *after);

/* agent_node.c: the way of the node's own clients */
struct node;
/* `ifindex` of SL_NODE_DEVICE. 0, or -errno. Freed when the loop has ended. */
int node_new(struct agent *agent, int ifindex, struct node **ret);
void node_free(struct node *node);
/* Tables, routes, links or addresses changed: mends the device, makes the routes what they must be.
 * NULL is fine. */
void node_sync(struct node *node);

/* agent_hold.c */
/* A model that is to be in force gets who is held. 0, or -ENOMEM. */
int agent_hold_carry(struct agent *agent, struct model *fresh, struct hold_changes *ret);
/* It is in force: says so, and looks at them from now on. Frees *changes. */
void agent_hold_begin(struct agent *agent, struct hold_changes *changes);
void agent_on_hold(uv_timer_t *timer);

/* agent_failure.c: see agent_failure.h */
struct failures;
/* 0, or -errno. Freed before the probes are. */
int failures_new(struct agent *agent, struct failures **ret);
void failures_free(struct failures *failures);
/* What is to be stored of a verdict, whose bits are `bits`; open flows are reset if it comes to
 * that. `hard`: its port refuses, or its link is gone. */
__u16 failures_judge(struct failures *failures, __u32 row, const struct probe_health *health,
		     bool hard, const char *evidence, __u16 bits);
/* Who is probed from now on: begin, each (once for every service that has it), end. */
void failures_sync_begin(struct failures *failures);
void failures_sync_add(struct failures *failures, __u32 row, const struct model_replica *replica,
		       unsigned reset_after_ms);
/* The longest interval at which any of them is probed. */
void failures_sync_pace(struct failures *failures, unsigned interval_ms);
void failures_sync_end(struct failures *failures);
/* agent_reset.c */
/* A link went: "is gone", "is down". */
void failures_link_gone(struct failures *failures, const struct route_link *link,
			const char *what);

/* agent_health.c */
/* Some replica's health changed: services may have entered or left panic. */
void agent_health_changed(struct agent *agent);
void agent_on_health(void *context, __u32 replica, const struct probe_health *health,
		     bool port_refused, const char *evidence);
void agent_on_good_probe(void *context, __u32 replica);
/* Connects that the replica's owner refused so far since it was at its cap. */
uint64_t agent_full_so_far(void *context, __u32 replica);
void agent_on_panic_check(uv_timer_t *timer);
/* Probes exactly the replicas of the model in force. 0, or -ENOMEM. */
int agent_sync_probes(struct agent *agent);
/* Says which services entered or left panic. */
void agent_check_panic(struct agent *agent);

#endif
