// SPDX-License-Identifier: GPL-2.0-only
/*
 * The packet builder and formatter that the packet tables rest on: text to
 * packet to text, and checksums against a second way of computing them.
 */
#include <errno.h>
#include <stdlib.h>

#include "check.h"
/* Compiled in rather than linked: tests/lib is not in libsluice.a, and is sanitized this way. */
#include "packet_build.c"
#include "packet_format.c"

static const char *const lines[] = {
	"10.0.0.9:4000 > 10.1.0.1:80 S seq 7 len 0",
	"10.0.0.9:4000 > 10.1.0.1:80 S seq 4294967295 len 0 opts 40",
	"10.0.0.9:4000 > 10.1.0.1:80 SA seq 7 ack 1 len 0 opts 20",
	"10.0.0.9:4000 > 10.1.0.1:80 PA seq 8 ack 101 len 1",
	"10.0.0.9:4000 > 10.1.0.1:80 FA seq 8 ack 101 len 1461 opts 12",
	"10.0.0.9:4000 > 10.1.0.1:80 R seq 8 len 0 ttl 1",
	"10.0.0.9:4000 > 10.1.0.1:80 RA seq 0 ack 8 len 0 back",
	"10.0.0.9:4000 > 10.1.0.1:80 - seq 8 len 3",
	"10.0.0.9:4000 > 10.1.0.1:80 A seq 8 ack 9 len 3 badsum",
	"10.0.0.9:4000 > 10.1.0.1:80 A seq 8 ack 9 len 3 badip",
	"10.0.0.9:4000 > 10.1.0.1:80 A seq 8 ack 9 len 3 ipopts 40",
	"10.0.0.9:4000 > 10.1.0.1:80 A seq 8 ack 9 len 3 vlan 7",
	"10.0.0.9:4000 > 10.1.0.1:80 A seq 8 ack 9 len 24 mf",
	"[fd00::9]:4000 > [fd00::1]:80 S seq 7 len 0 opts 20",
	"[fd00::9]:4000 > [fd00::1]:80 A seq 7 ack 9 len 9000",
	"[fd00::9]:4000 > [fd00::1]:80 A seq 7 ack 9 len 5 hop",
	"[fd00::9]:4000 > [fd00::1]:80 A seq 7 ack 9 len 5 hop dst ttl 3",
	"[fd00::9]:4000 > [fd00::1]:80 A seq 7 ack 9 len 9000 jumbo",
	"[fd00::9]:4000 > [fd00::1]:80 A seq 7 ack 9 len 5 label 703710",
	"[fd00::9]:4000 > [fd00::1]:80 A seq 7 ack 9 len 24 mf",
	"udp 10.0.0.9:4000 > 10.1.0.1:53 len 0",
	"udp 10.0.0.9:4000 > 10.1.0.1:53 len 31",
	"udp 10.0.0.9:4000 > 10.1.0.1:53 len 30 nosum",
	"udp [fd00::9]:4000 > [fd00::1]:53 len 30",
	"icmp 10.0.0.9 > 10.1.0.1 type 8 code 0 len 56",
	"icmp fd00::9 > fd00::1 type 128 code 0 len 57",
	"frag 10.0.0.9 > 10.1.0.1 proto 6 offset 1480 len 100",
	"frag 10.0.0.9 > 10.1.0.1 proto 17 offset 8 len 100 mf",
	"frag fd00::9 > fd00::1 proto 6 offset 1480 len 100",
	"frag 10.0.0.9 > 10.1.0.1 proto 132 offset 0 len 100",
	"ether 2054 len 28",
};

TEST(lines_come_back_as_they_were)
{
	struct packet packet;
	char text[PACKET_TEXT_LEN];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		CHECK_INT(packet_build(lines[i], &packet), 0);
		CHECK_STR(packet_format(&packet, text), lines[i]);
	}
}

TEST(nonsense_is_refused)
{
	static const char *const bad[] = {
		"", "10.0.0.9:4000", "10.0.0.9:4000 > 10.1.0.1:80", "10.0.0.9 > 10.1.0.1 S",
		"10.0.0.9:4000 < 10.1.0.1:80 S", "10.0.0.9:4000 > 10.1.0.1:80 X",
		"10.0.0.9:4000 > [fd00::1]:80 S", "10.0.0.9:4000 > 10.1.0.1:80 S sek 1",
		"10.0.0.9:4000 > 10.1.0.1:80 S seq", "10.0.0.9:4000 > 10.1.0.1:80 S seq x",
		"10.0.0.9:4000 > 10.1.0.1:80 S seq 4294967296", "ether",
		"10.0.0.9:4000 > 10.1.0.1:80 S opts 41", "10.0.0.9:4000 > 10.1.0.1:80 S len 10000",
	};
	struct packet packet;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_INT(packet_build(bad[i], &packet), -EINVAL);
}

/* The other way: 32-bit words, carries folded at the end, complement compared. */
static uint16_t checksum(const unsigned char *bytes, size_t len, uint64_t sum)
{
	for (; len >= 2; len -= 2, bytes += 2)
		sum += (uint32_t)bytes[0] * 256 + bytes[1];
	if (len)
		sum += (uint32_t)bytes[0] * 256;
	while (sum > 0xffff)
		sum = sum / 65536 + sum % 65536;
	return 0xffff - sum;
}

/* RFC 1071's own example, and an IPv4 header from a textbook. */
TEST(known_sums)
{
	static const unsigned char rfc1071[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	static const unsigned char header[] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40,
					       0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
					       0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};

	CHECK_INT(packet_fold(packet_sum(0, rfc1071, sizeof(rfc1071))), 0xddf2);
	CHECK_INT(packet_fold(packet_sum(0, header, sizeof(header))), 0xffff);
	CHECK_INT(packet_sum(0, "\1", 1), 0x100);
}

TEST(checksums_against_a_second_computation)
{
	unsigned char *at;
	struct packet packet;
	uint16_t stored;

	CHECK_INT(packet_build("10.0.0.9:4000 > 10.1.0.1:80 PA seq 1 ack 2 len 1001", &packet), 0);
	at = packet.data + 14;
	stored = at[10] << 8 | at[11];
	at[10] = at[11] = 0;
	CHECK_INT(stored, checksum(at, 20, 0));
	at += 20;
	stored = at[16] << 8 | at[17];
	at[16] = at[17] = 0;
	CHECK_INT(stored, checksum(at, 1021, 0x0a00 + 0x0009 + 0x0a01 + 0x0001 + 6 + 1021));

	CHECK_INT(packet_build("udp [fd00::9]:4000 > [fd01::1]:80 len 77", &packet), 0);
	at = packet.data + 14 + 40;
	stored = at[6] << 8 | at[7];
	at[6] = at[7] = 0;
	CHECK_INT(stored, checksum(at, 85, 0xfd00 + 0x0009 + 0xfd01 + 0x0001 + 17 + 85));

	CHECK_INT(packet_build("icmp 10.0.0.9 > 10.1.0.1 type 8 code 0 len 5", &packet), 0);
	at = packet.data + 14 + 20;
	stored = at[2] << 8 | at[3];
	at[2] = at[3] = 0;
	CHECK_INT(stored, checksum(at, 13, 0));
}

/* One wrong bit anywhere behind the MAC addresses must show in the text. */
TEST(every_bit_counts)
{
	static const char *const some[] = {
		"10.0.0.9:4000 > 10.1.0.1:80 S seq 7 len 13 opts 8",
		"[fd00::9]:4000 > [fd00::1]:80 A seq 7 ack 9 len 13",
		"udp [fd00::9]:4000 > [fd00::1]:53 len 30",
	};
	char text[PACKET_TEXT_LEN];
	struct packet packet;

	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		CHECK_INT(packet_build(some[i], &packet), 0);
		for (size_t bit = 0; bit < packet.len * 8; bit++) {
			size_t byte = bit / 8;

			/* no checksum covers class and flow label of IPv6 */
			if (i > 0 && byte >= 14 && byte < 18)
				continue;
			packet.data[byte] ^= 1 << bit % 8;
			if (!strcmp(packet_format(&packet, text), some[i])) {
				printf("  %s: byte %zu bit %zu\n", text, byte, bit % 8);
				CHECK(false);
			}
			packet.data[byte] ^= 1 << bit % 8;
		}
	}
}

TEST(a_length_below_the_header)
{
	char text[PACKET_TEXT_LEN];
	struct packet packet;

	CHECK_INT(packet_build("10.0.0.9:4000 > 10.1.0.1:80 S seq 7 tot 8", &packet), 0);
	CHECK_STR(packet_format(&packet, text), "truncated");
}

TEST(cut_pad_and_tot)
{
	char text[PACKET_TEXT_LEN];
	struct packet packet;

	CHECK_INT(packet_build("10.0.0.9:4000 > 10.1.0.1:80 S seq 7 cut 40", &packet), 0);
	CHECK_INT(packet.len, 40);
	CHECK_STR(packet_format(&packet, text), "short truncated");
	CHECK_INT(packet_build("10.0.0.9:4000 > 10.1.0.1:80 S seq 7 pad 6", &packet), 0);
	CHECK_INT(packet.len, 60);
	CHECK_STR(packet_format(&packet, text), "10.0.0.9:4000 > 10.1.0.1:80 S seq 7 len 0");
	CHECK_INT(packet_build("10.0.0.9:4000 > 10.1.0.1:80 S seq 7 tot 44 pad 6", &packet), 0);
	CHECK_INT(packet.data[17], 44);
	CHECK_STR(packet_format(&packet, text),
		  "10.0.0.9:4000 > 10.1.0.1:80 S seq 7 len 4 badload badsum");
}

/* A packet cut anywhere is told as such, never read beyond its end. */
TEST(cut_anywhere)
{
	char text[PACKET_TEXT_LEN];
	struct packet packet, *heap;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		CHECK_INT(packet_build(lines[i], &packet), 0);
		for (size_t len = 0; len < packet.len && len < 120; len++) {
			heap = malloc(sizeof(size_t) + len + 1); /* so that ASan sees the end */
			heap->len = len;
			memcpy(heap->data, packet.data, len);
			CHECK(strcmp(packet_format(heap, text), lines[i]));
			free(heap);
		}
	}
}
