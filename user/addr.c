// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the text forms of addresses, address:port pairs and prefixes. Takes only
 * what it would print for the same value, or another spelling of the same IPv6
 * address: no names, zones, octal octets, signs or leading zeros. Called by
 * everything that reads or shows an address.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "addr.h"

#define V4_PREFIX_BITS 96u /* of ::ffff:0:0/96 */

static void addr_set_v4(union sl_addr *addr, __be32 v4)
{
	addr->d[0] = 0;
	addr->w[2] = SL_V4_MARK;
	addr->w[3] = v4;
}

int addr_parse(const char *text, union sl_addr *ret)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		addr_set_v4(ret, v4.s_addr);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &v6) != 1)
		return -EINVAL;
	memcpy(ret->b, &v6, sizeof(ret->b));
	return 0;
}

/* A decimal number of at most `max`, nothing before or after it. */
static int parse_number(const char *text, unsigned max, unsigned *ret)
{
	unsigned value = 0;

	if (!*text || (text[0] == '0' && text[1]))
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (*text - '0');
		if (value > max)
			return -EINVAL;
	}
	*ret = value;
	return 0;
}

/* Parses `len` bytes of text as an address; IPv4 or IPv6 as `v6` says. */
static int parse_span(const char *text, size_t len, bool v6, union sl_addr *ret)
{
	char copy[ADDR_STR_LEN];

	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (!!memchr(copy, ':', len) != v6)
		return -EINVAL;
	return addr_parse(copy, ret);
}

int addr_parse_port(const char *text, union sl_addr *ret_addr, __be16 *ret_port)
{
	bool v6 = text[0] == '[';
	const char *colon = strrchr(text, ':');
	union sl_addr addr;
	unsigned port;
	int err;

	if (!colon || (v6 && colon[-1] != ']'))
		return -EINVAL;
	if (v6)
		err = parse_span(text + 1, colon - text - 2, true, &addr);
	else
		err = parse_span(text, colon - text, false, &addr);
	if (err || parse_number(colon + 1, 65535, &port) || !port)
		return -EINVAL;
	*ret_addr = addr;
	*ret_port = htons(port);
	return 0;
}

/* Zeroes all but the first `bits` bits. */
static void addr_mask(union sl_addr *addr, unsigned bits)
{
	for (unsigned i = 0; i < sizeof(addr->b); i++, bits -= bits < 8 ? bits : 8)
		if (bits < 8)
			addr->b[i] &= 0xff00 >> bits;
}

int addr_parse_cidr(const char *text, struct addr_cidr *ret)
{
	const char *slash = strchr(text, '/');
	struct addr_cidr cidr;
	bool v6;

	if (!slash)
		return -EINVAL;
	v6 = memchr(text, ':', slash - text);
	if (parse_span(text, slash - text, v6, &cidr.addr) ||
	    parse_number(slash + 1, v6 ? 128 : 32, &cidr.bits))
		return -EINVAL;
	if (!v6)
		cidr.bits += V4_PREFIX_BITS;
	addr_mask(&cidr.addr, cidr.bits);
	*ret = cidr;
	return 0;
}

const char *addr_format(const union sl_addr *addr, char buf[ADDR_STR_LEN])
{
	if (addr_is_v4(addr))
		inet_ntop(AF_INET, &addr->w[3], buf, ADDR_STR_LEN);
	else
		inet_ntop(AF_INET6, addr->b, buf, ADDR_STR_LEN);
	return buf;
}

const char *addr_format_port(const union sl_addr *addr, __be16 port, char buf[ADDR_PORT_STR_LEN])
{
	char text[ADDR_STR_LEN];

	snprintf(buf, ADDR_PORT_STR_LEN, addr_is_v4(addr) ? "%s:%u" : "[%s]:%u",
		 addr_format(addr, text), ntohs(port));
	return buf;
}

bool addr_is_v4(const union sl_addr *addr)
{
	return addr->d[0] == 0 && addr->w[2] == SL_V4_MARK;
}

bool addr_is_any(const union sl_addr *addr)
{
	return addr->d[0] == 0 && addr->w[3] == 0 && (addr->w[2] == 0 || addr->w[2] == SL_V4_MARK);
}

bool addr_equal(const union sl_addr *a, const union sl_addr *b)
{
	return a->d[0] == b->d[0] && a->d[1] == b->d[1];
}

bool addr_in_cidr(const union sl_addr *addr, const struct addr_cidr *cidr)
{
	union sl_addr masked = *addr;

	/* ::/0 means every IPv6 address, not those that are v4-mapped only in here. */
	if (addr_is_v4(addr) && cidr->bits < V4_PREFIX_BITS)
		return false;
	addr_mask(&masked, cidr->bits);
	return addr_equal(&masked, &cidr->addr);
}

int addr_from_bytes(const void *bytes, size_t len, union sl_addr *ret)
{
	__be32 v4;

	switch (len) {
	case sizeof(v4):
		memcpy(&v4, bytes, len);
		addr_set_v4(ret, v4);
		return 0;
	case sizeof(ret->b):
		memcpy(ret->b, bytes, len);
		return 0;
	default:
		return -EINVAL;
	}
}

socklen_t addr_to_sockaddr(const union sl_addr *addr, __be16 port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (addr_is_v4(addr)) {
		v4->sin_family = AF_INET;
		v4->sin_port = port;
		v4->sin_addr.s_addr = addr->w[3];
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = port;
	memcpy(&v6->sin6_addr, addr->b, sizeof(addr->b));
	return sizeof(*v6);
}
