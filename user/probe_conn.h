/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A TCP connection to a replica for its probes: opened without blocking,
 * watched by the set's epoll, closed without a trace (linger 0).
 */
#ifndef SLUICE_PROBE_CONN_H
#define SLUICE_PROBE_CONN_H

#include "probe_set.h"

struct nghttp2_session;

struct probe_conn {
	struct probe_io io;
	struct probe_replica *replica;
	struct probe_attempt *attempt; /* that it works for; NULL: idle */
	struct nghttp2_session *session; /* gRPC only: probe_grpc.c makes it */
	int fd;
	unsigned char uses;
	bool connected;
	bool spent; /* not for another probe: waits for the peer to close */
};

/* Connects to the attempt's replica. On 0 and on -EINPROGRESS *ret is the caller's; -errno. */
int probe_conn_open(struct probe_attempt *attempt, struct probe_conn **ret);

/* Asks how connecting went. 0: connected; -EALREADY: still under way; -errno: it failed. */
int probe_conn_finish(struct probe_conn *conn);

/* Reports whatever happens on it, once per change, to `ready`. 0, or -errno. */
int probe_conn_watch(struct probe_conn *conn, void (*ready)(struct probe_io *io, unsigned events));

/* Takes the replica's kept connection for `attempt`, if there is one that can be used. */
struct probe_conn *probe_conn_take(struct probe_attempt *attempt);

/* Ends its work for an attempt. Kept for the next probe, or when `spent` until the peer closes it,
 * so that TIME_WAIT is neither ours nor a reset in the server's log. */
void probe_conn_keep(struct probe_conn *conn, bool spent);

/* Frees the session, if it has one; the connection stays. */
void probe_conn_end_session(struct probe_conn *conn);

/* What to do when an idle connection has something to say. */
void probe_conn_idle_ready(struct probe_conn *conn);

/* Also ends its session. NULL is fine. */
void probe_conn_close(struct probe_conn *conn);

#endif
