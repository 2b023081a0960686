/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A string that grows. Out of memory is remembered and not reported at each
 * step: build the whole text, then ask strbuf_failed() once.
 */
#ifndef SLUICE_STRBUF_H
#define SLUICE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strbuf {
	char *data; /* NUL-terminated once anything was added; NULL before */
	size_t len; /* without the NUL */
	size_t capacity;
	bool failed;
};

/* A zeroed struct strbuf is an empty one. */
void strbuf_done(struct strbuf *buf);

void strbuf_add(struct strbuf *buf, const char *text);
void strbuf_add_bytes(struct strbuf *buf, const char *bytes, size_t len);
void strbuf_add_u64(struct strbuf *buf, uint64_t value); /* decimal; much faster than addf */
void strbuf_addf(struct strbuf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether some addition was lost for want of memory. */
bool strbuf_failed(const struct strbuf *buf);

/* Hands over the text (never NULL unless failed; free() it) and empties the buffer. */
char *strbuf_take(struct strbuf *buf);

#endif
