// SPDX-License-Identifier: GPL-2.0-only
/*
 * Translation at each hook: what comes in, what goes out, which packets are left
 * alone to the last bit. Every row in IPv4 and IPv6, with and without
 * CHECKSUM_COMPLETE.
 */
#include <stdlib.h>

#include "bpf_fixture.h"
#include "check.h"

static void pod_to_pod(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0 opts 20", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0 opts 20"},
		{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0 opts 20", NEXT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20"},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
		{FROM_POD, "client:4000 > vip:80 PA seq 8 ack 101 len 333 ttl 9", NEXT,
		 "client:4000 > r1:8000 PA seq 8 ack 101 len 333 ttl 9"},
		{TO_POD, "r1:8000 > client:4000 A seq 101 ack 341 len 1448 opts 12", NEXT,
		 "vip:80 > client:4000 A seq 101 ack 341 len 1448 opts 12"},
		{TO_POD, "r1:8000 > client:4000 PA seq 1549 ack 341 len 3001", NEXT,
		 "vip:80 > client:4000 PA seq 1549 ack 341 len 3001"},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	STEPS(f, steps);
}

TEST(a_pod_and_a_replica)
{
	fixture_each(pod_to_pod, NULL);
}

/* The flow names the hook at which its replies are translated: all others let them pass, so that
 * connection tracking in between sees the same addresses both ways. */
static void replies_elsewhere(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0"},
		{FROM_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT, NULL},
		{FROM_UPLINK, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT, NULL},
		{TO_UPLINK, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT, NULL},
		{FROM_FABRIC, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT, NULL},
		/* and what was translated already is nobody's any more */
		{TO_POD, "client:4000 > r1:8000 S seq 7 len 0", NEXT, NULL},
		{TO_UPLINK, "client:4000 > r1:8000 S seq 7 len 0", NEXT, NULL},
		{FROM_UPLINK, "client:4000 > r1:8000 S seq 7 len 0", NEXT, NULL},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	STEPS(f, steps);
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_SYN);
}

TEST(replies_pass_every_hook_but_one)
{
	fixture_each(replies_elsewhere, NULL);
}

static void outside_client(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0 ttl 57", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0 ttl 57"},
		{FROM_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT, NULL},
		{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT, NULL},
		{FROM_FABRIC, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT, NULL},
		{TO_UPLINK, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0"},
		{FROM_UPLINK, "client:4000 > vip:80 PA seq 8 ack 101 len 7", NEXT,
		 "client:4000 > r1:8000 PA seq 8 ack 101 len 7"},
	};

	fixture_simple(f, 0, 1);
	STEPS(f, steps);
	CHECK_INT(fixture_flow(f)->hook, SL_HOOK_UPLINK);
}

TEST(an_outside_client_and_a_local_replica)
{
	fixture_each(outside_client, NULL);
}

static void same_port(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:8000 S seq 7 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0"},
		{TO_POD, "r1:8000 > client:4000 SA seq 1 ack 8 len 0", NEXT,
		 "vip:8000 > client:4000 SA seq 1 ack 8 len 0"},
	};
	__u32 service = fixture_add_service(f, 0);

	fixture_add_vip(f, service, "vip:8000");
	fixture_add_replica(f, service, "r1:8000", 1);
	STEPS(f, steps);
}

TEST(the_port_may_stay)
{
	fixture_each(same_port, NULL);
}

/* Checksums are patched, not made: what was wrong stays wrong, and the receiver notices. */
static void wrong_stays_wrong(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0"},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 9 len 100 badsum", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 9 len 100 badsum"},
		{TO_POD, "r1:8000 > client:4000 A seq 8 ack 9 len 100 badsum", NEXT,
		 "vip:80 > client:4000 A seq 8 ack 9 len 100 badsum"},
	};

	fixture_simple(f, 0, 1);
	STEPS(f, steps);
}

TEST(a_wrong_checksum_stays_wrong)
{
	fixture_each(wrong_stays_wrong, NULL);
}

static void ipv4_oddities(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0 ipopts 40", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0 ipopts 40"},
		{TO_POD, "r1:8000 > client:4000 SA seq 1 ack 8 len 0 opts 40 ipopts 4", NEXT,
		 "vip:80 > client:4000 SA seq 1 ack 8 len 0 opts 40 ipopts 4"},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 9 len 1 badip", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 9 len 1 badip"},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 9 len 1 pad 6", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 9 len 1"},
	};

	fixture_simple(f, 0, 1);
	STEPS(f, steps);
}

TEST(options_and_padding_of_ipv4)
{
	fixture_once(ipv4_oddities, NULL);
}

static void foreign(struct fixture *f)
{
	static const char *const lines[] = {
		"client:4000 > other:80 S seq 7 len 0",
		"client:4000 > other:80 A seq 7 ack 9 len 1000",
		"client:4000 > vip:81 S seq 7 len 0",          /* no port of ours */
		"client:4000 > vip2:80 S seq 7 len 0",
		"udp client:4000 > vip:80 len 10",             /* the VIP is TCP's */
		"udp client:4000 > other:53 len 10 nosum",
		"client:4000 > r1:8000 S seq 7 len 0",         /* straight to a replica */
		"r1:8000 > client:4000 SA seq 7 ack 8 len 0",  /* and its answer */
		"r1:8001 > client:4000 SA seq 7 ack 8 len 0",
		"r1:8000 > node:1024 SA seq 7 ack 8 len 0",    /* a source, but no flow */
		"udp r1:8000 > client:4000 len 10",
		"frag client > other proto 6 offset 1480 len 100",
		"frag client > other proto 132 offset 0 len 100",
		"frag client > vip proto 132 offset 0 len 100", /* SCTP to a VIP's address, whole */
		/* the tag in the frame; a test run may not set vlan_present (EINVAL) */
		"client:4000 > vip:80 S seq 7 len 0 vlan 7",
		"ether 2054 len 28",
		"ether 34887 len 100",
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	fixture_add_source(f, "node");
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		for (enum fixture_hook at = FROM_POD; at <= FROM_FABRIC; at++)
			CHECK(fixture_step(f, &(struct step){at, lines[i], NEXT, NULL}));
	CHECK_INT(fixture_count_flows(f, SL_FLOW_FREE), f->flow_sets * SL_FLOW_WAYS);
	for (int reason = 0; reason < SL_DROP_MAX; reason++)
		CHECK_INT(fixture_drops(f, reason), 0);
}

TEST(foreign_packets_pass_untouched)
{
	fixture_each(foreign, NULL);
}

/* Ping of a VIP, and the errors that path MTU discovery needs, are the node's business. */
static void icmp(struct fixture *f)
{
	const char *line = f->v6 ? "icmp client > vip type 128 code 0 len 56" :
				   "icmp client > vip type 8 code 0 len 56";

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	for (enum fixture_hook at = FROM_POD; at <= FROM_FABRIC; at++)
		CHECK(fixture_step(f, &(struct step){at, line, NEXT, NULL}));
}

TEST(icmp_to_a_vip_passes)
{
	fixture_each(icmp, NULL);
}

/* Headers in between are not looked through: such packets are the node's business too. */
static void extension_headers(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	if (!f->v6)
		return;
	for (enum fixture_hook at = FROM_POD; at <= FROM_FABRIC; at++) {
		CHECK(fixture_step(f, &(struct step){at, "client:4000 > vip:80 S seq 7 hop", NEXT,
						     NULL}));
		CHECK(fixture_step(f, &(struct step){at, "client:4000 > vip:80 S seq 7 dst", NEXT,
						     NULL}));
	}
}

TEST(ipv6_with_extension_headers_passes)
{
	fixture_each(extension_headers, NULL);
}

/* The sequence number runs through all values of its low half, so every checksum occurs; among
 * them the two zeros of one's-complement arithmetic. */
static void every_checksum(struct fixture *f)
{
	struct fixture_result result;
	char line[PACKET_TEXT_LEN], expected[PACKET_TEXT_LEN];

	fixture_simple(f, 0, 1);
	fixture_send(f, FROM_POD, "client:4000 > vip:80 S seq 7 len 0", &result);
	for (unsigned seq = 0; seq < 65536; seq++) {
		snprintf(line, sizeof(line), "client:4000 > vip:80 A seq %u ack 1 len 0", seq);
		fixture_send(f, FROM_POD, line, &result);
		snprintf(line, sizeof(line), "client:4000 > r1:8000 A seq %u ack 1 len 0", seq);
		if (result.verdict == NEXT &&
		    !strcmp(result.text, fixture_expand(f, line, expected)))
			continue;
		CHECK_STR(result.text, expected);
		break;
	}
}

TEST(every_value_of_a_checksum)
{
	fixture_each(every_checksum, NULL);
}

/* Ports, sequence numbers and payloads at random, in both directions. */
static void random_packets(struct fixture *f)
{
	char line[PACKET_TEXT_LEN], expected[PACKET_TEXT_LEN];
	struct fixture_result result;

	srand(11);
	fixture_simple(f, 0, 1);
	for (unsigned i = 0; i < 100; i++) {
		unsigned port = 1 + rand() % 65535, seq = rand(), len = rand() % 1400;
		const struct step steps[] = {
			{FROM_POD, "client:%u > vip:80 S seq %u len %u", NEXT,
			 "client:%u > r1:8000 S seq %u len %u"},
			{TO_POD, "r1:8000 > client:%u - seq %u len %u", NEXT,
			 "vip:80 > client:%u - seq %u len %u"},
		};

		for (unsigned s = 0; s < 2; s++) {
			snprintf(line, sizeof(line), steps[s].in, port, seq, len);
			fixture_send(f, steps[s].at, line, &result);
			snprintf(line, sizeof(line), steps[s].out, port, seq, len);
			CHECK_STR(result.text, fixture_expand(f, line, expected));
			CHECK_INT(result.verdict, NEXT);
		}
	}
}

TEST(packets_at_random)
{
	fixture_each(random_packets, NULL);
}
