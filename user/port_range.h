/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ranges of ports that must not meet on a node: those of source NAT, of the node's own clients, and
 * of VIPs on the node's own addresses, which are node ports above all.
 */
#ifndef SLUICE_PORT_RANGE_H
#define SLUICE_PORT_RANGE_H

#include <stdbool.h>

#include "strbuf.h"

#include <sluice/abi.h>

#define PORT_RANGE_SNAT ((struct port_range){1024, 29999}) /* default of --snat-ports */
/* Default of kube-apiserver's --service-node-port-range. */
#define PORT_RANGE_NODE_PORTS ((struct port_range){30000, 32767})
#define PORT_RANGE_LOCAL_PATH "/proc/sys/net/ipv4/ip_local_port_range"

struct port_range {
	unsigned min, max; /* inclusive; max 0: empty */
};

bool port_range_overlap(struct port_range a, struct port_range b);

/* Of the node's own clients; empty when the kernel does not say. */
struct port_range port_range_local(void);

/* Ports of VIPs on addresses of this node (`own`, sorted as by memcmp()) that lie within `range`, each
 * once, a few of them named: "2003/TCP, 2004/UDP". */
void port_range_name_vips(struct port_range range, const struct sl_vip *vips, size_t n_vips,
			  const union sl_addr *own, size_t n_own, struct strbuf *ret);

#endif
