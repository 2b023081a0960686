// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the pair's making, mending and end, over rtnetlink. A pair is ours if both names are. Knows
 * nothing of routes or programs. Called by the agent and by `sluiced --unload`.
 */
#include "node_device.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sluice/abi.h>

#include "route_query.h"

#define MTU 65535 /* the most that a veth takes; routes have their own */

static const unsigned char mac[] = SL_NODE_MAC;

static struct nl_msg *link_message(int type, int flags, const struct ifinfomsg *info)
{
	struct nl_msg *msg = nlmsg_alloc_simple(type, flags);

	if (msg && nlmsg_append(msg, (void *)info, sizeof(*info), NLMSG_ALIGNTO) == 0)
		return msg;
	nlmsg_free(msg);
	return NULL;
}

static int create(struct nl_sock *sock, int ifindex)
{
	const struct ifinfomsg first = {.ifi_index = ifindex}, second = {};
	struct nl_msg *msg = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &first);
	struct nlattr *link, *data, *peer;

	if (!msg)
		return -ENOMEM;
	nla_put_string(msg, IFLA_IFNAME, SL_NODE_DEVICE);
	nla_put(msg, IFLA_ADDRESS, sizeof(mac), mac);
	nla_put_u32(msg, IFLA_MTU, MTU);
	link = nla_nest_start(msg, IFLA_LINKINFO);
	nla_put_string(msg, IFLA_INFO_KIND, "veth");
	data = nla_nest_start(msg, IFLA_INFO_DATA);
	peer = nla_nest_start(msg, VETH_INFO_PEER);
	nlmsg_append(msg, (void *)&second, sizeof(second), NLMSG_ALIGNTO);
	nla_put_string(msg, IFLA_IFNAME, SL_NODE_PEER);
	nla_put_u32(msg, IFLA_MTU, MTU);
	nla_nest_end(msg, peer);
	nla_nest_end(msg, data);
	nla_nest_end(msg, link);
	return route_query_request(sock, msg);
}

/* No link-local address, which would be found by neighbour and router discovery. */
static int set_no_addresses(struct nl_sock *sock, int ifindex)
{
	const struct ifinfomsg info = {.ifi_index = ifindex};
	struct nl_msg *msg = link_message(RTM_SETLINK, 0, &info);
	struct nlattr *families, *v6;
	int err;

	if (!msg)
		return -ENOMEM;
	families = nla_nest_start(msg, IFLA_AF_SPEC);
	v6 = nla_nest_start(msg, AF_INET6);
	nla_put_u8(msg, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	nla_nest_end(msg, v6);
	nla_nest_end(msg, families);
	err = route_query_request(sock, msg);
	return err == -EOPNOTSUPP || err == -EIO ? 0 : err; /* a node without IPv6 */
}

static int set_up(struct nl_sock *sock, int ifindex, const unsigned char *address)
{
	const struct ifinfomsg info = {.ifi_index = ifindex, .ifi_flags = IFF_UP | IFF_NOARP,
				       .ifi_change = IFF_UP | IFF_NOARP | IFF_MULTICAST};
	struct nl_msg *msg = link_message(RTM_SETLINK, 0, &info);

	if (!msg)
		return -ENOMEM;
	nla_put_u32(msg, IFLA_MTU, MTU);
	if (address)
		nla_put(msg, IFLA_ADDRESS, sizeof(mac), address);
	return route_query_request(sock, msg);
}

/* The interface indices of a pair that is there. 0; -ENODEV: none; -EEXIST: not ours; -errno. */
static int find(struct nl_sock *sock, int *ret_device, int *ret_peer)
{
	char name[IF_NAMESIZE] = "";
	struct rtnl_link *link;
	const char *kind;
	int err = rtnl_link_get_kernel(sock, 0, SL_NODE_DEVICE, &link);

	if (err)
		return route_query_errno(err) == -ENOENT ? -ENODEV : route_query_errno(err);
	kind = rtnl_link_get_type(link);
	*ret_device = rtnl_link_get_ifindex(link);
	*ret_peer = rtnl_link_get_link(link);
	if (!kind || strcmp(kind, "veth") || !if_indextoname(*ret_peer, name) ||
	    strcmp(name, SL_NODE_PEER))
		err = -EEXIST;
	rtnl_link_put(link);
	return err;
}

/* Makes it, or finds it, and brings both ends up. */
static int ensure(struct nl_sock *sock, int ifindex, int *ret_ifindex, bool *ret_made)
{
	int device = 0, peer = 0, err = find(sock, &device, &peer);

	*ret_made = err == -ENODEV;
	if (*ret_made)
		err = create(sock, ifindex) ?: find(sock, &device, &peer);
	err = err ?: set_no_addresses(sock, device);
	err = err ?: set_no_addresses(sock, peer);
	err = err ?: set_up(sock, peer, NULL);
	err = err ?: set_up(sock, device, mac);
	*ret_ifindex = device;
	return err;
}

int node_device_ensure(int ifindex, int *ret_ifindex, bool *ret_made, char *error,
		       size_t error_len)
{
	struct nl_sock *sock;
	int err = route_query_open(&sock);

	*ret_made = false;
	if (!err) {
		err = ensure(sock, ifindex, ret_ifindex, ret_made);
		nl_socket_free(sock);
	}
	if (err == -EEXIST)
		snprintf(error, error_len,
			 "interface " SL_NODE_DEVICE " or " SL_NODE_PEER " is there and is not "
			 "Sluice's: rename it");
	else if (err)
		snprintf(error, error_len, "cannot make the interface " SL_NODE_DEVICE ": %s",
			 strerror(-err));
	return err;
}

int node_device_remove(void)
{
	struct ifinfomsg info = {};
	struct nl_sock *sock;
	struct nl_msg *msg;
	int peer, err = route_query_open(&sock);

	if (err)
		return err;
	err = find(sock, &info.ifi_index, &peer);
	msg = err ? NULL : link_message(RTM_DELLINK, 0, &info);
	if (msg)
		err = route_query_request(sock, msg);
	else if (!err)
		err = -ENOMEM;
	nl_socket_free(sock);
	if (!err)
		return 1;
	return err == -ENODEV || err == -EEXIST ? 0 : err;
}
