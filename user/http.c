// SPDX-License-Identifier: GPL-2.0-only
/*
 * A small HTTP server on the agent's loop. libmicrohttpd parses and answers; it
 * runs without a thread of its own: the loop polls its epoll descriptor and
 * keeps its timeouts. Owns the listening socket and the connections; refuses
 * other methods than GET and HEAD (405) and paths outside its table (404).
 * Called by the agent.
 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addr.h"

#define HTTP_CONNECTIONS   64
#define HTTP_IDLE_SECONDS  30
#define HTTP_REQUEST_BYTES 16384

struct http {
	struct MHD_Daemon *daemon;
	const struct http_handler *handlers;
	size_t n_handlers;
	void *context;
	uv_poll_t poll;
	uv_timer_t timer;
	unsigned handles; /* uv handles not yet closed */
};

/* ---- answers -------------------------------------------------------------------- */

/* Queues `out` (emptied) as the answer. MHD_NO, so that the connection is closed, when memory
 * is short. */
static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status,
			      const char *content_type, struct strbuf *out)
{
	size_t len = out->len;
	char *body = strbuf_take(out);
	struct MHD_Response *response;
	enum MHD_Result result;

	if (!body)
		return MHD_NO;
	response = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(body);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_not_found(const struct http *http, struct MHD_Connection *connection)
{
	struct strbuf out = {0};

	strbuf_add(&out, "not found; there is:\n");
	for (size_t i = 0; i < http->n_handlers; i++) {
		strbuf_add(&out, http->handlers[i].path);
		strbuf_add(&out, "\n");
	}
	return answer(connection, MHD_HTTP_NOT_FOUND, "text/plain", &out);
}

static const struct http_handler *handler_find(const struct http *http, const char *path)
{
	for (size_t i = 0; i < http->n_handlers; i++)
		if (!strcmp(http->handlers[i].path, path))
			return &http->handlers[i];
	return NULL;
}

/* Called once when the headers are in (*seen is NULL), then for each piece of a body, then once
 * more to answer. A body is read and forgotten. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
				  const char *path, const char *method, const char *version,
				  const char *body, size_t *body_len, void **seen)
{
	const struct http *http = context;
	const struct http_handler *handler = handler_find(http, path);
	struct strbuf out = {0};
	unsigned status;

	if (!handler)
		return answer_not_found(http, connection);
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD)) {
		strbuf_add(&out, "only GET and HEAD\n");
		return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", &out);
	}
	if (!*seen || *body_len) {
		*seen = context;
		*body_len = 0;
		return MHD_YES;
	}
	status = handler->render(http->context, &out);
	return answer(connection, status, handler->content_type, &out);
}

/* ---- the loop --------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer);

static void http_run(struct http *http)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	MHD_run(http->daemon);
	if (MHD_get_timeout(http->daemon, &timeout_ms) == MHD_YES)
		uv_timer_start(&http->timer, on_timer, timeout_ms, 0);
	else
		uv_timer_stop(&http->timer);
}

static void on_timer(uv_timer_t *timer)
{
	http_run(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	http_run(poll->data);
}

static void on_closed(uv_handle_t *handle)
{
	struct http *http = handle->data;

	if (!--http->handles)
		free(http);
}

void http_free(struct http *http)
{
	if (!http)
		return;
	uv_close((uv_handle_t *)&http->poll, on_closed);
	uv_close((uv_handle_t *)&http->timer, on_closed);
	MHD_stop_daemon(http->daemon); /* closes the listening socket as well */
}

/* ---- start ------------------------------------------------------------------------- */

static const char *advice(int error)
{
	switch (error) {
	case EADDRINUSE:
		return "another sluiced or another program listens there: stop it or choose "
		       "another port";
	case EADDRNOTAVAIL:
		return "no interface of this node holds that address";
	case EACCES:
		return "ports below 1024 need CAP_NET_BIND_SERVICE";
	default:
		return "choose another address";
	}
}

/* Returns a listening, non-blocking socket, or -errno. */
static int listen_open(const union sl_addr *addr, __be16 port)
{
	struct sockaddr_storage to;
	socklen_t len = addr_to_sockaddr(addr, port, &to);
	int fd, one = 1, error;

	fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!bind(fd, (struct sockaddr *)&to, len) && !listen(fd, 64))
		return fd;
	error = errno;
	close(fd);
	return -error;
}

/* `fd` belongs to libmicrohttpd from here on. */
static int http_start(struct http *http, uv_loop_t *loop, int fd)
{
	const struct MHD_OptionItem options[] = {
		{MHD_OPTION_LISTEN_SOCKET, fd, NULL},
		{MHD_OPTION_CONNECTION_LIMIT, HTTP_CONNECTIONS, NULL},
		{MHD_OPTION_CONNECTION_TIMEOUT, HTTP_IDLE_SECONDS, NULL},
		{MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_REQUEST_BYTES, NULL},
		{MHD_OPTION_END, 0, NULL},
	};
	const union MHD_DaemonInfo *info;
	int error;

	http->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, http,
					MHD_OPTION_ARRAY, options, MHD_OPTION_END);
	if (!http->daemon)
		return -ENOMEM;
	info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	error = info ? uv_poll_init(loop, &http->poll, info->epoll_fd) : -ENOTSUP;
	if (error) {
		MHD_stop_daemon(http->daemon);
		return error;
	}
	uv_timer_init(loop, &http->timer);
	http->poll.data = http->timer.data = http;
	http->handles = 2;
	uv_poll_start(&http->poll, UV_READABLE, on_poll);
	return 0;
}

int http_new(uv_loop_t *loop, const char *listen, const struct http_handler *handlers,
	     size_t n_handlers, void *context, struct http **ret, char *error, size_t error_len)
{
	struct http *http;
	union sl_addr addr;
	__be16 port;
	int fd, code;

	if (addr_parse_port(listen, &addr, &port)) {
		snprintf(error, error_len,
			 "--listen %s: not ADDR:PORT, such as 127.0.0.1:9911 or [::1]:9911",
			 listen);
		return -EINVAL;
	}
	fd = listen_open(&addr, port);
	if (fd < 0) {
		snprintf(error, error_len, "--listen %s: %s: %s", listen, strerror(-fd),
			 advice(-fd));
		return fd;
	}
	http = calloc(1, sizeof(*http));
	if (!http) {
		close(fd);
		snprintf(error, error_len, "--listen %s: out of memory", listen);
		return -ENOMEM;
	}
	http->handlers = handlers;
	http->n_handlers = n_handlers;
	http->context = context;
	code = http_start(http, loop, fd);
	if (code) {
		snprintf(error, error_len, "--listen %s: the HTTP server does not start: %s",
			 listen, strerror(-code));
		free(http);
		return code;
	}
	*ret = http;
	return 0;
}
