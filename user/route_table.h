/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The links and addresses known, kept from rtnetlink messages. Pure: no socket,
 * no callback; says what a message changed.
 */
#ifndef SLUICE_ROUTE_TABLE_H
#define SLUICE_ROUTE_TABLE_H

#include <linux/netlink.h>

#include "route.h"

struct route_address {
	union sl_addr addr;
	int ifindex;
	__u8 prefix_len;
};

/* A zeroed one is empty. */
struct route_table {
	struct route_link *links;
	size_t n_links, link_capacity;
	struct route_address *addresses;
	size_t n_addresses, address_capacity;
	union sl_addr *own; /* what route_addresses() shows: sorted, no two equal */
	size_t n_own;
};

void route_table_done(struct route_table *table);

enum route_table_change { ROUTE_TABLE_SAME, ROUTE_TABLE_LINK_NEW, ROUTE_TABLE_LINK_GONE };

/* Takes an RTM_*LINK message; *ret_link: the link as it is now, or was when it is gone; not
 * written when nothing changed. enum route_table_change, or -ENOMEM. */
int route_table_link(struct route_table *table, struct nlmsghdr *header,
		     struct route_link *ret_link);

/* Takes an RTM_*ADDR message. 0, or -ENOMEM. */
int route_table_address(struct route_table *table, struct nlmsghdr *header);

/* Brings `own` up to date. 1 when it changed, 0 when not, or -ENOMEM. */
int route_table_update_own(struct route_table *table);

/* NULL when there is none. */
const struct route_link *route_table_find(const struct route_table *table, int ifindex);

/* Whether `b` would be told as a change of `a`. */
bool route_link_equal(const struct route_link *a, const struct route_link *b);

#endif
