// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets that leave by no router of this node's, and are too long for the device: answered by ICMP.
 * Runs in a network namespace of its own, whose loopback, device 1, has the MTU that is asked for.
 */
#include <errno.h>
#include <linux/ip.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "bpf_fixture.h"
#include "check.h"
#include "icmp_build.h"

#define MTU 1400
#define QUOTE 512
#define TCP_HEADERS(f) (20 + ((f)->v6 ? 40 : 20))

static void set_mtu(int mtu)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_mtu = mtu};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFMTU, &request))
		fixture_die("MTU of lo", errno);
	close(fd);
}

static void set_route_mtu(struct fixture *f, __u32 mtu)
{
	__u32 ifindex = 1;
	int fd = bpf_map__fd(f->skel->maps.route_mtus);

	if (mtu ? bpf_map_update_elem(fd, &ifindex, &mtu, BPF_ANY) :
		  bpf_map_delete_elem(fd, &ifindex))
		fixture_die("route_mtus", errno);
}

static void mend_ip(struct packet *packet)
{
	unsigned char *ip = packet->data + ETH_HLEN;
	uint16_t check;

	ip[10] = ip[11] = 0;
	check = ~packet_fold(packet_sum(0, ip, sizeof(struct iphdr)));
	ip[10] = check >> 8;
	ip[11] = check;
}

/* The answer, as bpf/mtu.h makes it. */
static void build_answer(struct fixture *f, const char *ends, const char *quoted, unsigned mtu,
			 struct packet *ret)
{
	char error[PACKET_TEXT_LEN];

	snprintf(error, sizeof(error), "%s type %s back", ends, f->v6 ? "2 code 0" : "3 code 4");
	icmp_build(f, error, quoted, QUOTE, mtu, ret);
	if (f->v6)
		return;
	ret->data[ETH_HLEN + 1] = 0xc0;
	ret->data[ETH_HLEN + 4] = ret->data[ETH_HLEN + 5] = 0;
	mend_ip(ret);
}

/* One packet, "%u" its payload. */
struct way {
	enum fixture_hook at;
	const char *in, *out;
	const char *answer; /* its ends */
	bool udp;
};

static bool passes(struct fixture *f, const struct way *way, unsigned len)
{
	char in[PACKET_TEXT_LEN], out[PACKET_TEXT_LEN];
	struct step step = {way->at, in, REDIRECT, out};

	snprintf(in, sizeof(in), way->in, len);
	snprintf(out, sizeof(out), way->out, len);
	return fixture_step(f, &step);
}

static bool is_answered(struct fixture *f, const struct way *way, unsigned len, unsigned mtu)
{
	uint64_t before = fixture_drops(f, SL_DROP_TOO_BIG);
	bool complete = f->complete;
	struct fixture_result result;
	struct packet expected;
	char in[PACKET_TEXT_LEN];

	snprintf(in, sizeof(in), way->in, len);
	build_answer(f, way->answer, in, mtu, &expected);
	f->complete = false; /* see TRIMMED */
	fixture_send(f, way->at, in, &result);
	f->complete = complete;
	CHECK_INT(result.verdict, REDIRECT);
	CHECK_INT(fixture_drops(f, SL_DROP_TOO_BIG), before + 1);
	return icmp_equal(&result.out, &expected, 0);
}

/* Payload of the longest packet that an MTU lets through. */
static unsigned fits(const struct fixture *f, const struct way *way, unsigned mtu)
{
	return mtu - (way->udp ? 8 : 20) - (f->v6 ? 40 : 20);
}

static const struct way ways[] = {
	{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 101 len %u",
	 "node:1024 > r1:8000 A seq 8 ack 101 len %u", "vip > client", false},
	{FROM_UPLINK, "r1:8000 > node:1024 A seq 101 ack 8 len %u",
	 "vip:80 > client:4000 A seq 101 ack 8 len %u", "node > r1", false},
	{FROM_FABRIC, "r1:8000 > node:1024 PA seq 101 ack 8 len %u",
	 "vip:80 > client:4000 PA seq 101 ack 8 len %u", "node > r1", false},
	{FROM_UPLINK, "udp client:4000 > vip:53 len %u", "udp node:1024 > r2:53 len %u",
	 "vip > client", true},
	{FROM_UPLINK, "udp r2:53 > node:1024 len %u", "udp vip:53 > client:4000 len %u",
	 "node > r2", true},
	{FROM_NODE, "node:4000 > vip:80 A seq 8 ack 101 len %u",
	 "node:4000 > r1:8000 A seq 8 ack 101 len %u", "vip > node", false},
};

static void open_flows(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:1024 > r1:8000 S seq 7 len 0"},
		{FROM_UPLINK, "udp client:4000 > vip:53 len 9", REDIRECT,
		 "udp node:1024 > r2:53 len 9"},
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:4000 > r1:8000 S seq 7 len 0"},
	};
	__u32 source = fixture_add_source(f, "node"), service;

	fixture_simple(f, 0, 1);
	fixture_add_local(f, "node");
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "udp vip:53");
	fixture_make_remote(f, 0, source);
	fixture_make_remote(f, fixture_add_replica(f, service, "udp r2:53", 100), source);
	STEPS(f, steps);
}

static void device(struct fixture *f)
{
	open_flows(f);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		set_mtu(MTU);
		CHECK(passes(f, &ways[i], fits(f, &ways[i], MTU)));
		CHECK(is_answered(f, &ways[i], fits(f, &ways[i], MTU) + 1, MTU));
		set_mtu(1300); /* it is looked up each time */
		CHECK(is_answered(f, &ways[i], fits(f, &ways[i], MTU), 1300));
		CHECK(passes(f, &ways[i], fits(f, &ways[i], 1300)));
	}
	CHECK_INT(fixture_count_flows(f, SL_FLOW_DONE), 0);
}

static const struct fixture_options with_node = {.node_ifindex = 1};

static void own_namespace(void)
{
	if (unshare(CLONE_NEWNET))
		fixture_die("a network namespace", errno);
}

TEST(longer_than_the_device_lets_through)
{
	own_namespace();
	fixture_each(device, &with_node);
}

/* A route's MTU counts where it is less. */
static void route(struct fixture *f)
{
	open_flows(f);
	set_mtu(MTU);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		set_route_mtu(f, 1300);
		CHECK(is_answered(f, &ways[i], fits(f, &ways[i], 1301), 1300));
		CHECK(passes(f, &ways[i], fits(f, &ways[i], 1300)));
		set_route_mtu(f, 9000);
		CHECK(is_answered(f, &ways[i], fits(f, &ways[i], MTU + 1), MTU));
		CHECK(passes(f, &ways[i], fits(f, &ways[i], MTU)));
		set_route_mtu(f, 0);
		CHECK(passes(f, &ways[i], fits(f, &ways[i], MTU)));
	}
}

TEST(longer_than_a_route_lets_through)
{
	own_namespace();
	fixture_each(route, &with_node);
}

/* Below what any path has, nothing is believed: RFC 8200, and net.ipv4.route.min_pmtu. */
static void least(struct fixture *f)
{
	unsigned mtu = f->v6 ? 1280 : 552;

	open_flows(f);
	set_mtu(300);
	CHECK(passes(f, &ways[0], fits(f, &ways[0], mtu)));
	CHECK(is_answered(f, &ways[0], fits(f, &ways[0], mtu) + 1, mtu));
	set_mtu(1000);
	mtu = f->v6 ? 1280 : 1000;
	CHECK(passes(f, &ways[1], fits(f, &ways[1], mtu)));
	CHECK(is_answered(f, &ways[1], fits(f, &ways[1], mtu) + 1, mtu));
}

TEST(no_answer_names_less_than_the_least_mtu)
{
	own_namespace();
	fixture_each(least, &with_node);
}

/* What may be fragmented passes as it is. */
static void fragmentable(struct fixture *f)
{
	static const struct {
		enum fixture_hook at;
		const char *in, *out;
	} rows[] = {
		{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 101 len 1450",
		 "node:1024 > r1:8000 A seq 8 ack 101 len 1450"},
		{FROM_UPLINK, "r1:8000 > node:1024 A seq 101 ack 8 len 1450",
		 "vip:80 > client:4000 A seq 101 ack 8 len 1450"},
	};
	struct fixture_result result;
	char text[PACKET_TEXT_LEN];

	open_flows(f);
	set_mtu(MTU);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (packet_build(fixture_expand(f, rows[i].in, text), &result.in))
			fixture_die(text, EINVAL);
		result.in.data[ETH_HLEN + 6] = 0; /* DF */
		mend_ip(&result.in);
		fixture_send_built(f, rows[i].at, &result);
		CHECK_INT(result.verdict, REDIRECT);
		CHECK_STR(result.text, fixture_expand(f, rows[i].out, text));
	}
	CHECK_INT(fixture_drops(f, SL_DROP_TOO_BIG), 0);
}

TEST(without_df_it_passes)
{
	own_namespace();
	fixture_once(fragmentable, &with_node);
}

/* A packet that is yet to be cut into segments is as long as each of them. */
static int send_segments(struct fixture *f, const char *line, __u32 size, struct packet *ret)
{
	static struct packet in;
	char text[PACKET_TEXT_LEN];
	struct __sk_buff skb = {.gso_size = size, .gso_segs = 2};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in.data, .data_out = ret->data,
		    .data_size_out = sizeof(ret->data), .ctx_in = &skb, .ctx_size_in = sizeof(skb));

	if (packet_build(fixture_expand(f, line, text), &in))
		fixture_die(text, EINVAL);
	opts.data_size_in = in.len;
	if (bpf_prog_test_run_opts(fixture_program_fd(f, FROM_UPLINK), &opts))
		return -errno;
	ret->len = opts.data_size_out;
	return opts.retval;
}

static void segments(struct fixture *f)
{
	static const char line[] = "client:4000 > vip:80 A seq 8 ack 101 len 2600 opts 12";
	unsigned size = MTU - 12 - TCP_HEADERS(f);
	struct packet out, expected;
	char text[PACKET_TEXT_LEN], translated[PACKET_TEXT_LEN];

	open_flows(f);
	set_mtu(MTU);
	CHECK_INT(send_segments(f, line, size, &out), REDIRECT);
	CHECK_STR(packet_format(&out, text),
		  fixture_expand(f, "node:1024 > r1:8000 A seq 8 ack 101 len 2600 opts 12",
				 translated));
	CHECK_INT(send_segments(f, line, size + 1, &out), REDIRECT);
	build_answer(f, "vip > client", line, MTU, &expected);
	CHECK(icmp_equal(&out, &expected, 0));
	CHECK_INT(fixture_drops(f, SL_DROP_TOO_BIG), 1);
}

TEST(segments_count_by_their_size)
{
	own_namespace();
	fixture_each(segments, &with_node);
}
