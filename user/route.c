// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the netlink subscription: turns what the kernel says into a table of
 * links and addresses and into the four changes of route.h. Two sockets: one
 * for events, one for requests, so that an answer is never looked for among
 * events. Changes nothing in the kernel. Called by the agent.
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "route.h"
#include "route_mtu.h"
#include "route_query.h"
#include "route_table.h"

#define EVENT_BUFFER  (4 << 20) /* bytes; a node's worth of pods at once */
#define BATCH         256       /* messages a turn of the loop, so that others have theirs */
#define SETTLE_MS     20        /* routes are told when they were quiet for this long */
#define SETTLE_MAX_MS 200       /* or at the latest after this */

struct route {
	uv_poll_t poll;
	uv_timer_t settle;
	struct nl_sock *events;
	struct nl_sock *requests;
	struct nl_cb *on_event;
	route_change_fn *fn;
	void *context;
	struct route_table table;
	struct route_mtus mtus;
	bool mtus_due;            /* `mtus` may not be what holds any more */
	uint64_t unsettled_since; /* uv_now(); valid while `settle` runs */
	__u32 ignored;            /* port of a socket of ours that changes routes; 0: none */
	bool lost;                /* events were lost: only a new listing tells what holds */
	unsigned open_handles;
};

/* ---- events ------------------------------------------------------------------ */

static void on_settled(uv_timer_t *timer);

/* Routes, or what routes depend on, changed: tell once the burst is over. */
static void routes_changed(struct route *route)
{
	uint64_t now = uv_now(route->settle.loop), waited;

	if (route->mtus.n) /* a route may also go without a word */
		route->mtus_due = true;
	if (!uv_is_active((uv_handle_t *)&route->settle))
		route->unsettled_since = now;
	waited = now - route->unsettled_since;
	if (waited + SETTLE_MS <= SETTLE_MAX_MS)
		uv_timer_start(&route->settle, on_settled, SETTLE_MS, 0);
}

static void link_event(struct route *route, struct nlmsghdr *header)
{
	struct route_link link;
	int change = route_table_link(&route->table, header, &link);

	if (change < 0)
		route->lost = true;
	if (change <= ROUTE_TABLE_SAME)
		return;
	/* A link that goes down takes its IPv4 routes along without a word. */
	routes_changed(route);
	route->fn(route->context,
		  change == ROUTE_TABLE_LINK_GONE ? ROUTE_LINK_GONE : ROUTE_LINK_NEW, &link);
}

static void route_event(struct route *route, struct nlmsghdr *header)
{
	struct rtmsg *message = nlmsg_data(header);

	if (route->ignored && header->nlmsg_pid == route->ignored)
		return;
	/* Cloned routes are the kernel's cache, not its configuration. */
	if (!nlmsg_valid_hdr(header, sizeof(*message)) || message->rtm_flags & RTM_F_CLONED)
		return;
	if (!route->mtus_due && route_mtu_is_in(header))
		route->mtus_due = true;
	routes_changed(route);
}

static int on_event(struct nl_msg *msg, void *context)
{
	struct nlmsghdr *header = nlmsg_hdr(msg);
	struct route *route = context;

	switch (header->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		link_event(route, header);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		if (route_table_address(&route->table, header))
			route->lost = true;
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		route_event(route, header);
		break;
	default: /* rules and next hops */
		routes_changed(route);
		break;
	}
	return NL_OK;
}

static void own_addresses_changed(struct route *route)
{
	int changed = route_table_update_own(&route->table);

	if (changed < 0)
		route->lost = true;
	if (changed <= 0)
		return;
	routes_changed(route);
	route->fn(route->context, ROUTE_ADDRESSES, NULL);
}

/* ---- listing ------------------------------------------------------------------ */

struct listing {
	struct route_table table;
	int err;
};

static int on_listed(struct nl_msg *msg, void *context)
{
	struct nlmsghdr *header = nlmsg_hdr(msg);
	struct listing *listing = context;
	struct route_link link;
	int err = 0;

	if (header->nlmsg_type == RTM_NEWLINK)
		err = route_table_link(&listing->table, header, &link);
	else if (header->nlmsg_type == RTM_NEWADDR)
		err = route_table_address(&listing->table, header);
	if (err < 0)
		listing->err = err;
	return NL_OK;
}

/* Asks for all links and addresses. */
static int list_table(struct nl_sock *requests, struct route_table *ret)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	struct listing listing = {};
	int err;

	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_listed, &listing);
	err = route_query_list(requests, RTM_GETLINK, AF_UNSPEC, cb);
	if (!err)
		err = route_query_list(requests, RTM_GETADDR, AF_UNSPEC, cb);
	nl_cb_put(cb);
	if (!err)
		err = listing.err;
	if (err)
		route_table_done(&listing.table);
	else
		*ret = listing.table;
	return err;
}

/* Puts a new listing in place of the table, and tells how the links differ. */
static int relist(struct route *route)
{
	struct route_table old = route->table, now = {};
	const struct route_link *known;
	int err = list_table(route->requests, &now);

	if (err)
		return err;
	now.own = old.own;
	now.n_own = old.n_own;
	old.own = NULL;
	route->table = now;
	for (size_t i = 0; i < old.n_links; i++)
		if (!route_table_find(&now, old.links[i].ifindex))
			route->fn(route->context, ROUTE_LINK_GONE, &old.links[i]);
	for (size_t i = 0; i < now.n_links; i++) {
		known = route_table_find(&old, now.links[i].ifindex);
		if (!known || !route_link_equal(known, &now.links[i]))
			route->fn(route->context, ROUTE_LINK_NEW, &now.links[i]);
	}
	route_table_done(&old);
	return 0;
}

/* ---- the loop ------------------------------------------------------------------- */

/* Reads the events that wait, up to a batch. Once none is left, mends what was lost. */
static void read_events(struct route *route)
{
	int err = 0;

	for (int i = 0; i < BATCH && err != -NLE_AGAIN; i++) {
		err = nl_recvmsgs(route->events, route->on_event);
		if (err < 0 && err != -NLE_AGAIN)
			route->lost = true; /* ENOBUFS, above all */
	}
	/* From its overflow until it is empty the kernel gives the socket nothing more, and says so
	 * but once (netlink_overrun() in net/netlink/af_netlink.c): a listing made earlier would
	 * miss what is still to be lost. */
	if (err != -NLE_AGAIN)
		return;
	if (route->lost) {
		route->lost = relist(route) != 0;
		route->mtus_due = true;
		routes_changed(route); /* and, should the listing have failed, tries again */
	}
	own_addresses_changed(route);
}

static void on_settled(uv_timer_t *timer)
{
	struct route *route = timer->data;

	if (route->lost)
		read_events(route);
	if (uv_is_active((uv_handle_t *)timer))
		return;
	if (route->mtus_due)
		route->mtus_due = route_mtus_update(&route->mtus, route->requests) != 0;
	if (route->mtus_due) /* no memory, or routes change faster than they can be listed */
		uv_timer_start(timer, on_settled, SETTLE_MAX_MS, 0);
	route->fn(route->context, ROUTE_ROUTES, NULL);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	/* A lost event is an error of the socket, and libuv stops polling at errors. */
	if (status < 0)
		uv_poll_start(poll, UV_READABLE, on_readable);
	read_events(poll->data);
}

/* ---- new and free ------------------------------------------------------------------ */

static int accept_any_sequence(struct nl_msg *msg, void *context)
{
	return NL_OK;
}

static int open_events(struct route *route)
{
	static const int groups[] = {
		RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
		RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE,   RTNLGRP_NEXTHOP,
	};
	const int size = EVENT_BUFFER;
	int err = route_query_open(&route->events);

	if (err)
		return err;
	nl_socket_set_nonblocking(route->events);
	/* Without CAP_NET_ADMIN the buffer stays at the system's limit, which is survivable. */
	if (setsockopt(nl_socket_get_fd(route->events), SOL_SOCKET, SO_RCVBUFFORCE, &size,
		       sizeof(size)))
		nl_socket_set_buffer_size(route->events, size, 0);
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		err = nl_socket_add_membership(route->events, groups[i]);
		if (err)
			return route_query_errno(err);
	}
	route->on_event = nl_cb_alloc(NL_CB_DEFAULT);
	if (!route->on_event)
		return -ENOMEM;
	nl_cb_set(route->on_event, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, accept_any_sequence, NULL);
	nl_cb_set(route->on_event, NL_CB_VALID, NL_CB_CUSTOM, on_event, route);
	return 0;
}

static void destroy(struct route *route)
{
	route_table_done(&route->table);
	route_mtus_done(&route->mtus);
	nl_cb_put(route->on_event);
	nl_socket_free(route->events);
	nl_socket_free(route->requests);
	free(route);
}

static void on_closed(uv_handle_t *handle)
{
	struct route *route = handle->data;

	if (!--route->open_handles)
		destroy(route);
}

void route_free(struct route *route)
{
	if (!route)
		return;
	uv_close((uv_handle_t *)&route->poll, on_closed);
	uv_close((uv_handle_t *)&route->settle, on_closed);
}

static int open_handles(struct route *route, uv_loop_t *loop)
{
	int err = uv_poll_init(loop, &route->poll, nl_socket_get_fd(route->events));

	if (err)
		return err;
	uv_timer_init(loop, &route->settle);
	route->open_handles = 2;
	route->poll.data = route;
	route->settle.data = route;
	return 0;
}

int route_new(uv_loop_t *loop, route_change_fn *fn, void *context, struct route **ret)
{
	struct route *route = calloc(1, sizeof(*route));
	int err;

	if (!route)
		return -ENOMEM;
	route->fn = fn;
	route->context = context;
	err = open_events(route);
	if (!err)
		err = route_query_open(&route->requests);
	if (!err)
		err = open_handles(route, loop);
	if (err) {
		destroy(route);
		return err;
	}
	err = relist(route);
	if (!err)
		err = route_table_update_own(&route->table);
	if (err >= 0)
		err = route_mtus_update(&route->mtus, route->requests);
	if (!err)
		err = uv_poll_start(&route->poll, UV_READABLE, on_readable);
	if (err) {
		route_free(route);
		return err;
	}
	*ret = route;
	return 0;
}

void route_ignore(struct route *route, __u32 port)
{
	route->ignored = port;
}

/* ---- questions ------------------------------------------------------------------------ */

int route_lookup(struct route *route, const union sl_addr *to, struct route_path *ret)
{
	return route_query_path(route->requests, to, ret);
}

const struct route_link *route_links(const struct route *route, size_t *ret_n)
{
	*ret_n = route->table.n_links;
	return route->table.links;
}

const struct route_link *route_link_find(const struct route *route, int ifindex)
{
	return route_table_find(&route->table, ifindex);
}

const union sl_addr *route_addresses(const struct route *route, size_t *ret_n)
{
	*ret_n = route->table.n_own;
	return route->table.own;
}

const struct route_mtu *route_mtus(const struct route *route, size_t *ret_n)
{
	*ret_n = route->mtus.n;
	return route->mtus.list;
}

int route_default_ifindex(struct route *route)
{
	int ifindex = 0;

	return route_query_default(route->requests, &ifindex) ? 0 : ifindex;
}
