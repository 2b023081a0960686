// SPDX-License-Identifier: GPL-2.0-only
/* Ranges of ports that meet, and VIPs on the node's own addresses within one. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "addr.h"
#include "check.h"
#include "port_range.h"

static union sl_addr address(const char *text)
{
	union sl_addr addr = {};

	CHECK_INT(addr_parse(text, &addr), 0);
	return addr;
}

static struct sl_vip vip(const char *addr, unsigned port, __u8 proto)
{
	return (struct sl_vip){.addr = address(addr), .port = htons(port), .proto = proto,
			       .flags = SL_VIP_USED};
}

TEST(ranges_that_overlap)
{
	const struct port_range a = {1000, 1999}, b = {2000, 2999}, in = {1500, 1600},
				edge = {1999, 2000}, none = {};

	CHECK(!port_range_overlap(a, b) && !port_range_overlap(b, a));
	CHECK(port_range_overlap(a, in) && port_range_overlap(in, a));
	CHECK(port_range_overlap(a, edge) && port_range_overlap(b, edge));
	CHECK(!port_range_overlap(none, a) && !port_range_overlap(a, none));
	CHECK(!port_range_overlap(PORT_RANGE_SNAT, PORT_RANGE_NODE_PORTS));
}

TEST(vips_within_a_range)
{
	const union sl_addr own[] = {address("192.0.2.1"), address("192.0.2.9")};
	struct sl_vip vips[] = {
		vip("192.0.2.1", 999, IPPROTO_TCP),   vip("192.0.2.1", 1000, IPPROTO_TCP),
		vip("192.0.2.9", 1000, IPPROTO_TCP),  vip("192.0.2.9", 1000, IPPROTO_UDP),
		vip("192.0.2.1", 2000, IPPROTO_TCP),  vip("192.0.2.1", 2001, IPPROTO_TCP),
		vip("10.96.0.1", 1500, IPPROTO_TCP),  vip("192.0.2.9", 1600, IPPROTO_TCP),
	};
	struct strbuf names = {};

	vips[7].flags = 0;
	port_range_name_vips((struct port_range){1000, 2000}, vips, 8, own, 2, &names);
	CHECK_STR(names.data, "1000/TCP, 1000/UDP, 2000/TCP");
	strbuf_done(&names);
	port_range_name_vips((struct port_range){1000, 2000}, vips, 8, NULL, 0, &names);
	CHECK(!names.data);
}

TEST(only_some_are_named)
{
	const union sl_addr own = address("192.0.2.1");
	const struct port_range range = {1001, 1009};
	struct sl_vip vips[9];
	struct strbuf names = {};

	for (unsigned i = 0; i < 9; i++)
		vips[i] = vip("192.0.2.1", 1001 + i, IPPROTO_TCP);
	port_range_name_vips(range, vips, 8, &own, 1, &names);
	CHECK(!strstr(names.data, "...") && strstr(names.data, ", 1008/TCP"));
	strbuf_done(&names);
	port_range_name_vips(range, vips, 9, &own, 1, &names);
	CHECK(strstr(names.data, ", 1008/TCP, ...") && !strstr(names.data, "1009"));
	strbuf_done(&names);
}
