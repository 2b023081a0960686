// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets of unusual shapes in a usual conversation: all that TCP and IP may put
 * around the ports is translated like any other packet, and changes no count.
 */
#include "bpf_fixture.h"
#include "check.h"

static const struct step open_tcp[] = {
	{FROM_POD, "client:4000 > vip:80 S seq 7 len 0 opts 40", NEXT,
	 "client:4000 > r1:8000 S seq 7 len 0 opts 40"},
	{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0 opts 40", NEXT,
	 "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 40"},
	{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0 opts 40", NEXT,
	 "client:4000 > r1:8000 A seq 8 ack 101 len 0 opts 40"},
};

static void check_open(struct fixture *f)
{
	CHECK_INT(f->replicas[0].state.inflight, 1);
	CHECK_INT(f->replicas[0].state.picks, 1);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 1);
}

/* Segments in any order, twice, with options to the brim, urgent, with a closed window. */
static void segments(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 PA seq 1008 ack 101 len 1000 opts 40", NEXT,
		 "client:4000 > r1:8000 PA seq 1008 ack 101 len 1000 opts 40"},
		{FROM_POD, "client:4000 > vip:80 PA seq 8 ack 101 len 1000 opts 40", NEXT,
		 "client:4000 > r1:8000 PA seq 8 ack 101 len 1000 opts 40"},
		{FROM_POD, "client:4000 > vip:80 PA seq 8 ack 101 len 1000 opts 40", NEXT,
		 "client:4000 > r1:8000 PA seq 8 ack 101 len 1000 opts 40"},
		{TO_POD, "r1:8000 > client:4000 A seq 101 ack 2008 len 0 win 1", NEXT,
		 "vip:80 > client:4000 A seq 101 ack 2008 len 0 win 1"},
		{FROM_POD, "client:4000 > vip:80 PAU seq 2008 ack 101 len 1", NEXT,
		 "client:4000 > r1:8000 PAU seq 2008 ack 101 len 1"},
		{TO_POD, "r1:8000 > client:4000 A seq 500 ack 2009 len 30 opts 36", NEXT,
		 "vip:80 > client:4000 A seq 500 ack 2009 len 30 opts 36"},
		{TO_POD, "r1:8000 > client:4000 A seq 101 ack 8 len 399", NEXT,
		 "vip:80 > client:4000 A seq 101 ack 8 len 399"},
		{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0 opts 40", NEXT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 40"},
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0 opts 40", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0 opts 40"},
	};

	fixture_simple(f, 0, 1);
	STEPS(f, open_tcp);
	STEPS(f, steps);
	check_open(f);
}

TEST(segments_of_any_shape)
{
	fixture_each(segments, NULL);
}

/* Both ends send a SYN, and both acknowledge the other's (RFC 9293, 3.5, figure 7). */
static void simultaneous(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0 opts 20", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0 opts 20"},
		{TO_POD, "r1:8000 > client:4000 S seq 100 len 0 opts 20", NEXT,
		 "vip:80 > client:4000 S seq 100 len 0 opts 20"},
		{FROM_POD, "client:4000 > vip:80 SA seq 7 ack 101 len 0 opts 20", NEXT,
		 "client:4000 > r1:8000 SA seq 7 ack 101 len 0 opts 20"},
		{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0 opts 20", NEXT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20"},
		{FROM_POD, "client:4000 > vip:80 PA seq 8 ack 101 len 5", NEXT,
		 "client:4000 > r1:8000 PA seq 8 ack 101 len 5"},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 2);
	f->replicas[1].config.flags |= SL_REPLICA_SUSPECT;
	STEPS(f, steps);
	check_open(f);
	CHECK(fixture_say(f, "< FA seq 101 ack 13 len 0"));
	CHECK(fixture_say(f, "> FA seq 13 ack 102 len 0"));
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->kernel->half_open, 0);
}

TEST(a_simultaneous_open)
{
	fixture_each(simultaneous, NULL);
}

static void labels(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0 opts 20 label 703710", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0 opts 20 label 703710"},
		{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0 label 5", NEXT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0 label 5"},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0 label 1", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 0 label 1"},
	};

	if (!f->v6)
		return;
	fixture_simple(f, 0, 1);
	STEPS(f, steps);
	check_open(f);
}

TEST(a_flow_label_is_no_part_of_a_flow)
{
	fixture_each(labels, NULL);
}

/* BIG TCP: the length of a packet beyond 64 KiB is in a hop-by-hop header, which devices take off
 * when they cut it into segments. */
static void jumbo(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 1400 opts 12 jumbo", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 1400 opts 12 jumbo"},
		{TO_POD, "r1:8000 > client:4000 PA seq 101 ack 1408 len 1400 opts 12 jumbo", NEXT,
		 "vip:80 > client:4000 PA seq 101 ack 1408 len 1400 opts 12 jumbo"},
		/* any other hop-by-hop header is not looked through */
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 1400 hop", NEXT, NULL},
	};

	if (!f->v6)
		return;
	fixture_simple(f, 0, 1);
	STEPS(f, open_tcp);
	STEPS(f, steps);
	check_open(f);
}

TEST(a_packet_beyond_64_kib)
{
	fixture_each(jumbo, NULL);
}
