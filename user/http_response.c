// SPDX-License-Identifier: GPL-2.0-only
/*
 * The head of an HTTP/1.x response. Owns the grammar that probes need: the
 * status line, Content-Length, Transfer-Encoding and Connection; every other
 * header is skipped. Refuses what is not HTTP, control characters, and lengths
 * that contradict each other. Called by probe_http.c.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "http_response.h"

void http_response_init(struct http_response *response)
{
	memset(response, 0, offsetof(struct http_response, line));
	response->body_len = -1;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK"; the reason phrase and the space before it may be missing. */
static int parse_status(struct http_response *response, const char *line, size_t len)
{
	if (len < 12 || memcmp(line, "HTTP/1.", 7) || !is_digit(line[7]) || line[8] != ' ' ||
	    line[9] < '1' || line[9] > '9' || !is_digit(line[10]) || !is_digit(line[11]) ||
	    (len > 12 && line[12] != ' '))
		return -EBADMSG;
	response->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
	response->keep_alive = line[7] != '0';
	return 0;
}

static int parse_length(struct http_response *response, const char *value, size_t len)
{
	int64_t body_len = 0;

	if (!len || len > 18)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(value[i]))
			return -EBADMSG;
		body_len = body_len * 10 + (value[i] - '0');
	}
	if (response->body_len >= 0 && response->body_len != body_len)
		return -EBADMSG;
	response->body_len = body_len;
	return 0;
}

/* A comma-separated list of options, of which two matter. */
static void parse_connection(struct http_response *response, const char *value, size_t len)
{
	static const char close[] = "close", keep[] = "keep-alive";
	const char *end = value + len;

	while (value < end) {
		size_t n = strcspn(value, ", \t");

		if (n > (size_t)(end - value))
			n = end - value;
		if (n == sizeof(close) - 1 && !strncasecmp(value, close, n)) {
			response->keep_alive = false;
			return;
		}
		if (n == sizeof(keep) - 1 && !strncasecmp(value, keep, n))
			response->keep_alive = true;
		value += n ? n : 1;
	}
}

static bool name_is(const char *line, size_t len, const char *name)
{
	return len == strlen(name) && !strncasecmp(line, name, len);
}

static int parse_header(struct http_response *response, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len), *value, *end = line + len;
	size_t name_len;

	/* A line that continues the one before (obsolete, still seen) carries nothing for us. */
	if (*line == ' ' || *line == '\t')
		return 0;
	if (!colon)
		return response->cut ? 0 : -EBADMSG;
	name_len = colon - line;
	if (!name_len || memchr(line, ' ', name_len) || memchr(line, '\t', name_len))
		return -EBADMSG;
	for (value = colon + 1; value < end && (*value == ' ' || *value == '\t');)
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;

	if (name_is(line, name_len, "Content-Length"))
		return response->cut ? -EBADMSG : parse_length(response, value, end - value);
	if (name_is(line, name_len, "Transfer-Encoding"))
		response->chunked = true;
	else if (name_is(line, name_len, "Connection"))
		parse_connection(response, value, end - value);
	return 0;
}

static void finish_head(struct http_response *response)
{
	uint32_t total = response->total;

	if (response->status < 200 && response->status != 101) {
		http_response_init(response);
		response->total = total;
		return;
	}
	if (response->status == 204 || response->status == 304)
		response->body_len = 0;
	else if (response->chunked)
		response->body_len = -1;
	if (response->body_len < 0)
		response->keep_alive = false;
	response->complete = true;
}

/* A whole line, without its line end; NUL-terminated for the sake of string functions. */
static int take_line(struct http_response *response)
{
	size_t len = response->line_len;
	int err = 0;

	if (len && response->line[len - 1] == '\r')
		len--;
	response->line[len] = '\0';
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)response->line[i] < 0x20 && response->line[i] != '\t')
			return -EBADMSG;
	if (!response->status)
		err = parse_status(response, response->line, len);
	else if (len)
		err = parse_header(response, response->line, len);
	else
		finish_head(response);
	response->line_len = 0;
	response->cut = false;
	return err;
}

ssize_t http_response_feed(struct http_response *response, const char *bytes, size_t len)
{
	size_t i;

	for (i = 0; i < len && !response->complete; i++) {
		if (++response->total > HTTP_RESPONSE_MAX)
			return -EBADMSG;
		if (bytes[i] == '\n') {
			int err = take_line(response);

			if (err)
				return err;
		} else if (response->line_len < HTTP_RESPONSE_LINE - 1) {
			response->line[response->line_len++] = bytes[i];
		} else {
			response->cut = true;
		}
	}
	return i;
}
