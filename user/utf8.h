/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text of unknown origin, made fit to print: UTF-8 (RFC 3629) is kept, anything
 * else and control characters are replaced, so that no name or log line can
 * break a JSON string or command a terminal. Pure.
 */
#ifndef SLUICE_UTF8_H
#define SLUICE_UTF8_H

#include <stddef.h>

#include "strbuf.h"

/* Bytes of the character at `s`, 1 to 4 (1 for NUL); 0 when it is no UTF-8. */
size_t utf8_length(const char *s);

/* Appends `s` as a JSON string, quotes included; broken bytes become U+FFFD. */
void utf8_add_json(struct strbuf *buf, const char *s);

/* Appends `s`; broken bytes and control characters become "?". */
void utf8_add_text(struct strbuf *buf, const char *s);

/* Characters in a string that utf8_add_text() wrote. */
size_t utf8_width(const char *s);

#endif
