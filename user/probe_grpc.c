// SPDX-License-Identifier: GPL-2.0-only
/*
 * The grpc probe: grpc.health.v1.Health/Check over cleartext HTTP/2; good when
 * the answer is SERVING. Owns the connection and its HTTP/2 session while it
 * asks; refuses compressed and long answers. Called through probe_grpc by
 * probe_run.c.
 *
 * One connection carries one probe at a time, and PROBE_MAX_USES in all.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "addr.h"
#include "grpc_health.h"
#include "probe_conn.h"

#define MESSAGE_MAX 256 /* the answer is 7 bytes long */
#define STATUS_NONE UINT32_MAX
/* A session of nghttp2 takes 25 KiB: beyond so many, connections are not kept. */
#define MAX_SESSIONS 512

struct grpc_attempt {
	struct probe_attempt base;
	struct probe_conn *conn;
	int32_t stream;
	bool heard;  /* the answer has begun */
	bool closed; /* the stream has ended */
	uint32_t error; /* with which it ended (RFC 9113 section 7) */
	uint32_t http_status, grpc_status;
	size_t sent, len;
	uint8_t message[MESSAGE_MAX];
};

/* ---- what nghttp2 calls ------------------------------------------------------ */

static struct grpc_attempt *grpc_of_stream(struct probe_conn *conn, int32_t stream)
{
	struct grpc_attempt *grpc = (struct grpc_attempt *)conn->attempt;

	return grpc && grpc->stream == stream ? grpc : NULL;
}

static uint32_t parse_status(const uint8_t *value, size_t len)
{
	uint32_t status = 0;

	if (!len || len > 3)
		return STATUS_NONE;
	for (; len; len--, value++) {
		if (*value < '0' || *value > '9')
			return STATUS_NONE;
		status = status * 10 + (*value - '0');
	}
	return status;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t len, uint8_t flags,
		     void *context)
{
	static const char http[] = ":status", rpc[] = "grpc-status";
	struct grpc_attempt *grpc = grpc_of_stream(context, frame->hd.stream_id);

	if (!grpc)
		return 0;
	grpc->heard = true;
	if (name_len == sizeof(http) - 1 && !memcmp(name, http, name_len))
		grpc->http_status = parse_status(value, len);
	else if (name_len == sizeof(rpc) - 1 && !memcmp(name, rpc, name_len))
		grpc->grpc_status = parse_status(value, len);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
		   size_t len, void *context)
{
	struct grpc_attempt *grpc = grpc_of_stream(context, stream);
	size_t room;

	if (!grpc)
		return 0;
	/* An overlong message is kept up to its maximum, and so can no longer be read as one. */
	room = sizeof(grpc->message) - grpc->len;
	if (len > room)
		len = room;
	memcpy(grpc->message + grpc->len, data, len);
	grpc->len += len;
	return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *context)
{
	struct grpc_attempt *grpc = grpc_of_stream(context, stream);

	if (grpc) {
		grpc->closed = true;
		grpc->error = error;
	}
	return 0;
}

/* Gives nghttp2 the request's message. */
static ssize_t on_want_data(nghttp2_session *session, int32_t stream, uint8_t *to, size_t size,
			    uint32_t *flags, nghttp2_data_source *source, void *context)
{
	struct grpc_attempt *grpc = source->ptr;
	const struct probe_spec *spec = grpc->base.replica->spec;
	size_t left = spec->request_len - grpc->sent, n = left < size ? left : size;

	memcpy(to, spec->request + grpc->sent, n);
	grpc->sent += n;
	if (n == left)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return n;
}

/* ---- the connection ----------------------------------------------------------- */

static int session_new(struct probe_conn *conn)
{
	/* No table of headers on the server's side: each connection says little. */
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0},
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
	};
	nghttp2_session_callbacks *callbacks;
	int err;

	if (nghttp2_session_callbacks_new(&callbacks))
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	err = nghttp2_session_client_new(&conn->session, callbacks, conn);
	nghttp2_session_callbacks_del(callbacks);
	if (err)
		return -ENOMEM;
	conn->replica->set->grpc_sessions++;
	if (nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings,
				    sizeof(settings) / sizeof(settings[0])))
		return -ENOMEM;
	return 0;
}

/* Sends what the session has to say. A socket that does not take it whole is one whose peer has
 * not read for ten probes: the probe fails. */
static int session_send(struct probe_conn *conn)
{
	const uint8_t *bytes;
	ssize_t len;

	while ((len = nghttp2_session_mem_send(conn->session, &bytes)) > 0) {
		ssize_t n = send(conn->fd, bytes, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n != len)
			return -EMSGSIZE;
	}
	return len < 0 ? -ENOMEM : 0;
}

/* 0: all there was is read; 1: the server has closed; -EBADMSG: not HTTP/2; -errno. */
static int session_receive(struct probe_conn *conn)
{
	uint8_t bytes[4096];
	ssize_t n;

	while ((n = recv(conn->fd, bytes, sizeof(bytes), 0)) > 0)
		if (nghttp2_session_mem_recv(conn->session, bytes, n) != n)
			return -EBADMSG;
	if (n == 0)
		return 1;
	return errno == EAGAIN ? 0 : -errno;
}

/* ---- the attempt --------------------------------------------------------------- */

#define FIELD(field_name, text)                                                                    \
	{.name = (uint8_t *)(field_name), .namelen = strlen(field_name),                           \
	 .value = (uint8_t *)(text), .valuelen = strlen(text)}

static int grpc_ask(struct grpc_attempt *grpc)
{
	const struct probe_replica *replica = grpc->base.replica;
	char host[ADDR_PORT_STR_LEN];
	const nghttp2_nv fields[] = {
		FIELD(":method", "POST"),
		FIELD(":scheme", "http"),
		FIELD(":path", "/grpc.health.v1.Health/Check"),
		FIELD(":authority",
		      addr_format_port(&replica->addr, replica->spec->asked.port, host)),
		FIELD("content-type", "application/grpc"),
		FIELD("te", "trailers"),
		FIELD("user-agent", "sluice-probe/" SLUICE_VERSION),
	};
	const nghttp2_data_provider body = {{.ptr = grpc}, on_want_data};

	grpc->stream = nghttp2_submit_request(grpc->conn->session, NULL, fields,
					      sizeof(fields) / sizeof(fields[0]), &body, NULL);
	if (grpc->stream < 0)
		return -ENOMEM;
	return session_send(grpc->conn);
}

static void grpc_ready(struct probe_io *io, unsigned events);

static int grpc_open(struct grpc_attempt *grpc)
{
	const int on = 1;
	int err = probe_conn_open(&grpc->base, &grpc->conn);
	bool connected = !err;

	if (err && err != -EINPROGRESS)
		return err;
	/* HTTP/2 answers in small pieces; Nagle's algorithm would hold each one back. */
	if (setsockopt(grpc->conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		return -errno;
	err = session_new(grpc->conn);
	if (!err)
		err = probe_conn_watch(grpc->conn, grpc_ready);
	if (!err && connected)
		err = grpc_ask(grpc);
	return err;
}

/* Asks over a new connection. */
static void grpc_connect(struct grpc_attempt *grpc)
{
	int err = grpc_open(grpc);

	if (err)
		probe_attempt_end_errno(&grpc->base, -err);
}

/* As in probe_http.c: a kept connection that dies unheard says nothing. `err` 1: it was closed. */
static void grpc_lost(struct grpc_attempt *grpc, int err)
{
	if (grpc->conn->uses > 1 && !grpc->heard) {
		probe_conn_close(grpc->conn);
		grpc->conn = NULL;
		grpc->stream = 0;
		grpc->sent = 0;
		grpc_connect(grpc);
	} else if (err == -EBADMSG) {
		probe_attempt_end(&grpc->base, PROBE_BAD, "the answer is not HTTP/2", 0);
	} else if (err < 0) {
		probe_attempt_end_errno(&grpc->base, -err);
	} else {
		probe_attempt_end(&grpc->base, grpc->heard ? PROBE_BAD : PROBE_FAILED,
				  "closed without an answer", 0);
	}
}

static void grpc_start(struct probe_attempt *attempt)
{
	struct grpc_attempt *grpc = (struct grpc_attempt *)attempt;
	int err;

	grpc->http_status = grpc->grpc_status = STATUS_NONE;
	grpc->conn = probe_conn_take(attempt);
	if (!grpc->conn)
		return grpc_connect(grpc);
	err = grpc_ask(grpc);
	if (err)
		grpc_lost(grpc, err);
}

/* Reads the finished answer. */
static void grpc_judge(struct grpc_attempt *grpc)
{
	static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
	enum grpc_health health;

	if (grpc->error)
		probe_attempt_end(&grpc->base, PROBE_BAD, "stream reset by error", grpc->error);
	else if (grpc->http_status != 200)
		probe_attempt_end(&grpc->base, PROBE_BAD, "HTTP status", grpc->http_status);
	else if (grpc->grpc_status == STATUS_NONE)
		probe_attempt_end(&grpc->base, PROBE_BAD, "no grpc-status", 0);
	else if (grpc->grpc_status)
		probe_attempt_end(&grpc->base, PROBE_BAD, "grpc-status", grpc->grpc_status);
	else if (grpc_health_response(grpc->message, grpc->len, &health))
		probe_attempt_end(&grpc->base, PROBE_BAD, "not a HealthCheckResponse", 0);
	else
		probe_attempt_end(&grpc->base,
				  health == GRPC_HEALTH_SERVING ? PROBE_GOOD : PROBE_BAD,
				  names[health], 0);
}

/* Lets the connection wait for the next probe, or closes it with a word of farewell. */
static void grpc_keep(struct probe_conn *conn)
{
	bool keep = conn->uses < PROBE_MAX_USES &&
		    conn->replica->set->grpc_sessions <= MAX_SESSIONS &&
		    nghttp2_session_want_read(conn->session) &&
		    nghttp2_session_check_request_allowed(conn->session);

	if (!keep) {
		nghttp2_session_terminate_session(conn->session, NGHTTP2_NO_ERROR);
		session_send(conn);
		probe_conn_end_session(conn);
	}
	probe_conn_keep(conn, !keep);
}

static void grpc_idle_ready(struct probe_conn *conn)
{
	if (conn->spent)
		return probe_conn_idle_ready(conn);
	if (session_receive(conn) || session_send(conn) ||
	    !nghttp2_session_check_request_allowed(conn->session)) {
		conn->replica->idle = NULL;
		probe_conn_close(conn);
	}
}

static void grpc_ready(struct probe_io *io, unsigned events)
{
	struct probe_conn *conn = (struct probe_conn *)io;
	struct grpc_attempt *grpc = (struct grpc_attempt *)conn->attempt;
	int err = 0;

	if (!grpc)
		return grpc_idle_ready(conn);
	if (!conn->connected) {
		err = probe_conn_finish(conn);
		if (err == -EALREADY)
			return;
		if (!err)
			err = grpc_ask(grpc);
	}
	if (!err && events & ~EPOLLOUT)
		err = session_receive(conn);
	if (!err)
		err = session_send(conn);
	/* nghttp2 has given the session up: that was no HTTP/2. */
	if (!err && !grpc->closed && !nghttp2_session_want_read(conn->session))
		err = -EBADMSG;
	/* A server that is about to close refuses what we send over a kept connection. */
	if (grpc->closed && grpc->error == NGHTTP2_REFUSED_STREAM && conn->uses > 1) {
		grpc->closed = false;
		return grpc_lost(grpc, 1);
	}
	if (grpc->closed) {
		if (!err) {
			grpc->conn = NULL;
			grpc_keep(conn);
		}
		return grpc_judge(grpc);
	}
	if (err)
		grpc_lost(grpc, err);
}

static void grpc_stop(struct probe_attempt *attempt)
{
	probe_conn_close(((struct grpc_attempt *)attempt)->conn);
}

const struct probe_protocol probe_grpc = {sizeof(struct grpc_attempt), grpc_start, grpc_stop};
