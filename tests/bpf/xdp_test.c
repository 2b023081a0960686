// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the program at XDP finishes, as TC would, and what it leaves to TC: each row is a packet that
 * both programs get (tests/lib/xdp_twin.h).
 */
#include <linux/bpf.h>
#include <net/if.h>

#include <bpf/bpf.h>

#include "check.h"
#include "packet_spec.h"
#include "xdp.h"
#include "xdp_twin.h"

static const struct fixture_options slow_clock = {.hz = TWIN_HZ};

/* vip:80, udp vip:53, and on another node one replica for each. */
static __u32 remote(struct fixture *f, __u32 flags, const char *replica)
{
	char udp[PACKET_TEXT_LEN];
	__u32 service = fixture_add_service(f, flags), row;
	__u32 source = fixture_add_source(f, "node");

	if (!twin_node(f))
		fixture_die("setup", ENODEV);
	fixture_add_vip(f, service, "vip:80");
	row = fixture_add_replica(f, service, replica, 100);
	fixture_make_remote(f, row, source);
	f->replicas[row].config.out_ifindex = f->ifindex;
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "udp vip:53");
	snprintf(udp, sizeof(udp), "udp %s", replica);
	row = fixture_add_replica(f, service, udp, 100);
	fixture_make_remote(f, row, source);
	f->replicas[row].config.out_ifindex = f->ifindex;
	return row;
}

/* client:4000 and r1, established. */
static const struct twin_row handshake[] = {
	{"client:4000 > vip:80 S seq 7 len 0 opts 20", NULL},
	{"r1:8000 > node:1024 SA seq 100 ack 8 len 0 opts 20", NULL},
	{"client:4000 > vip:80 A seq 8 ack 101 len 0", "node:1024 > r1:8000 A seq 8 ack 101 len 0"},
};

/* ---- TCP ----------------------------------------------------------------------------- */

static void whole_life(struct fixture *f)
{
	static const struct twin_row data[] = {
		{"client:4000 > vip:80 PA seq 8 ack 101 len 500 opts 12",
		 "node:1024 > r1:8000 PA seq 8 ack 101 len 500 opts 12"},
		{"r1:8000 > node:1024 A seq 101 ack 508 len 1400 ttl 2",
		 "vip:80 > client:4000 A seq 101 ack 508 len 1400 ttl 2"},
		{"r1:8000 > node:1024 PAU seq 1501 ack 508 len 333",
		 "vip:80 > client:4000 PAU seq 1501 ack 508 len 333"},
		{"client:4000 > vip:80 A seq 508 ack 1834 len 3 badsum",
		 "node:1024 > r1:8000 A seq 508 ack 1834 len 3 badsum"},
		{"client:4000 > vip:80 A seq 508 ack 1834 len 3 pad 6",
		 "node:1024 > r1:8000 A seq 508 ack 1834 len 3"},
	};
	static const struct twin_row closing[] = {
		{"client:4000 > vip:80 FA seq 511 ack 1834 len 20",
		 "node:1024 > r1:8000 FA seq 511 ack 1834 len 20"},
		{"r1:8000 > node:1024 A seq 1834 ack 532 len 700",
		 "vip:80 > client:4000 A seq 1834 ack 532 len 700"},
		{"r1:8000 > node:1024 FA seq 2534 ack 532 len 0",
		 "vip:80 > client:4000 FA seq 2534 ack 532 len 0"},
		/* finished, and counted no more */
		{"client:4000 > vip:80 A seq 532 ack 2535 len 0",
		 "node:1024 > r1:8000 A seq 532 ack 2535 len 0"},
		{"r1:8000 > node:1024 FA seq 2534 ack 532 len 0",
		 "vip:80 > client:4000 FA seq 2534 ack 532 len 0"},
		/* the client's port again */
		{"client:4000 > vip:80 S seq 9000 len 0", NULL},
		{"client:4000 > vip:80 A seq 9001 ack 1 len 0", NULL},
	};

	remote(f, 0, "r1:8000");
	TWINS(f, handshake);
	TWINS(f, data);
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_OPEN);
	CHECK_INT(f->replicas[0].state.inflight, 1);
	CHECK(twin_rows(f, closing, 5));
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_DONE);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->kernel->half_open, 0);
	CHECK(twin_rows(f, closing + 5, 2));
	CHECK_INT(f->replicas[0].state.inflight, 1);
}

TEST(a_connection_from_its_first_packet_to_its_last)
{
	fixture_each(whole_life, &slow_clock);
}

static void left_to_tc(struct fixture *f)
{
	static const struct twin_row rows[] = {
		{"client:4000 > vip:80 S seq 7 len 0", NULL},
		{"client:4000 > vip:80 S seq 7000 len 0", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 10 ttl 1", NULL},
		{"r1:8000 > node:1024 A seq 101 ack 8 len 10 ttl 1", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 9100", NULL}, /* longer than the MTU */
		{"client:4000 > vip:80 A seq 8 ack 101 len 10 vlan 7", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 10 cut 50", NULL},
		{"frag client > vip proto 6 offset 1480 len 100", NULL},
		{"frag client > vip proto 6 offset 24 len 100 mf", NULL},
		{"frag r1 > node proto 6 offset 1480 len 100", NULL},
		{"icmp client > vip type 8 code 0 len 56", NULL},
		{"icmp r1 > node type 3 code 1 len 56", NULL},
		/* flows of others, and none */
		{"client:4001 > vip:80 A seq 8 ack 101 len 10", NULL},
		{"client2:4000 > vip:80 A seq 8 ack 101 len 10", NULL},
		{"client:4000 > vip:81 A seq 8 ack 101 len 10", NULL},
		{"client:4000 > other:80 A seq 8 ack 101 len 10", NULL},
		{"r1:8000 > node:1025 A seq 101 ack 8 len 10", NULL},
		{"r1:8001 > node:1024 A seq 101 ack 8 len 10", NULL},
		{"r1:8000 > client:4000 A seq 101 ack 8 len 10", NULL},
		{"r2:8000 > node:1024 A seq 101 ack 8 len 10", NULL},
		{"ether 2054 len 46", NULL},
		/* and it is there all the same */
		{"client:4000 > vip:80 A seq 8 ack 101 len 10",
		 "node:1024 > r1:8000 A seq 8 ack 101 len 10"},
		/* at last: ends it */
		{"client:4000 > vip:80 R seq 8 len 0", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 10", NULL},
		{"r1:8000 > node:1024 A seq 101 ack 8 len 10", NULL},
	};

	remote(f, 0, "r1:8000");
	TWINS(f, handshake);
	TWINS(f, rows);
}

TEST(what_is_left_to_tc)
{
	fixture_each(left_to_tc, &slow_clock);
}

/* bpf_fib_lookup() does not look at it. */
static void route_mtu(struct fixture *f)
{
	static const struct twin_row v4[] = {
		{"client:4000 > vip:80 A seq 8 ack 101 len 1260",
		 "node:1024 > r1:8000 A seq 8 ack 101 len 1260"},
		{"client:4000 > vip:80 A seq 8 ack 101 len 1261", NULL},
		{"r1:8000 > node:1024 A seq 101 ack 8 len 1261", NULL},
	};
	static const struct twin_row v6[] = {
		{"client:4000 > vip:80 A seq 8 ack 101 len 1240",
		 "node:1024 > r1:8000 A seq 8 ack 101 len 1240"},
		{"client:4000 > vip:80 A seq 8 ack 101 len 1241", NULL},
		{"r1:8000 > node:1024 A seq 101 ack 8 len 1241", NULL},
	};
	int fd = bpf_map__fd(f->skel->maps.route_mtus);
	__u32 ifindex, mtu = 1300;

	remote(f, 0, "r1:8000");
	ifindex = f->ifindex;
	CHECK_INT(bpf_map_update_elem(fd, &ifindex, &mtu, BPF_ANY), 0);
	TWINS(f, handshake);
	if (f->v6)
		TWINS(f, v6);
	else
		TWINS(f, v4);
	CHECK_INT(bpf_map_delete_elem(fd, &ifindex), 0);
}

TEST(longer_than_a_route_lets_through_is_tc_s)
{
	fixture_each(route_mtu, &slow_clock);
}

static void headers(struct fixture *f)
{
	static const struct twin_row v4[] = {
		{"client:4000 > vip:80 A seq 8 ack 101 len 10 ipopts 4", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 10 tot 39", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 10 badip",
		 "node:1024 > r1:8000 A seq 8 ack 101 len 10 badip"},
	};
	static const struct twin_row v6[] = {
		{"client:4000 > vip:80 A seq 8 ack 101 len 10 hop", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 10 dst", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 10 tot 65535", NULL},
	};
	static struct fixture_result unsaid; /* its length is: BIG TCP */
	unsigned length = f->v6 ? 14 + 4 : 14 + 2;
	char text[PACKET_TEXT_LEN];

	remote(f, 0, "r1:8000");
	TWINS(f, handshake);
	if (f->v6)
		TWINS(f, v6);
	else
		TWINS(f, v4);
	packet_build(fixture_expand(f, "client:4000 > vip:80 A seq 8 ack 101 len 10", text),
		     &unsaid.in);
	unsaid.in.data[length] = unsaid.in.data[length + 1] = 0;
	CHECK_STR(twin_send(f, &unsaid) ?: "", "");
	CHECK_INT(unsaid.verdict, XDP_PASS);
}

TEST(odd_ip_headers)
{
	fixture_each(headers, &slow_clock);
}

/* TC cannot be shown so long a packet here: its bytes are compared with what they should be. */
static void buffers(struct fixture *f)
{
	static struct fixture_result xdp;
	char text[PACKET_TEXT_LEN];

	remote(f, 0, "r1:8000");
	TWINS(f, handshake);
	fixture_send(f, XDP_UPLINK, "r1:8000 > node:1024 FA seq 101 ack 8 len 8000", &xdp);
	CHECK_INT(xdp.verdict, XDP_TX);
	CHECK_STR(xdp.text, fixture_expand(f, "vip:80 > client:4000 FA seq 101 ack 8 len 8000 back",
					   text));
	CHECK(fixture_flow(f)->state & SL_FLOW_REPLICA_FIN);
}

TEST(frames_in_several_buffers)
{
	if (!xdp_has_frags())
		SKIP("this kernel has none (before 5.18)");
	fixture_each(buffers, &slow_clock);
}

/* Whatever flags a segment has, from either side: the two agree. The flow is as each stage of the
 * handshake leaves it. */
static void all_flags(struct fixture *f)
{
	static struct fixture_result xdp;
	struct twin_snapshot *before;
	char line[PACKET_TEXT_LEN];
	unsigned finished = 0;

	remote(f, 0, "r1:8000");
	for (unsigned stage = 1; stage <= 3; stage++) {
		CHECK(twin_row(f, &handshake[stage - 1]));
		before = twin_snapshot_new(f);
		for (unsigned i = 0; i < 256; i++) {
			char flags[8] = "", *at = flags;

			for (int bit = 0; bit < 6; bit++)
				if (i & 1u << bit)
					*at++ = PACKET_FLAGS[bit];
			*at = 0;
			snprintf(line, sizeof(line), "%s %s seq %u ack %u len %u",
				 i & 64 ? "client:4000 > vip:80" : "r1:8000 > node:1024",
				 flags[0] ? flags : "-", i & 64 ? 8 : 101, i & 64 ? 101 : 8,
				 i & 128 ? 40 : 0);
			CHECK_STR(twin_send_line(f, line, &xdp) ?: "", "");
			finished += xdp.verdict == XDP_TX;
			twin_snapshot_restore(f, before);
		}
		twin_snapshot_free(before);
	}
	CHECK(finished > 64);
}

TEST(any_flags_at_any_stage)
{
	fixture_each(all_flags, &slow_clock);
}

/* ---- UDP ----------------------------------------------------------------------------- */

static void datagrams(struct fixture *f)
{
	static const struct twin_row rows[] = {
		{"udp client:4000 > vip:53 len 30", NULL},
		{"udp client:4000 > vip:53 len 30", NULL}, /* nobody has answered */
		{"udp r1:8000 > node:1024 len 40", NULL},
		{"udp client:4000 > vip:53 len 3", "udp node:1024 > r1:8000 len 3"},
		{"udp client:4000 > vip:53 len 31 nosum", "udp node:1024 > r1:8000 len 31 nosum"},
		{"udp client:4000 > vip:53 len 0 badsum", "udp node:1024 > r1:8000 len 0 badsum"},
		{"udp r1:8000 > node:1024 len 1200", "udp vip:53 > client:4000 len 1200"},
		{"udp r1:8000 > node:1024 len 1 nosum", "udp vip:53 > client:4000 len 1 nosum"},
		{"frag client > vip proto 17 offset 1480 len 100", NULL},
		{"udp client:4001 > vip:53 len 30", NULL},
		{"udp r1:8000 > node:1030 len 30", NULL},
	};

	remote(f, 0, "r1:8000");
	TWINS(f, rows);
}

TEST(a_conversation)
{
	fixture_each(datagrams, &slow_clock);
}

/* Whose checksum comes out as 0 says ffff: 0 would mean that there is none. */
static void zero_sum(struct fixture *f)
{
	static const struct twin_row rows[] = {
		{"udp client:4000 > vip:53 len 30", NULL},
		{"udp r1:8000 > node:1024 len 40", NULL},
	};
	static struct fixture_result xdp;
	unsigned check = f->v6 ? 14 + 40 + 6 : 14 + 20 + 6, zeros = 0;
	char text[PACKET_TEXT_LEN];

	remote(f, 0, "r1:8000");
	TWINS(f, rows);
	packet_build(fixture_expand(f, "udp client:4000 > vip:53 len 30", text), &xdp.in);
	for (unsigned sum = 1; sum <= 0xffff; sum += sum == 1 || zeros ? 257 : 1) {
		xdp.in.data[check] = sum >> 8;
		xdp.in.data[check + 1] = sum & 0xff;
		fixture_send_built(f, XDP_UPLINK, &xdp);
		CHECK(xdp.out.data[check] || xdp.out.data[check + 1]);
		if (xdp.out.data[check] == 0xff && xdp.out.data[check + 1] == 0xff) {
			zeros++;
			CHECK_STR(twin_send(f, &xdp) ?: "", "");
		}
	}
	CHECK(zeros > 0);
}

TEST(a_checksum_never_becomes_none)
{
	fixture_each(zero_sum, &slow_clock);
}

/* ---- flows that are to be looked into ------------------------------------------------ */

static void unseen(struct fixture *f)
{
	static const struct twin_row late = {"client:4000 > vip:80 A seq 8 ack 101 len 10", NULL};
	static const struct twin_row reply = {"r1:8000 > node:1024 A seq 101 ack 18 len 10", NULL};
	static const struct twin_row again = {"client:4000 > vip:80 A seq 8 ack 101 len 10",
					 "node:1024 > r1:8000 A seq 8 ack 101 len 10"};

	remote(f, 0, "r1:8000");
	TWINS(f, handshake);
	fixture_flow(f)->last_seen -= TWIN_UNSEEN;
	CHECK(twin_row(f, &late));
	CHECK(twin_row(f, &again)); /* TC has seen it */
	fixture_flow(f)->last_seen -= TWIN_UNSEEN;
	CHECK(twin_row(f, &reply));
	CHECK(twin_row(f, &again));
}

TEST(tc_sees_each_flow_four_times_a_second)
{
	fixture_each(unseen, &slow_clock);
}

/* The conversation's last answer is noted by TC alone, whatever the client sends. */
static void unanswered(struct fixture *f)
{
	static const struct twin_row begin[] = {
		{"udp client:4000 > vip:53 len 30", NULL},
		{"udp r1:8000 > node:1024 len 40", NULL},
	};
	static const struct twin_row question = {"udp client:4000 > vip:53 len 30",
					    "udp node:1024 > r1:8000 len 30"};
	static const struct twin_row answer = {"udp r1:8000 > node:1024 len 40", NULL};
	static const struct twin_row later = {"udp client:4000 > vip:53 len 30", NULL};

	remote(f, 0, "r1:8000");
	TWINS(f, begin);
	fixture_flow(f)->request -= TWIN_UNSEEN;
	CHECK(twin_row(f, &question));
	CHECK(twin_row(f, &answer));
	fixture_flow(f)->request -= 2 * slow_clock.hz; /* soon its client may go elsewhere */
	CHECK(twin_row(f, &later));
}

TEST(tc_sees_when_a_conversation_is_answered)
{
	fixture_each(unanswered, &slow_clock);
}

static void sniffed(struct fixture *f)
{
	static const struct twin_row rows[] = {
		{"client:4000 > vip:80 PA seq 8 ack 101 len 100",
		 "node:1024 > r1:8000 PA seq 8 ack 101 len 100"},
		{"r1:8000 > node:1024 A seq 101 ack 108 len 0",
		 "vip:80 > client:4000 A seq 101 ack 108 len 0"},
		{"r1:8000 > node:1024 A seq 101 ack 108 len 11",
		 "vip:80 > client:4000 A seq 101 ack 108 len 11"},
		{"r1:8000 > node:1024 A seq 101 ack 108 len 1400", NULL},
		/* the first bytes were seen; until the next request nobody asks */
		{"r1:8000 > node:1024 A seq 1501 ack 108 len 1400",
		 "vip:80 > client:4000 A seq 1501 ack 108 len 1400"},
	};

	remote(f, SL_SERVICE_SNIFF, "r1:8000");
	TWINS(f, handshake);
	TWINS(f, rows);
}

TEST(the_first_bytes_of_an_answer_are_read_by_tc)
{
	fixture_each(sniffed, &slow_clock);
}

static void suspected(struct fixture *f)
{
	static const struct twin_row out = {"client:4000 > vip:80 PA seq 8 ack 101 len 100",
				       "node:1024 > r1:8000 PA seq 8 ack 101 len 100"};
	static const struct twin_row back = {"r1:8000 > node:1024 A seq 101 ack 108 len 9", NULL};

	remote(f, 0, "r1:8000");
	TWINS(f, handshake);
	f->replicas[0].config.flags |= SL_REPLICA_SUSPECT;
	CHECK(twin_row(f, &out));
	CHECK(twin_row(f, &back));
	CHECK(f->replicas[0].state.last_payload);
	f->replicas[0].config.flags ^= SL_REPLICA_SUSPECT | SL_REPLICA_PROBE_DOWN;
	CHECK(twin_row(f, &back));
}

TEST(tc_is_the_witness_of_a_suspect)
{
	fixture_each(suspected, &slow_clock);
}

static void states(struct fixture *f)
{
	static const __u64 flags[] = {SL_FLOW_RESET, SL_FLOW_SPILLED, SL_FLOW_RETRY,
				      SL_FLOW_REFUSED, SL_FLOW_CLIENT_RST, SL_FLOW_REPLICA_RST};
	static const char *const lines[] = {"client:4000 > vip:80 A seq 8 ack 101 len 9",
					    "r1:8000 > node:1024 A seq 101 ack 8 len 9"};
	static struct fixture_result xdp;
	char text[PACKET_TEXT_LEN];
	struct sl_flow *flow;

	remote(f, 0, "r1:8000");
	TWINS(f, handshake);
	flow = fixture_flow(f);
	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		for (unsigned line = 0; line < 2; line++) {
			flow->state |= flags[i];
			packet_build(fixture_expand(f, lines[line], text), &xdp.in);
			fixture_send_built(f, XDP_UPLINK, &xdp);
			CHECK_INT(xdp.verdict, XDP_PASS);
			flow->state &= ~flags[i];
			fixture_send_built(f, XDP_UPLINK, &xdp);
			CHECK_INT(xdp.verdict, XDP_TX);
		}
}

TEST(flows_in_doubt_are_left_to_tc)
{
	fixture_each(states, &slow_clock);
}

/* ---- other ways ---------------------------------------------------------------------- */

static void local(struct fixture *f)
{
	static const struct twin_row rows[] = {
		{"client:4000 > vip:80 S seq 7 len 0", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 0", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 100", NULL},
	};
	static const struct step answer = {TO_UPLINK, "r1:8000 > client:4000 SA seq 100 ack 8 len 0",
					   NEXT, "vip:80 > client:4000 SA seq 100 ack 8 len 0"};

	CHECK(twin_node(f));
	fixture_simple(f, 0, 1);
	CHECK(twin_row(f, &rows[0]));
	CHECK(fixture_step(f, &answer));
	CHECK(twin_row(f, &rows[1]));
	CHECK(twin_row(f, &rows[2]));
}

TEST(a_local_replica_is_reached_through_the_stack)
{
	fixture_each(local, &slow_clock);
}

/* The same packets, all passed: `replica` cannot be reached by the device where they come in. */
static void elsewhere(struct fixture *f, const char *replica, const char *device)
{
	static const char *const lines[] = {
		"client:4000 > vip:80 S seq 7 len 0", "%s > node:1024 SA seq 100 ack 8 len 0",
		"client:4000 > vip:80 A seq 8 ack 101 len 0",
		"client:4000 > vip:80 A seq 8 ack 101 len 100",
	};
	char line[PACKET_TEXT_LEN];
	struct twin_row row = {line, NULL};

	remote(f, 0, replica);
	f->replicas[0].config.out_ifindex = if_nametoindex(device);
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(line, sizeof(line), lines[i], replica);
		CHECK(twin_row(f, &row));
	}
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_OPEN);
}

static void other_device(struct fixture *f)
{
	elsewhere(f, "r3:8000", "up1");
}

static void no_neighbour(struct fixture *f)
{
	elsewhere(f, "r4:8000", "up0");
}

static struct sl_snat *the_port(struct fixture *f)
{
	for (__u32 i = 0; i < f->snat_sets * SL_SNAT_WAYS; i++) {
		struct sl_snat *port = &f->snat[i / SL_SNAT_WAYS].way[i % SL_SNAT_WAYS];

		if (port->phase == SL_SNAT_LIVE)
			return port;
	}
	fixture_die("no source-NAT port", ENOENT);
}

/* The client's packets come in by up1, and so its answers leave there, though a route leads to it by up0,
 * where the replica is. */
static void other_client_device(struct fixture *f)
{
	static const struct twin_row answer = {"r1:8000 > node:1024 SA seq 100 ack 8 len 0 opts 20", NULL};
	static const struct twin_row data = {"r1:8000 > node:1024 PA seq 101 ack 8 len 100", NULL};
	static const struct twin_row client[] = {
		{"client:4000 > vip:80 S seq 7 len 0 opts 20", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 0", NULL},
	};
	static const struct twin_row back = {"r1:8000 > node:1024 PA seq 101 ack 8 len 100",
					     "vip:80 > client:4000 PA seq 101 ack 8 len 100"};
	int up0, up1;

	remote(f, 0, "r1:8000");
	up0 = f->ifindex;
	up1 = if_nametoindex("up1");
	f->ifindex = up1;
	CHECK(twin_row(f, &client[0]));
	f->ifindex = up0;
	CHECK(twin_row(f, &answer));
	f->ifindex = up1;
	CHECK(twin_row(f, &client[1]));
	f->ifindex = up0;
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_OPEN);
	CHECK(twin_row(f, &data));
	the_port(f)->client_ifindex = up0; /* all else is in favour of it */
	CHECK(twin_row(f, &back));
}

/* Who is at up0 says the agent; the route to it says up1 by now. Asked for a way by up0, IPv6 names the
 * narrowest route whatever its device, IPv4 the narrowest of up0. */
static void route_moved(struct fixture *f)
{
	static const struct twin_row opens[] = {
		{"client:4000 > vip:80 S seq 7 len 0 opts 20", NULL},
		{"r3:8000 > node:1024 SA seq 100 ack 8 len 0 opts 20", NULL},
	};
	static const struct twin_row passed[] = {
		{"client:4000 > vip:80 A seq 8 ack 101 len 0", NULL},
		{"client:4000 > vip:80 A seq 8 ack 101 len 100", NULL},
	};
	static const struct twin_row sent[] = {
		{"client:4000 > vip:80 A seq 8 ack 101 len 0", "node:1024 > r3:8000 A seq 8 ack 101 len 0"},
		{"client:4000 > vip:80 A seq 8 ack 101 len 100",
		 "node:1024 > r3:8000 A seq 8 ack 101 len 100"},
	};

	remote(f, 0, "r3:8000");
	TWINS(f, opens);
	if (f->v6)
		TWINS(f, passed);
	else
		TWINS(f, sent);
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_OPEN);
}

TEST(what_leaves_by_another_device_is_tc_s)
{
	fixture_each(other_device, &slow_clock);
	fixture_each(other_client_device, &slow_clock);
}

TEST(so_is_what_a_route_leads_elsewhere)
{
	fixture_each(route_moved, &slow_clock);
}

TEST(so_is_what_needs_a_neighbour_found)
{
	fixture_each(no_neighbour, &slow_clock);
}

/* Flooded to a device that listens to everything: somebody else's frame. */
static void other_mac(struct fixture *f)
{
	static struct fixture_result xdp;
	char text[PACKET_TEXT_LEN];

	remote(f, 0, "r1:8000");
	TWINS(f, handshake);
	packet_build(fixture_expand(f, "client:4000 > vip:80 A seq 8 ack 101 len 9", text), &xdp.in);
	xdp.in.data[5] ^= 1;
	CHECK_STR(twin_send(f, &xdp) ?: "", "");
	CHECK_INT(xdp.verdict, XDP_PASS);
}

TEST(frames_for_others_pass)
{
	fixture_once(other_mac, &slow_clock);
}
