// SPDX-License-Identifier: GPL-2.0-only
/* Text forms of addresses: what is taken, what is refused, and that both agree. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#include "addr.h"
#include "check.h"

static union sl_addr parsed(const char *text)
{
	union sl_addr addr = {};

	if (addr_parse(text, &addr))
		printf("  cannot parse %s\n", text), check_failed = true;
	return addr;
}

TEST(parse_and_format_agree)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{"0.0.0.0", "0.0.0.0"},
		{"10.1.2.3", "10.1.2.3"},
		{"255.255.255.255", "255.255.255.255"},
		{"::", "::"},
		{"::1", "::1"},
		{"FD00:0::1", "fd00::1"},
		{"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
		{"::ffff:10.1.2.3", "10.1.2.3"},
		{"1:2:3:4:5:6:255.255.255.255", "1:2:3:4:5:6:ffff:ffff"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	};
	char buf[ADDR_STR_LEN];
	union sl_addr addr;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		addr = parsed(rows[i].in);
		CHECK_STR(addr_format(&addr, buf), rows[i].out);
	}
}

TEST(parse_refuses)
{
	static const char *const rows[] = {
		"",          " ",           "10",
		"10.0.0",    "10.0.0.256",  "10.0.0.01",
		"010.0.0.1", " 10.0.0.1",   "10.0.0.1 ",
		"10.0.0.1.", "10.0.0.1/32", "localhost",
		":",         ":::",         "1::2::3",
		"[::1]",     "fe80::1%lo",  "1:2:3:4:5:6:7:8:9",
		"12345::",   "0x0a.0.0.1",
	};
	union sl_addr addr = {.d = {1, 2}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (addr_parse(rows[i], &addr) != -EINVAL)
			printf("  took \"%s\"\n", rows[i]), check_failed = true;
	}
	CHECK(addr.d[0] == 1 && addr.d[1] == 2);
}

TEST(port_parse_and_format_agree)
{
	static const char *const rows[] = {
		"10.0.0.1:1", "10.0.0.1:80",   "0.0.0.0:65535",
		"[::]:9911",  "[fd00::1]:443", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
	};
	char buf[ADDR_PORT_STR_LEN];
	union sl_addr addr;
	__be16 port = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK_INT(addr_parse_port(rows[i], &addr, &port), 0);
		CHECK_STR(addr_format_port(&addr, port, buf), rows[i]);
	}
	CHECK_INT(addr_parse_port("10.0.0.1:80", &addr, &port), 0);
	CHECK_INT(ntohs(port), 80);
	CHECK(addr_is_v4(&addr));
}

TEST(port_parse_refuses)
{
	static const char *const rows[] = {
		"",
		":",
		"]:80",
		"[]:80",
		"[:80",
		"10.0.0.1",
		"10.0.0.1:",
		"10.0.0.1:0",
		"10.0.0.1:65536",
		"10.0.0.1:080",
		"10.0.0.1:+80",
		"10.0.0.1:80 ",
		"10.0.0.1:http",
		"10.0.0.1:99999999999",
		"[10.0.0.1]:80",
		"::1:80",
		"[::1]",
		"[::1]80",
		"[::1]:",
		"[::1:80",
		"::1]:80",
		":80",
		"[[::1]]:80",
		"[::1%lo]:80",
		"[::1]]:80",
		"[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]:80",
	};
	union sl_addr addr = {.d = {1, 2}};
	__be16 port = 7;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (addr_parse_port(rows[i], &addr, &port) != -EINVAL)
			printf("  took \"%s\"\n", rows[i]), check_failed = true;
	}
	CHECK(addr.d[0] == 1 && addr.d[1] == 2 && port == 7);
}

TEST(cidr)
{
	static const struct {
		const char *cidr, *inside, *outside;
		unsigned bits;
	} rows[] = {
		{"10.0.0.0/8", "10.255.255.255", "11.0.0.0", 104},
		{"10.9.9.9/8", "10.0.0.0", "9.255.255.255", 104}, /* host bits are dropped */
		{"192.0.2.128/25", "192.0.2.128", "192.0.2.127", 121},
		{"192.0.2.1/32", "192.0.2.1", "192.0.2.0", 128},
		{"0.0.0.0/0", "255.1.2.3", "fd00::1", 96},
		{"::/0", "fd00::1", "10.0.0.1", 0},
		{"fd00::/7", "fc00::", "fe00::", 7},
		{"fd00:1:2:3::/64", "fd00:1:2:3:ffff::", "fd00:1:2:4::", 64},
		{"fd00::1/128", "fd00::1", "fd00::", 128},
	};
	struct addr_cidr cidr;
	union sl_addr addr;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK_INT(addr_parse_cidr(rows[i].cidr, &cidr), 0);
		CHECK_INT(cidr.bits, rows[i].bits);
		addr = parsed(rows[i].inside);
		CHECK(addr_in_cidr(&addr, &cidr));
		addr = parsed(rows[i].outside);
		CHECK(!addr_in_cidr(&addr, &cidr));
	}
}

TEST(cidr_refuses)
{
	static const char *const rows[] = {
		"",
		"/",
		"/8",
		"10.0.0.0",
		"10.0.0.0/",
		"10.0.0.0/33",
		"10.0.0.0/-1",
		"10.0.0.0/08",
		"10.0.0.0/8/8",
		"10.0.0/8",
		"fd00::/129",
		"[fd00::]/8",
		"fd00::/ 8",
		"x/8",
	};
	struct addr_cidr cidr = {.bits = 7};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (addr_parse_cidr(rows[i], &cidr) != -EINVAL)
			printf("  took \"%s\"\n", rows[i]), check_failed = true;
	}
	CHECK_INT(cidr.bits, 7);
}

TEST(predicates)
{
	union sl_addr any4 = parsed("0.0.0.0"), any6 = parsed("::"), one = parsed("::1");
	union sl_addr low = parsed("::0.1.0.0"), v4 = parsed("10.0.0.1");

	CHECK(addr_is_any(&any4) && addr_is_any(&any6));
	CHECK(!addr_is_any(&one) && !addr_is_any(&v4) && !addr_is_any(&low));
	CHECK(addr_is_v4(&any4) && addr_is_v4(&v4));
	CHECK(!addr_is_v4(&any6) && !addr_is_v4(&one));
	CHECK(addr_equal(&v4, &v4));
	CHECK(!addr_equal(&any4, &any6));
}

TEST(raw_bytes)
{
	union sl_addr addr = {}, v4 = parsed("10.0.0.1"), v6 = parsed("fd00::1");

	CHECK_INT(addr_from_bytes("\x0a\0\0\x01", 4, &addr), 0);
	CHECK(addr_equal(&addr, &v4));
	CHECK_INT(addr_from_bytes(v6.b, 16, &addr), 0);
	CHECK(addr_equal(&addr, &v6));
	CHECK_INT(addr_from_bytes(v6.b, 6, &addr), -EINVAL);
	CHECK_INT(addr_from_bytes(v6.b, 0, &addr), -EINVAL);
}

TEST(socket_address)
{
	union sl_addr v4 = parsed("127.0.0.1"), v6 = parsed("::1");
	struct sockaddr_storage storage;
	struct sockaddr_in *in = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&storage;

	CHECK_INT(addr_to_sockaddr(&v4, htons(80), &storage), sizeof(*in));
	CHECK_INT(in->sin_family, AF_INET);
	CHECK_INT(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
	CHECK_INT(ntohs(in->sin_port), 80);
	CHECK_INT(addr_to_sockaddr(&v6, htons(443), &storage), sizeof(*in6));
	CHECK_INT(in6->sin6_family, AF_INET6);
	CHECK(!memcmp(&in6->sin6_addr, &in6addr_loopback, 16));
	CHECK_INT(ntohs(in6->sin6_port), 443);
	CHECK_INT(in6->sin6_scope_id, 0);
}
