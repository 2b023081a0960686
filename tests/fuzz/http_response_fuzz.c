// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bytes of a server into the HTTP response parser: cut anywhere they must mean
 * the same.
 * fuzz-links: user/http_response.c
 */
#include <stdlib.h>

#include "http_response.h"

/* Reads all in pieces of at most `piece` bytes; the end of the head, or -1. */
static ssize_t feed(struct http_response *response, const uint8_t *data, size_t size, size_t piece)
{
	size_t done = 0;

	http_response_init(response);
	while (done < size && !response->complete) {
		size_t n = size - done < piece ? size - done : piece;
		ssize_t taken = http_response_feed(response, (const char *)data + done, n);

		if (taken < 0)
			return -1;
		if ((size_t)taken != n && !response->complete)
			abort();
		done += taken;
	}
	return done;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_response whole, pieces;
	ssize_t end;

	if (!size)
		return 0;
	end = feed(&whole, data + 1, size - 1, size);
	if (feed(&pieces, data + 1, size - 1, 1 + data[0] % 16) != end)
		abort();
	if (end < 0)
		return 0;
	if (whole.complete != pieces.complete || whole.status != pieces.status ||
	    whole.keep_alive != pieces.keep_alive || whole.body_len != pieces.body_len)
		abort();
	if (whole.complete && (whole.status < 101 || whole.status > 999 || whole.body_len < -1 ||
			       (whole.keep_alive && whole.body_len < 0)))
		abort();
	return 0;
}
