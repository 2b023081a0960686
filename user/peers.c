// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns a table of the addresses that the other ends of veths hold, and the socket by which the
 * kernel is asked for them (RTM_GETADDR with IFA_TARGET_NETNSID, which it honours in requests that
 * are strictly checked: Linux 5.0). Follows nothing: no event tells of addresses in another
 * namespace. Called by the agent.
 */
#include "peers.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "addr.h"
#include "route_query.h"

#define LOOK_AGAIN_MS 200

struct peer {
	union sl_addr addr;
	int ifindex; /* of our end */
	int master;
};

struct peers {
	struct nl_sock *sock;
	struct peer *list;
	size_t n, capacity;
	bool known;         /* the list says how it was at `looked_ms` */
	uint64_t looked_ms;
};

int peers_new(struct peers **ret)
{
	struct peers *peers = calloc(1, sizeof(*peers));
	int on = 1, err;

	if (!peers)
		return -ENOMEM;
	err = route_query_open(&peers->sock);
	if (!err && setsockopt(nl_socket_get_fd(peers->sock), SOL_NETLINK, NETLINK_GET_STRICT_CHK,
			       &on, sizeof(on)))
		err = -errno;
	if (err) {
		peers_free(peers);
		return err;
	}
	*ret = peers;
	return 0;
}

void peers_free(struct peers *peers)
{
	if (!peers)
		return;
	if (peers->sock)
		nl_socket_free(peers->sock);
	free(peers->list);
	free(peers);
}

void peers_forget(struct peers *peers)
{
	if (peers)
		peers->known = false;
}

static int add(struct peers *peers, const union sl_addr *addr, const struct route_link *link)
{
	if (peers->n == peers->capacity) {
		size_t wanted = peers->capacity ? 2 * peers->capacity : 64;
		struct peer *grown = reallocarray(peers->list, wanted, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		peers->list = grown;
		peers->capacity = wanted;
	}
	peers->list[peers->n++] = (struct peer){*addr, link->ifindex, link->master};
	return 0;
}

struct question {
	struct peers *peers;
	const struct route_link *link;
};

static int on_address(struct nl_msg *msg, void *context)
{
	const struct question *question = context;
	struct nlmsghdr *header = nlmsg_hdr(msg);
	struct nlattr *attrs[IFA_MAX + 1], *own;
	struct ifaddrmsg *message = nlmsg_data(header);
	union sl_addr addr;

	if (header->nlmsg_type != RTM_NEWADDR ||
	    nlmsg_parse(header, sizeof(*message), attrs, IFA_MAX, NULL) < 0 ||
	    (int)message->ifa_index != question->link->peer)
		return NL_SKIP;
	own = attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS];
	if (own && !addr_from_bytes(nla_data(own), nla_len(own), &addr))
		add(question->peers, &addr, question->link);
	return NL_OK;
}

/* Adds the addresses of one family at the other end of `link`. A namespace that goes at that moment
 * has none. */
static void ask(struct peers *peers, const struct route_link *link, int family)
{
	struct ifaddrmsg request = {.ifa_family = family, .ifa_index = link->peer};
	struct question question = {peers, link};
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETADDR, NLM_F_DUMP);

	if (cb && msg && !nlmsg_append(msg, &request, sizeof(request), NLMSG_ALIGNTO) &&
	    !nla_put_s32(msg, IFA_TARGET_NETNSID, link->peer_netns)) {
		nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_address, &question);
		if (nl_send_auto(peers->sock, msg) >= 0)
			nl_recvmsgs(peers->sock, cb);
	}
	nlmsg_free(msg);
	nl_cb_put(cb);
}

static void look(struct peers *peers, const struct route_link *links, size_t n_links)
{
	peers->n = 0;
	for (size_t i = 0; i < n_links; i++) {
		if (!links[i].master || !route_link_has_peer(&links[i]))
			continue;
		ask(peers, &links[i], AF_INET);
		ask(peers, &links[i], AF_INET6);
	}
	peers->known = true;
}

static int find(const struct peers *peers, int master, const union sl_addr *addr)
{
	for (size_t i = 0; i < peers->n; i++)
		if (peers->list[i].master == master && addr_equal(&peers->list[i].addr, addr))
			return peers->list[i].ifindex;
	return 0;
}

int peers_find(struct peers *peers, const struct route_link *links, size_t n_links, int master,
	       const union sl_addr *addr, uint64_t now_ms)
{
	int ifindex = peers->known ? find(peers, master, addr) : 0;

	if (ifindex || (peers->known && now_ms - peers->looked_ms < LOOK_AGAIN_MS))
		return ifindex;
	look(peers, links, n_links);
	peers->looked_ms = now_ms;
	return find(peers, master, addr);
}
