// SPDX-License-Identifier: GPL-2.0-only
/*
 * What passes the interfaces of this network namespace: counts TCP and UDP packets over IPv4 and
 * IPv6, from when it has said "ready" until SIGTERM, by interface, direction, addresses and ports,
 * and recomputes the checksums of each; `largest` is in bytes from the IP header on. Ports that --ports does not name are 0 in the account, for
 * clients use thousands. Says the account in JSON on stdout.
 *
 * A packet whose checksum a device has yet to finish (CHECKSUM_PARTIAL) must hold the sum of its
 * pseudo-header. Taps lie outside tc: what comes in is seen before our programs, what goes out
 * after them.
 */
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stddef.h>

#include "net.h"

#define ROWS 4096 /* a power of two */
#define FRAME_MAX (1 << 20)
#define MAX_PORTS 64
#define BUFFER_BYTES (256 << 20)

struct key {
	uint8_t src[16], dst[16]; /* IPv4 in the first four bytes */
	uint16_t sport, dport;
	int ifindex;
	uint8_t v6, proto, out, used;
};

struct row {
	struct key key;
	uint64_t packets, largest, partial, bad_ip, bad_l4, no_sum, fragments;
};

struct view { /* one packet */
	const uint8_t *l4;
	size_t l4_len;     /* as the IP header says */
	uint32_t pseudo;   /* sum of the addresses */
	bool fragment, bad_ip;
};

static struct row rows[ROWS];
static uint16_t ports[MAX_PORTS];
static unsigned n_ports;
static volatile sig_atomic_t over;

static void stop(int number)
{
	over = 1;
}

static uint32_t sum_bytes(uint32_t start, const uint8_t *data, size_t len)
{
	uint64_t sum = start;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += data[i] << 8 | data[i + 1];
	if (len % 2)
		sum += data[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint16_t shown_port(const uint8_t *at)
{
	uint16_t port = at[0] << 8 | at[1];

	for (unsigned i = 0; i < n_ports; i++)
		if (ports[i] == port)
			return port;
	return 0;
}

/* Both return false for what is not looked at. */
static bool view_v4(const uint8_t *data, size_t len, struct key *key, struct view *view)
{
	const struct iphdr *ip = (const void *)data;
	size_t total = ntohs(ip->tot_len);

	if (len < sizeof(*ip) || ip->ihl < 5 || len < ip->ihl * 4u)
		return false;
	total = total ? total : len; /* larger than 64 KiB */
	if (total > len || total < ip->ihl * 4u)
		return false;
	memcpy(key->src, &ip->saddr, 4);
	memcpy(key->dst, &ip->daddr, 4);
	key->proto = ip->protocol;
	view->bad_ip = sum_bytes(0, data, ip->ihl * 4) != 0xffff;
	view->fragment = ip->frag_off & htons(0x3fff);
	view->pseudo = sum_bytes(0, (const uint8_t *)&ip->saddr, 8);
	view->l4 = data + ip->ihl * 4;
	view->l4_len = total - ip->ihl * 4;
	return true;
}

static bool view_v6(const uint8_t *data, size_t len, struct key *key, struct view *view)
{
	const struct ip6_hdr *ip = (const void *)data;
	size_t payload = ntohs(ip->ip6_plen), skip = 0;

	if (len < sizeof(*ip))
		return false;
	payload = payload ? payload : len - sizeof(*ip);
	if (payload + sizeof(*ip) > len)
		return false;
	memcpy(key->src, &ip->ip6_src, 16);
	memcpy(key->dst, &ip->ip6_dst, 16);
	key->proto = ip->ip6_nxt;
	view->pseudo = sum_bytes(0, (const uint8_t *)&ip->ip6_src, 32);
	if (key->proto == IPPROTO_HOPOPTS && payload >= 8) { /* the length of a larger packet */
		key->proto = data[sizeof(*ip)];
		skip = 8 + data[sizeof(*ip) + 1] * 8;
	}
	view->fragment = key->proto == IPPROTO_FRAGMENT;
	if (skip > payload)
		return false;
	view->l4 = data + sizeof(*ip) + skip;
	view->l4_len = payload - skip;
	return true;
}

static struct row *row_of(const struct key *key)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < sizeof(*key); i++)
		hash = (hash ^ ((const uint8_t *)key)[i]) * 16777619u;
	for (uint32_t i = 0; i < ROWS; i++) {
		struct row *row = &rows[(hash + i) % ROWS];

		if (!row->key.used)
			row->key = *key;
		if (!memcmp(&row->key, key, sizeof(*key)))
			return row;
	}
	die("more than %d conversations: name fewer --ports", ROWS);
}

static void count_sums(struct row *row, const struct view *view, bool partial)
{
	size_t at = row->key.proto == IPPROTO_TCP ? offsetof(struct tcphdr, check) :
						    offsetof(struct udphdr, check);
	uint32_t pseudo = view->pseudo + row->key.proto + view->l4_len % 0x10000 +
			  view->l4_len / 0x10000;
	uint16_t check = view->l4[at] << 8 | view->l4[at + 1];

	row->bad_ip += view->bad_ip;
	if (partial) {
		row->partial++;
		row->bad_l4 += check != sum_bytes(pseudo, NULL, 0);
	} else if (!check && row->key.proto == IPPROTO_UDP && !row->key.v6) {
		row->no_sum++;
	} else {
		row->bad_l4 += sum_bytes(pseudo, view->l4, view->l4_len) != 0xffff;
	}
}

static void count(const struct sockaddr_ll *from, bool partial, const uint8_t *data, size_t len)
{
	struct key key = {.ifindex = from->sll_ifindex, .used = 1,
			  .out = from->sll_pkttype == PACKET_OUTGOING};
	uint16_t kind = ntohs(from->sll_protocol);
	struct view view = {0};
	struct row *row;

	if (kind == ETHERTYPE_VLAN && len > 4) {
		kind = data[2] << 8 | data[3];
		data += 4;
		len -= 4;
	}
	key.v6 = kind == ETHERTYPE_IPV6;
	if (kind != ETHERTYPE_IP && !key.v6)
		return;
	if (!(key.v6 ? view_v6 : view_v4)(data, len, &key, &view))
		return;
	if (!view.fragment && key.proto != IPPROTO_TCP && key.proto != IPPROTO_UDP)
		return;
	if (!view.fragment && view.l4_len >= (key.proto == IPPROTO_TCP ? 20 : 8)) {
		key.sport = shown_port(view.l4);
		key.dport = shown_port(view.l4 + 2);
		row = row_of(&key);
		count_sums(row, &view, partial);
	} else {
		row = row_of(&key);
		row->fragments++;
	}
	row->packets++;
	if (row->largest < len)
		row->largest = len;
}

static bool receive(int fd, uint8_t *frame, int flags)
{
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct iovec piece = {frame, FRAME_MAX};
	struct sockaddr_ll from;
	struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &piece,
				 .msg_iovlen = 1, .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct tpacket_auxdata aux = {0};
	ssize_t len = recvmsg(fd, &message, flags);

	if (len < 0)
		return false;
	for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one))
		if (one->cmsg_level == SOL_PACKET && one->cmsg_type == PACKET_AUXDATA)
			memcpy(&aux, CMSG_DATA(one), sizeof(aux));
	count(&from, aux.tp_status & TP_STATUS_CSUMNOTREADY, frame, len);
	return true;
}

static void print_row(const struct row *row, const char *separator)
{
	char device[IF_NAMESIZE] = "?", src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
	int family = row->key.v6 ? AF_INET6 : AF_INET;

	if_indextoname(row->key.ifindex, device);
	printf("%s{\"device\":\"%s\",\"way\":\"%s\",\"protocol\":\"%s\",\"src\":\"%s\",\"sport\":%u,"
	       "\"dst\":\"%s\",\"dport\":%u,\"packets\":%ju,\"largest\":%ju,\"partial\":%ju,\"bad_ip\":%ju,"
	       "\"bad_l4\":%ju,\"no_sum\":%ju,\"fragments\":%ju}",
	       separator, device, row->key.out ? "out" : "in",
	       row->key.proto == IPPROTO_TCP ? "TCP" :
	       row->key.proto == IPPROTO_UDP ? "UDP" : "fragment",
	       inet_ntop(family, row->key.src, src, sizeof(src)), row->key.sport,
	       inet_ntop(family, row->key.dst, dst, sizeof(dst)), row->key.dport, row->packets,
	       row->largest, row->partial, row->bad_ip, row->bad_l4, row->no_sum, row->fragments);
}

static void print_account(int fd)
{
	struct tpacket_stats stats = {0};
	socklen_t len = sizeof(stats);
	const char *separator = "";

	getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len);
	printf("{\"lost\":%u,\"rows\":[", stats.tp_drops);
	for (unsigned i = 0; i < ROWS; i++) {
		if (!rows[i].key.used)
			continue;
		print_row(&rows[i], separator);
		separator = ",";
	}
	printf("]}\n");
}

static void take_ports(char *text)
{
	for (char *one = strtok(text, ","); one; one = strtok(NULL, ",")) {
		if (n_ports == MAX_PORTS)
			die("more than %d ports", MAX_PORTS);
		ports[n_ports++] = atoi(one);
	}
}

static int watch_open(void)
{
	int fd = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL)), size = BUFFER_BYTES, one = 1;
	struct timeval tick = {.tv_usec = 50000}; /* to look whether it is over */

	if (fd < 0)
		die("AF_PACKET: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)))
		die("setsockopt: %s", strerror(errno));
	return fd;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"ports", 1, 0, 'p'}, {0}};
	static uint8_t frame[FRAME_MAX];
	int opt, fd;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (opt != 'p')
			return 2;
		take_ports(optarg);
	}
	signal(SIGTERM, stop);
	fd = watch_open();
	printf("ready\n");
	fflush(stdout);
	while (!over)
		receive(fd, frame, 0);
	while (receive(fd, frame, MSG_DONTWAIT))
		;
	print_account(fd);
	return 0;
}
