/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether the node's own clients reach a VIP by SL_NODE_DEVICE, as the kernel's routes have it now.
 */
#ifndef SLUICE_NODE_CLIENTS_H
#define SLUICE_NODE_CLIENTS_H

#include <stdbool.h>

#include "maps.h"

struct nl_sock;

struct node_clients {
	struct nl_sock *sock; /* NULL: the kernel cannot be asked */
	unsigned ifindex;     /* 0: there is no such device */
};

enum node_way {
	NODE_WAY_OURS,
	NODE_WAY_LOCAL, /* the address is this node's own: packets never leave it */
	NODE_WAY_OTHER, /* another device, or none */
};

void node_clients_open(struct node_clients *ret);
void node_clients_close(struct node_clients *clients);

/* Whether the node's own clients of this VIP are ours to steer: it takes new flows of a service in
 * replace mode. */
bool node_clients_want(const struct maps *maps, const struct sl_vip *vip);

enum node_way node_clients_way(const struct node_clients *clients, const union sl_addr *vip);

#endif
