// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VIP that is handed back, or whose SYNs are left to kube-proxy for want of room: flows that are there
 * go on, and nothing of ours lays hands on a connection that kube-proxy has.
 */
#include "bpf_fixture.h"
#include "check.h"

/* Both ends of a connection from client port 4000 that Sluice steered, to its end. */
static void open_flow(struct fixture *f)
{
	CHECK(fixture_say(f, "> S seq 7 len 0"));
	CHECK(fixture_say(f, "< SA seq 100 ack 8 len 0"));
	CHECK(fixture_say(f, "> A seq 8 ack 101 len 0"));
}

static void close_flow(struct fixture *f)
{
	CHECK(fixture_say(f, "> FA seq 8 ack 101 len 0"));
	CHECK(fixture_say(f, "< FA seq 101 ack 9 len 0"));
	CHECK(fixture_say(f, "> A seq 9 ack 102 len 0"));
}

/* The same port begins a connection anew, with kube-proxy: every packet of it passes untouched. */
static const struct step anew[] = {
	{FROM_POD, "client:4000 > vip:80 S seq 70007 len 0", NEXT, NULL},
	{FROM_POD, "client:4000 > vip:80 A seq 70008 ack 301 len 0", NEXT, NULL},
	{FROM_POD, "client:4000 > vip:80 PA seq 70008 ack 301 len 100", NEXT, NULL},
	{TO_POD, "vip:80 > client:4000 PA seq 301 ack 70108 len 100", NEXT, NULL},
	{FROM_POD, "client:4000 > vip:80 FA seq 70108 ack 401 len 0", NEXT, NULL},
};

static void nothing_is_counted(struct fixture *f)
{
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->kernel->half_open, 0);
}

static void hand_back(struct fixture *f)
{
	f->vips[0].admin |= SL_ADMIN_HANDED_BACK;
}

static void goes_on(struct fixture *f)
{
	static const struct step others[] = {
		{FROM_POD, "client:4001 > vip:80 S seq 7 len 0", NEXT, NULL},
		{FROM_UPLINK, "client2:4000 > vip:80 S seq 7 len 0", NEXT, NULL},
	};
	static const struct step undone[] = {
		{FROM_POD, "client:4001 > vip:80 S seq 7 len 0", NEXT,
		 "client:4001 > r1:8000 S seq 7 len 0"},
	};

	fixture_simple(f, 0, 1);
	open_flow(f);
	hand_back(f);
	STEPS(f, others);
	CHECK(fixture_say(f, "> PA seq 8 ack 101 len 100"));
	CHECK(fixture_say(f, "< PA seq 101 ack 108 len 50"));
	CHECK_INT(f->replicas[0].state.inflight, 1);
	f->vips[0].admin = 0;
	STEPS(f, undone);
	CHECK_INT(f->replicas[0].state.inflight, 2);
}

TEST(what_is_handed_back_keeps_its_flows_and_takes_no_new_ones_until_undone)
{
	fixture_each(goes_on, NULL);
}

static void handshake(struct fixture *f)
{
	static const struct step refused[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0"},
		{TO_POD, "r1:8000 > client:4000 RA seq 0 ack 8 len 0", REDIRECT, NULL},
	};
	struct fixture_result result;

	fixture_simple(f, 0, 2);
	f->services[0].retry_attempts = 3;
	f->replicas[0].config.weight = 1000;
	fixture_publish(f, 0);
	CHECK(fixture_step(f, &refused[0]));
	hand_back(f);
	fixture_send(f, refused[1].at, refused[1].in, &result);
	CHECK_INT(result.verdict, REDIRECT);
	/* ours, back at the hook where it came in */
	fixture_send(f, FROM_POD, "client:4000 > vip:80 S seq 7 len 0", &result);
	CHECK_INT(result.verdict, NEXT);
	CHECK_STR(result.text, fixture_expand(f, "client:4000 > r2:8000 S seq 7 len 0",
					      (char[PACKET_TEXT_LEN]){0}));
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->replicas[1].state.inflight, 1);
}

TEST(a_connect_under_way_is_still_retried)
{
	fixture_each(handshake, NULL);
}

static void after_fins(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	open_flow(f);
	close_flow(f);
	hand_back(f);
	STEPS(f, anew);
	nothing_is_counted(f);
}

static void after_rst(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	open_flow(f);
	CHECK(fixture_say(f, "> R seq 8 len 0"));
	hand_back(f);
	fixture_age(f, 60); /* one that an RST ended is remembered long */
	STEPS(f, anew);
	nothing_is_counted(f);
}

static void after_silence(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	open_flow(f);
	hand_back(f);
	f->replicas[0].config.flags |= SL_REPLICA_PROBE_DOWN;
	STEPS(f, anew);
	nothing_is_counted(f);
}

static void after_half_a_handshake(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	CHECK(fixture_say(f, "> S seq 7 len 0"));
	hand_back(f);
	STEPS(f, anew);
	nothing_is_counted(f);
}

static void after_withdrawal(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	open_flow(f);
	close_flow(f);
	f->vips[0].flags |= SL_VIP_NO_NEW;
	STEPS(f, anew);
	nothing_is_counted(f);
}

static void after_no_room(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	open_flow(f);
	close_flow(f);
	f->kernel->half_open = f->flow_sets * SL_FLOW_WAYS;
	STEPS(f, anew);
	f->kernel->half_open = 0;
	nothing_is_counted(f);
	CHECK_INT(fixture_counter(f, SL_COUNT_PASSED_FULL), 1);
}

TEST(a_finished_flow_leaves_its_port_to_kube_proxy)
{
	fixture_each(after_fins, NULL);
}

TEST(a_reset_flow_leaves_its_port_to_kube_proxy)
{
	fixture_each(after_rst, NULL);
}

TEST(an_orphaned_flow_leaves_its_port_to_kube_proxy)
{
	fixture_each(after_silence, NULL);
}

TEST(a_half_open_flow_leaves_its_port_to_kube_proxy)
{
	fixture_each(after_half_a_handshake, NULL);
}

TEST(so_does_a_flow_of_a_vip_that_was_withdrawn)
{
	fixture_each(after_withdrawal, NULL);
}

TEST(so_does_a_flow_whose_successor_finds_no_room)
{
	fixture_each(after_no_room, NULL);
}

static void datagrams(struct fixture *f)
{
	static const struct step before[] = {
		{FROM_POD, "udp client:4000 > vip:53 len 10", NEXT, "udp client:4000 > r1:8000 len 10"},
		{TO_POD, "udp r1:8000 > client:4000 len 10", NEXT, "udp vip:53 > client:4000 len 10"},
	};
	static const struct step after[] = {
		{FROM_POD, "udp client:4000 > vip:53 len 10", NEXT, "udp client:4000 > r1:8000 len 10"},
		{FROM_POD, "udp client:4001 > vip:53 len 10", NEXT, NULL},
	};
	__u32 service = fixture_add_service(f, 0);

	fixture_add_vip(f, service, "udp vip:53");
	fixture_add_replica(f, service, "udp r1:8000", 100);
	STEPS(f, before);
	hand_back(f);
	STEPS(f, after);
}

TEST(a_conversation_goes_on_and_a_new_one_is_kube_proxys)
{
	fixture_each(datagrams, NULL);
}

/* One place, somebody else's. Without an agent's pulse each retransmit is an offer. */
static void waiting(struct fixture *f)
{
	static const struct step parks[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", SHOT, NULL},
	};
	static const struct step handed_back[] = {
		{FROM_POD, "client:4001 > vip:80 S seq 7 len 0", NEXT, NULL},
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", SHOT, NULL},
	};
	static const struct step served[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0"},
		{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0"},
	};

	fixture_simple(f, SL_SERVICE_WAIT_FULL, 1);
	f->services[0].max_parked = 3;
	fixture_set_cap(f, 0, 1);
	f->replicas[0].state.owned = 1;
	STEPS(f, parks);
	hand_back(f);
	STEPS(f, handed_back);
	CHECK_INT(f->kernel->parked, 1);
	f->replicas[0].state.owned = 0;
	fixture_age(f, 1);
	STEPS(f, served);
	CHECK_INT(f->kernel->parked, 0);
	CHECK_INT(f->replicas[0].state.inflight, 1);
}

TEST(who_waits_in_line_is_served_from_it)
{
	fixture_each(waiting, NULL);
}

static void forced(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4001 > vip:80 S seq 7 len 0", REDIRECT,
		 "vip:80 > client:4001 RA seq 0 ack 8 len 0 back"},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	hand_back(f);
	STEPS(f, steps);
}

TEST(in_replace_mode_new_flows_are_refused)
{
	fixture_each(forced, NULL);
}
