// SPDX-License-Identifier: GPL-2.0-only
/*
 * What opens a TCP flow: the client's acknowledgement of its replica's answer,
 * and nothing that either side may say before it; and which RST of the replica's
 * means that it refused.
 */
#include "bpf_fixture.h"
#include "check.h"

#define SYN "> S seq 7 len 0"
#define SYN_ACK "< SA seq 100 ack 8 len 0"
#define ACK "> A seq 8 ack 101 len 0"
#define DATA "> PA seq 8 ack 101 len 5"
#define FIN "> FA seq 8 ack 101 len 0"
#define ANOTHER_SYN "> S seq 99 len 0"
#define CLIENT_RST "> R seq 8 len 0"
#define REPLICA_RST "< RA seq 101 ack 8 len 0"

#define ANSWERED_SYN (SL_FLOW_SYN | SL_FLOW_ANSWERED)
#define ANSWERED_OPEN (SL_FLOW_OPEN | SL_FLOW_ANSWERED)
#define ANSWERED_DONE (SL_FLOW_DONE | SL_FLOW_ANSWERED)

/* What is said, and what the flow is then. */
struct row {
	const char *name;
	__u32 state;
	unsigned failures;
	const char *said[5];
};

static const struct row handshakes[] = {
	{"a SYN", SL_FLOW_SYN, 0, {SYN}},
	{"answered", ANSWERED_SYN, 0, {SYN, SYN_ACK}},
	{"both said again", ANSWERED_SYN, 0, {SYN, SYN_ACK, SYN, SYN_ACK}},
	{"acknowledged", ANSWERED_OPEN, 0, {SYN, SYN_ACK, ACK}},
	{"acknowledged with data", ANSWERED_OPEN, 0, {SYN, SYN_ACK, DATA}},
	{"acknowledged with a FIN", ANSWERED_OPEN | SL_FLOW_CLIENT_FIN, 0, {SYN, SYN_ACK, FIN}},
	{"SYN and answer again once open", ANSWERED_OPEN, 0, {SYN, SYN_ACK, ACK, SYN_ACK, SYN}},
	{"a stray ACK", SL_FLOW_SYN, 0, {SYN, ACK}},
	{"stray data", SL_FLOW_SYN, 0, {SYN, DATA}},
	{"a stray FIN", SL_FLOW_SYN | SL_FLOW_CLIENT_FIN, 0, {SYN, FIN}},
	{"a stray ACK, then the answer", ANSWERED_SYN, 0, {SYN, ACK, SYN_ACK}},
	{"a stray ACK, then a handshake", ANSWERED_OPEN, 0, {SYN, ACK, SYN_ACK, ACK}},
	{"a mere ACK is no answer", SL_FLOW_SYN, 0, {SYN, "< A seq 100 ack 1 len 0", ACK}},
	{"the replica's data", ANSWERED_SYN, 0, {SYN, SYN_ACK, "< PA seq 101 ack 8 len 9"}},
	{"the replica's FIN", ANSWERED_SYN | SL_FLOW_REPLICA_FIN, 0,
	 {SYN, SYN_ACK, "< FA seq 101 ack 8 len 0"}},
	{"the next connection", SL_FLOW_SYN, 0, {SYN, SYN_ACK, ANOTHER_SYN, ACK}},

	{"refused", SL_FLOW_DONE, 1, {SYN, REPLICA_RST, REPLICA_RST}},
	{"a stray ACK, then refused", SL_FLOW_DONE, 1, {SYN, ACK, REPLICA_RST}},
	{"the next one refused", SL_FLOW_DONE, 1,
	 {SYN, SYN_ACK, ANOTHER_SYN, "< RA seq 0 ack 100 len 0"}},
	{"reset after the answer", ANSWERED_DONE, 0, {SYN, SYN_ACK, REPLICA_RST}},
	{"reset once open", ANSWERED_DONE | SL_FLOW_REPLICA_RST, 0, {SYN, SYN_ACK, ACK, REPLICA_RST}},
	{"given up", SL_FLOW_DONE, 0, {SYN, CLIENT_RST}},
	{"given up, then refused", SL_FLOW_DONE, 0, {SYN, CLIENT_RST, REPLICA_RST}},
	{"a scan", ANSWERED_DONE, 0, {SYN, SYN_ACK, CLIENT_RST}},
};

static bool is_as_expected(struct fixture *f, const struct row *row, uint64_t failures)
{
	struct sl_flow *flow = fixture_flow(f);
	__u32 phase = SL_FLOW_PHASE(row->state);

	return flow && (__u32)flow->state == row->state &&
	       f->replicas[0].state.inflight == (phase != SL_FLOW_DONE) &&
	       f->kernel->half_open == (phase == SL_FLOW_SYN) &&
	       f->replicas[0].state.connect_failures == failures &&
	       fixture_counter(f, SL_COUNT_CONNECT_FAILURES) == failures;
}

static void opening(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_REPLACE | SL_SERVICE_NO_RETRY, 1);
	for (unsigned i = 0; i < sizeof(handshakes) / sizeof(handshakes[0]); i++) {
		const struct row *row = &handshakes[i];
		uint64_t failures = f->replicas[0].state.connect_failures + row->failures;
		bool good = true;

		for (unsigned n = 0; n < 5 && row->said[n]; n++)
			good &= fixture_say(f, row->said[n]);
		good &= is_as_expected(f, row, failures);
		CHECK(good);
		if (!good)
			printf("  in: %s\n", row->name);
		CHECK(fixture_say(f, CLIENT_RST)); /* the next row begins another flow */
	}
}

TEST(the_clients_acknowledgement_alone_opens_a_flow)
{
	fixture_each(opening, NULL);
}

/* The same where replies are found by their source-NAT port. */
static void opening_outside(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:1024 > r1:8000 S seq 7 len 0"},
		{FROM_UPLINK, "r1:8000 > node:1024 SA seq 100 ack 8 len 0", REDIRECT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0"},
		{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 101 len 0", REDIRECT,
		 "node:1024 > r1:8000 A seq 8 ack 101 len 0"},
	};
	static const __u32 states[] = {SL_FLOW_SYN, ANSWERED_SYN, ANSWERED_OPEN};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	for (unsigned i = 0; i < 3; i++) {
		CHECK(fixture_step(f, &steps[i]));
		CHECK_INT((__u32)fixture_flow(f)->state, states[i]);
		CHECK_INT(f->kernel->half_open, i < 2);
		CHECK_INT(f->replicas[0].state.inflight, 1);
	}
}

TEST(an_outside_clients_too)
{
	fixture_each(opening_outside, NULL);
}
