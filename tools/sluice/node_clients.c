// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the questions to the kernel by which the CLI tells who serves the node's own clients. Called
 * by `sluice service show` and `sluice doctor`.
 */
#include "node_clients.h"

#include <net/if.h>
#include <netlink/socket.h>

#include "route_query.h"

void node_clients_open(struct node_clients *ret)
{
	*ret = (struct node_clients){.ifindex = if_nametoindex(SL_NODE_DEVICE)};
	if (route_query_open(&ret->sock))
		ret->sock = NULL;
}

void node_clients_close(struct node_clients *clients)
{
	nl_socket_free(clients->sock);
}

bool node_clients_want(const struct maps *maps, const struct sl_vip *vip)
{
	return vip->flags & SL_VIP_USED && !(vip->flags & SL_VIP_NO_NEW) &&
	       vip->service < maps->n_services &&
	       maps->services[vip->service].flags & SL_SERVICE_REPLACE;
}

enum node_way node_clients_way(const struct node_clients *clients, const union sl_addr *vip)
{
	struct route_path path = {};

	if (!clients->sock || route_query_path(clients->sock, vip, &path))
		return NODE_WAY_OTHER;
	if (path.local)
		return NODE_WAY_LOCAL;
	return clients->ifindex && path.ifindex == clients->ifindex ? NODE_WAY_OURS : NODE_WAY_OTHER;
}
