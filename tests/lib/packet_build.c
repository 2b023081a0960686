// SPDX-License-Identifier: GPL-2.0-only
/*
 * Text to packet. Owns the grammar's words; refuses text that it does not
 * understand, so that a typo in a table fails its row. Used by tests/bpf and
 * tests/bench.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "packet_spec.h"

const unsigned char packet_mac_a[6] = {2, 0, 0, 0, 0, 0xa};
const unsigned char packet_mac_b[6] = {2, 0, 0, 0, 0, 0xb};

struct spec {
	enum packet_kind kind;
	union sl_addr src, dst;
	__be16 sport, dport;
	uint32_t flags, seq, ack, len, opts, ipopts, ttl, mf, hop, dst_opts, vlan, nosum, back;
	uint32_t win, badsum, badip, cut, pad, tot, type, code, proto, offset, jumbo, label;
};

/* A word, the field it sets, and whether a number follows (else it sets 1). */
static const struct word {
	const char *name;
	size_t field;
	bool number;
} words[] = {
	{"seq", offsetof(struct spec, seq), true},
	{"ack", offsetof(struct spec, ack), true},
	{"len", offsetof(struct spec, len), true},
	{"opts", offsetof(struct spec, opts), true},
	{"ipopts", offsetof(struct spec, ipopts), true},
	{"ttl", offsetof(struct spec, ttl), true},
	{"win", offsetof(struct spec, win), true},
	{"mf", offsetof(struct spec, mf), false},
	{"hop", offsetof(struct spec, hop), false},
	{"jumbo", offsetof(struct spec, jumbo), false},
	{"label", offsetof(struct spec, label), true},
	{"dst", offsetof(struct spec, dst_opts), false},
	{"vlan", offsetof(struct spec, vlan), true},
	{"nosum", offsetof(struct spec, nosum), false},
	{"back", offsetof(struct spec, back), false},
	{"badsum", offsetof(struct spec, badsum), false},
	{"badip", offsetof(struct spec, badip), false},
	{"cut", offsetof(struct spec, cut), true},
	{"pad", offsetof(struct spec, pad), true},
	{"tot", offsetof(struct spec, tot), true},
	{"type", offsetof(struct spec, type), true},
	{"code", offsetof(struct spec, code), true},
	{"proto", offsetof(struct spec, proto), true},
	{"offset", offsetof(struct spec, offset), true},
};

uint32_t packet_sum(uint32_t sum, const void *bytes, size_t len)
{
	const unsigned char *byte = bytes;

	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? byte[i] : byte[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

uint16_t packet_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

uint32_t packet_pseudo_sum(const union sl_addr *src, const union sl_addr *dst, uint8_t proto,
			   uint32_t len)
{
	size_t skip = addr_is_v4(src) ? 12 : 0;
	uint32_t sum = packet_sum(0, src->b + skip, 16 - skip);

	sum = packet_sum(sum, dst->b + skip, 16 - skip);
	return sum + proto + (len >> 16) + (len & 0xffff);
}

/* ---- the grammar ----------------------------------------------------------------*/

static int parse_number(const char *text, uint32_t *ret)
{
	char *end;
	unsigned long long value;

	if (!text || !*text)
		return -EINVAL;
	value = strtoull(text, &end, 10);
	if (*end || value > UINT32_MAX)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int parse_flags(const char *text, uint32_t *ret)
{
	uint32_t flags = 0;

	for (; text && *text && strcmp(text, "-"); text++) {
		const char *letter = strchr(PACKET_FLAGS, *text);

		if (!letter)
			return -EINVAL;
		flags |= 1u << (letter - PACKET_FLAGS);
	}
	*ret = flags;
	return text ? 0 : -EINVAL;
}

static int parse_words(struct spec *spec, char **cursor)
{
	const size_t n = sizeof(words) / sizeof(words[0]);
	const char *token;
	size_t i;

	while ((token = strtok_r(NULL, " ", cursor))) {
		for (i = 0; i < n && strcmp(words[i].name, token); i++)
			;
		if (i == n)
			return -EINVAL;
		uint32_t *field = (uint32_t *)((char *)spec + words[i].field);

		*field = 1;
		if (words[i].number && parse_number(strtok_r(NULL, " ", cursor), field))
			return -EINVAL;
	}
	return 0;
}

static int parse_end(const char *text, bool ports, union sl_addr *ret_addr, __be16 *ret_port)
{
	if (!text)
		return -EINVAL;
	return ports ? addr_parse_port(text, ret_addr, ret_port) : addr_parse(text, ret_addr);
}

static int parse_ends(struct spec *spec, const char *first, char **cursor)
{
	bool ports = spec->kind == PACKET_TCP || spec->kind == PACKET_UDP;
	const char *arrow;

	if (parse_end(first, ports, &spec->src, &spec->sport))
		return -EINVAL;
	arrow = strtok_r(NULL, " ", cursor);
	if (!arrow || strcmp(arrow, ">") ||
	    parse_end(strtok_r(NULL, " ", cursor), ports, &spec->dst, &spec->dport))
		return -EINVAL;
	return addr_is_v4(&spec->src) == addr_is_v4(&spec->dst) ? 0 : -EINVAL;
}

static int parse_text(char *text, struct spec *ret)
{
	static const char *const kinds[] = {[PACKET_TCP] = "tcp", [PACKET_UDP] = "udp",
					    [PACKET_ICMP] = "icmp", [PACKET_FRAG] = "frag",
					    [PACKET_ETHER] = "ether"};
	struct spec spec = {.kind = PACKET_TCP, .ttl = PACKET_TTL,
			    .win = PACKET_WINDOW};
	char *cursor, *first = strtok_r(text, " ", &cursor);

	for (unsigned i = 0; first && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(first, kinds[i])) {
			spec.kind = i;
			first = strtok_r(NULL, " ", &cursor);
			break;
		}
	if (spec.kind == PACKET_ETHER) {
		if (parse_number(first, &spec.proto))
			return -EINVAL;
	} else if (parse_ends(&spec, first, &cursor)) {
		return -EINVAL;
	}
	if (spec.kind == PACKET_TCP && parse_flags(strtok_r(NULL, " ", &cursor), &spec.flags))
		return -EINVAL;
	if (parse_words(&spec, &cursor))
		return -EINVAL;
	*ret = spec;
	return 0;
}

/* ---- the bytes --------------------------------------------------------------------*/

static void put(struct packet *packet, const void *bytes, size_t len)
{
	memcpy(packet->data + packet->len, bytes, len);
	packet->len += len;
}

static void put_8(struct packet *packet, uint8_t value)
{
	packet->data[packet->len++] = value;
}

static void put_16(struct packet *packet, uint16_t value)
{
	put_8(packet, value >> 8);
	put_8(packet, value);
}

static void put_32(struct packet *packet, uint32_t value)
{
	put_16(packet, value >> 16);
	put_16(packet, value);
}

static void put_payload(struct packet *packet, size_t len)
{
	for (size_t i = 0; i < len; i++)
		put_8(packet, packet_payload(i));
}

/* An EOL-free filler of options: a maximum segment size where it fits, then NOPs. */
static void put_options(struct packet *packet, size_t len)
{
	if (len >= 4) {
		put_32(packet, 0x020405b4);
		len -= 4;
	}
	while (len--)
		put_8(packet, 1);
}

static void store_16(struct packet *packet, size_t at, uint16_t value)
{
	packet->data[at] = value >> 8;
	packet->data[at + 1] = value;
}

static uint8_t proto_of(const struct spec *spec)
{
	switch (spec->kind) {
	case PACKET_TCP:
		return IPPROTO_TCP;
	case PACKET_UDP:
		return IPPROTO_UDP;
	case PACKET_ICMP:
		return addr_is_v4(&spec->src) ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	default:
		return spec->proto;
	}
}

/* Writes the L4 part; returns where its checksum lies, 0: it has none. */
static size_t put_l4(struct packet *packet, const struct spec *spec)
{
	size_t check = 0;

	if (spec->kind == PACKET_TCP) {
		put(packet, &spec->sport, 2);
		put(packet, &spec->dport, 2);
		put_32(packet, spec->seq);
		put_32(packet, spec->ack);
		put_16(packet, (20 + spec->opts) / 4 << 12 | spec->flags);
		put_16(packet, spec->win);
		check = packet->len;
		put_32(packet, 0);
		put_options(packet, spec->opts);
	} else if (spec->kind == PACKET_UDP) {
		put(packet, &spec->sport, 2);
		put(packet, &spec->dport, 2);
		put_16(packet, 8 + spec->len);
		check = packet->len;
		put_16(packet, 0);
	} else if (spec->kind == PACKET_ICMP) {
		put_8(packet, spec->type);
		put_8(packet, spec->code);
		check = packet->len;
		put_16(packet, 0);
		put_32(packet, 0x00010001);
	}
	put_payload(packet, spec->len);
	return check;
}

static void finish_l4(struct packet *packet, const struct spec *spec, size_t l4, size_t check)
{
	size_t len = packet->len - l4;
	uint32_t sum = packet_sum(0, packet->data + l4, len);
	uint16_t value;

	if (!check || spec->nosum)
		return;
	if (proto_of(spec) != IPPROTO_ICMP)
		sum += packet_pseudo_sum(&spec->src, &spec->dst, proto_of(spec), len);
	value = ~packet_fold(sum);
	if (!value && spec->kind == PACKET_UDP)
		value = 0xffff;
	store_16(packet, check, spec->badsum ? value ^ 0x0101 : value);
}

static void put_v4(struct packet *packet, const struct spec *spec)
{
	size_t start = packet->len, header = sizeof(struct iphdr) + spec->ipopts, check;

	put_8(packet, 4 << 4 | header / 4);
	put_8(packet, 0);
	put_16(packet, 0); /* total length: below */
	put_16(packet, 0x5a5a);
	put_16(packet, spec->offset / 8 | (spec->mf ? 0x2000 : spec->offset ? 0 : 0x4000));
	put_8(packet, spec->ttl);
	put_8(packet, proto_of(spec));
	put_16(packet, 0);
	put(packet, &spec->src.w[3], 4);
	put(packet, &spec->dst.w[3], 4);
	for (uint32_t i = 0; i < spec->ipopts; i++)
		put_8(packet, 1);
	check = put_l4(packet, spec);
	finish_l4(packet, spec, start + header, check);
	store_16(packet, start + 2, spec->tot ? spec->tot : packet->len - start);
	store_16(packet, start + 10, ~packet_fold(packet_sum(0, packet->data + start, header)));
	if (spec->badip)
		packet->data[start + 11] ^= 1;
}

/* One extension header; `next` is what follows it. */
static void put_ext(struct packet *packet, uint8_t next)
{
	put_8(packet, next);
	put_8(packet, 0);
	put_16(packet, 0x0104); /* PadN of 4 */
	put_32(packet, 0);
}

/* RFC 2675: the length that the IPv6 header has no room for. Returns where that is. */
static size_t put_jumbo(struct packet *packet, uint8_t next)
{
	put_8(packet, next);
	put_8(packet, 0);
	put_16(packet, PACKET_JUMBO_OPTION << 8 | 4);
	put_32(packet, 0);
	return packet->len - 4;
}

static void put_v6(struct packet *packet, const struct spec *spec)
{
	bool frag = spec->mf || spec->offset;
	uint8_t after_hop = spec->dst_opts ? IPPROTO_DSTOPTS :
			    frag ? IPPROTO_FRAGMENT : proto_of(spec);
	size_t start = packet->len, jumbo = 0, l4, check;

	put_32(packet, 6u << 28 | spec->label);
	put_16(packet, 0); /* payload length: below */
	put_8(packet, spec->hop || spec->jumbo ? IPPROTO_HOPOPTS : after_hop);
	put_8(packet, spec->ttl);
	put(packet, &spec->src, 16);
	put(packet, &spec->dst, 16);
	if (spec->jumbo)
		jumbo = put_jumbo(packet, after_hop);
	else if (spec->hop)
		put_ext(packet, after_hop);
	if (spec->dst_opts)
		put_ext(packet, frag ? IPPROTO_FRAGMENT : proto_of(spec));
	if (frag) {
		put_16(packet, proto_of(spec) << 8);
		put_16(packet, (spec->offset & ~7u) | !!spec->mf);
		put_32(packet, 0x5a5a5a5a);
	}
	l4 = packet->len;
	check = put_l4(packet, spec);
	finish_l4(packet, spec, l4, check);
	if (jumbo)
		store_16(packet, jumbo + 2, packet->len - start - sizeof(struct ipv6hdr));
	else
		store_16(packet, start + 4,
			 spec->tot ? spec->tot : packet->len - start - sizeof(struct ipv6hdr));
}

int packet_build(const char *text, struct packet *ret)
{
	char copy[PACKET_TEXT_LEN];
	struct spec spec;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	if (parse_text(copy, &spec) || spec.len > PACKET_MAX - 512 || spec.pad > 256 ||
	    spec.opts > 40 || spec.opts % 4 || spec.ipopts > 40 || spec.ipopts % 4)
		return -EINVAL;
	ret->len = 0;
	put(ret, spec.back ? packet_mac_a : packet_mac_b, 6);
	put(ret, spec.back ? packet_mac_b : packet_mac_a, 6);
	if (spec.vlan) {
		put_16(ret, ETH_P_8021Q);
		put_16(ret, spec.vlan);
	}
	if (spec.kind == PACKET_ETHER) {
		put_16(ret, spec.proto);
		put_payload(ret, spec.len);
	} else if (addr_is_v4(&spec.src)) {
		put_16(ret, ETH_P_IP);
		put_v4(ret, &spec);
	} else {
		put_16(ret, ETH_P_IPV6);
		put_v6(ret, &spec);
	}
	for (uint32_t i = 0; i < spec.pad; i++)
		put_8(ret, 0);
	if (spec.cut && spec.cut < ret->len)
		ret->len = spec.cut;
	return 0;
}
