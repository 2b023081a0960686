// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns what routes say of their MTU, as a list by device: a packet that the programs send straight to
 * a device is measured with the least of them. Leaves out the kernel's cache of learnt MTUs, and the
 * agent's own routes, over which no such packet goes. Called by route alone.
 */
#include "route_mtu.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>

#include "route_query.h"

void route_mtus_done(struct route_mtus *mtus)
{
	free(mtus->list);
	*mtus = (struct route_mtus){};
}

/* The MTU of a route; 0: none of its own. Its other attributes go to `attrs`. */
static __u32 parse_mtu(struct nlmsghdr *header, struct nlattr *attrs[RTA_MAX + 1])
{
	struct nlattr *metrics[RTAX_MAX + 1];
	struct rtmsg *route = nlmsg_data(header);

	if (nlmsg_parse(header, sizeof(*route), attrs, RTA_MAX, NULL) < 0 ||
	    route->rtm_type != RTN_UNICAST || route->rtm_flags & RTM_F_CLONED ||
	    route->rtm_protocol == SL_NODE_ROUTES || !attrs[RTA_METRICS] ||
	    nla_parse_nested(metrics, RTAX_MAX, attrs[RTA_METRICS], NULL) || !metrics[RTAX_MTU])
		return 0;
	return nla_get_u32(metrics[RTAX_MTU]);
}

bool route_mtu_is_in(struct nlmsghdr *header)
{
	struct nlattr *attrs[RTA_MAX + 1];

	return parse_mtu(header, attrs);
}

static int add(struct route_mtus *mtus, __u32 ifindex, __u32 mtu)
{
	struct route_mtu *grown;
	size_t i = 0;

	while (i < mtus->n && mtus->list[i].ifindex != ifindex)
		i++;
	if (i < mtus->n) {
		if (mtu < mtus->list[i].mtu)
			mtus->list[i].mtu = mtu;
		return 0;
	}
	if (mtus->n == mtus->capacity) {
		grown = reallocarray(mtus->list, mtus->capacity + 16, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		mtus->list = grown;
		mtus->capacity += 16;
	}
	mtus->list[mtus->n++] = (struct route_mtu){ifindex, mtu};
	return 0;
}

static int add_hops(struct route_mtus *mtus, struct nlattr *hops, __u32 mtu)
{
	struct rtnexthop *hop = nla_data(hops);
	int left = nla_len(hops), error = 0;

	while (!error && left >= (int)sizeof(*hop) && hop->rtnh_len >= sizeof(*hop) &&
	       hop->rtnh_len <= left) {
		if (!(hop->rtnh_flags & RTNH_F_DEAD))
			error = add(mtus, hop->rtnh_ifindex, mtu);
		left -= NLA_ALIGN(hop->rtnh_len);
		hop = (void *)((char *)hop + NLA_ALIGN(hop->rtnh_len));
	}
	return error;
}

struct listing {
	struct route_mtus mtus;
	int error;
};

static int on_route(struct nl_msg *msg, void *context)
{
	struct listing *listing = context;
	struct nlattr *attrs[RTA_MAX + 1];
	__u32 mtu = parse_mtu(nlmsg_hdr(msg), attrs);
	int error = 0;

	if (!mtu)
		return NL_OK;
	if (attrs[RTA_OIF])
		error = add(&listing->mtus, nla_get_u32(attrs[RTA_OIF]), mtu);
	else if (attrs[RTA_MULTIPATH])
		error = add_hops(&listing->mtus, attrs[RTA_MULTIPATH], mtu);
	if (error)
		listing->error = error;
	return NL_OK;
}

int route_mtus_update(struct route_mtus *mtus, struct nl_sock *requests)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	struct listing listing = {};
	int error;

	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_route, &listing);
	error = route_query_list(requests, RTM_GETROUTE, AF_INET, cb);
	error = error ?: route_query_list(requests, RTM_GETROUTE, AF_INET6, cb);
	nl_cb_put(cb);
	error = error ?: listing.error;
	if (error) {
		route_mtus_done(&listing.mtus);
		return error;
	}
	route_mtus_done(mtus);
	*mtus = listing.mtus;
	return 0;
}
