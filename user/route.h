/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel says about links, addresses and routes, followed live over
 * netlink (libnl-3, libnl-route-3): which interfaces exist, which addresses
 * this node holds, over which device and with which preferred source a replica
 * is reached. Changes nothing in the kernel.
 */
#ifndef SLUICE_ROUTE_H
#define SLUICE_ROUTE_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include <sluice/abi.h>

struct route_link {
	int ifindex;
	char name[IF_NAMESIZE];
	char kind[16]; /* "veth", "vxlan", "" for a plain device */
	bool up;       /* IFF_UP */
	bool carrier;  /* IFF_LOWER_UP: of a veth, its other end is up too */
	unsigned short type; /* ARPHRD_* of linux/if_arp.h: what its frames begin with */
	unsigned mtu;
	int master; /* the bridge, bond or VRF that it is a port of; 0: none */
	int peer;   /* of a veth: ifindex of its other end, in its own namespace; 0: none */
	int peer_netns; /* how this namespace calls that one, if it is another; -1: it is not */
};

/* Whether its frames begin with an Ethernet header. */
bool route_link_has_ethernet(const struct route_link *link);
/* Whether they begin with the IP header: tunnels, wireguard, tun, ppp. Neither: InfiniBand, say. */
bool route_link_is_bare(const struct route_link *link);
/* Whether packets can be redirected to its other end (bpf_redirect_peer()): a veth into another
 * namespace. */
bool route_link_has_peer(const struct route_link *link);

/* The way to one address. */
struct route_path {
	__u32 ifindex;        /* 0: no route */
	union sl_addr source; /* preferred source; all zero when there is none */
	bool local;           /* the address is this node's own (RTN_LOCAL) */
};

/* What routes over a device say of their MTU. */
struct route_mtu {
	__u32 ifindex;
	__u32 mtu; /* the least */
};

enum route_change {
	ROUTE_LINK_NEW,  /* link: appeared, or changed its name or state */
	ROUTE_LINK_GONE, /* link: as it was */
	ROUTE_ADDRESSES, /* the node's own addresses changed; link is NULL */
	ROUTE_ROUTES,    /* routes changed, burst of events already over; link is NULL */
};

typedef void route_change_fn(void *context, enum route_change change, const struct route_link *link);

struct route;

/* Subscribes, then lists what is there: ROUTE_LINK_NEW is called for every link before this
 * returns. 0, or -errno. A lost event (ENOBUFS) is mended by a new listing inside. */
int route_new(uv_loop_t *loop, route_change_fn *fn, void *context, struct route **ret);
void route_free(struct route *route);

/* Routes that the netlink socket with this port changes are not told of: its owner knows. */
void route_ignore(struct route *route, __u32 port);

/* Asks the kernel (RTM_GETROUTE). 0 also when there is no route (ifindex 0); -errno. */
int route_lookup(struct route *route, const union sl_addr *to, struct route_path *ret);

/* The links known now, by ifindex. The array is valid until the loop turns. */
const struct route_link *route_links(const struct route *route, size_t *ret_n);

/* One of them, at the cost of a binary search; NULL: none. */
const struct route_link *route_link_find(const struct route *route, int ifindex);

/* Global-scope unicast addresses of all links that are up, loopback and link-local left out.
 * The array is valid until the loop turns. */
const union sl_addr *route_addresses(const struct route *route, size_t *ret_n);

/* The devices with a route that has an MTU of its own, as of the last ROUTE_ROUTES. The array is valid
 * until the loop turns. */
const struct route_mtu *route_mtus(const struct route *route, size_t *ret_n);

/* Interface of the default route (IPv4 first, then IPv6); 0: none. */
int route_default_ifindex(struct route *route);

#endif
