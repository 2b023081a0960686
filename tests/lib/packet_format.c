// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packet to text. Recomputes every checksum and compares the payload with what
 * the builder would have made, so that a row that matches is a packet that is
 * right. Used by tests/bpf.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "addr.h"
#include "packet_spec.h"

/* What is left of the frame, and what was read of it. */
struct reader {
	FILE *out;
	const unsigned char *at, *end;
	union sl_addr src, dst;
	uint8_t proto;
};

static unsigned get_16(const unsigned char *at)
{
	return at[0] << 8 | at[1];
}

static uint32_t get_32(const unsigned char *at)
{
	return (uint32_t)get_16(at) << 16 | get_16(at + 2);
}

static bool has(struct reader *in, size_t len)
{
	if (in->end - in->at >= (ptrdiff_t)len)
		return true;
	fprintf(in->out, "truncated");
	return false;
}

/* "SRC > DST", with ports where `ports` points to them. */
static void say_ends(struct reader *in, const unsigned char *ports)
{
	char src[ADDR_PORT_STR_LEN], dst[ADDR_PORT_STR_LEN];
	__be16 port[2];

	if (!ports) {
		addr_format(&in->src, src);
		addr_format(&in->dst, dst);
	} else {
		memcpy(port, ports, sizeof(port));
		addr_format_port(&in->src, port[0], src);
		addr_format_port(&in->dst, port[1], dst);
	}
	fprintf(in->out, "%s > %s", src, dst);
}

static void say_flags(struct reader *in, unsigned flags)
{
	fprintf(in->out, flags ? " " : " -");
	for (unsigned i = 0; i < strlen(PACKET_FLAGS); i++)
		if (flags & 1u << i)
			fputc(PACKET_FLAGS[i], in->out);
}

static void say_payload(struct reader *in)
{
	size_t len = in->end - in->at;

	fprintf(in->out, " len %zu", len);
	for (size_t i = 0; i < len; i++)
		if (in->at[i] != packet_payload(i)) {
			fprintf(in->out, " badload");
			break;
		}
}

/* A sum over data and its own checksum is all ones. */
static void say_sum(struct reader *in, const unsigned char *l4, bool pseudo)
{
	uint32_t sum = packet_sum(0, l4, in->end - l4);

	if (pseudo)
		sum += packet_pseudo_sum(&in->src, &in->dst, in->proto, in->end - l4);
	if (packet_fold(sum) != 0xffff)
		fprintf(in->out, " badsum");
}

static void say_tcp(struct reader *in)
{
	const unsigned char *l4 = in->at;
	unsigned header;

	if (!has(in, 20))
		return;
	header = (l4[12] >> 4) * 4;
	say_ends(in, l4);
	say_flags(in, get_16(l4 + 12) & 0x3f);
	fprintf(in->out, " seq %u", get_32(l4 + 4));
	if (l4[13] & 0x10 || get_32(l4 + 8))
		fprintf(in->out, " ack %u", get_32(l4 + 8));
	if (header < 20 || !has(in, header))
		return;
	in->at += header;
	say_payload(in);
	if (header > 20)
		fprintf(in->out, " opts %u", header - 20);
	if (get_16(l4 + 14) && get_16(l4 + 14) != PACKET_WINDOW)
		fprintf(in->out, " win %u", get_16(l4 + 14));
	say_sum(in, l4, true);
}

static void say_udp(struct reader *in)
{
	const unsigned char *l4 = in->at;

	if (!has(in, 8))
		return;
	fprintf(in->out, "udp ");
	say_ends(in, l4);
	in->at += 8;
	say_payload(in);
	if (get_16(l4 + 6))
		say_sum(in, l4, true);
	else
		fprintf(in->out, " nosum");
	if (get_16(l4 + 4) != in->end - l4)
		fprintf(in->out, " badlen");
}

static void say_icmp(struct reader *in)
{
	const unsigned char *l4 = in->at;

	if (!has(in, 8))
		return;
	fprintf(in->out, "icmp ");
	say_ends(in, NULL);
	fprintf(in->out, " type %u code %u", l4[0], l4[1]);
	in->at += 8;
	say_payload(in);
	say_sum(in, l4, in->proto == IPPROTO_ICMPV6);
}

static void say_l4(struct reader *in, unsigned offset)
{
	if (offset || (in->proto != IPPROTO_TCP && in->proto != IPPROTO_UDP &&
		       in->proto != IPPROTO_ICMP && in->proto != IPPROTO_ICMPV6)) {
		fprintf(in->out, "frag ");
		say_ends(in, NULL);
		fprintf(in->out, " proto %u offset %u", in->proto, offset);
		say_payload(in);
	} else if (in->proto == IPPROTO_TCP) {
		say_tcp(in);
	} else if (in->proto == IPPROTO_UDP) {
		say_udp(in);
	} else {
		say_icmp(in);
	}
}

/* Where the packet ends by its own header. Bytes beyond it are padding of the frame: not told. */
static void cut_to(struct reader *in, size_t len)
{
	if (len > (size_t)(in->end - in->at))
		fprintf(in->out, "short ");
	else
		in->end = in->at + len;
}

static void say_v4(struct reader *in)
{
	const unsigned char *ip = in->at;
	unsigned header, fragment;

	if (!has(in, 20) || !has(in, (ip[0] & 0xf) * 4))
		return;
	header = (ip[0] & 0xf) * 4;
	fragment = get_16(ip + 6);
	addr_from_bytes(ip + 12, 4, &in->src);
	addr_from_bytes(ip + 16, 4, &in->dst);
	in->proto = ip[9];
	cut_to(in, get_16(ip + 2));
	in->at += header;
	say_l4(in, (fragment & 0x1fff) * 8);
	if (fragment & 0x2000)
		fprintf(in->out, " mf");
	if (header > 20)
		fprintf(in->out, " ipopts %u", header - 20);
	if (ip[8] != PACKET_TTL)
		fprintf(in->out, " ttl %u", ip[8]);
	if (packet_fold(packet_sum(0, ip, header)) != 0xffff)
		fprintf(in->out, " badip");
}

static void say_v6(struct reader *in)
{
	bool hop = false, dst = false, more = false, jumbo = false;
	const unsigned char *ip = in->at;
	unsigned offset = 0;

	if (!has(in, 40))
		return;
	addr_from_bytes(ip + 8, 16, &in->src);
	addr_from_bytes(ip + 24, 16, &in->dst);
	in->proto = ip[6];
	if (get_16(ip + 4))
		cut_to(in, 40 + get_16(ip + 4));
	in->at += 40;
	while (in->proto == IPPROTO_HOPOPTS || in->proto == IPPROTO_DSTOPTS ||
	       in->proto == IPPROTO_FRAGMENT) {
		if (!has(in, PACKET_EXT_LEN))
			return;
		jumbo |= in->proto == IPPROTO_HOPOPTS && in->at[2] == PACKET_JUMBO_OPTION;
		hop |= in->proto == IPPROTO_HOPOPTS && !jumbo;
		dst |= in->proto == IPPROTO_DSTOPTS;
		if (in->proto == IPPROTO_FRAGMENT) {
			offset = get_16(in->at + 2) & ~7u;
			more = in->at[3] & 1;
		}
		in->proto = in->at[0];
		in->at += PACKET_EXT_LEN;
	}
	say_l4(in, offset);
	fprintf(in->out, "%s%s%s%s", more ? " mf" : "", hop ? " hop" : "", jumbo ? " jumbo" : "",
		dst ? " dst" : "");
	if (get_32(ip) & 0xfffff)
		fprintf(in->out, " label %u", get_32(ip) & 0xfffff);
	if (ip[7] != PACKET_TTL)
		fprintf(in->out, " ttl %u", ip[7]);
}

static void say_frame(struct reader *in)
{
	unsigned type = 0, vlan = 0;

	if (!has(in, ETH_HLEN))
		return;
	type = get_16(in->at + 12);
	in->at += ETH_HLEN;
	if (type == ETH_P_8021Q && has(in, 4)) {
		vlan = get_16(in->at);
		type = get_16(in->at + 2);
		in->at += 4;
	}
	if (type == ETH_P_IP) {
		say_v4(in);
	} else if (type == ETH_P_IPV6) {
		say_v6(in);
	} else {
		fprintf(in->out, "ether %u", type);
		say_payload(in);
	}
	if (vlan)
		fprintf(in->out, " vlan %u", vlan);
}

const char *packet_format(const struct packet *packet, char buf[PACKET_TEXT_LEN])
{
	static const unsigned char node_mac[] = SL_NODE_MAC;
	struct reader in = {.at = packet->data, .end = packet->data + packet->len};
	const unsigned char *macs = packet->data;

	in.out = fmemopen(buf, PACKET_TEXT_LEN, "w");
	if (!in.out) {
		snprintf(buf, PACKET_TEXT_LEN, "no memory to format");
		return buf;
	}
	say_frame(&in);
	if (packet->len >= 12 && !memcmp(macs, packet_mac_a, 6) &&
	    !memcmp(macs + 6, packet_mac_b, 6))
		fprintf(in.out, " back");
	else if (packet->len >= 12 && !memcmp(macs, node_mac, 6) &&
		 !memcmp(macs + 6, packet_mac_a, 6))
		fprintf(in.out, " tonode");
	else if (packet->len >= 12 &&
		 (memcmp(macs, packet_mac_b, 6) || memcmp(macs + 6, packet_mac_a, 6)))
		fprintf(in.out, " badmacs");
	fclose(in.out);
	buf[PACKET_TEXT_LEN - 1] = '\0';
	return buf;
}
