// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the pair's making, mending and end, over rtnetlink. A pair is ours if both names are, or, since
 * anybody may rename an interface, if its first end has our MAC address and one thing more is right: a
 * name, or the number by which the agent knows it. Knows nothing of routes or programs. Called by the
 * agent and by `sluiced --unload`.
 */
#include "node_device.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/addr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sluice/abi.h>

#include "log.h"
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

static int send_name(struct nl_sock *sock, int ifindex, const char *name)
{
	const struct ifinfomsg info = {.ifi_index = ifindex};
	struct nl_msg *msg = link_message(RTM_SETLINK, 0, &info);

	if (!msg)
		return -ENOMEM;
	nla_put_string(msg, IFLA_IFNAME, name);
	return route_query_request(sock, msg);
}

/* An end that was renamed gets its name back. Before Linux 6.2 it must be down for that. */
static int set_name(struct nl_sock *sock, int ifindex, const char *name)
{
	const struct ifinfomsg down = {.ifi_index = ifindex, .ifi_change = IFF_UP};
	char present[IF_NAMESIZE] = "";
	int err;

	if (!if_indextoname(ifindex, present) || !strcmp(present, name))
		return 0;
	err = send_name(sock, ifindex, name);
	if (err == -EBUSY)
		err = route_query_request(sock, link_message(RTM_SETLINK, 0, &down)) ?:
			      send_name(sock, ifindex, name);
	if (!err)
		log_warn("interface %s had been renamed %s: it is %s again", name, present, name);
	return err;
}

/* ---- which pair is ours -----------------------------------------------------------------*/

/* A veth by number (0: by name) whose other end is here too; NULL: there is none. */
static struct rtnl_link *get_veth(struct nl_sock *sock, int ifindex, const char *name)
{
	struct rtnl_link *link;
	const char *kind;
	int32_t netns;

	if (rtnl_link_get_kernel(sock, ifindex, ifindex ? NULL : name, &link))
		return NULL;
	kind = rtnl_link_get_type(link);
	if (kind && !strcmp(kind, "veth") && rtnl_link_get_link_netnsid(link, &netns))
		return link;
	rtnl_link_put(link);
	return NULL;
}

static bool has_our_mac(struct rtnl_link *link)
{
	struct nl_addr *addr = rtnl_link_get_addr(link);

	return addr && nl_addr_get_len(addr) == sizeof(mac) &&
	       !memcmp(nl_addr_get_binary_addr(addr), mac, sizeof(mac));
}

/* Takes the numbers of both ends out of the first one, and frees it; false: it is not ours. */
static bool take_pair(struct rtnl_link *link, bool ours, int *ret_device, int *ret_peer)
{
	if (link && ours) {
		*ret_device = rtnl_link_get_ifindex(link);
		*ret_peer = rtnl_link_get_link(link);
	}
	rtnl_link_put(link);
	return link && ours;
}

/* By the number that it had. */
static bool find_by_number(struct nl_sock *sock, int ifindex, int *ret_device, int *ret_peer)
{
	struct rtnl_link *link = ifindex ? get_veth(sock, ifindex, NULL) : NULL;

	return take_pair(link, link && has_our_mac(link), ret_device, ret_peer);
}

static bool find_by_device(struct nl_sock *sock, int *ret_device, int *ret_peer)
{
	struct rtnl_link *link = get_veth(sock, 0, SL_NODE_DEVICE);
	char peer[IF_NAMESIZE] = "";
	bool ours = link && (has_our_mac(link) ||
			     (if_indextoname(rtnl_link_get_link(link), peer) &&
			      !strcmp(peer, SL_NODE_PEER)));

	return take_pair(link, ours, ret_device, ret_peer);
}

static bool find_by_peer(struct nl_sock *sock, int *ret_device, int *ret_peer)
{
	struct rtnl_link *peer = get_veth(sock, 0, SL_NODE_PEER), *link = NULL;

	if (peer && rtnl_link_get_link(peer))
		link = get_veth(sock, rtnl_link_get_link(peer), NULL);
	rtnl_link_put(peer);
	return take_pair(link, link && has_our_mac(link), ret_device, ret_peer);
}

/* The interface indices of a pair that is there, under whatever names; `ifindex`: the first one's as
 * it was, 0: not known. 0; -ENODEV: none; -EEXIST: not ours. */
static int find(struct nl_sock *sock, int ifindex, int *ret_device, int *ret_peer)
{
	if (find_by_number(sock, ifindex, ret_device, ret_peer) ||
	    find_by_device(sock, ret_device, ret_peer) || find_by_peer(sock, ret_device, ret_peer))
		return 0;
	return if_nametoindex(SL_NODE_DEVICE) || if_nametoindex(SL_NODE_PEER) ? -EEXIST : -ENODEV;
}

/* Makes it, or finds it, and brings both ends up. */
static int ensure(struct nl_sock *sock, int ifindex, int *ret_ifindex, bool *ret_made)
{
	int device = 0, peer = 0, err = find(sock, ifindex, &device, &peer);

	*ret_made = err == -ENODEV;
	if (*ret_made)
		err = create(sock, ifindex) ?: find(sock, ifindex, &device, &peer);
	err = err ?: set_name(sock, device, SL_NODE_DEVICE);
	err = err ?: set_name(sock, peer, SL_NODE_PEER);
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
	err = find(sock, 0, &info.ifi_index, &peer);
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
