/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a line of packet.h says, taken apart: shared by the builder and the
 * formatter, and by nobody else.
 */
#ifndef SLUICE_TEST_PACKET_SPEC_H
#define SLUICE_TEST_PACKET_SPEC_H

#include <stdint.h>

#include <sluice/abi.h>

#include "packet.h"

#define PACKET_FLAGS "FSRPAU" /* bit 0 on, as in the TCP header */
#define PACKET_TTL 64
#define PACKET_WINDOW 0x7210
#define PACKET_EXT_LEN 8      /* of an IPv6 extension header */
#define PACKET_JUMBO_OPTION 0xc2

enum packet_kind { PACKET_TCP, PACKET_UDP, PACKET_ICMP, PACKET_FRAG, PACKET_ETHER };

extern const unsigned char packet_mac_a[6], packet_mac_b[6];

/* The payload's byte number i. */
static inline unsigned char packet_payload(size_t i)
{
	return 'a' + i % 23;
}

/* One's-complement sum in network byte order, RFC 1071, added to `sum`; folded by packet_fold(). */
uint32_t packet_sum(uint32_t sum, const void *bytes, size_t len);
uint16_t packet_fold(uint32_t sum);

/* Sum of the pseudo-header of an L4 checksum. */
uint32_t packet_pseudo_sum(const union sl_addr *src, const union sl_addr *dst, uint8_t proto,
			   uint32_t len);

#endif
