/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads the head of an HTTP/1.x response (RFC 9112), byte by byte as it comes:
 * the status, and what it takes to know whether the connection can carry
 * another request. Interim responses (1xx) are read over. Pure; allocates
 * nothing.
 */
#ifndef SLUICE_HTTP_RESPONSE_H
#define SLUICE_HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_RESPONSE_MAX 65536u /* bytes of head, interim ones included */
#define HTTP_RESPONSE_LINE 128u  /* of longer lines only the beginning is looked at */

struct http_response {
	/* What is known once `complete`. */
	bool complete;
	bool keep_alive;         /* the server will take another request after this body */
	unsigned short status;   /* 100-999; 101 is final, other 1xx never shown */
	int64_t body_len;        /* -1: not known beforehand: chunked, or up to the end */

	/* How far it is read. */
	bool chunked;
	bool cut;                /* the line is longer than what is kept of it */
	unsigned short line_len;
	uint32_t total;
	char line[HTTP_RESPONSE_LINE];
};

void http_response_init(struct http_response *response);

/* Reads up to the end of the head. Returns how many of the bytes belong to it: less than `len` only
 * when complete. -EBADMSG: not HTTP/1.x, or too long. */
ssize_t http_response_feed(struct http_response *response, const char *bytes, size_t len);

#endif
