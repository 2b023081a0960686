// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tcpSocket probe: good when a connection comes about. Every probe opens one
 * and resets it, so that neither side keeps a trace; sends no byte. Called
 * through probe_tcp by probe_run.c.
 */
#include <errno.h>

#include "probe_conn.h"

struct tcp_attempt {
	struct probe_attempt base;
	struct probe_conn *conn;
};

static void tcp_end(struct tcp_attempt *tcp, int err)
{
	if (err)
		probe_attempt_end_errno(&tcp->base, -err);
	else
		probe_attempt_end(&tcp->base, PROBE_GOOD, "connected", 0);
}

static void tcp_ready(struct probe_io *io, unsigned events)
{
	struct probe_conn *conn = (struct probe_conn *)io;
	int err = probe_conn_finish(conn);

	if (err != -EALREADY)
		tcp_end((struct tcp_attempt *)conn->attempt, err);
}

static void tcp_start(struct probe_attempt *attempt)
{
	struct tcp_attempt *tcp = (struct tcp_attempt *)attempt;
	int err = probe_conn_open(attempt, &tcp->conn);

	if (err == -EINPROGRESS)
		err = probe_conn_watch(tcp->conn, tcp_ready);
	else if (!err)
		return tcp_end(tcp, 0);
	if (err)
		tcp_end(tcp, err);
}

static void tcp_stop(struct probe_attempt *attempt)
{
	probe_conn_close(((struct tcp_attempt *)attempt)->conn);
}

const struct probe_protocol probe_tcp = {sizeof(struct tcp_attempt), tcp_start, tcp_stop};
