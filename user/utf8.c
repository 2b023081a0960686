// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns what may be printed of text that others wrote. Refuses nothing: what is
 * not fit is replaced. Called by whatever prints names, addresses and evidence.
 */
#include "utf8.h"

#include <stdbool.h>

size_t utf8_length(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;
	unsigned low = 0x80, high = 0xbf;
	size_t len;

	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4)
		return 0;
	len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if (u[0] == 0xe0 || u[0] == 0xf0) /* overlong forms */
		low = u[0] == 0xe0 ? 0xa0 : 0x90;
	if (u[0] == 0xed || u[0] == 0xf4) /* surrogates; beyond U+10FFFF */
		high = u[0] == 0xed ? 0x9f : 0x8f;
	for (size_t i = 1; i < len; i++, low = 0x80, high = 0xbf)
		if (u[i] < low || u[i] > high)
			return 0;
	return len;
}

/* C0, DEL and, in two bytes, C1: some terminals obey those as well. */
static bool is_control(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;

	return u[0] < 0x20 || u[0] == 0x7f || (u[0] == 0xc2 && u[1] < 0xa0);
}

/* The code of a control character. */
static unsigned control_code(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;

	return u[0] == 0xc2 ? u[1] : u[0];
}

void utf8_add_json(struct strbuf *buf, const char *s)
{
	size_t len;

	strbuf_add(buf, "\"");
	for (; *s; s += len ? len : 1) {
		len = utf8_length(s);
		if (len == 0)
			strbuf_add(buf, "\\ufffd");
		else if (is_control(s))
			strbuf_addf(buf, "\\u%04x", control_code(s));
		else if (*s == '"' || *s == '\\')
			strbuf_addf(buf, "\\%c", *s);
		else
			strbuf_add_bytes(buf, s, len);
	}
	strbuf_add(buf, "\"");
}

void utf8_add_text(struct strbuf *buf, const char *s)
{
	size_t len;

	for (; *s; s += len ? len : 1) {
		len = utf8_length(s);
		if (len == 0 || is_control(s))
			strbuf_add(buf, "?");
		else
			strbuf_add_bytes(buf, s, len);
	}
	strbuf_add(buf, ""); /* NUL-terminated, even when empty */
}

size_t utf8_width(const char *s)
{
	size_t width = 0;

	for (; *s; s++)
		width += (*s & 0xc0) != 0x80;
	return width;
}
