// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the messages by which our routes are listed, added and deleted. What is wanted is said by
 * node_plan. Called by the agent; `sluice doctor` asks whose a route is.
 */
#include "node_route.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>

#include "addr.h"
#include "route_query.h"

#define DUMP_TRIES 10

static struct nl_msg *route_message(int type, int flags, const struct rtmsg *route)
{
	struct nl_msg *msg = nlmsg_alloc_simple(type, flags);

	if (msg && nlmsg_append(msg, (void *)route, sizeof(*route), NLMSG_ALIGNTO) == 0)
		return msg;
	nlmsg_free(msg);
	return NULL;
}

static void put_addr(struct nl_msg *msg, int attr, const union sl_addr *addr)
{
	if (addr_is_v4(addr))
		nla_put(msg, attr, 4, &addr->w[3]);
	else
		nla_put(msg, attr, 16, addr);
}

/* What all messages about one of ours say. */
static struct rtmsg head_of(const union sl_addr *to)
{
	bool v4 = addr_is_v4(to);

	return (struct rtmsg){.rtm_family = v4 ? AF_INET : AF_INET6, .rtm_dst_len = v4 ? 32 : 128,
			      .rtm_table = RT_TABLE_MAIN, .rtm_protocol = SL_NODE_ROUTES,
			      .rtm_scope = v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
			      .rtm_type = RTN_UNICAST};
}

/* ---- changes ----------------------------------------------------------------------------*/

int node_route_add(struct nl_sock *sock, int ifindex, const struct node_route *route, bool replace)
{
	int flags = NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL);
	struct rtmsg head = head_of(&route->to);
	struct nl_msg *msg = route_message(RTM_NEWROUTE, flags, &head);
	struct nlattr *metrics;

	if (!msg)
		return -ENOMEM;
	put_addr(msg, RTA_DST, &route->to);
	nla_put_u32(msg, RTA_OIF, ifindex);
	if (route->source.d[0] || route->source.d[1])
		put_addr(msg, RTA_PREFSRC, &route->source);
	if (route->mtu) {
		metrics = nla_nest_start(msg, RTA_METRICS);
		nla_put_u32(msg, RTAX_MTU, route->mtu);
		nla_nest_end(msg, metrics);
	}
	return route_query_request(sock, msg);
}

int node_route_del(struct nl_sock *sock, int ifindex, const struct node_route *route)
{
	struct rtmsg head = head_of(&route->to);
	struct nl_msg *msg = route_message(RTM_DELROUTE, 0, &head);
	int err;

	if (!msg)
		return -ENOMEM;
	put_addr(msg, RTA_DST, &route->to);
	nla_put_u32(msg, RTA_OIF, ifindex);
	err = route_query_request(sock, msg);
	return err == -ENOENT ? 0 : err;
}

/* ---- the list ---------------------------------------------------------------------------*/

struct listing {
	int ifindex;
	struct node_route *list;
	size_t n, capacity;
	int err;
};

static int listing_add(struct listing *listing, const struct node_route *route)
{
	struct node_route *grown;

	if (listing->n == listing->capacity) {
		grown = reallocarray(listing->list, listing->capacity * 2 + 16, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		listing->list = grown;
		listing->capacity = listing->capacity * 2 + 16;
	}
	listing->list[listing->n++] = *route;
	return 0;
}

/* Whether it is one of ours: a host route to our device, by our protocol. */
static bool is_ours(const struct rtmsg *head, struct nlattr **attrs, int ifindex)
{
	return head->rtm_protocol == SL_NODE_ROUTES && head->rtm_table == RT_TABLE_MAIN &&
	       head->rtm_dst_len == (head->rtm_family == AF_INET ? 32 : 128) && attrs[RTA_DST] &&
	       attrs[RTA_OIF] && nla_get_u32(attrs[RTA_OIF]) == (__u32)ifindex;
}

static int on_listed(struct nl_msg *msg, void *context)
{
	struct listing *listing = context;
	struct nlattr *attrs[RTA_MAX + 1], *metrics[RTAX_MAX + 1];
	struct node_route route = {};
	struct rtmsg *head = nlmsg_data(nlmsg_hdr(msg));

	if (nlmsg_parse(nlmsg_hdr(msg), sizeof(*head), attrs, RTA_MAX, NULL) < 0 ||
	    !is_ours(head, attrs, listing->ifindex) ||
	    addr_from_bytes(nla_data(attrs[RTA_DST]), nla_len(attrs[RTA_DST]), &route.to))
		return NL_OK;
	if (attrs[RTA_PREFSRC])
		addr_from_bytes(nla_data(attrs[RTA_PREFSRC]), nla_len(attrs[RTA_PREFSRC]),
				&route.source);
	if (attrs[RTA_METRICS] &&
	    !nla_parse_nested(metrics, RTAX_MAX, attrs[RTA_METRICS], NULL) && metrics[RTAX_MTU])
		route.mtu = nla_get_u32(metrics[RTAX_MTU]);
	listing->err = listing->err ?: listing_add(listing, &route);
	return NL_OK;
}

/* The kernel leaves out what is not ours (NETLINK_GET_STRICT_CHK): a node may have a million. */
static int list_family(struct nl_sock *sock, struct nl_cb *cb, int family, struct listing *listing)
{
	struct rtmsg head = {.rtm_family = family, .rtm_table = RT_TABLE_MAIN,
			     .rtm_protocol = SL_NODE_ROUTES};
	size_t before = listing->n;
	struct nl_msg *msg;
	int err = -NLE_DUMP_INTR;

	for (int i = 0; i < DUMP_TRIES && err == -NLE_DUMP_INTR; i++) {
		listing->n = before;
		msg = route_message(RTM_GETROUTE, NLM_F_DUMP, &head);
		if (!msg)
			return -ENOMEM;
		nla_put_u32(msg, RTA_OIF, listing->ifindex);
		err = nl_send_auto(sock, msg);
		nlmsg_free(msg);
		if (err >= 0)
			err = nl_recvmsgs(sock, cb);
	}
	err = route_query_errno(err < 0 ? err : 0);
	return err == -ENOENT || err == -EOPNOTSUPP ? 0 : err; /* no such family, or no table yet */
}

int node_route_list(struct nl_sock *sock, int ifindex, struct node_route **ret, size_t *ret_n)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	struct listing listing = {.ifindex = ifindex};
	int err, strict = 1;

	if (!cb)
		return -ENOMEM;
	setsockopt(nl_socket_get_fd(sock), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &strict,
		   sizeof(strict));
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_listed, &listing);
	err = list_family(sock, cb, AF_INET, &listing);
	err = err ?: list_family(sock, cb, AF_INET6, &listing);
	nl_cb_put(cb);
	err = err ?: listing.err;
	if (err) {
		free(listing.list);
		return err;
	}
	*ret = listing.list;
	*ret_n = listing.n;
	return 0;
}

/* ---- whose it is ------------------------------------------------------------------------*/

struct match {
	int ifindex;
	bool exact, ours;
};

static int on_match(struct nl_msg *msg, void *context)
{
	struct match *match = context;
	struct nlattr *attrs[RTA_MAX + 1];
	struct rtmsg *head = nlmsg_data(nlmsg_hdr(msg));

	if (nlmsg_parse(nlmsg_hdr(msg), sizeof(*head), attrs, RTA_MAX, NULL) < 0)
		return NL_OK;
	match->exact = head->rtm_dst_len == (head->rtm_family == AF_INET ? 32 : 128);
	match->ours = is_ours(head, attrs, match->ifindex);
	return NL_OK;
}

int node_route_is_taken(struct nl_sock *sock, int ifindex, const union sl_addr *to)
{
	struct rtmsg head = {.rtm_family = addr_is_v4(to) ? AF_INET : AF_INET6,
			     .rtm_dst_len = addr_is_v4(to) ? 32 : 128,
			     .rtm_flags = RTM_F_FIB_MATCH};
	struct nl_msg *msg = route_message(RTM_GETROUTE, 0, &head);
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	struct match match = {.ifindex = ifindex};
	int err = -NLE_NOMEM;

	if (msg && cb) {
		put_addr(msg, RTA_DST, to);
		nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_match, &match);
		err = nl_send_auto(sock, msg);
		if (err >= 0)
			err = nl_recvmsgs(sock, cb);
		if (err >= 0)
			err = nl_wait_for_ack(sock);
	}
	nlmsg_free(msg);
	nl_cb_put(cb);
	/* An error is an answer: nothing leads there. */
	return err == -NLE_NOMEM ? -ENOMEM : match.exact && !match.ours;
}
