// SPDX-License-Identifier: GPL-2.0-only
/*
 * What Sluice refuses, and how: the RST that answers a segment by RFC 9293, sent
 * back to where it came from; the drop that answers what has no RST; and what
 * overlay services leave to kube-proxy.
 */
#include "bpf_fixture.h"
#include "check.h"

static void unknown_replace(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", REDIRECT,
		 "vip:80 > client:4000 R seq 101 len 0 back"},
		{FROM_POD, "client:4000 > vip:80 PA seq 8 ack 4294967295 len 1400 opts 12 ttl 3",
		 TRIMMED, "vip:80 > client:4000 R seq 4294967295 len 0 back"},
		{FROM_UPLINK, "client:4000 > vip:80 FA seq 8 ack 101 len 0", REDIRECT,
		 "vip:80 > client:4000 R seq 101 len 0 back"},
		{FROM_POD, "client:4000 > vip:80 SA seq 8 ack 101 len 0", REDIRECT,
		 "vip:80 > client:4000 R seq 101 len 0 back"},
		/* no ACK: what was sent is acknowledged, FIN included */
		{FROM_POD, "client:4000 > vip:80 - seq 8 len 5", TRIMMED,
		 "vip:80 > client:4000 RA seq 0 ack 13 len 0 back"},
		{FROM_POD, "client:4000 > vip:80 F seq 8 len 5 opts 12", TRIMMED,
		 "vip:80 > client:4000 RA seq 0 ack 14 len 0 back"},
		/* an RST is never answered */
		{FROM_POD, "client:4000 > vip:80 R seq 8 len 0", SHOT, NULL},
		{FROM_POD, "client:4000 > vip:80 RA seq 8 ack 9 len 0", SHOT, NULL},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_UNKNOWN_FLOW), 8);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_FREE), f->flow_sets * SL_FLOW_WAYS);
}

TEST(unknown_flows_of_a_replaced_service_get_an_rst)
{
	fixture_each(unknown_replace, NULL);
}

static void unknown_overlay(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", NEXT, NULL},
		{FROM_UPLINK, "client:4000 > vip:80 PA seq 8 ack 101 len 1400", NEXT, NULL},
		{FROM_POD, "client:4000 > vip:80 FA seq 8 ack 101 len 0", NEXT, NULL},
		{FROM_POD, "client:4000 > vip:80 R seq 8 len 0", NEXT, NULL},
		{FROM_POD, "client:4000 > vip:80 SA seq 8 ack 9 len 0", NEXT, NULL},
	};

	fixture_simple(f, 0, 1);
	STEPS(f, steps);
	CHECK_INT(fixture_counter(f, SL_COUNT_PASSED_MIDFLOW), 5);
	CHECK_INT(fixture_drops(f, SL_DROP_UNKNOWN_FLOW), 0);
}

TEST(unknown_flows_of_an_overlay_service_are_kube_proxys)
{
	fixture_each(unknown_overlay, NULL);
}

static void no_replica(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0 opts 20", TRIMMED,
		 "vip:80 > client:4000 RA seq 0 ack 8 len 0 back"},
		{FROM_UPLINK, "client:4000 > vip:80 S seq 4294967295 len 0 opts 40 ttl 1", TRIMMED,
		 "vip:80 > client:4000 RA seq 0 ack 0 len 0 back"},
		{FROM_POD, "udp client:4000 > vip:53 len 10", SHOT, NULL},
	};
	__u32 service = fixture_simple(f, SL_SERVICE_REPLACE, 0);

	fixture_add_vip(f, service, "udp vip:53");
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_NO_REPLICA), 3);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_FREE), f->flow_sets * SL_FLOW_WAYS);
	CHECK_INT(f->kernel->half_open, 0);
}

TEST(a_service_without_replicas_refuses)
{
	fixture_each(no_replica, NULL);
}

static void withdrawn(struct fixture *f)
{
	static const struct step open[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0"},
	};
	static const struct step replace[] = {
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 9 len 1", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 9 len 1"},
		{FROM_POD, "client:4001 > vip:80 S seq 7 len 0", REDIRECT,
		 "vip:80 > client:4001 RA seq 0 ack 8 len 0 back"},
	};
	static const struct step overlay[] = {
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 9 len 1", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 9 len 1"},
		{FROM_POD, "client:4001 > vip:80 S seq 7 len 0", NEXT, NULL},
	};
	__u32 service = fixture_simple(f, SL_SERVICE_REPLACE, 1);

	STEPS(f, open);
	f->vips[0].flags |= SL_VIP_NO_NEW;
	STEPS(f, replace);
	f->services[service].flags &= ~SL_SERVICE_REPLACE;
	STEPS(f, overlay);
}

TEST(a_withdrawn_vip_keeps_its_flows_and_takes_no_new_ones)
{
	fixture_each(withdrawn, NULL);
}

static void ipv4_options(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 10 ipopts 8 ttl 7", TRIMMED,
		 "vip:80 > client:4000 R seq 101 len 0 ipopts 8 back"},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0 pad 6", TRIMMED,
		 "vip:80 > client:4000 R seq 101 len 0 back"},
		/* a wrong header sum stays wrong; the segment's own is ours to make */
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 3 badsum", TRIMMED,
		 "vip:80 > client:4000 R seq 101 len 0 back"},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	STEPS(f, steps);
}

TEST(an_rst_for_a_packet_with_ip_options_or_padding)
{
	fixture_once(ipv4_options, NULL);
}

/* BIG TCP: the header that told the length goes, for the RST has one that fits (RFC 2675 wants no other). */
static void jumbo(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 PA seq 8 ack 101 len 1400 opts 12 jumbo", TRIMMED,
		 "vip:80 > client:4000 R seq 101 len 0 back"},
		{FROM_UPLINK, "client:4000 > vip:80 FA seq 8 ack 101 len 0 jumbo label 5", TRIMMED,
		 "vip:80 > client:4000 R seq 101 len 0 label 5 back"},
	};

	if (!f->v6)
		return;
	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_UNKNOWN_FLOW), 2);
}

TEST(an_rst_for_a_packet_beyond_64_kib)
{
	fixture_each(jumbo, NULL);
}

/* Every value that the RST's checksum can take. */
static void every_checksum(struct fixture *f)
{
	char line[PACKET_TEXT_LEN], expected[PACKET_TEXT_LEN];
	struct fixture_result result;

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	for (unsigned ack = 0; ack < 65536; ack++) {
		snprintf(line, sizeof(line), "client:4000 > vip:80 A seq 8 ack %u len 0", ack);
		fixture_send(f, FROM_POD, line, &result);
		snprintf(line, sizeof(line), "vip:80 > client:4000 R seq %u len 0 back", ack);
		if (!strcmp(result.text, fixture_expand(f, line, expected)))
			continue;
		CHECK_STR(result.text, expected);
		break;
	}
}

TEST(every_checksum_of_an_rst)
{
	fixture_each(every_checksum, NULL);
}
