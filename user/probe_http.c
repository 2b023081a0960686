// SPDX-License-Identifier: GPL-2.0-only
/*
 * The httpGet probe over plain HTTP/1.1: good for 200-399, whatever it says; a
 * redirect is an answer and not followed, as the kubelet sees it. Owns the
 * connection while it asks; refuses to read more of a body than it takes to
 * keep the connection. Called through probe_http by probe_run.c.
 *
 * A connection is kept for PROBE_MAX_USES probes. The last of them asks the
 * server to close, so that it is the server that ends the connection, in its own
 * order, and no side resets anything.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "addr.h"
#include "http_response.h"
#include "probe_conn.h"

#define BODY_MAX 65536   /* a longer body costs the connection */
#define ASK_CLOSE_FOR 16 /* probes, before asking once more whether it keeps connections */

struct http_attempt {
	struct probe_attempt base;
	struct probe_conn *conn;
	size_t sent;
	bool close; /* this request asks the server to close */
	bool heard; /* some of the answer came */
	int64_t body_left;
	struct http_response response;
};

/* Where what differs by replica and by request goes. */
static size_t format_tail(const struct http_attempt *http, char *tail, size_t size)
{
	const struct probe_replica *replica = http->base.replica;
	char host[ADDR_PORT_STR_LEN];
	int n = 0;

	if (!replica->spec->asked.host)
		n = snprintf(tail, size, "Host: %s\r\n",
			     addr_format_port(&replica->addr, replica->spec->asked.port, host));
	n += snprintf(tail + n, size - n, "%s\r\n", http->close ? "Connection: close\r\n" : "");
	return n;
}

/* Sends what is left of the request. 0 when all or some of it went out; -errno. */
static int http_send(struct http_attempt *http)
{
	const struct probe_spec *spec = http->base.replica->spec;
	char tail[128];
	size_t tail_len = format_tail(http, tail, sizeof(tail)), head = http->sent, skip = 0;
	struct iovec parts[2];
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t n;

	if (http->sent >= spec->request_len + tail_len)
		return 0;
	if (head > spec->request_len) {
		skip = head - spec->request_len;
		head = spec->request_len;
	}
	parts[0] = (struct iovec){spec->request + head, spec->request_len - head};
	parts[1] = (struct iovec){tail + skip, tail_len - skip};
	n = sendmsg(http->conn->fd, &message, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	http->sent += n;
	return 0;
}

static void http_ready(struct probe_io *io, unsigned events);

static int http_open(struct http_attempt *http)
{
	int err = probe_conn_open(&http->base, &http->conn);
	bool connected = !err;

	if (err && err != -EINPROGRESS)
		return err;
	http->close = http->base.replica->ask_close > 0;
	err = probe_conn_watch(http->conn, http_ready);
	if (!err && connected)
		err = http_send(http);
	return err;
}

/* Asks over a new connection. */
static void http_connect(struct http_attempt *http)
{
	int err = http_open(http);

	if (err)
		probe_attempt_end_errno(&http->base, -err);
}

/* The connection is gone, or never was. One that was kept may have been closed by the server just
 * before we asked: that says nothing, so ask again over a new one. */
static void http_lost(struct http_attempt *http, int err)
{
	if (http->conn->uses > 1 && !http->heard) {
		probe_conn_close(http->conn);
		http->conn = NULL;
		http->sent = 0;
		http_connect(http);
	} else if (err) {
		probe_attempt_end_errno(&http->base, -err);
	} else if (!http->heard) {
		probe_attempt_end(&http->base, PROBE_FAILED, "closed without an answer", 0);
	} else {
		probe_attempt_end(&http->base, PROBE_BAD, "closed in the middle of its answer", 0);
	}
}

static void http_start(struct probe_attempt *attempt)
{
	struct http_attempt *http = (struct http_attempt *)attempt;
	int err;

	http_response_init(&http->response);
	if (attempt->replica->ask_close > 0)
		attempt->replica->ask_close--;
	http->conn = probe_conn_take(attempt);
	if (!http->conn)
		return http_connect(http);
	http->close = http->conn->uses == PROBE_MAX_USES;
	err = http_send(http);
	if (err)
		http_lost(http, err);
}

/* The answer is there, as much of it as is needed. */
static void http_judge(struct http_attempt *http, bool keep)
{
	unsigned status = http->response.status;
	bool good = status >= 200 && status <= 399;

	if (!keep && !http->close)
		http->base.replica->ask_close = ASK_CLOSE_FOR;
	probe_conn_keep(http->conn, !keep || http->close);
	http->conn = NULL;
	probe_attempt_end(&http->base, good ? PROBE_GOOD : PROBE_BAD, NULL, status);
}

/* Takes bytes of the answer. True when that ended the attempt. */
static bool http_take(struct http_attempt *http, const char *bytes, size_t len)
{
	struct http_response *response = &http->response;
	bool had_head = response->complete;
	ssize_t head = http_response_feed(response, bytes, len);

	http->heard = true;
	if (head < 0) {
		probe_attempt_end(&http->base, PROBE_BAD, "the answer is not HTTP", 0);
		return true;
	}
	if (!response->complete)
		return false;
	if (!had_head)
		http->body_left = response->body_len;
	if (!response->keep_alive || response->body_len > BODY_MAX) {
		http_judge(http, false);
		return true;
	}
	http->body_left -= len - head;
	if (http->body_left > 0)
		return false;
	/* Bytes beyond the body would be taken for the next answer. */
	http_judge(http, http->body_left == 0);
	return true;
}

static void http_receive(struct http_attempt *http)
{
	char bytes[4096];
	ssize_t n;

	do {
		n = recv(http->conn->fd, bytes, sizeof(bytes), 0);
		if (n == 0)
			return http_lost(http, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			return http_lost(http, -errno);
	} while (!http_take(http, bytes, n));
}

static void http_ready(struct probe_io *io, unsigned events)
{
	struct probe_conn *conn = (struct probe_conn *)io;
	struct http_attempt *http = (struct http_attempt *)conn->attempt;
	int err = 0;

	if (!http)
		return probe_conn_idle_ready(conn);
	if (!conn->connected)
		err = probe_conn_finish(conn);
	if (err == -EALREADY)
		return;
	if (!err)
		err = http_send(http);
	/* A server may answer and close before it has read the whole request. */
	if (events & ~EPOLLOUT && conn->connected)
		return http_receive(http);
	if (err)
		http_lost(http, err);
}

static void http_stop(struct probe_attempt *attempt)
{
	probe_conn_close(((struct http_attempt *)attempt)->conn);
}

const struct probe_protocol probe_http = {sizeof(struct http_attempt), http_start, http_stop};
