// SPDX-License-Identifier: GPL-2.0-only
/*
 * TCP connections of the probes. Owns sockets and their place in the set's
 * epoll; refuses to know what is said over them. Called by probe_tcp, probe_http
 * and probe_grpc.
 */
#include <errno.h>
#include <netinet/in.h>
#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addr.h"
#include "probe_conn.h"

#define IDLE_READS 16u

/* Whether it was an ICMP message that refused: the kernel keeps it, an RST it does not. */
static bool refused_by_icmp(int fd)
{
	struct msghdr message = {};

	return recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0;
}

static int conn_socket(const union sl_addr *addr)
{
	const int on = 1;
	const struct linger no_trace = {.l_onoff = 1, .l_linger = 0};
	int fd = socket(addr_is_v4(addr) ? AF_INET : AF_INET6,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	/* 50 000 closes a second must leave no TIME_WAIT behind. */
	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &no_trace, sizeof(no_trace))) {
		int err = -errno;

		close(fd);
		return err;
	}
	/* IPv6 keeps no ICMP message unasked. */
	if (!addr_is_v4(addr))
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
	return fd;
}

/* A socket that connects to a port of this node within ip_local_port_range may be given just that
 * port as its own, and then it talks to itself: nobody listens there. */
static bool conn_is_self(int fd, const struct sockaddr_storage *peer, socklen_t len)
{
	struct sockaddr_storage own = {0};

	return !getsockname(fd, (struct sockaddr *)&own, &len) && !memcmp(&own, peer, len);
}

int probe_conn_finish(struct probe_conn *conn)
{
	struct probe_replica *replica = conn->replica;
	struct sockaddr_storage peer;
	socklen_t len = addr_to_sockaddr(&replica->addr, replica->spec->asked.port, &peer);

	if (connect(conn->fd, (struct sockaddr *)&peer, len) && errno != EISCONN)
		return errno != ECONNREFUSED ? -errno :
		       refused_by_icmp(conn->fd) ? -PROBE_EICMP : -ECONNREFUSED;
	if (conn_is_self(conn->fd, &peer, len))
		return -ECONNREFUSED;
	conn->connected = true;
	return 0;
}

int probe_conn_open(struct probe_attempt *attempt, struct probe_conn **ret)
{
	struct probe_conn *conn = calloc(1, sizeof(*conn));
	int err;

	if (!conn)
		return -ENOMEM;
	conn->replica = attempt->replica;
	conn->attempt = attempt;
	conn->uses = 1;
	conn->fd = conn_socket(&conn->replica->addr);
	if (conn->fd < 0) {
		err = conn->fd;
		free(conn);
		return err;
	}
	err = probe_conn_finish(conn);
	/* Towards a local pod the handshake is over when connect() returns: asking again at once
	 * costs less than a round through epoll. */
	if (err == -EINPROGRESS)
		err = probe_conn_finish(conn);
	if (err == -EALREADY)
		err = -EINPROGRESS;
	if (err && err != -EINPROGRESS) {
		probe_conn_close(conn);
		return err;
	}
	*ret = conn;
	return err;
}

int probe_conn_watch(struct probe_conn *conn, void (*ready)(struct probe_io *io, unsigned events))
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = &conn->io,
	};

	conn->io.ready = ready;
	if (epoll_ctl(conn->replica->set->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event))
		return -errno;
	return 0;
}

struct probe_conn *probe_conn_take(struct probe_attempt *attempt)
{
	struct probe_replica *replica = attempt->replica;
	struct probe_conn *conn = replica->idle;

	replica->idle = NULL;
	if (!conn)
		return NULL;
	if (conn->spent) {
		probe_conn_close(conn);
		return NULL;
	}
	conn->attempt = attempt;
	conn->uses++;
	return conn;
}

void probe_conn_keep(struct probe_conn *conn, bool spent)
{
	if (conn->replica->idle) {
		probe_conn_close(conn);
		return;
	}
	conn->attempt = NULL;
	conn->spent = spent;
	conn->replica->idle = conn;
	if (spent)
		probe_conn_idle_ready(conn);
}

void probe_conn_idle_ready(struct probe_conn *conn)
{
	char rest[4096];
	ssize_t n;

	/* What is left of an answer already judged may come; anything else ends it. */
	for (unsigned i = 0; i < IDLE_READS; i++) {
		n = recv(conn->fd, rest, sizeof(rest), 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || !conn->spent)
			break;
	}
	conn->replica->idle = NULL;
	probe_conn_close(conn);
}

void probe_conn_end_session(struct probe_conn *conn)
{
	if (!conn->session)
		return;
	nghttp2_session_del(conn->session);
	conn->session = NULL;
	conn->replica->set->grpc_sessions--;
}

void probe_conn_close(struct probe_conn *conn)
{
	if (!conn)
		return;
	probe_conn_end_session(conn);
	close(conn->fd);
	free(conn);
}
