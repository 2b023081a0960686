/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Our routes in the kernel: one host route to SL_NODE_DEVICE for each address of a VIP, told from all
 * others by their protocol, SL_NODE_ROUTES. No others are ever changed.
 */
#ifndef SLUICE_NODE_ROUTE_H
#define SLUICE_NODE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include <sluice/abi.h>

struct nl_sock;

struct node_route {
	union sl_addr to;
	union sl_addr source; /* preferred; all zero: as the kernel chooses */
	__u32 mtu;            /* 0: that of the device */
};

/* All of ours, of both families; free(*ret). 0, or -errno. */
int node_route_list(struct nl_sock *sock, int ifindex, struct node_route **ret, size_t *ret_n);

/* Adds one, or, with `replace`, changes it. 0; -EEXIST: somebody else's is there; -errno. */
int node_route_add(struct nl_sock *sock, int ifindex, const struct node_route *route, bool replace);

/* 0 also when it is gone already; -errno. */
int node_route_del(struct nl_sock *sock, int ifindex, const struct node_route *route);

/* Whether a route to this very address is there that is not ours: 1, 0, or -errno. */
int node_route_is_taken(struct nl_sock *sock, int ifindex, const union sl_addr *to);

#endif
