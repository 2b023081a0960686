// SPDX-License-Identifier: GPL-2.0-only
/*
 * A flow's life and what is counted of it: counted at the SYN, kept by its
 * retransmissions, ended by whichever comes first of FINs, RST and silence, and
 * uncounted exactly once.
 */
#include <stdlib.h>

#include "bpf_fixture.h"
#include "check.h"

#define SYN "client:4000 > vip:80 S seq 7 len 0"

static const struct step handshake[] = {
	{FROM_POD, SYN, NEXT, "client:4000 > r1:8000 S seq 7 len 0"},
	{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT,
	 "vip:80 > client:4000 SA seq 100 ack 8 len 0"},
	{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", NEXT,
	 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
};

static void check_counts(struct fixture *f, unsigned inflight, unsigned half_open,
			 enum sl_flow_phase phase)
{
	struct sl_flow *flow = fixture_flow(f);

	CHECK_INT(f->replicas[0].state.inflight, inflight);
	CHECK_INT(f->kernel->half_open, half_open);
	CHECK(flow);
	CHECK_INT(flow ? SL_FLOW_PHASE(flow->state) : 99, phase);
}

static void entry(struct fixture *f)
{
	union sl_addr client;
	struct sl_flow *flow;

	fixture_simple(f, 0, 1);
	CHECK(fixture_step(f, &handshake[0]));
	flow = fixture_flow(f);
	CHECK(flow);
	client = f->vips[0].addr;
	client.b[f->v6 ? 1 : 13] = 9;
	client.b[15] = 9;
	CHECK(!memcmp(&flow->key.client, &client, sizeof(client)));
	CHECK_INT(flow->key.port, __builtin_bswap16(4000));
	CHECK_INT(flow->key.proto, 6);
	CHECK_INT(flow->key.service, 0);
	CHECK_INT(flow->isn, __builtin_bswap32(7));
	CHECK_INT(flow->vip, 0);
	CHECK_INT(flow->replica, 0);
	CHECK_INT(flow->hook, SL_HOOK_POD);
	CHECK_INT(flow->snat_port, 0);
	CHECK_INT(SL_FLOW_GENERATION(flow->state), 1);
}

TEST(what_an_entry_holds)
{
	fixture_each(entry, NULL);
}

static void counted_at_the_pick(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	CHECK(fixture_step(f, &handshake[0]));
	check_counts(f, 1, 1, SL_FLOW_SYN);
	CHECK(fixture_step(f, &handshake[0]));
	check_counts(f, 1, 1, SL_FLOW_SYN);
	for (unsigned i = 0; i < 2; i++) {
		CHECK(fixture_step(f, &handshake[1]));
		check_counts(f, 1, 1, SL_FLOW_SYN);
	}
	for (unsigned i = 0; i < 2; i++) {
		CHECK(fixture_step(f, &handshake[2]));
		check_counts(f, 1, 0, SL_FLOW_OPEN);
	}
	CHECK_INT(f->replicas[0].state.picks, 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_PICKS), 1);
}

TEST(a_flow_is_counted_at_the_pick_and_once)
{
	fixture_once(counted_at_the_pick, NULL);
}

/* What either side may say to end a flow, in every order that matters. */
static void ends(struct fixture *f)
{
	static const struct {
		const char *name, *said[4];
	} rows[] = {
		{"client closes first",
		 {"> FA seq 8 ack 101 len 0", "< FA seq 101 ack 9 len 0",
		  "> A seq 9 ack 102 len 0"}},
		{"replica closes first",
		 {"< FA seq 101 ack 8 len 0", "> FA seq 8 ack 102 len 0",
		  "< A seq 102 ack 9 len 0"}},
		{"both say it twice",
		 {"> FA seq 8 ack 101 len 0", "< FA seq 101 ack 8 len 0",
		  "> FA seq 8 ack 101 len 0", "< FA seq 101 ack 8 len 0"}},
		{"client resets", {"> RA seq 8 ack 101 len 0", "< A seq 101 ack 8 len 0"}},
		{"replica resets", {"< R seq 101 len 0", "> A seq 8 ack 101 len 0"}},
		{"both reset",
		 {"> R seq 8 len 0", "< R seq 101 len 0", "> R seq 8 len 0", "< R seq 101 len 0"}},
		{"FIN, then RST",
		 {"> FA seq 8 ack 101 len 0", "< RA seq 101 ack 9 len 0", "> R seq 9 len 0"}},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		STEPS(f, handshake);
		check_counts(f, 1, 0, SL_FLOW_OPEN);
		for (unsigned n = 0; n < 4 && rows[i].said[n]; n++)
			CHECK(fixture_say(f, rows[i].said[n]));
		check_counts(f, 0, 0, SL_FLOW_DONE);
		if (f->replicas[0].state.inflight || f->kernel->half_open)
			printf("  in: %s\n", rows[i].name);
	}
	CHECK_INT(f->replicas[0].state.picks, sizeof(rows) / sizeof(rows[0]));
	CHECK_INT(f->replicas[0].state.connect_failures, 0);
}

TEST(a_flow_ends_once)
{
	fixture_each(ends, NULL);
}

static void one_fin(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	STEPS(f, handshake);
	CHECK(fixture_say(f, "> FA seq 8 ack 101 len 0"));
	CHECK(fixture_say(f, "> FA seq 8 ack 101 len 0"));
	CHECK(fixture_say(f, "< A seq 101 ack 9 len 1000"));
	check_counts(f, 1, 0, SL_FLOW_OPEN);
	CHECK(fixture_flow(f)->state & SL_FLOW_CLIENT_FIN);
	CHECK(!(fixture_flow(f)->state & SL_FLOW_REPLICA_FIN));
}

TEST(one_fin_leaves_the_other_half_open)
{
	fixture_once(one_fin, NULL);
}

/* A SYN with another initial sequence number: a new connection, or a stray one? */
static void another_isn(struct fixture *f)
{
	static const struct step again[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 9999 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 9999 len 0"},
	};

	fixture_simple(f, SL_SERVICE_REPLACE | SL_SERVICE_NO_RETRY, 1);
	CHECK(fixture_step(f, &handshake[0]));
	STEPS(f, again); /* half-open: a new one */
	check_counts(f, 1, 1, SL_FLOW_SYN);
	CHECK_INT(SL_FLOW_GENERATION(fixture_flow(f)->state), 2);
	CHECK_INT(f->replicas[0].state.picks, 2);
	CHECK(fixture_say(f, "< SA seq 100 ack 10000 len 0"));
	CHECK(fixture_say(f, "> A seq 10000 ack 101 len 0"));
	CHECK(fixture_step(f, &handshake[0])); /* open and lively: its replica answers */
	check_counts(f, 1, 0, SL_FLOW_OPEN);
	CHECK_INT(SL_FLOW_GENERATION(fixture_flow(f)->state), 2);
	fixture_age(f, 61);
	CHECK(fixture_step(f, &handshake[0])); /* open but silent: a new one */
	check_counts(f, 1, 1, SL_FLOW_SYN);
	CHECK_INT(SL_FLOW_GENERATION(fixture_flow(f)->state), 3);
	CHECK(fixture_say(f, "< RA seq 0 ack 8 len 0"));
	STEPS(f, again); /* finished: a new one */
	check_counts(f, 1, 1, SL_FLOW_SYN);
	CHECK_INT(SL_FLOW_GENERATION(fixture_flow(f)->state), 4);
	CHECK_INT(f->replicas[0].state.picks, 4);
}

TEST(a_syn_with_another_sequence_number)
{
	fixture_once(another_isn, NULL);
}

static void syn_keeps_replica(struct fixture *f)
{
	struct fixture_result first, again;

	fixture_simple(f, 0, 4);
	for (unsigned port = 1; port <= 20; port++) {
		char line[PACKET_TEXT_LEN];

		snprintf(line, sizeof(line), "client:%u > vip:80 S seq 7 len 0", port);
		fixture_send(f, FROM_POD, line, &first);
		for (unsigned i = 0; i < 5; i++) {
			fixture_send(f, FROM_POD, line, &again);
			CHECK_STR(again.text, first.text);
		}
	}
	for (unsigned i = 0; i < 4; i++)
		CHECK_INT(f->replicas[i].state.inflight, 5);
	CHECK_INT(f->kernel->half_open, 20);
}

TEST(a_retransmitted_syn_keeps_its_replica)
{
	fixture_once(syn_keeps_replica, NULL);
}

static void refused_connect(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_NO_RETRY, 1);
	CHECK(fixture_step(f, &handshake[0]));
	CHECK(fixture_say(f, "< RA seq 0 ack 8 len 0"));
	CHECK(fixture_say(f, "< RA seq 0 ack 8 len 0"));
	check_counts(f, 0, 0, SL_FLOW_DONE);
	CHECK_INT(f->replicas[0].state.connect_failures, 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_CONNECT_FAILURES), 1);
}

TEST(a_refused_connect_is_a_failure)
{
	fixture_each(refused_connect, NULL);
}

/* Late packets are translated until the entry goes; then they are strangers. */
static void late_packets(struct fixture *f)
{
	static const struct step late[] = {
		{FROM_POD, "client:4000 > vip:80 A seq 9 ack 102 len 0", NEXT,
		 "client:4000 > r1:8000 A seq 9 ack 102 len 0"},
		{TO_POD, "r1:8000 > client:4000 FA seq 101 ack 9 len 0", NEXT,
		 "vip:80 > client:4000 FA seq 101 ack 9 len 0"},
	};
	static const struct step strangers[] = {
		{FROM_POD, "client:4000 > vip:80 A seq 9 ack 102 len 0", REDIRECT,
		 "vip:80 > client:4000 R seq 102 len 0 back"},
		{TO_POD, "r1:8000 > client:4000 FA seq 101 ack 9 len 0", NEXT, NULL},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	STEPS(f, handshake);
	CHECK(fixture_say(f, "> FA seq 8 ack 101 len 0"));
	CHECK(fixture_say(f, "< FA seq 101 ack 9 len 0"));
	STEPS(f, late);
	fixture_age(f, 2);
	fixture_sweep(f);
	STEPS(f, late);
	fixture_age(f, 4);
	fixture_sweep(f);
	STEPS(f, strangers);
	CHECK_INT(f->replicas[0].state.inflight, 0);
}

TEST(late_packets_find_a_finished_flow_while_it_lingers)
{
	fixture_once(late_packets, NULL);
}

/* Two VIPs, one client port, one replica: the replica could not tell the two apart. */
static void collision(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, "client:4000 > r1:8000 S seq 7 len 0"},
		{FROM_POD, "client:4000 > vip2:80 S seq 50 len 0", REDIRECT,
		 "vip2:80 > client:4000 RA seq 0 ack 51 len 0 back"},
		{FROM_POD, "client:4001 > vip2:80 S seq 50 len 0", NEXT,
		 "client:4001 > r1:8000 S seq 50 len 0"},
		{TO_POD, "r1:8000 > client:4001 SA seq 1 ack 51 len 0", NEXT,
		 "vip2:80 > client:4001 SA seq 1 ack 51 len 0"},
		{TO_POD, "r1:8000 > client:4000 SA seq 1 ack 8 len 0", NEXT,
		 "vip:80 > client:4000 SA seq 1 ack 8 len 0"},
	};
	__u32 service = fixture_simple(f, SL_SERVICE_REPLACE, 1);

	fixture_add_vip(f, service, "vip2:80");
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_COLLISION), 1);
	CHECK_INT(f->replicas[0].state.inflight, 2);
}

TEST(a_client_port_leads_to_a_replica_through_one_vip_only)
{
	fixture_each(collision, NULL);
}

/* A finished flow is no obstacle: its client has the right to use the port again. */
static void after_collision(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, "client:4000 > r1:8000 S seq 7 len 0"},
		{TO_POD, "r1:8000 > client:4000 SA seq 1 ack 8 len 0", NEXT,
		 "vip:80 > client:4000 SA seq 1 ack 8 len 0"},
		{FROM_POD, "client:4000 > vip:80 R seq 8 len 0", NEXT,
		 "client:4000 > r1:8000 R seq 8 len 0"},
		{FROM_POD, "client:4000 > vip2:80 S seq 50 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 50 len 0"},
		{TO_POD, "r1:8000 > client:4000 SA seq 1 ack 51 len 0", NEXT,
		 "vip2:80 > client:4000 SA seq 1 ack 51 len 0"},
		{FROM_POD, "client:4000 > vip2:80 PA seq 51 ack 2 len 5", NEXT,
		 "client:4000 > r1:8000 PA seq 51 ack 2 len 5"},
	};
	__u32 service = fixture_simple(f, SL_SERVICE_REPLACE, 1);

	fixture_add_vip(f, service, "vip2:80");
	STEPS(f, steps);
	CHECK_INT(f->replicas[0].state.inflight, 1);
	CHECK_INT(f->kernel->half_open, 0);
}

TEST(a_finished_flow_leaves_its_port_to_another_vip)
{
	fixture_each(after_collision, NULL);
}

static void collision_elsewhere(struct fixture *f)
{
	struct fixture_result first, second;
	__u32 service = fixture_simple(f, SL_SERVICE_REPLACE, 2);
	char line[PACKET_TEXT_LEN];

	fixture_add_vip(f, service, "vip2:80");
	for (unsigned port = 1; port <= 20; port++) {
		snprintf(line, sizeof(line), "client:%u > vip:80 S seq 7 len 0", port);
		fixture_send(f, FROM_POD, line, &first);
		snprintf(line, sizeof(line), "client:%u > vip2:80 S seq 7 len 0", port);
		fixture_send(f, FROM_POD, line, &second);
		CHECK_INT(second.verdict, NEXT);
		CHECK(strcmp(first.text, second.text));
	}
	CHECK_INT(f->replicas[0].state.inflight, 20);
	CHECK_INT(f->replicas[1].state.inflight, 20);
}

TEST(a_collision_goes_to_another_replica)
{
	fixture_once(collision_elsewhere, NULL);
}

/* The same between two services that share a replica. */
static void shared_replica(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, SYN, NEXT, "client:4000 > r1:8000 S seq 7 len 0"},
		{FROM_POD, "client:4001 > vip2:80 S seq 7 len 0", NEXT,
		 "client:4001 > r1:8000 S seq 7 len 0"},
		{TO_POD, "r1:8000 > client:4001 SA seq 1 ack 8 len 0", NEXT,
		 "vip2:80 > client:4001 SA seq 1 ack 8 len 0"},
		{TO_POD, "r1:8000 > client:4000 SA seq 1 ack 8 len 0", NEXT,
		 "vip:80 > client:4000 SA seq 1 ack 8 len 0"},
		{FROM_POD, "client:4000 > vip2:80 S seq 50 len 0", REDIRECT,
		 "vip2:80 > client:4000 RA seq 0 ack 51 len 0 back"},
		{FROM_POD, "client:4001 > vip:80 S seq 50 len 0", REDIRECT,
		 "vip:80 > client:4001 RA seq 0 ack 51 len 0 back"},
	};
	__u32 second;

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	second = fixture_add_service(f, SL_SERVICE_REPLACE);
	fixture_add_vip(f, second, "vip2:80");
	CHECK_INT(fixture_add_replica(f, second, "r1:8000", 100), 0);
	STEPS(f, steps);
	CHECK_INT(f->replicas[0].state.inflight, 2);
}

TEST(two_services_may_share_a_replica)
{
	fixture_each(shared_replica, NULL);
}
