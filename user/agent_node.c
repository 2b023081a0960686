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

#include <bpf/bpf.h>

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

struct unrouted {
	union sl_addr to;
	int error; /* -EEXIST: somebody else's route is there */
};

struct node {
	struct agent *agent;
	struct nl_sock *sock;
	int ifindex;
	uv_timer_t linger;
	struct leaving *leaving; /* routes that wait for their last flow */
	size_t n_leaving;
	__u32 slice;             /* of the flow table, to be looked at next */
	struct unrouted *unrouted; /* of which was said why they have no route of ours */
	size_t n_unrouted;
	int said;                /* the last error of the device that was said */
};

/* ---- ways ------------------------------------------------------------------------------------*/

static __u32 mtu_of(void *context, __u32 ifindex)
{
	const struct node *node = context;
	const struct route_link *link = route_link_find(node->agent->route, ifindex);
	size_t n;
	const struct route_mtu *routes = route_mtus(node->agent->route, &n);
	__u32 mtu = link ? link->mtu : 0;

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

/* Whether both ends are up and have their names. */
static bool pair_is_sound(const struct node *node)
{
	const struct route *route = node->agent->route;
	const struct route_link *link = route_link_find(route, node->ifindex), *peer;

	if (!link || !link->up || !link->carrier || strcmp(link->name, SL_NODE_DEVICE))
		return false;
	peer = route_link_find(route, link->peer);
	return !peer || link->peer_netns >= 0 || !strcmp(peer->name, SL_NODE_PEER);
}

/* Whether the pair is as it must be and our program is at it. Otherwise mends it: the events of that
 * lead here again. */
static bool device_is_ready(struct node *node)
{
	char reason[256] = "";
	bool made;
	int ifindex = node->ifindex, error;

	if (pair_is_sound(node))
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

static void say_unrouted(const union sl_addr *to, int error)
{
	char text[ADDR_STR_LEN];

	addr_format(to, text);
	if (error == -EEXIST)
		log_warn("VIP %s: this node has a route to it that is not Sluice's: it is left "
			 "alone, and the node's own clients follow it", text);
	else if ((error == -EPERM || error == -EACCES) && !addr_is_v4(to))
		log_error("cannot route %s to " SL_NODE_DEVICE ": %s; IPv6 is likely off there: "
			  "sysctl -w net.ipv6.conf." SL_NODE_DEVICE ".disable_ipv6=0, or take the "
			  "address off the Service", text, strerror(-error));
	else
		log_error("cannot route %s to " SL_NODE_DEVICE ": %s; the node's own clients do not "
			  "reach it, and each change of routes tries again", text,
			  strerror(-error));
}

/* Says it once, until the address has a route or another error. */
static void note_unrouted(struct node *node, const union sl_addr *to, int error)
{
	struct unrouted *grown, *one = node->unrouted, *end = one + node->n_unrouted;

	while (one != end && !addr_equal(&one->to, to))
		one++;
	if (one != end && one->error == error)
		return;
	say_unrouted(to, error);
	if (one != end) {
		one->error = error;
		return;
	}
	grown = reallocarray(node->unrouted, node->n_unrouted + 1, sizeof(*grown));
	if (!grown)
		return;
	node->unrouted = grown;
	node->unrouted[node->n_unrouted++] = (struct unrouted){.to = *to, .error = error};
}

static void forget_unrouted(struct node *node, const union sl_addr *to)
{
	for (size_t i = 0; i < node->n_unrouted; i++)
		if (addr_equal(&node->unrouted[i].to, to))
			node->unrouted[i--] = node->unrouted[--node->n_unrouted];
}

static int compare_to(const void *addr, const void *route)
{
	return memcmp(addr, &((const struct node_route *)route)->to, sizeof(union sl_addr));
}

/* Forgets the addresses that nobody wants a route to any more. */
static void forget_unwanted(struct node *node, const struct node_route *wanted, size_t n)
{
	for (size_t i = 0; i < node->n_unrouted; i++)
		if (!n || !bsearch(&node->unrouted[i].to, wanted, n, sizeof(*wanted), compare_to))
			node->unrouted[i--] = node->unrouted[--node->n_unrouted];
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
	int error;

	if (step == NODE_STEP_LEAVE) {
		leave(node, route);
		return;
	}
	error = step == NODE_STEP_ADD ? node_route_is_taken(node->sock, node->ifindex, &route->to) : 0;
	if (error > 0)
		error = -EEXIST;
	error = error ?: node_route_add(node->sock, node->ifindex, route, step == NODE_STEP_CHANGE);
	if (error)
		note_unrouted(node, &route->to, error);
	else
		forget_unrouted(node, &route->to);
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
		forget_unwanted(node, wanted, n_wanted);
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
	const __u64 over = SL_FLOW_CLIENT_RST | SL_FLOW_REPLICA_RST | SL_FLOW_SPILLED;
	__u32 phase = SL_FLOW_PHASE(state);

	/* One that ended by FINs may have its last packets under way, for as long as it lingers; in the
	 * spill table it stays until another one takes its place. */
	if (flow->hook != SL_HOOK_NODE || phase < SL_FLOW_CLAIMED || flow->vip >= SL_MAX_VIPS ||
	    (phase == SL_FLOW_DONE && state & over))
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

/* A walk that changes cut short has not seen all. 0, or -errno. */
static int meet_spilled(struct node *node)
{
	const struct tables *tables = datapath_tables(node->agent->datapath);
	struct sl_flow_key key, *previous = NULL;
	struct sl_flow flow;

	for (unsigned step = 0; step < 2 * SL_MAX_SPILL; step++) {
		if (bpf_map_get_next_key(tables->spill_fd, previous, &key))
			return errno == ENOENT ? 0 : -errno;
		if (!bpf_map_lookup_elem(tables->spill_fd, &key, &flow))
			meet_flow(node, tables, &flow);
		previous = &key;
	}
	return -EAGAIN; /* a key that the LRU gave up meanwhile begins the walk anew */
}

/* A slice; after the last one and the spill table, deletes the routes that no flow was met for. */
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
	if (meet_spilled(node))
		return;
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
	free(node->unrouted);
	free(node);
}
