// SPDX-License-Identifier: GPL-2.0-only
/*
 * Heads of HTTP responses, each read whole and byte by byte.
 */
#include "check.h"
#include "http_response.h"

struct row {
	const char *bytes;
	int status; /* 0: not HTTP; -1: goes on */
	bool keep_alive;
	int body_len;
	size_t rest; /* bytes after the head */
};

static const struct row rows[] = {
	{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, true, 5, 5},
	{"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", 200, true, 0, 0},
	{"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, true, 0, 0},
	{"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, true, 0, 0},
	{"HTTP/1.1 503 Service Unavailable\nContent-Length: 1\n\nx", 503, true, 1, 1},
	{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 200, false, 0, 0},
	{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCONNECTION: x, Close ,y\r\n\r\n", 200, false, 0, 0},
	{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: closed\r\n\r\n", 200, true, 0, 0},
	{"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, false, 0, 0},
	{"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", 200, true, 0, 0},
	{"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, false, -1, 13},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, false, -1, 5},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 200, false, -1, 0},
	{"HTTP/1.1 204 No Content\r\n\r\n", 204, true, 0, 0},
	{"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, true, 0, 0},
	{"HTTP/1.1 302 Found\r\nLocation: http://else/\r\nContent-Length: 0\r\n\r\n", 302, true, 0, 0},
	{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", 200, true, 2, 2},
	{"HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\nHTTP/1.1 204 x\r\n\r\n", 204, true, 0, 0},
	{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 101, false, -1, 0},
	{"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b: c\r\n\td\r\nContent-Length: 0\r\n\r\n", 200, true, 0, 0},
	{"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n", 200, true, 7, 0},
	{"HTTP/1.1 200 OK\r\nContent-Length:\t 7 \t\r\n\r\n", 200, true, 7, 0},

	{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", -1, false, -1, 0},
	{"HTTP/1.1 20", -1, false, -1, 0},
	{"", -1, false, -1, 0},

	{"\r\nHTTP/1.1 200 OK\r\n\r\n", 0, false, -1, 0},
	{"SSH-2.0-OpenSSH_9.2p1\r\n", 0, false, -1, 0},
	{"HTTP/2 200\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 2000 OK\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 20x OK\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 099 OK\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1  200 OK\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 200 O\1K\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 200 OK\r\nBlank : x\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 200 OK\r\n: no name\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 0, false, -1, 0},
	{"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", 0, false, -1, 0},
};

/* Feeds `len` bytes in pieces of at most `piece`. How many belong to the head; -1: refused. */
static ssize_t feed(struct http_response *response, const char *bytes, size_t len, size_t piece)
{
	size_t done = 0;

	http_response_init(response);
	while (done < len && !response->complete) {
		size_t n = len - done < piece ? len - done : piece;
		ssize_t taken = http_response_feed(response, bytes + done, n);

		if (taken < 0)
			return -1;
		done += taken;
	}
	return done;
}

static void check_row(const struct row *row, size_t piece)
{
	struct http_response response;
	size_t len = strlen(row->bytes);
	ssize_t head = feed(&response, row->bytes, len, piece);

	if (row->status == 0) {
		CHECK_INT(head, -1);
		return;
	}
	CHECK_INT(response.complete, row->status > 0);
	CHECK_INT(head, len - row->rest);
	if (row->status < 0)
		return;
	CHECK_INT(response.status, row->status);
	CHECK_INT(response.keep_alive, row->keep_alive);
	CHECK_INT(response.body_len, row->body_len);
}

TEST(every_row_in_pieces_of_every_size)
{
	static const size_t pieces[] = {1, 2, 3, 7, 64, 4096};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool failed = check_failed;

		check_failed = false;
		for (size_t j = 0; j < sizeof(pieces) / sizeof(pieces[0]); j++)
			check_row(&rows[i], pieces[j]);
		if (check_failed)
			printf("  row %zu: %s\n", i, rows[i].bytes);
		check_failed |= failed;
	}
}

TEST(long_lines_are_read_over)
{
	char bytes[4096];
	struct http_response response;
	int n = snprintf(bytes, sizeof(bytes), "HTTP/1.1 200 %0300d\r\nX-Long: %0500d\r\n%0200d: 1\r\n"
			 "Content-Length: 4\r\n\r\nbody", 0, 0, 0);

	CHECK_INT(feed(&response, bytes, n, 100), n - 4);
	CHECK_INT(response.status, 200);
	CHECK_INT(response.body_len, 4);
}

TEST(an_endless_head_is_refused)
{
	static const char line[] = "X-Filler: 0123456789\r\n";
	struct http_response response;
	size_t fed = 0;
	ssize_t n;

	http_response_init(&response);
	n = http_response_feed(&response, "HTTP/1.1 200 OK\r\n", 17);
	while (n >= 0 && fed < 2 * HTTP_RESPONSE_MAX) {
		n = http_response_feed(&response, line, sizeof(line) - 1);
		fed += sizeof(line) - 1;
	}
	CHECK(n < 0);
	CHECK(fed <= HTTP_RESPONSE_MAX + sizeof(line));
}

TEST(endless_interim_responses_are_refused)
{
	static const char interim[] = "HTTP/1.1 103 Early Hints\r\n\r\n";
	struct http_response response;
	ssize_t n = 0;

	http_response_init(&response);
	for (unsigned i = 0; i < 10000 && n >= 0; i++)
		n = http_response_feed(&response, interim, sizeof(interim) - 1);
	CHECK(n < 0);
}
