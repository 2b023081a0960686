/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ICMP errors, made of two lines of packet.h: the error, and the packet that it quotes. Used by
 * tests/bpf.
 */
#ifndef SLUICE_TEST_ICMP_BUILD_H
#define SLUICE_TEST_ICMP_BUILD_H

#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>

#include "bpf_fixture.h"
#include "packet_spec.h"

static inline size_t icmp_l4_offset(const struct packet *packet)
{
	return ETH_HLEN + (packet->data[12] == 0x08 ? (packet->data[ETH_HLEN] & 0xf) * 4 : 40);
}

/* Computes the checksum of the ICMP message anew. */
static inline void icmp_sum(struct packet *packet)
{
	size_t l4 = icmp_l4_offset(packet), len = packet->len - l4;
	unsigned char *ip = packet->data + ETH_HLEN, *icmp = packet->data + l4;
	union sl_addr src, dst;
	uint32_t sum = 0;
	uint16_t check;

	icmp[2] = icmp[3] = 0;
	if (packet->data[12] != 0x08) {
		memcpy(&src, ip + 8, 16);
		memcpy(&dst, ip + 24, 16);
		sum = packet_pseudo_sum(&src, &dst, 58, len);
	}
	check = ~packet_fold(sum + packet_sum(0, icmp, len));
	icmp[2] = check >> 8;
	icmp[3] = check;
}

/* The error `error` ("r1 > client type 3 code 1", without a payload) that quotes the first `quote`
 * bytes (0: all) of the IP packet `quoted`; `rest`: the second half of the ICMP header. */
static inline void icmp_build(const struct fixture *f, const char *error, const char *quoted,
			      size_t quote, uint32_t rest, struct packet *ret)
{
	char line[PACKET_TEXT_LEN], text[PACKET_TEXT_LEN];
	struct packet inner;
	size_t l4;

	if (packet_build(fixture_expand(f, quoted, text), &inner))
		fixture_die(text, EINVAL);
	if (!quote || quote > inner.len - ETH_HLEN)
		quote = inner.len - ETH_HLEN;
	snprintf(line, sizeof(line), "icmp %s len %zu", error, quote);
	if (packet_build(fixture_expand(f, line, text), ret))
		fixture_die(text, EINVAL);
	l4 = icmp_l4_offset(ret);
	for (int i = 0; i < 4; i++)
		ret->data[l4 + 4 + i] = rest >> (24 - 8 * i);
	memcpy(ret->data + ret->len - quote, inner.data + ETH_HLEN, quote);
	icmp_sum(ret);
}

/* Whether two packets are the same; prints the first byte in which they differ. `from`: bytes of no interest. */
static inline bool icmp_equal(const struct packet *actual, const struct packet *expected,
			      size_t from)
{
	char a[PACKET_TEXT_LEN], b[PACKET_TEXT_LEN];
	size_t i = from;

	while (i < actual->len && i < expected->len && actual->data[i] == expected->data[i])
		i++;
	if (i == actual->len && i == expected->len)
		return true;
	printf("    gave   %s\n    wanted %s\n    lengths %zu, %zu; byte %zu is %02x, not %02x\n",
	       packet_format(actual, a), packet_format(expected, b), actual->len, expected->len,
	       i, actual->data[i], expected->data[i]);
	return false;
}

#endif
