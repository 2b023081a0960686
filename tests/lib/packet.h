/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets as lines of text, both ways, so that a test says what goes in and
 * what comes out in one grammar:
 *
 *   10.0.0.9:4000 > 10.1.0.1:80 S seq 7 len 0
 *   [fd00::9]:4000 > [fd00::1]:80 PA seq 8 ack 101 len 1400 opts 12 ttl 63
 *   udp 10.0.0.9:4000 > 10.1.0.1:53 len 30 nosum
 *   icmp 10.0.0.9 > 10.1.0.1 type 8 code 0 len 56
 *   frag 10.0.0.9 > 10.1.0.1 proto 6 offset 1480 len 100
 *   ether 2054 len 28
 *
 * TCP flags are letters of FSRPAU, "-" for none. Words that follow, in any order:
 *
 *   seq ack len     as they are; len counts the payload
 *   opts N          bytes of TCP options       ipopts N   bytes of IPv4 options
 *   ttl N           default 64                 mf         a first fragment
 *   win N           TCP's window, default 29200; 0 is not formatted
 *   hop, dst        an IPv6 hop-by-hop or destination options header
 *   jumbo           the length in a hop-by-hop header, as in packets larger than 64 KiB
 *   label N         IPv6's flow label
 *   vlan N          a tag                      nosum      UDP without a checksum
 *   back            with the MAC addresses swapped
 *   tonode          addressed to SL_NODE_MAC (format only)
 *   badsum          the L4 checksum is wrong   badip      the IPv4 header's is
 *   badload         the payload is not the one that the builder makes (format only)
 *   short           in front: it ends before the IP header says so (format only)
 *   cut N           the frame ends after N bytes, pad N: N bytes follow it, tot N: the length
 *                   that the IP header claims (build only)
 *
 * Every checksum is computed when building and recomputed when formatting.
 */
#ifndef SLUICE_TEST_PACKET_H
#define SLUICE_TEST_PACKET_H

#include <stddef.h>

#define PACKET_MAX 10240
#define PACKET_TEXT_LEN 256

struct packet {
	size_t len;
	unsigned char data[PACKET_MAX]; /* an Ethernet frame */
};

/* 0, or -EINVAL when `text` is not a packet. */
int packet_build(const char *text, struct packet *ret);

/* Writes the line that describes `packet` into `buf` and returns it. */
const char *packet_format(const struct packet *packet, char buf[PACKET_TEXT_LEN]);

#endif
