// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replies by a device without Ethernet headers: translated and given a header where they are ours,
 * left alone to the last byte where they are not.
 */
#include "bpf_fixture.h"
#include "check.h"
#include "icmp_build.h"

#define SYN "client:4000 > vip:80 S seq 7 len 0 opts 20"
#define SYN_THERE "node:1024 > r1:8000 S seq 7 len 0 opts 20"

/* vip:80 and udp vip:53, and `n` replicas on other nodes, reached from `node`. */
static void remote(struct fixture *f, unsigned n)
{
	__u32 source = fixture_add_source(f, "node"), service;

	fixture_simple(f, 0, n);
	for (unsigned i = 0; i < n; i++)
		fixture_make_remote(f, i, source);
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "udp vip:53");
	fixture_make_remote(f, fixture_add_replica(f, service, "udp r1:53", 100), source);
}

/* The addresses of the new header are of nobody: bpf_redirect_neigh() replaces it. */
static void both_ways(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, SYN, REDIRECT, SYN_THERE},
		{FROM_FABRIC_L3, "r1:8000 > node:1024 SA seq 100 ack 8 len 0 opts 20", REDIRECT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20 badmacs"},
		{FROM_UPLINK, "client:4000 > vip:80 PA seq 8 ack 101 len 500", REDIRECT,
		 "node:1024 > r1:8000 PA seq 8 ack 101 len 500"},
		{FROM_FABRIC_L3, "r1:8000 > node:1024 A seq 101 ack 508 len 1400", REDIRECT,
		 "vip:80 > client:4000 A seq 101 ack 508 len 1400 badmacs"},
		{FROM_FABRIC_L3, "r1:8000 > node:1024 A seq 1501 ack 508 len 3 badsum", REDIRECT,
		 "vip:80 > client:4000 A seq 1501 ack 508 len 3 badsum badmacs"},
		{FROM_UPLINK, "udp client:4000 > vip:53 len 100", REDIRECT,
		 "udp node:1024 > r1:53 len 100"},
		{FROM_FABRIC_L3, "udp r1:53 > node:1024 len 900", REDIRECT,
		 "udp vip:53 > client:4000 len 900 badmacs"},
	};

	remote(f, 1);
	STEPS(f, steps);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 2);
}

TEST(a_reply_is_translated_behind_a_new_header)
{
	fixture_each(both_ways, NULL);
}

static void foreign(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, SYN, REDIRECT, SYN_THERE},
		{FROM_FABRIC_L3, "r1:8000 > node:1025 A seq 101 ack 508 len 1400", NEXT, NULL},
		{FROM_FABRIC_L3, "r1:8001 > node:1024 A seq 101 ack 508 len 1400", NEXT, NULL},
		{FROM_FABRIC_L3, "r2:8000 > node:1024 A seq 101 ack 508 len 1400", NEXT, NULL},
		{FROM_FABRIC_L3, "r1:8000 > client:4000 SA seq 1 ack 8 len 0", NEXT, NULL},
		{FROM_FABRIC_L3, "r1:8000 > client:4000 RA seq 0 ack 8 len 0", NEXT, NULL},
		{FROM_FABRIC_L3, "other:8000 > node:1024 A seq 101 ack 508 len 3", NEXT, NULL},
		{FROM_FABRIC_L3, "client:4000 > vip:80 S seq 7 len 0", NEXT, NULL},
		{FROM_FABRIC_L3, "udp r1:8000 > node:1024 len 10", NEXT, NULL},
		{FROM_FABRIC_L3, "frag r1 > node proto 6 offset 1480 len 100", NEXT, NULL},
		{FROM_FABRIC_L3, "r1:8000 > node:1024 A seq 7 ack 1 len 24 mf", NEXT, NULL},
	};

	remote(f, 1);
	STEPS(f, steps);
	CHECK(fixture_step(f, &(struct step){FROM_FABRIC_L3,
					     f->v6 ? "icmp r1 > node type 129 code 0 len 56" :
						     "icmp r1 > node type 0 code 0 len 56",
					     NEXT, NULL}));
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_SYN);
}

TEST(what_is_not_ours_keeps_every_byte)
{
	fixture_each(foreign, NULL);
}

/* The SYN goes back to where it came in, in the frame that it came in. */
static void refused(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, SYN, REDIRECT, SYN_THERE},
		{FROM_FABRIC_L3, "r1:8000 > node:1024 RA seq 0 ack 8 len 0", REDIRECT, SYN},
		{FROM_UPLINK, SYN, REDIRECT, "node:1024 > r2:8000 S seq 7 len 0 opts 20"},
		{FROM_FABRIC_L3, "r2:8000 > node:1024 SA seq 100 ack 8 len 0 opts 20", REDIRECT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20 badmacs"},
	};

	remote(f, 2);
	f->replicas[0].config.weight = 4000;
	f->replicas[1].state.snat_cursor = f->replicas[0].state.snat_cursor;
	STEPS(f, steps);
	CHECK_INT(f->replicas[0].state.connect_failures, 1);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->replicas[1].state.inflight, 1);
}

TEST(a_refusal_becomes_the_syn_again)
{
	fixture_each(refused, NULL);
}

static void errors(struct fixture *f)
{
	static const struct step syn = {FROM_UPLINK, SYN, REDIRECT, SYN_THERE};
	const char *unreachable = f->v6 ? "r1 > node type 1 code 3" : "r1 > node type 3 code 1";
	const char *too_big = f->v6 ? "r1 > node type 2 code 0" : "r1 > node type 3 code 4";
	const char *told = f->v6 ? "vip > client type 2 code 0" : "vip > client type 3 code 4";
	struct packet expected;
	struct fixture_result result;
	char text[PACKET_TEXT_LEN];

	remote(f, 1);
	CHECK(fixture_step(f, &syn));
	icmp_build(f, unreachable, "node:1025 > r1:8000 S seq 7 len 0 opts 20", 0, 0, &result.in);
	fixture_send_built(f, FROM_FABRIC_L3, &result);
	CHECK_INT(result.verdict, NEXT);
	CHECK(icmp_equal(&result.out, &result.in, 0));
	icmp_build(f, too_big, SYN_THERE, 0, 1400, &result.in);
	icmp_build(f, told, SYN, 0, 1400, &expected);
	fixture_send_built(f, FROM_FABRIC_L3, &result);
	CHECK_INT(result.verdict, REDIRECT);
	CHECK(icmp_equal(&result.out, &expected, 12)); /* but for the MAC addresses */
	icmp_build(f, unreachable, SYN_THERE, 0, 0, &result.in);
	fixture_send_built(f, FROM_FABRIC_L3, &result);
	CHECK_INT(result.verdict, REDIRECT);
	CHECK_STR(result.text, fixture_expand(f, SYN, text));
}

TEST(errors_are_told_and_refuse)
{
	fixture_each(errors, NULL);
}

/* The node's own client: the frame is addressed to its device. */
static void own_client(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_NODE, "node:40000 > vip:80 S seq 7 len 0 opts 20", REDIRECT,
		 "node:40000 > r1:8000 S seq 7 len 0 opts 20"},
		{FROM_FABRIC_L3, "r1:8000 > node:40000 SA seq 100 ack 8 len 0 opts 20", REDIRECT,
		 "vip:80 > node:40000 SA seq 100 ack 8 len 0 opts 20 badmacs"},
		{FROM_FABRIC_L3, "r1:8000 > node:40001 SA seq 100 ack 8 len 0 opts 20", NEXT, NULL},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	fixture_add_local(f, "node");
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	STEPS(f, steps);
}

TEST(the_nodes_own_client)
{
	static const struct fixture_options options = {.node_ifindex = 1};

	fixture_each(own_client, &options);
}

static void cut(struct fixture *f)
{
	struct fixture_result result;
	char line[PACKET_TEXT_LEN];

	remote(f, 1);
	for (unsigned len = 14 + 15; len < 14 + 100; len++) {
		snprintf(line, sizeof(line), "r1:8000 > node:1024 A seq 7 ack 1 len 60 cut %u", len);
		fixture_send(f, FROM_FABRIC_L3, line, &result);
		CHECK_INT(result.verdict, NEXT);
		CHECK(result.out.len == result.in.len);
	}
}

TEST(truncated_packets_pass)
{
	fixture_each(cut, NULL);
}
