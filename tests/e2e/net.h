/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the stand-alone programs of the e2e tests share: clock, "ADDR:PORT",
 * and the byte pattern by which either side checks a body. Included by each,
 * never linked.
 */
#ifndef E2E_NET_H
#define E2E_NET_H

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC 1000000000ull

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static inline void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

/* Byte i of every test body: a period that divides no segment size. */
static inline char pattern_at(size_t i)
{
	return 'a' + i % 23;
}

static inline void pattern_fill(char *buf, size_t len, size_t offset)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = pattern_at(offset + i);
}

static inline bool pattern_matches(const char *buf, size_t len, size_t offset)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != pattern_at(offset + i))
			return false;
	return true;
}

/* "10.0.0.1" or "fd00::1" with a port -> socket address; returns its length. */
static inline socklen_t sockaddr_set(const char *addr, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *four = (struct sockaddr_in *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, addr, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return sizeof(*four);
	}
	if (inet_pton(AF_INET6, addr, &six->sin6_addr) != 1)
		die("%s is not an IP address", addr);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	return sizeof(*six);
}

/* "10.0.0.1:80" or "[fd00::1]:80" -> socket address; returns its length. */
static inline socklen_t sockaddr_parse(const char *text, struct sockaddr_storage *ret)
{
	const char *colon = strrchr(text, ':');
	char addr[64];
	size_t len;

	if (!colon)
		die("%s: expected ADDR:PORT or [ADDR]:PORT", text);
	len = colon - text;
	if (*text == '[' && len >= 2) {
		text++;
		len -= 2;
	}
	snprintf(addr, sizeof(addr), "%.*s", (int)len, text);
	return sockaddr_set(addr, atoi(colon + 1), ret);
}

#endif
