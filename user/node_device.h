/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device pair by which the node's own clients reach VIPs: SL_NODE_DEVICE, whose egress our
 * program sits at, and SL_NODE_PEER. Without addresses, ARP and multicast, so that nothing but what
 * is routed there ever passes it.
 */
#ifndef SLUICE_NODE_DEVICE_H
#define SLUICE_NODE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

/* Makes the pair, or takes the one that is there and mends it, its names too. `ifindex`: what it had,
 * and a new one is to have, since loaded programs know it by that; 0: any. 0 with *ret_ifindex, and in *ret_made whether it is
 * new; -EEXIST: an interface of that name is somebody else's; -errno, with `error` set. */
int node_device_ensure(int ifindex, int *ret_ifindex, bool *ret_made, char *error,
		       size_t error_len);

/* Removes the pair, and with it all routes to it. 1; 0: there is none of ours; -errno. */
int node_device_remove(void);

#endif
