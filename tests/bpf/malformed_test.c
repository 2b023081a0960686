// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets that are cut short, fragmented or broken: dropped with a name where
 * they are addressed to a VIP, passed untouched where they are nobody's, and
 * never the cause of anything else.
 */
#include <stdlib.h>

#include "bpf_fixture.h"
#include "check.h"

static void all_services(struct fixture *f)
{
	__u32 udp;

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	udp = fixture_add_service(f, SL_SERVICE_REPLACE);
	fixture_add_vip(f, udp, "udp vip:53");
	fixture_add_replica(f, udp, "udp r1:5300", 1);
	fixture_add_source(f, "node");
}

static void fragments(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 A seq 7 ack 1 len 24 mf", SHOT, NULL},
		{FROM_POD, "frag client > vip proto 6 offset 24 len 100 mf", SHOT, NULL},
		{FROM_POD, "frag client > vip proto 6 offset 1480 len 100", SHOT, NULL},
		{FROM_UPLINK, "frag client > vip proto 17 offset 1480 len 100", SHOT, NULL},
		{FROM_POD, "frag client > other proto 6 offset 1480 len 100", NEXT, NULL},
		{FROM_POD, "client:4000 > other:80 A seq 7 ack 1 len 24 mf", NEXT, NULL},
		{TO_POD, "r1:8000 > client:4000 A seq 7 ack 1 len 24 mf", NEXT, NULL},
		{TO_POD, "frag r1 > client proto 6 offset 1480 len 100", NEXT, NULL},
		{TO_UPLINK, "frag r1 > client proto 6 offset 1480 len 100", NEXT, NULL},
		{FROM_UPLINK, "frag r1 > node proto 6 offset 1480 len 100", NEXT, NULL},
	};

	all_services(f);
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_FRAGMENT), 4);
	CHECK_INT(fixture_drops(f, SL_DROP_TRUNCATED), 0);
}

TEST(fragments_to_a_vip_are_dropped_by_name)
{
	fixture_each(fragments, NULL);
}

/* What another service of the same address has, or somebody else serves, is not ours to drop. */
static void foreign_fragments(struct fixture *f)
{
	static const struct step others[] = {
		{FROM_POD, "frag client > vip proto 132 offset 1480 len 100", NEXT, NULL},
		{FROM_POD, "frag client > vip proto 132 offset 24 len 100 mf", NEXT, NULL},
		{FROM_POD, "client:4000 > vip:81 A seq 7 ack 1 len 24 mf", NEXT, NULL},
		{FROM_UPLINK, "udp client:4000 > vip:80 len 24 mf", NEXT, NULL},
	};
	static const struct step ours[] = {
		{FROM_POD, "client:4000 > vip:80 A seq 7 ack 1 len 24 mf", NEXT, NULL},
		{FROM_UPLINK, "frag client > vip proto 6 offset 1480 len 100", NEXT, NULL},
	};

	all_services(f);
	STEPS(f, others);
	f->vips[0].admin = SL_ADMIN_HANDED_BACK;
	STEPS(f, ours);
	f->vips[0].admin = 0;
	f->vips[0].flags |= SL_VIP_NO_NEW;
	STEPS(f, ours);
	f->vips[0].flags &= ~SL_VIP_NO_NEW;
	f->services[0].flags &= ~SL_SERVICE_REPLACE;
	STEPS(f, ours);
	CHECK_INT(fixture_drops(f, SL_DROP_FRAGMENT), 0);
}

TEST(fragments_that_somebody_else_serves_pass)
{
	fixture_each(foreign_fragments, NULL);
}

/* An address of the node's own is a VIP's for its node ports: what comes in fragments there may be
 * anything, a tunnel's packets say. */
static void node_fragments(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "frag client > node proto 17 offset 1480 len 100", NEXT, NULL},
		{FROM_UPLINK, "client:4000 > node:30080 A seq 7 ack 1 len 24 mf", NEXT, NULL},
		{FROM_UPLINK, "frag client > vip proto 17 offset 1480 len 100", SHOT, NULL},
	};
	__u32 service;

	all_services(f);
	fixture_add_local(f, "node");
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "node:30080");
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_FRAGMENT), 1);
}

TEST(fragments_to_the_node_itself_pass)
{
	fixture_each(node_fragments, NULL);
}

/* Cut after every byte: too short for addresses, it is nobody's; too short for its L4 header,
 * dropped; else it is a packet whose payload somebody else will miss. */
static void cut(struct fixture *f)
{
	static const char *const lines[] = {"client:4000 > vip:80 S seq 7 len 30 cut %u",
					    "udp client:4000 > vip:53 len 30 cut %u"};
	static const unsigned l4[] = {20, 8};
	unsigned l3 = f->v6 ? 40 : 20, drops = 0;
	struct fixture_result result;
	char line[PACKET_TEXT_LEN];

	all_services(f);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned len = 14 + l3; len < 14 + l3 + l4[i] + 30; len++) {
			snprintf(line, sizeof(line), lines[i], len);
			fixture_send(f, FROM_POD, line, &result);
			if (len < 14 + l3 + l4[i])
				drops++;
			CHECK_INT(result.verdict, len < 14 + l3 + l4[i] ? SHOT : NEXT);
		}
	CHECK_INT(fixture_drops(f, SL_DROP_TRUNCATED), drops);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN), 2);
}

TEST(truncated_packets_to_a_vip_are_dropped_by_name)
{
	fixture_each(cut, NULL);
}

static void cut_foreign(struct fixture *f)
{
	struct fixture_result result;
	char line[PACKET_TEXT_LEN];

	all_services(f);
	for (enum fixture_hook at = FROM_POD; at <= FROM_FABRIC; at++)
		for (unsigned len = 15; len < 80; len++) {
			snprintf(line, sizeof(line), "client:4000 > other:80 S seq 7 len 30 cut %u",
				 len);
			fixture_send(f, at, line, &result);
			if (result.verdict ==
			    -22) /* the kernel wants a whole IP header in a test */
				continue;
			CHECK_INT(result.verdict, NEXT);
			snprintf(line, sizeof(line), "r1:8000 > other:80 S seq 7 len 30 cut %u",
				 len);
			fixture_send(f, at, line, &result);
			CHECK_INT(result.verdict, NEXT);
		}
	CHECK_INT(fixture_drops(f, SL_DROP_TRUNCATED), 0);
}

TEST(truncated_foreign_packets_pass)
{
	fixture_each(cut_foreign, NULL);
}

/* The IP header claims less than a TCP header: what lies behind is padding, not ports. */
static void claims_less(struct fixture *f)
{
	const struct step steps[] = {
		{FROM_POD, f->v6 ? "client:4000 > vip:80 S seq 7 tot 8" :
				   "client:4000 > vip:80 S seq 7 tot 28", SHOT, NULL},
		{FROM_POD, f->v6 ? "udp client:4000 > vip:53 len 5 tot 7" :
				   "udp client:4000 > vip:53 len 5 tot 27", SHOT, NULL},
	};

	all_services(f);
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_TRUNCATED), 2);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN), 0);
}

TEST(an_ip_length_below_the_l4_header)
{
	fixture_each(claims_less, NULL);
}

/* Sends `packet` as it is; the verdict, or -errno. */
static int send_raw(struct fixture *f, enum fixture_hook at, const struct packet *packet)
{
	struct fixture_result result = {.in = *packet};

	fixture_send_built(f, at, &result);
	return result.verdict;
}

static void broken_v4_header(struct fixture *f)
{
	struct packet packet;

	all_services(f);
	for (unsigned words = 0; words < 16; words++) {
		/* Five is right. Up to ten, all of the packet, swallow the TCP header. */
		int verdict = words == 5 ? REDIRECT : words < 5 || words > 10 ? NEXT : SHOT;

		packet_build("10.9.0.9:4000 > 10.1.0.1:80 A seq 7 ack 9", &packet);
		packet.data[14] = 0x40 | words;
		CHECK_INT(send_raw(f, FROM_POD, &packet), verdict);
	}
	packet_build("10.9.0.9:4000 > 10.1.0.1:80 A seq 7 ack 9", &packet);
	packet.data[16] = packet.data[17] = 0; /* no total length: BIG TCP, up to the end */
	CHECK_INT(send_raw(f, FROM_POD, &packet), REDIRECT);
	packet.data[17] = 19; /* less than its own header */
	CHECK_INT(send_raw(f, FROM_POD, &packet), NEXT);
}

TEST(a_broken_ipv4_header)
{
	fixture_once(broken_v4_header, NULL);
}

/* Any bits flipped: some verdict of ours, no error, and no flow without its count. */
static void bit_flips(struct fixture *f)
{
	static const char *const lines[] = {
		"client:4000 > vip:80 S seq 7 len 20 opts 20",
		"client:4000 > vip:80 PA seq 8 ack 9 len 50",
		"udp client:4000 > vip:53 len 40",
		"r1:8000 > client:4000 SA seq 8 ack 9 len 50",
		"udp r1:5300 > client:4000 len 40",
		"client:4000 > vip:80 FA seq 8 ack 9 len 0",
	};
	char text[PACKET_TEXT_LEN];
	struct packet packet;

	srand(17);
	all_services(f);
	for (unsigned i = 0; i < 12000; i++) {
		packet_build(fixture_expand(f, lines[rand() % 6], text), &packet);
		for (unsigned n = 1 + rand() % 4; n > 0; n--)
			packet.data[12 + rand() % (packet.len - 12)] ^= 1 << rand() % 8;
		int verdict = send_raw(f, rand() % FIXTURE_HOOKS, &packet);

		if (f->complete && verdict == -74) /* see TRIMMED */
			continue;
		CHECK(verdict == NEXT || verdict == SHOT || verdict == REDIRECT);
	}
	CHECK_INT(f->replicas[0].state.inflight + f->replicas[1].state.inflight,
		  fixture_count_flows(f, SL_FLOW_SYN) + fixture_count_flows(f, SL_FLOW_OPEN));
	CHECK_INT(f->kernel->half_open, fixture_count_flows(f, SL_FLOW_SYN));
}

TEST(bits_flipped_at_random)
{
	fixture_each(bit_flips, NULL);
}
