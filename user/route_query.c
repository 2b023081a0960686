// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns requests to rtnetlink: one route look-up (written by hand on the bare
 * socket: thousands are asked at once after a change) and whole listings
 * (through libnl). Follows nothing and keeps nothing. Called by route and by
 * `sluice doctor`.
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/rtnl.h>
#include <netlink/socket.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addr.h"
#include "route_query.h"

#define LIST_TRIES  10
#define LIST_BUFFER 32768 /* the most that the kernel puts into one message of a listing */

int route_query_errno(int nl_err)
{
	switch (-nl_err) {
	case NLE_SUCCESS:
		return 0;
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	case NLE_DUMP_INTR:
	case NLE_AGAIN:
		return -EAGAIN;
	case NLE_AF_NOSUPPORT:
	case NLE_OPNOTSUPP:
		return -EOPNOTSUPP;
	case NLE_EXIST:
		return -EEXIST;
	case NLE_BUSY:
		return -EBUSY;
	case NLE_OBJ_NOTFOUND:
		return -ENOENT;
	case NLE_NODEV:
		return -ENODEV;
	default:
		return -EIO;
	}
}

int route_query_open(struct nl_sock **ret)
{
	struct nl_sock *sock = nl_socket_alloc();
	int err;

	if (!sock)
		return -ENOMEM;
	err = nl_connect(sock, NETLINK_ROUTE);
	if (!err)
		err = nl_socket_set_msg_buf_size(sock, LIST_BUFFER);
	if (err) {
		nl_socket_free(sock);
		return route_query_errno(err);
	}
	nl_socket_disable_msg_peek(sock);
	*ret = sock;
	return 0;
}

struct path_request {
	struct nlmsghdr header;
	struct rtmsg route;
	struct nlattr dst;
	__u8 addr[16];
};

static void path_request_init(struct path_request *request, const union sl_addr *to, __u32 seq)
{
	bool v4 = addr_is_v4(to);
	size_t len = v4 ? 4 : 16;

	memset(request, 0, sizeof(*request));
	request->header.nlmsg_len = offsetof(struct path_request, addr) + len;
	request->header.nlmsg_type = RTM_GETROUTE;
	request->header.nlmsg_flags = NLM_F_REQUEST;
	request->header.nlmsg_seq = seq;
	request->route.rtm_family = v4 ? AF_INET : AF_INET6;
	request->route.rtm_dst_len = len * 8;
	request->dst.nla_len = NLA_HDRLEN + len;
	request->dst.nla_type = RTA_DST;
	memcpy(request->addr, v4 ? (const __u8 *)&to->w[3] : to->b, len);
}

static int path_parse(struct nlmsghdr *header, struct route_path *ret)
{
	struct route_path path = {};
	struct nlattr *attrs[RTA_MAX + 1];
	struct rtmsg *route = nlmsg_data(header);
	struct nlattr *source;

	if (nlmsg_parse(header, sizeof(*route), attrs, RTA_MAX, NULL) < 0)
		return -EBADMSG;
	/* Everything else (unreachable, blackhole, broadcast, ...) leads nowhere. */
	if ((route->rtm_type == RTN_UNICAST || route->rtm_type == RTN_LOCAL) && attrs[RTA_OIF]) {
		path.ifindex = nla_get_u32(attrs[RTA_OIF]);
		path.local = route->rtm_type == RTN_LOCAL;
		source = attrs[RTA_PREFSRC];
		if (source && addr_from_bytes(nla_data(source), nla_len(source), &path.source))
			return -EBADMSG;
	}
	*ret = path;
	return 0;
}

/* What the kernel's refusal to name a route means. */
static int path_refused(int err, struct route_path *ret)
{
	switch (err) {
	case -ENETUNREACH:
	case -EHOSTUNREACH:
	case -EACCES: /* a prohibit route */
	case -EINVAL: /* an IPv4 blackhole route */
	case -ENETDOWN:
	case -ENODEV:
		*ret = (struct route_path){};
		return 0;
	default:
		return err;
	}
}

int route_query_path(struct nl_sock *sock, const union sl_addr *to, struct route_path *ret)
{
	int fd = nl_socket_get_fd(sock);
	struct path_request request;
	union {
		struct nlmsghdr header;
		char bytes[4096];
	} answer;
	ssize_t len;

	path_request_init(&request, to, nl_socket_use_seq(sock));
	if (send(fd, &request, request.header.nlmsg_len, 0) < 0)
		return -errno;
	do { /* what an earlier, failed request left behind is skipped */
		len = recv(fd, &answer, sizeof(answer), 0);
		if (len < 0 && errno != EINTR)
			return -errno;
	} while (len < 0 || answer.header.nlmsg_seq != request.header.nlmsg_seq);
	if (!nlmsg_ok(&answer.header, len))
		return -EBADMSG;
	if (answer.header.nlmsg_type == NLMSG_ERROR)
		return path_refused(((struct nlmsgerr *)nlmsg_data(&answer.header))->error, ret);
	return path_parse(&answer.header, ret);
}

/* libnl's own check expects the number after that of its last request, and knows nothing of those
 * that route_query_path() used. */
static int check_seq(struct nl_msg *msg, void *context)
{
	const __u32 *seq = context;

	return nlmsg_hdr(msg)->nlmsg_seq == *seq ? NL_OK : NL_SKIP;
}

/* Asks for a listing. *ret_seq: the number by which its messages are known. 0, or an error of libnl. */
static int send_list(struct nl_sock *sock, int type, int family, __u32 *ret_seq)
{
	const struct rtgenmsg body = {.rtgen_family = family};
	struct nl_msg *msg = nlmsg_alloc_simple(type, NLM_F_DUMP);
	int err = msg ? nlmsg_append(msg, (void *)&body, sizeof(body), NLMSG_ALIGNTO) : -NLE_NOMEM;

	if (!err)
		err = nl_send_auto(sock, msg);
	if (err >= 0)
		*ret_seq = nlmsg_hdr(msg)->nlmsg_seq;
	nlmsg_free(msg);
	return err;
}

int route_query_list(struct nl_sock *sock, int type, int family, struct nl_cb *cb)
{
	int err = -NLE_DUMP_INTR;
	__u32 seq;

	nl_cb_set(cb, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, check_seq, &seq);
	for (int i = 0; i < LIST_TRIES && err == -NLE_DUMP_INTR; i++) {
		err = send_list(sock, type, family, &seq);
		if (err >= 0)
			err = nl_recvmsgs(sock, cb);
	}
	return route_query_errno(err < 0 ? err : 0);
}

int route_query_request(struct nl_sock *sock, struct nl_msg *msg)
{
	int err;

	if (!msg)
		return -ENOMEM;
	err = nl_send_auto(sock, msg);
	nlmsg_free(msg);
	if (err >= 0)
		err = nl_wait_for_ack(sock);
	return route_query_errno(err < 0 ? err : 0);
}

struct default_route {
	__u32 ifindex; /* 0: none yet */
	__u32 priority;
};

/* The device of a route: its own, or that of its first next hop. */
static __u32 route_device(struct nlattr **attrs)
{
	struct rtnexthop *hop;

	if (attrs[RTA_OIF])
		return nla_get_u32(attrs[RTA_OIF]);
	if (!attrs[RTA_MULTIPATH] || nla_len(attrs[RTA_MULTIPATH]) < (int)sizeof(*hop))
		return 0;
	hop = nla_data(attrs[RTA_MULTIPATH]);
	return hop->rtnh_ifindex;
}

static int default_on_route(struct nl_msg *msg, void *context)
{
	struct default_route *best = context;
	struct nlmsghdr *header = nlmsg_hdr(msg);
	struct rtmsg *route = nlmsg_data(header);
	struct nlattr *attrs[RTA_MAX + 1];
	__u32 priority, ifindex;

	if (nlmsg_parse(header, sizeof(*route), attrs, RTA_MAX, NULL) < 0)
		return NL_SKIP;
	if (route->rtm_dst_len || route->rtm_type != RTN_UNICAST ||
	    route->rtm_table != RT_TABLE_MAIN || (route->rtm_flags & RTNH_F_DEAD))
		return NL_SKIP;
	priority = attrs[RTA_PRIORITY] ? nla_get_u32(attrs[RTA_PRIORITY]) : 0;
	ifindex = route_device(attrs);
	if (ifindex && (!best->ifindex || priority < best->priority))
		*best = (struct default_route){ifindex, priority};
	return NL_OK;
}

static int default_of_family(struct nl_sock *sock, int family, int *ret_ifindex)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	struct default_route best = {};
	int err;

	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, default_on_route, &best);
	err = route_query_list(sock, RTM_GETROUTE, family, cb);
	nl_cb_put(cb);
	if (!err)
		*ret_ifindex = best.ifindex;
	return err;
}

int route_query_default(struct nl_sock *sock, int *ret_ifindex)
{
	int ifindex = 0, err;

	err = default_of_family(sock, AF_INET, &ifindex);
	if (!err && !ifindex)
		err = default_of_family(sock, AF_INET6, &ifindex);
	if (!err)
		*ret_ifindex = ifindex;
	return err;
}
