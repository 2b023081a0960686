// SPDX-License-Identifier: GPL-2.0-only
/*
 * gRPC probes against an HTTP/2 server made of nghttp2's other half.
 */
#include <nghttp2/nghttp2.h>

#include "probe_lab.h"
#include "probe_set.h"

enum manner {
	SERVING,
	NOT_SERVING,
	UNIMPLEMENTED, /* grpc-status 12, no message */
	HTTP_503,
	NONSENSE,      /* a message that is none */
	SILENT,
	RESET,         /* of each stream */
	REFUSES_SECOND, /* stream of a connection, as a server does that is about to close */
};

struct bench {
	struct lab lab;
	struct server server;
	_Atomic(enum manner) manner;
	struct model_probe probe;
	const struct probe_health *health;
};

/* ---- the server's side of one connection --------------------------------------------- */

struct peer {
	struct bench *bench;
	nghttp2_session *session;
	unsigned streams;
	const char *message; /* to send */
	size_t message_len;
};

static ssize_t on_want_message(nghttp2_session *session, int32_t stream, uint8_t *to, size_t size,
			       uint32_t *flags, nghttp2_data_source *source, void *context)
{
	static const char name[] = "grpc-status";
	const nghttp2_nv trailer = {(uint8_t *)name, (uint8_t *)"0", sizeof(name) - 1, 1, 0};
	struct peer *peer = context;

	memcpy(to, peer->message, peer->message_len);
	*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
	nghttp2_submit_trailer(session, stream, &trailer, 1);
	return peer->message_len;
}

static void answer(struct peer *peer, int32_t stream, const char *status, const char *rpc_status)
{
	static const char names[2][12] = {":status", "grpc-status"};
	const nghttp2_nv fields[] = {
		{(uint8_t *)names[0], (uint8_t *)status, 7, strlen(status), 0},
		{(uint8_t *)names[1], (uint8_t *)rpc_status, 11, strlen(rpc_status), 0},
	};
	const nghttp2_data_provider body = {{0}, on_want_message};

	nghttp2_submit_response(peer->session, stream, fields, *rpc_status ? 2 : 1,
				*rpc_status ? NULL : &body);
}

static void answer_message(struct peer *peer, int32_t stream, const char *message)
{
	peer->message = message;
	peer->message_len = 7;
	answer(peer, stream, "200", "");
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct peer *peer = context;
	int32_t stream = frame->hd.stream_id;

	if (frame->hd.type != NGHTTP2_DATA || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	peer->bench->server.requests++;
	peer->streams++;
	switch (peer->bench->manner) {
	case SERVING:
		answer_message(peer, stream, "\0\0\0\0\2\x08\1");
		break;
	case NOT_SERVING:
		answer_message(peer, stream, "\0\0\0\0\2\x08\2");
		break;
	case NONSENSE:
		answer_message(peer, stream, "nonsense");
		break;
	case UNIMPLEMENTED:
		answer(peer, stream, "200", "12");
		break;
	case HTTP_503:
		answer(peer, stream, "503", "14");
		break;
	case SILENT:
		break;
	case RESET:
		nghttp2_submit_rst_stream(session, 0, stream, NGHTTP2_INTERNAL_ERROR);
		break;
	case REFUSES_SECOND:
		if (peer->streams == 1)
			answer_message(peer, stream, "\0\0\0\0\2\x08\1");
		else
			nghttp2_submit_rst_stream(session, 0, stream, NGHTTP2_REFUSED_STREAM);
	}
	return 0;
}

/* Notes "name: value" of each field, and the message, in server.request. */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t len, uint8_t flags,
		     void *context)
{
	struct server *server = &((struct peer *)context)->bench->server;
	size_t used;

	pthread_mutex_lock(&server->lock);
	used = strlen(server->request);
	if (used + name_len + len + 8 < sizeof(server->request))
		sprintf(server->request + used, "%s: %s\n", name, value);
	pthread_mutex_unlock(&server->lock);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
		   size_t len, void *context)
{
	struct server *server = &((struct peer *)context)->bench->server;
	size_t used;

	pthread_mutex_lock(&server->lock);
	used = strlen(server->request);
	for (size_t i = 0; i < len && used + 8 < sizeof(server->request); i++)
		used += sprintf(server->request + used, "%02x ", data[i]);
	pthread_mutex_unlock(&server->lock);
	return 0;
}

static struct peer *peer_new(struct bench *bench)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	nghttp2_session_callbacks *callbacks;

	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_server_new(&peer->session, callbacks, peer);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_submit_settings(peer->session, 0, NULL, 0);
	peer->bench = bench;
	return peer;
}

static int serve(struct server *server, struct server_connection *connection)
{
	struct bench *bench = (struct bench *)((char *)server - offsetof(struct bench, server));
	struct peer *peer = connection->state;
	const uint8_t *bytes;
	uint8_t in[4096];
	ssize_t n;

	if (connection->fd < 0) {
		nghttp2_session_del(peer->session);
		free(peer);
		return 0;
	}
	if (!peer)
		peer = connection->state = peer_new(bench);
	n = recv(connection->fd, in, sizeof(in), MSG_DONTWAIT);
	if (n < 0 && errno == ECONNRESET)
		server->resets++;
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -1;
	if (nghttp2_session_mem_recv(peer->session, in, n) < 0)
		return -1;
	while ((n = nghttp2_session_mem_send(peer->session, &bytes)) > 0)
		if (send(connection->fd, bytes, n, MSG_NOSIGNAL) != n)
			return -1;
	return !nghttp2_session_want_read(peer->session);
}

/* ---- tests ------------------------------------------------------------------------------ */

static void bench_open(struct bench *bench, enum manner manner, const char *service)
{
	memset(bench, 0, sizeof(*bench));
	bench->manner = manner;
	bench->server.serve = serve;
	server_start(&bench->server, "127.0.0.1", 64);
	lab_open(&bench->lab);
	bench->probe = lab_probe(MODEL_PROBE_GRPC, bench->server.port);
	bench->probe.grpc_service = (char *)service;
	bench->health = lab_ask(&bench->lab, &bench->probe);
}

static void bench_close(struct bench *bench)
{
	lab_close(&bench->lab);
	server_stop(&bench->server);
}

TEST(serving_over_kept_connections)
{
	struct bench bench;

	bench_open(&bench, SERVING, "");
	/* A starved thread may well be silent for 60 ms. */
	bench.probe.interval_ms = 100;
	bench.probe.timeout_ms = 1000;
	lab_ask(&bench.lab, &bench.probe);
	LAB_WAIT(&bench.lab, bench.health->sent >= 24);
	CHECK(bench.health->known && !bench.health->suspect && !bench.health->down);
	CHECK_INT(bench.health->failed, 0);
	CHECK_INT(bench.lab.n_changes, 1);
	CHECK_STR(lab_last(&bench.lab)->evidence, "grpc Check \"\": SERVING");
	CHECK(bench.server.connections >= 3 && bench.server.connections <= 4);
	CHECK(bench.server.resets <= 1);
	bench_close(&bench);
}

TEST(the_request_is_a_health_check)
{
	struct bench bench;
	char authority[64];

	bench_open(&bench, SERVING, "llm");
	LAB_WAIT(&bench.lab, bench.health->known);
	CHECK(server_was_asked(&bench.server, ":method: POST\n"));
	CHECK(server_was_asked(&bench.server, ":path: /grpc.health.v1.Health/Check\n"));
	CHECK(server_was_asked(&bench.server, "content-type: application/grpc\n"));
	CHECK(server_was_asked(&bench.server, "te: trailers\n"));
	CHECK(server_was_asked(&bench.server, "user-agent: sluice-probe/"));
	snprintf(authority, sizeof(authority), ":authority: 127.0.0.1:%u\n",
		 ntohs(bench.server.port));
	CHECK(server_was_asked(&bench.server, authority));
	CHECK(server_was_asked(&bench.server, "00 00 00 00 05 0a 03 6c 6c 6d "));
	bench_close(&bench);
}

static const struct kind {
	enum manner manner;
	const char *evidence;
} kinds[] = {
	{NOT_SERVING, "NOT_SERVING, 1 of 3"},
	{UNIMPLEMENTED, "grpc-status 12, 1 of 3"},
	{HTTP_503, "HTTP status 503, 1 of 3"},
	{NONSENSE, "not a HealthCheckResponse, 1 of 3"},
	{RESET, "stream reset by error 2, 1 of 3"},
	{SILENT, "no answer within 200 ms, 3 of 3"},
};

TEST(kinds_of_bad_answers)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct bench bench;
		char evidence[128];

		bench_open(&bench, kinds[i].manner, "a");
		LAB_WAIT(&bench.lab, bench.health->known);
		CHECK(bench.health->down);
		snprintf(evidence, sizeof(evidence), "grpc Check \"a\": %s", kinds[i].evidence);
		CHECK_STR(lab_last(&bench.lab)->evidence, evidence);
		bench.manner = SERVING;
		LAB_WAIT(&bench.lab, !bench.health->down);
		CHECK_STR(lab_last(&bench.lab)->evidence, "grpc Check \"a\": SERVING");
		bench_close(&bench);
	}
}

TEST(a_stream_refused_on_a_kept_connection_says_nothing)
{
	struct bench bench;

	bench_open(&bench, REFUSES_SECOND, "");
	LAB_WAIT(&bench.lab, bench.health->sent >= 20);
	CHECK(bench.health->known && !bench.health->down);
	CHECK_INT(bench.health->failed, 0);
	bench_close(&bench);
}

TEST(too_many_sessions_are_not_kept)
{
	struct bench bench;

	bench_open(&bench, SERVING, "");
	bench.lab.set->grpc_sessions += 1000;
	LAB_WAIT(&bench.lab, bench.health->sent >= 10);
	CHECK(bench.server.connections >= 9);
	CHECK_INT(bench.health->failed, 0);
	lab_ask(&bench.lab, &(struct model_probe){.kind = MODEL_PROBE_NONE});
	CHECK_INT(bench.lab.set->grpc_sessions, 1000);
	bench_close(&bench);
}

TEST(a_server_of_http_1_is_bad)
{
	static const struct server_manner manner = {
		.answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"};
	struct bench bench;

	memset(&bench, 0, sizeof(bench));
	bench.server.manner = &manner;
	server_start(&bench.server, "127.0.0.1", 64);
	lab_open(&bench.lab);
	bench.probe = lab_probe(MODEL_PROBE_GRPC, bench.server.port);
	bench.health = lab_ask(&bench.lab, &bench.probe);
	LAB_WAIT(&bench.lab, bench.health->known);
	CHECK(bench.health->down);
	CHECK_STR(lab_last(&bench.lab)->evidence,
		  "grpc Check \"\": the answer is not HTTP/2, 1 of 3");
	bench_close(&bench);
}
