// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the node's links and addresses as the kernel last told them. Ignores
 * what is not about them: bridge port messages in a link's clothes, addresses
 * below global scope, IPv6 addresses that are not usable yet. Called by route
 * alone.
 */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "route_table.h"

#define LOWER_UP 0x10000u /* IFF_LOWER_UP of linux/if.h, which net/if.h lacks */
#define TYPE_IP6GRE 823   /* ARPHRD_IP6GRE of linux/if_arp.h, which net/if_arp.h lacks */

void route_table_done(struct route_table *table)
{
	free(table->links);
	free(table->addresses);
	free(table->own);
	*table = (struct route_table){};
}

/* Makes room for `n` items of `size` bytes at *array. */
static int reserve(void *array, size_t *capacity, size_t n, size_t size)
{
	size_t wanted = n < 16 ? 16 : n * 2;
	void **data = array, *grown;

	if (n <= *capacity)
		return 0;
	grown = reallocarray(*data, wanted, size);
	if (!grown)
		return -ENOMEM;
	*data = grown;
	*capacity = wanted;
	return 0;
}

/* ---- links ----------------------------------------------------------------- */

/* How many have a lower ifindex. */
static size_t link_place(const struct route_table *table, int ifindex)
{
	size_t low = 0, high = table->n_links, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (table->links[middle].ifindex < ifindex)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct route_link *link_find(const struct route_table *table, int ifindex)
{
	size_t place = link_place(table, ifindex);

	return place < table->n_links && table->links[place].ifindex == ifindex ?
		       &table->links[place] : NULL;
}

const struct route_link *route_table_find(const struct route_table *table, int ifindex)
{
	return link_find(table, ifindex);
}

/* Room for one that is not listed yet; NULL: no memory. */
static struct route_link *link_insert(struct route_table *table, int ifindex)
{
	size_t place = link_place(table, ifindex);

	if (reserve(&table->links, &table->link_capacity, table->n_links + 1,
		    sizeof(table->links[0])))
		return NULL;
	memmove(&table->links[place + 1], &table->links[place],
		(table->n_links++ - place) * sizeof(table->links[0]));
	return &table->links[place];
}

/* Its addresses go with it, in case their own messages were lost. */
static void link_remove(struct route_table *table, struct route_link *link)
{
	int ifindex = link->ifindex;
	size_t kept = 0;

	memmove(link, link + 1, (&table->links[--table->n_links] - link) * sizeof(*link));
	for (size_t i = 0; i < table->n_addresses; i++)
		if (table->addresses[i].ifindex != ifindex)
			table->addresses[kept++] = table->addresses[i];
	table->n_addresses = kept;
}

static bool link_parse(struct nlmsghdr *header, struct route_link *ret)
{
	struct nlattr *attrs[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1];
	struct ifinfomsg *message = nlmsg_data(header);
	struct route_link link = {};

	if (nlmsg_parse(header, sizeof(*message), attrs, IFLA_MAX, NULL) < 0)
		return false;
	/* A port that leaves its bridge is an AF_BRIDGE RTM_DELLINK: the link itself stays. */
	if (message->ifi_family != AF_UNSPEC || !attrs[IFLA_IFNAME])
		return false;
	link.ifindex = message->ifi_index;
	link.type = message->ifi_type;
	link.up = message->ifi_flags & IFF_UP;
	link.carrier = message->ifi_flags & LOWER_UP;
	nla_strlcpy(link.name, attrs[IFLA_IFNAME], sizeof(link.name));
	if (attrs[IFLA_MTU])
		link.mtu = nla_get_u32(attrs[IFLA_MTU]);
	if (attrs[IFLA_MASTER])
		link.master = nla_get_u32(attrs[IFLA_MASTER]);
	if (attrs[IFLA_LINK])
		link.peer = nla_get_u32(attrs[IFLA_LINK]);
	link.peer_netns = attrs[IFLA_LINK_NETNSID] ? nla_get_s32(attrs[IFLA_LINK_NETNSID]) : -1;
	if (attrs[IFLA_LINKINFO] &&
	    !nla_parse_nested(info, IFLA_INFO_MAX, attrs[IFLA_LINKINFO], NULL) &&
	    info[IFLA_INFO_KIND])
		nla_strlcpy(link.kind, info[IFLA_INFO_KIND], sizeof(link.kind));
	*ret = link;
	return true;
}

bool route_link_has_ethernet(const struct route_link *link)
{
	return link->type == ARPHRD_ETHER || link->type == ARPHRD_LOOPBACK;
}

bool route_link_is_bare(const struct route_link *link)
{
	switch (link->type) {
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
	case TYPE_IP6GRE:
	case ARPHRD_PPP:
	case ARPHRD_RAWIP:
	case ARPHRD_NONE: /* wireguard, tun */
		return true;
	default:
		return false;
	}
}

bool route_link_equal(const struct route_link *a, const struct route_link *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->kind, b->kind) && a->type == b->type &&
	       a->up == b->up && a->carrier == b->carrier && a->mtu == b->mtu &&
	       a->master == b->master && a->peer == b->peer && a->peer_netns == b->peer_netns;
}

bool route_link_has_peer(const struct route_link *link)
{
	return !strcmp(link->kind, "veth") && link->peer && link->peer_netns >= 0;
}

int route_table_link(struct route_table *table, struct nlmsghdr *header,
		     struct route_link *ret_link)
{
	struct route_link link, *known;

	if (!link_parse(header, &link))
		return ROUTE_TABLE_SAME;
	known = link_find(table, link.ifindex);
	if (header->nlmsg_type == RTM_DELLINK) {
		if (!known)
			return ROUTE_TABLE_SAME;
		*ret_link = *known;
		link_remove(table, known);
		return ROUTE_TABLE_LINK_GONE;
	}
	if (known && route_link_equal(known, &link))
		return ROUTE_TABLE_SAME;
	known = known ?: link_insert(table, link.ifindex);
	if (!known)
		return -ENOMEM;
	*known = link;
	*ret_link = link;
	return ROUTE_TABLE_LINK_NEW;
}

/* ---- addresses ------------------------------------------------------------- */

/* An address that others can reach this node at, now. */
static bool address_parse(struct nlmsghdr *header, struct route_address *ret, bool *ret_usable)
{
	struct ifaddrmsg *message = nlmsg_data(header);
	struct nlattr *attrs[IFA_MAX + 1], *own;
	__u32 flags = message->ifa_flags;

	if (nlmsg_parse(header, sizeof(*message), attrs, IFA_MAX, NULL) < 0)
		return false;
	/* On a point-to-point link IFA_ADDRESS is the peer's. */
	own = attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS];
	if (!own || addr_from_bytes(nla_data(own), nla_len(own), &ret->addr))
		return false;
	if (attrs[IFA_FLAGS])
		flags = nla_get_u32(attrs[IFA_FLAGS]);
	ret->ifindex = message->ifa_index;
	ret->prefix_len = message->ifa_prefixlen;
	*ret_usable = header->nlmsg_type == RTM_NEWADDR &&
		      message->ifa_scope == RT_SCOPE_UNIVERSE &&
		      !(flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED));
	return true;
}

int route_table_address(struct route_table *table, struct nlmsghdr *header)
{
	struct route_address address, *known = table->addresses;
	struct route_address *end = known + table->n_addresses;
	bool usable;

	if (!address_parse(header, &address, &usable))
		return 0;
	while (known < end &&
	       (known->ifindex != address.ifindex || known->prefix_len != address.prefix_len ||
		!addr_equal(&known->addr, &address.addr)))
		known++;
	if (known < end) {
		*known = usable ? address : end[-1];
		table->n_addresses -= !usable;
		return 0;
	}
	if (!usable)
		return 0;
	if (reserve(&table->addresses, &table->address_capacity, table->n_addresses + 1,
		    sizeof(table->addresses[0])))
		return -ENOMEM;
	table->addresses[table->n_addresses++] = address;
	return 0;
}

static int compare_addr(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(union sl_addr));
}

/* Collects the addresses of links that are up into `list`, which has room for all. */
static size_t collect_own(const struct route_table *table, union sl_addr *list)
{
	const struct route_link *link;
	size_t n = 0, kept = 0;

	for (size_t i = 0; i < table->n_addresses; i++) {
		link = link_find(table, table->addresses[i].ifindex);
		if (link && link->up)
			list[n++] = table->addresses[i].addr;
	}
	if (!n)
		return 0;
	qsort(list, n, sizeof(list[0]), compare_addr);
	for (size_t i = 1; i < n; i++)
		if (!addr_equal(&list[kept], &list[i]))
			list[++kept] = list[i];
	return kept + 1;
}

int route_table_update_own(struct route_table *table)
{
	union sl_addr *list = calloc(table->n_addresses + 1, sizeof(*list));
	size_t n;

	if (!list)
		return -ENOMEM;
	n = collect_own(table, list);
	if (n == table->n_own && (!n || !memcmp(list, table->own, n * sizeof(*list)))) {
		free(list);
		return 0;
	}
	free(table->own);
	table->own = list;
	table->n_own = n;
	return 1;
}
