/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The MTUs that routes have of their own (`ip route ... mtu N`). Part of route.
 */
#ifndef SLUICE_ROUTE_MTU_H
#define SLUICE_ROUTE_MTU_H

#include <stdbool.h>

#include "route.h"

struct nl_sock;
struct nlmsghdr;

/* A zeroed one is empty. */
struct route_mtus {
	struct route_mtu *list; /* one a device */
	size_t n, capacity;
};

void route_mtus_done(struct route_mtus *mtus);

/* Whether this RTM_*ROUTE message is of a route with an MTU of its own (not one that the agent makes). */
bool route_mtu_is_in(struct nlmsghdr *header);

/* Lists all routes and notes the least MTU for each device. 0, or -errno and *mtus is as it was. */
int route_mtus_update(struct route_mtus *mtus, struct nl_sock *requests);

#endif
