// SPDX-License-Identifier: GPL-2.0-only
/*
 * A growing string for answers that are built whole: metrics, status. Owns its
 * memory, refuses nothing, remembers that memory ran out. Called by whatever
 * renders text.
 */
#include "strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void strbuf_done(struct strbuf *buf)
{
	free(buf->data);
	*buf = (struct strbuf){0};
}

/* Makes room for `len` more bytes and the NUL. */
static bool strbuf_reserve(struct strbuf *buf, size_t len)
{
	size_t capacity = buf->capacity ? buf->capacity : 256;
	char *data;

	if (buf->failed)
		return false;
	if (buf->len + len < buf->capacity)
		return true;
	while (capacity <= buf->len + len)
		capacity *= 2;
	data = realloc(buf->data, capacity);
	if (!data) {
		buf->failed = true;
		return false;
	}
	buf->data = data;
	buf->capacity = capacity;
	return true;
}

void strbuf_add_bytes(struct strbuf *buf, const char *bytes, size_t len)
{
	if (!strbuf_reserve(buf, len))
		return;
	memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void strbuf_add(struct strbuf *buf, const char *text)
{
	strbuf_add_bytes(buf, text, strlen(text));
}

void strbuf_add_u64(struct strbuf *buf, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = '0' + value % 10;
		value /= 10;
	} while (value);
	strbuf_add_bytes(buf, digits + at, sizeof(digits) - at);
}

void strbuf_addf(struct strbuf *buf, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0 || !strbuf_reserve(buf, len)) {
		buf->failed = true;
		return;
	}
	va_start(args, format);
	vsnprintf(buf->data + buf->len, len + 1, format, args);
	va_end(args);
	buf->len += len;
}

bool strbuf_failed(const struct strbuf *buf)
{
	return buf->failed;
}

char *strbuf_take(struct strbuf *buf)
{
	char *data;

	strbuf_add_bytes(buf, "", 0);
	data = buf->failed ? NULL : buf->data;
	if (!data)
		free(buf->data);
	*buf = (struct strbuf){0};
	return data;
}
