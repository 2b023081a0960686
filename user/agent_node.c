// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the way of the node's own clients, on the agent's side: keeps the device pair, and routes to
 * it as the tables want them. A route that is not wanted any more stays as long as a flow of the
 * node's needs it. What others do to either is mended as soon as netlink says so.
 */
#include <errno.h>
#include <netlink/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "addr.h"
#include "agent_state.h"
#include "log.h"
#include "node_device.h"
#include "node_plan.h"
#include "route_query.h"

#define LINGER_MS   20        /* between two slices of the flow table */
#define SLICE_BYTES (1u << 20)
#define SLICES      ((__u64)SL_FLOW_SETS * sizeof(struct sl_flow_set) / SLICE_BYTES)

struct leaving {
	struct node_route route;
	bool met; /* a live flow needs it */
};

struct node {
	struct agent *agent;
	struct nl_sock *sock;
	int ifindex;
	uv_timer_t linger;
	struct leaving *leaving; /* routes that wait for their last flow */
	size_t n_leaving;
	__u32 slice;             /* of the flow table, to be looked at next */
	union sl_addr *taken;    /* of which it was said that somebody else's route is there */
	size_t n_taken;
	int said;                /* the last error of the device that was said */
};

/* ---- ways ------------------------------------------------------------------------------------*/

static __u32 mtu_of(void *context, __u32 ifindex)
{
	const struct node *node = context;
	size_t n;
	const struct route_link *links = route_links(node->agent->route, &n);
	const struct route_mtu *routes;
	__u32 mtu = 0;

	for (size_t i = 0; i < n; i++)
		if (links[i].ifindex == (int)ifindex)
			mtu = links[i].mtu;
	routes = route_mtus(node->agent->route, &n);
	for (size_t i = 0; i < n; i++)
		if (routes[i].ifindex == ifindex && routes[i].mtu < mtu)
			mtu = routes[i].mtu;
	return mtu;
}

static void source_to(void *context, const union sl_addr *to, union sl_addr *ret)
{
	struct node *node = context;
	struct route_path path = {};

	if (!route_lookup(node->agent->route, to, &path))
		*ret = path.source;
}

/* ---- the device ------------------------------------------------------------------------------*/

static void say_once(struct node *node, int error, const char *reason)
{
	if (error && error != node->said)
		log_error("%s; until then the node's own clients are not steered", reason);
	node->said = error;
}

/* Whether the pair is as it must be and our program is at it. Otherwise mends it: the events of that
 * lead here again. */
static bool device_is_ready(struct node *node)
{
	char reason[256] = "";
	bool made;
	int ifindex = node->ifindex, error;
	size_t n;
	const struct route_link *links = route_links(node->agent->route, &n), *link = NULL;

	for (size_t i = 0; i < n; i++)
		if (links[i].ifindex == node->ifindex)
			link = &links[i];
	if (link && link->up && link->carrier)
		return interfaces_role(node->agent->interfaces, node->ifindex) == ATTACH_NODE;
	error = node_device_ensure(node->ifindex, &ifindex, &made, reason, sizeof(reason));
	if (!error && ifindex != node->ifindex) {
		error = -ENXIO; /* the loaded programs know it by the number that it had */
		snprintf(reason, sizeof(reason), "interface " SL_NODE_DEVICE " came back as "
			 "another one: restart sluiced");
	}
	say_once(node, error, reason);
	if (made)
		log_warn("interface " SL_NODE_DEVICE " was gone: made again");
	return false;
}

/* ---- routes ----------------------------------------------------------------------------------*/

/* Says of each address once that its route is somebody else's. */
static void say_taken(struct node *node, const union sl_addr *to)
{
	char text[ADDR_STR_LEN];
	union sl_addr *grown;

	for (size_t i = 0; i < node->n_taken; i++)
		if (addr_equal(&node->taken[i], to))
			return;
	log_warn("VIP %s: this node has a route to it that is not Sluice's: it is left alone, and the "
		 "node's own clients follow it", addr_format(to, text));
	grown = reallocarray(node->taken, node->n_taken + 1, sizeof(*grown));
	if (!grown)
		return;
	node->taken = grown;
	node->taken[node->n_taken++] = *to;
}

static void forget_taken(struct node *node, const union sl_addr *to)
{
	for (size_t i = 0; i < node->n_taken; i++)
		if (addr_equal(&node->taken[i], to))
			node->taken[i--] = node->taken[--node->n_taken];
}

static void leave(struct node *node, const struct node_route *route)
{
	struct leaving *grown = reallocarray(node->leaving, node->n_leaving + 1, sizeof(*grown));

	if (!grown)
		return; /* the next change of anything tries again */
	node->leaving = grown;
	node->leaving[node->n_leaving++] = (struct leaving){.route = *route};
}

static void take_step(void *context, enum node_step step, const struct node_route *route)
{
	struct node *node = context;
	char text[ADDR_STR_LEN];
	int error;

	if (step == NODE_STEP_LEAVE) {
		leave(node, route);
		return;
	}
	error = step == NODE_STEP_ADD ? node_route_is_taken(node->sock, node->ifindex, &route->to) : 0;
	if (error > 0)
		error = -EEXIST;
	error = error ?: node_route_add(node->sock, node->ifindex, route, step == NODE_STEP_CHANGE);
	if (error == -EEXIST)
		say_taken(node, &route->to);
	else if (error)
		log_error("cannot route %s to " SL_NODE_DEVICE ": %s", addr_format(&route->to, text),
			  strerror(-error));
	else
		forget_taken(node, &route->to);
}

static int sync_routes(struct node *node)
{
	struct node_ways ways = {.mtu = mtu_of, .source = source_to, .context = node};
	struct node_route *wanted = NULL, *present = NULL;
	size_t n_wanted = 0, n_present = 0;
	int error;

	ways.own = route_addresses(node->agent->route, &ways.n_own);
	error = node_plan_routes(datapath_tables(node->agent->datapath), &ways, &wanted, &n_wanted);
	error = error ?: node_route_list(node->sock, node->ifindex, &present, &n_present);
	if (!error) {
		node->n_leaving = 0;
		node_plan_compare(wanted, n_wanted, present, n_present, take_step, node);
	}
	free(wanted);
	free(present);
	return error;
}

static void on_linger(uv_timer_t *timer);

void node_sync(struct node *node)
{
	int error;

	if (!node || !node->agent->model || !device_is_ready(node))
		return;
	error = sync_routes(node);
	if (error)
		log_error("cannot bring the routes to " SL_NODE_DEVICE " up to date: %s",
			  strerror(-error));
	node->slice = 0; /* flows are looked for from the table's beginning */
	if (node->n_leaving)
		uv_timer_start(&node->linger, on_linger, LINGER_MS, LINGER_MS);
	else
		uv_timer_stop(&node->linger);
}

/* ---- routes that leave -------------------------------------------------------------------------*/

static void meet_flow(struct node *node, const struct tables *tables, const struct sl_flow *flow)
{
	__u64 state = __atomic_load_n(&flow->state, __ATOMIC_ACQUIRE);
	__u32 phase = SL_FLOW_PHASE(state);

	/* One that ended by FINs may have its last packets under way, for as long as it lingers. */
	if (flow->hook != SL_HOOK_NODE || phase < SL_FLOW_CLAIMED || flow->vip >= SL_MAX_VIPS ||
	    (phase == SL_FLOW_DONE && state & (SL_FLOW_CLIENT_RST | SL_FLOW_REPLICA_RST)))
		return;
	for (size_t i = 0; i < node->n_leaving; i++)
		if (addr_equal(&node->leaving[i].route.to, &tables->vips[flow->vip].addr))
			node->leaving[i].met = true;
}

static int meet_slice(struct node *node, __u32 slice)
{
	const struct tables *tables = datapath_tables(node->agent->datapath);
	const struct sl_flow *flows = mmap(NULL, SLICE_BYTES, PROT_READ, MAP_SHARED,
					   tables->flows_fd, (off_t)slice * SLICE_BYTES);

	if (flows == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < SLICE_BYTES / sizeof(*flows); i++)
		meet_flow(node, tables, &flows[i]);
	munmap((void *)flows, SLICE_BYTES);
	return 0;
}

/* A slice; after the last one, deletes the routes that no flow was met for. */
static void on_linger(uv_timer_t *timer)
{
	struct node *node = timer->data;
	size_t kept = 0;

	if (meet_slice(node, node->slice)) {
		node->slice = 0;
		return;
	}
	if (++node->slice < SLICES)
		return;
	node->slice = 0;
	for (size_t i = 0; i < node->n_leaving; i++) {
		struct leaving *one = &node->leaving[i];

		if (one->met || node_route_del(node->sock, node->ifindex, &one->route))
			node->leaving[kept++] = (struct leaving){.route = one->route};
	}
	node->n_leaving = kept;
	if (!kept)
		uv_timer_stop(timer);
}

/* ---- new and free ------------------------------------------------------------------------------*/

int node_new(struct agent *agent, int ifindex, struct node **ret)
{
	struct node *node = calloc(1, sizeof(*node));
	int error;

	if (!node)
		return -ENOMEM;
	error = route_query_open(&node->sock);
	if (error) {
		free(node);
		return error;
	}
	node->agent = agent;
	node->ifindex = ifindex;
	route_ignore(agent->route, nl_socket_get_local_port(node->sock));
	uv_timer_init(&agent->loop, &node->linger);
	node->linger.data = node;
	*ret = node;
	return 0;
}

void node_free(struct node *node)
{
	if (!node)
		return;
	nl_socket_free(node->sock);
	free(node->leaving);
	free(node->taken);
	free(node);
}
