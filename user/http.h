/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small HTTP/1.1 server on the agent's own loop (libmicrohttpd): GET and HEAD
 * of a fixed table of paths. Every answer is rendered anew, whole, in memory.
 * Knows nothing of what it serves.
 */
#ifndef SLUICE_HTTP_H
#define SLUICE_HTTP_H

#include <stddef.h>
#include <uv.h>

#include "strbuf.h"

struct http_handler {
	const char *path; /* "/metrics": compared whole, the query string left aside */
	const char *content_type;
	/* Appends the body and returns the HTTP status. */
	int (*render)(void *context, struct strbuf *out);
};

struct http;

/* Listens on `listen` ("127.0.0.1:9911", "[::1]:9911", "0.0.0.0:9911"). `handlers` and `context`
 * must outlive the server. 0; -EINVAL: `listen` is not ADDR:PORT; -EADDRINUSE and other -errno.
 * On failure `error` holds one line for people that names `listen` and what to do. */
int http_new(uv_loop_t *loop, const char *listen, const struct http_handler *handlers,
	     size_t n_handlers, void *context, struct http **ret, char *error, size_t error_len);

/* Stops at once; its uv handles are closed on the next turn of the loop. NULL is fine. */
void http_free(struct http *http);

#endif
