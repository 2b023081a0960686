// SPDX-License-Identifier: GPL-2.0-only
/*
 * Half-open connections: sends --count SYNs over IPv4 from addresses that will
 * never answer (--net A.B.C.0, host part and port vary), at --rate a second.
 * Nothing is received. A part of the storm; needs CAP_NET_RAW.
 */
#include <getopt.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>

#include "net.h"

struct syn {
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static uint32_t sum_words(const void *data, size_t len, uint32_t sum)
{
	for (size_t i = 0; i + 1 < len; i += 2) {
		uint16_t word;

		memcpy(&word, (const char *)data + i, sizeof(word));
		sum += word;
	}
	return sum;
}

static uint16_t sum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static void syn_build(struct syn *syn, uint32_t i, in_addr_t net, const struct sockaddr_in *target)
{
	uint32_t sum;

	*syn = (struct syn){
		.ip = {.version = 4, .ihl = 5, .tot_len = htons(sizeof(*syn)), .ttl = 64,
		       .protocol = IPPROTO_TCP, .daddr = target->sin_addr.s_addr},
		.tcp = {.source = htons(1024 + i % 60000), .dest = target->sin_port,
			.seq = htonl(i * 2654435761u), .doff = 5, .syn = 1, .window = htons(64240)},
	};
	syn->ip.saddr = net | htonl(1 + i / 60000 % 254);
	sum = sum_words(&syn->ip.saddr, 8, htons(IPPROTO_TCP) + htons(sizeof(syn->tcp)));
	syn->tcp.check = sum_fold(sum_words(&syn->tcp, sizeof(syn->tcp), sum));
}

static void pace(uint64_t started_ns, uint64_t sent, uint64_t rate)
{
	int64_t ahead = started_ns + sent * NS_PER_SEC / rate - now_ns();
	struct timespec ts = {.tv_nsec = ahead};

	if (ahead > 0)
		nanosleep(&ts, NULL);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"target", 1, 0, 't'}, {"net", 1, 0, 'n'}, {"count", 1, 0, 'c'}, {"rate", 1, 0, 'r'},
		{0},
	};
	struct sockaddr_storage target = {0};
	uint32_t count = 1000, rate = 1000;
	in_addr_t net = 0;
	uint64_t started = now_ns();
	int opt, fd;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 't': sockaddr_parse(optarg, &target); break;
		case 'n': net = inet_addr(optarg); break;
		case 'c': count = atoi(optarg); break;
		case 'r': rate = atoi(optarg); break;
		default: return 2;
		}
	}
	if (target.ss_family != AF_INET || !net)
		die("usage: synflood --target A.B.C.D:PORT --net A.B.C.0 [--count N] [--rate N]");
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (fd < 0)
		die("raw socket: %s", strerror(errno));
	for (uint32_t i = 0; i < count; i++) {
		struct syn syn;

		syn_build(&syn, i, net, (struct sockaddr_in *)&target);
		while (sendto(fd, &syn, sizeof(syn), 0, (struct sockaddr *)&target,
			      sizeof(struct sockaddr_in)) < 0)
			if (errno != ENOBUFS)
				die("send: %s", strerror(errno));
		if (i % 16 == 15)
			pace(started, i, rate);
	}
	return 0;
}
