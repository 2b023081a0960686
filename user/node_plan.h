/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which routes the node's own clients need: what the tables want, and how that differs from what is
 * there. Pure: asks nobody and changes nothing.
 */
#ifndef SLUICE_NODE_PLAN_H
#define SLUICE_NODE_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "node_route.h"
#include "tables.h"

/* What the tables do not say. */
struct node_ways {
	const union sl_addr *own; /* addresses of this node, sorted as by memcmp() */
	size_t n_own;
	/* MTU of a device; 0: not known. */
	__u32 (*mtu)(void *context, __u32 ifindex);
	/* Preferred source of the route to a replica of this node; all zero: none. */
	void (*source)(void *context, const union sl_addr *to, union sl_addr *ret);
	void *context;
};

/* Whether it is an address of this node: the kernel delivers to it, whatever routes say. */
bool node_ways_own(const struct node_ways *ways, const union sl_addr *addr);

/*
 * A route for each address of a VIP that nobody else serves, but those that this node holds. Its
 * source is the one by which most of the service's remote replicas are reached, so that they can
 * answer; a hostNetwork replica of this node's own wants its own address, see bpf/hairpin.h. Its MTU
 * is the least on the way to any replica, for nothing compares a packet's length with it later.
 * Sorted by address; free(*ret). 0, or -ENOMEM.
 */
int node_plan_routes(const struct tables *tables, const struct node_ways *ways,
		     struct node_route **ret, size_t *ret_n);

enum node_step {
	NODE_STEP_ADD,
	NODE_STEP_CHANGE,
	NODE_STEP_LEAVE, /* there, and not wanted any more: to be deleted once no flow needs it */
};

typedef void node_step_fn(void *context, enum node_step step, const struct node_route *route);

/* Calls `fn` for each difference; sorts `present`. */
void node_plan_compare(const struct node_route *wanted, size_t n_wanted,
		       struct node_route *present, size_t n_present, node_step_fn *fn,
		       void *context);

#endif
