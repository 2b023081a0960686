// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes Ethernet, IPv4 or IPv6, and TCP headers by hand: nothing else of user space builds
 * packets. Refuses a row that was torn while it was copied. Called by inject.c.
 */
#include "syn.h"

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>

#include <sluice/hash.h>

#define SYN_TTL 64

/* One's complement sum (RFC 1071) of `len` bytes, an even number, added to `sum`. */
static __u32 sum_bytes(__u32 sum, const void *bytes, size_t len)
{
	const unsigned char *at = bytes;
	__u16 word;

	for (size_t i = 0; i + 1 < len; i += 2) {
		memcpy(&word, at + i, sizeof(word));
		sum += word;
	}
	return sum;
}

static __u16 sum_fold(__u64 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~(__u16)sum;
}

static size_t put_ip(const struct sl_pending *pending, const struct sl_vip *vip, size_t l4_length,
		     unsigned char *at)
{
	struct iphdr v4 = {.version = 4, .ihl = 5, .ttl = SYN_TTL, .protocol = IPPROTO_TCP};
	struct ip6_hdr v6 = {};

	if (pending->v6) {
		v6.ip6_flow = htonl(6u << 28 | (__u32)pending->tos << 20);
		v6.ip6_plen = htons(l4_length);
		v6.ip6_nxt = IPPROTO_TCP;
		v6.ip6_hlim = SYN_TTL;
		memcpy(&v6.ip6_src, &pending->client, 16);
		memcpy(&v6.ip6_dst, &vip->addr, 16);
		memcpy(at, &v6, sizeof(v6));
		return sizeof(v6);
	}
	v4.tos = pending->tos;
	v4.tot_len = htons(sizeof(v4) + l4_length);
	v4.frag_off = htons(IP_DF);
	v4.saddr = pending->client.w[3];
	v4.daddr = vip->addr.w[3];
	v4.check = sum_fold(sum_bytes(0, &v4, sizeof(v4)));
	memcpy(at, &v4, sizeof(v4));
	return sizeof(v4);
}

static void put_tcp(const struct sl_pending *pending, const struct sl_vip *vip, size_t l4_length,
		    unsigned char *at)
{
	struct tcphdr tcp = {.source = pending->port, .dest = vip->port, .seq = pending->isn,
			     .doff = l4_length / 4, .window = pending->window};
	__u64 sum = (__u64)sl_addr_sum(&pending->client) + sl_addr_sum(&vip->addr);

	((unsigned char *)&tcp)[13] = pending->tcp_flags;
	sum += htons(IPPROTO_TCP) + htons(l4_length);
	sum += sum_bytes(0, &tcp, sizeof(tcp));
	sum += sum_bytes(0, pending->options, pending->n_options);
	tcp.check = sum_fold(sum);
	memcpy(at, &tcp, sizeof(tcp));
	memcpy(at + sizeof(tcp), pending->options, pending->n_options);
}

size_t syn_build(const struct sl_pending *pending, const struct sl_vip *vip,
		 unsigned char frame[SYN_FRAME_MAX])
{
	size_t l4_length = sizeof(struct tcphdr) + pending->n_options, l3_length, length;
	__be16 type = htons(pending->v6 ? ETH_P_IPV6 : ETH_P_IP);

	if (pending->n_options > SL_SYN_OPTIONS_MAX || pending->n_options % 4)
		return 0;
	memset(frame, 0, SYN_FRAME_MAX);
	memcpy(frame, pending->mac, sizeof(pending->mac));
	memcpy(frame + sizeof(pending->mac), &type, sizeof(type));
	l3_length = put_ip(pending, vip, l4_length, frame + ETH_HLEN);
	put_tcp(pending, vip, l4_length, frame + ETH_HLEN + l3_length);
	length = ETH_HLEN + l3_length + l4_length;
	return length < ETH_ZLEN ? ETH_ZLEN : length;
}
