/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Addresses as people write them, to and from union sl_addr (16 bytes, network
 * byte order, IPv4 v4-mapped). Pure.
 */
#ifndef SLUICE_ADDR_H
#define SLUICE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include <sluice/abi.h>

#define ADDR_STR_LEN 46      /* INET6_ADDRSTRLEN */
#define ADDR_PORT_STR_LEN 56 /* [address]:65535 */

struct addr_cidr {
	union sl_addr addr; /* host bits are zero */
	unsigned bits;      /* 0-128 of the v4-mapped form: 10.0.0.0/8 is 104 */
};

/* "10.0.0.1" or "fd00::1". 0, or -EINVAL. No names, no brackets, no zone. */
int addr_parse(const char *text, union sl_addr *ret);

/* "10.0.0.1:80" or "[fd00::1]:80"; the port 1-65535. 0, or -EINVAL. */
int addr_parse_port(const char *text, union sl_addr *ret_addr, __be16 *ret_port);

/* "10.0.0.0/8" or "fd00::/8". 0, or -EINVAL. */
int addr_parse_cidr(const char *text, struct addr_cidr *ret);

/* Write the text form into `buf` and return `buf`. */
const char *addr_format(const union sl_addr *addr, char buf[ADDR_STR_LEN]);
const char *addr_format_port(const union sl_addr *addr, __be16 port, char buf[ADDR_PORT_STR_LEN]);

bool addr_is_v4(const union sl_addr *addr);
bool addr_is_any(const union sl_addr *addr); /* 0.0.0.0 or :: */
bool addr_equal(const union sl_addr *a, const union sl_addr *b);
bool addr_in_cidr(const union sl_addr *addr, const struct addr_cidr *cidr);

/* From `len` raw bytes (4 or 16) as netlink gives them. 0, or -EINVAL. */
int addr_from_bytes(const void *bytes, size_t len, union sl_addr *ret);

/* A socket address (AF_INET for v4-mapped ones, else AF_INET6); returns its length. */
socklen_t addr_to_sockaddr(const union sl_addr *addr, __be16 port, struct sockaddr_storage *ret);

#endif
