// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any text: no crash, and what is taken survives format and parse unchanged.
 * fuzz-links: user/addr.c
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"

static void fuzz_port(const char *text)
{
	char buf[ADDR_PORT_STR_LEN];
	union sl_addr addr, again;
	__be16 port, port_again;

	if (addr_parse_port(text, &addr, &port))
		return;
	addr_format_port(&addr, port, buf);
	if (addr_is_v4(&addr) && text[0] == '[')
		return; /* [::ffff:10.0.0.1]:80 is printed as what it is, 10.0.0.1:80 */
	if (addr_parse_port(buf, &again, &port_again) || !addr_equal(&addr, &again) ||
	    port != port_again)
		abort();
}

static void fuzz_addr(const char *text)
{
	char buf[ADDR_STR_LEN];
	union sl_addr addr, again;

	if (addr_parse(text, &addr))
		return;
	if (addr_parse(addr_format(&addr, buf), &again) || !addr_equal(&addr, &again))
		abort();
}

static void fuzz_cidr(const char *text)
{
	struct addr_cidr cidr;

	if (addr_parse_cidr(text, &cidr))
		return;
	if (cidr.bits > 128)
		abort();
	/* The network itself is a member, but for IPv6 prefixes whose base looks v4-mapped. */
	if (!addr_in_cidr(&cidr.addr, &cidr) && !addr_is_v4(&cidr.addr))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';
	fuzz_addr(text);
	fuzz_port(text);
	fuzz_cidr(text);
	free(text);
	return 0;
}
