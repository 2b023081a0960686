/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Questions to the kernel's routing, on a netlink socket that receives no
 * events. rtnetlink answers within the request, so nothing waits here.
 */
#ifndef SLUICE_ROUTE_QUERY_H
#define SLUICE_ROUTE_QUERY_H

#include "route.h"

struct nl_sock;
struct nl_cb;
struct nl_msg;

/* A netlink socket for requests. 0, or -errno; close it with nl_socket_free(). */
int route_query_open(struct nl_sock **ret);

/* The way to `to`; ifindex 0 when there is none. 0, or -errno. */
int route_query_path(struct nl_sock *sock, const union sl_addr *to, struct route_path *ret);

/* Interface of the main table's default route, IPv4 first; 0: none. 0, or -errno. */
int route_query_default(struct nl_sock *sock, int *ret_ifindex);

/* Lists all objects of `type` (RTM_GETLINK, ...): NL_CB_VALID of `cb` sees each message. Asks again
 * when the list changed meanwhile. 0, or -errno. */
int route_query_list(struct nl_sock *sock, int type, int family, struct nl_cb *cb);

/* Sends a message that changes something (NULL: no memory for it), frees it, and waits for what
 * becomes of it. 0, or -errno. */
int route_query_request(struct nl_sock *sock, struct nl_msg *msg);

/* 0 or negative errno of libnl's error `nl_err` (negative). */
int route_query_errno(int nl_err);

#endif
