// SPDX-License-Identifier: GPL-2.0-only
/* Frames made of what the kernel kept of a SYN, read by the formatter of the packet tables. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "addr.h"
#include "check.h"
#include "syn.h"
/* Compiled in, as in packet_test.c. */
#include "packet_build.c"
#include "packet_format.c"

static const char *built(struct sl_pending *pending, const char *client, const char *vip)
{
	static char text[PACKET_TEXT_LEN];
	struct sl_vip row = {.port = htons(80), .proto = IPPROTO_TCP};
	struct packet packet;

	CHECK_INT(addr_parse(client, &pending->client), 0);
	CHECK_INT(addr_parse(vip, &row.addr), 0);
	pending->port = htons(4000);
	pending->isn = htonl(7);
	pending->window = htons(64240);
	memcpy(pending->mac, packet_mac_b, 6);
	memcpy(pending->mac + 6, packet_mac_a, 6);
	packet.len = syn_build(pending, &row, packet.data);
	return packet.len ? packet_format(&packet, text) : "nothing";
}

TEST(a_syn_as_it_was)
{
	struct sl_pending pending = {.tcp_flags = 2, .n_options = 20, .tos = 0x12};

	memset(pending.options, 1, 20);
	CHECK_STR(built(&pending, "10.9.0.9", "10.1.0.1"),
		  "10.9.0.9:4000 > 10.1.0.1:80 S seq 7 len 0 opts 20 win 64240");
	pending.v6 = 1;
	CHECK_STR(built(&pending, "fd09::9", "fd01::1"),
		  "[fd09::9]:4000 > [fd01::1]:80 S seq 7 len 0 opts 20 win 64240");
}

TEST(every_length_of_options)
{
	struct sl_pending pending = {.tcp_flags = 2};
	char expected[PACKET_TEXT_LEN];

	for (pending.n_options = 8; pending.n_options <= SL_SYN_OPTIONS_MAX; pending.n_options += 4) {
		for (unsigned i = 0; i < pending.n_options; i++)
			pending.options[i] = i * 37;
		snprintf(expected, sizeof(expected),
			 "10.9.0.9:4000 > 10.1.0.1:80 S seq 7 len 0 opts %u win 64240",
			 pending.n_options);
		CHECK_STR(built(&pending, "10.9.0.9", "10.1.0.1"), expected);
	}
}

TEST(a_torn_row_makes_no_frame)
{
	struct sl_pending pending = {.n_options = SL_SYN_OPTIONS_MAX + 4};

	CHECK_STR(built(&pending, "10.9.0.9", "10.1.0.1"), "nothing");
	pending.n_options = 6;
	CHECK_STR(built(&pending, "10.9.0.9", "10.1.0.1"), "nothing");
}
