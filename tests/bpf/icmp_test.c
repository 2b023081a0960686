// SPDX-License-Identifier: GPL-2.0-only
/*
 * ICMP errors about packets of ours: those that refuse a SYN, and all others, which are translated.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "bpf_fixture.h"
#include "check.h"
#include "icmp_build.h"

#define SYN "client:4000 > vip:80 S seq 7 len 0 opts 20"

/* Sends the error `error` that quotes `quoted`. */
static void send_error(struct fixture *f, enum fixture_hook at, const char *error,
		       const char *quoted, struct fixture_result *ret)
{
	icmp_build(f, error, quoted, 0, 0, &ret->in);
	fixture_send_built(f, at, ret);
}

struct row {
	const char *name;
	const char *v4, *v6; /* the error */
	const char *quoted;
	bool refuses;
};

static const struct row rows[] = {
	{"host", "r1 > client type 3 code 1", "r1 > client type 1 code 3",
	 "client:4000 > r1:8000 S seq 7 len 0 opts 20", true},
	{"port, said by a router", "other > client type 3 code 3", "other > client type 1 code 4",
	 "client:4000 > r1:8000 S seq 7 len 0 opts 20", true},
	{"another SYN", "r1 > client type 3 code 1", "r1 > client type 1 code 3",
	 "client:4000 > r1:8000 S seq 8 len 0 opts 20", false},
	{"another client", "r1 > client type 3 code 1", "r1 > client type 1 code 3",
	 "client:4001 > r1:8000 S seq 7 len 0 opts 20", false},
	{"another replica", "r1 > client type 3 code 1", "r1 > client type 1 code 3",
	 "client:4000 > r2:8000 S seq 7 len 0 opts 20", false},
	{"no replica", "r1 > client type 3 code 1", "r1 > client type 1 code 3",
	 "client:4000 > other:8000 S seq 7 len 0 opts 20", false},
	{"a datagram", "r1 > client type 3 code 3", "r1 > client type 1 code 4",
	 "udp client:4000 > r1:8000 len 20", false},
	{"too big", "r1 > client type 3 code 4", "r1 > client type 2 code 0",
	 "client:4000 > r1:8000 S seq 7 len 0 opts 20", false},
	{"echo", "r1 > client type 8 code 0", "r1 > client type 128 code 0",
	 "client:4000 > r1:8000 S seq 7 len 0 opts 20", false},
};

static void errors(struct fixture *f)
{
	static const struct step syn = {FROM_POD, SYN, NEXT,
					"client:4000 > r1:8000 S seq 7 len 0 opts 20"};
	char expected[PACKET_TEXT_LEN];
	struct fixture_result result;
	bool complete = f->complete;
	struct sl_flow *flow;

	fixture_simple(f, 0, 2);
	f->replicas[0].config.weight = 4000;
	CHECK(fixture_step(f, &syn));
	flow = fixture_flow(f);
	f->complete = false; /* see TRIMMED */
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		send_error(f, TO_POD, f->v6 ? rows[i].v6 : rows[i].v4, rows[i].quoted, &result);
		CHECK_INT(result.verdict, rows[i].refuses ? REDIRECT : NEXT);
		if (rows[i].refuses)
			CHECK_STR(result.text, fixture_expand(f, SYN, expected));
		if (result.verdict != (rows[i].refuses ? REDIRECT : NEXT))
			printf("  in: %s\n", rows[i].name);
		CHECK_INT(!!(flow->state & SL_FLOW_RETRY), rows[i].refuses);
		flow->state &= ~(SL_FLOW_RETRY | SL_FLOW_REFUSED);
	}
	f->complete = complete;
	CHECK_INT(f->replicas[0].state.connect_failures, 2);
}

TEST(an_error_that_quotes_the_syn_is_a_refusal)
{
	fixture_each(errors, NULL);
}

static void through_snat(struct fixture *f)
{
	static const struct step syn = {FROM_UPLINK, SYN, REDIRECT,
					"node:1024 > r1:8000 S seq 7 len 0 opts 20"};
	const char *error = f->v6 ? "r1 > node type 1 code 3" : "r1 > node type 3 code 1";
	char expected[PACKET_TEXT_LEN];
	struct fixture_result result;

	fixture_simple(f, 0, 1);
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	CHECK(fixture_step(f, &syn));
	f->complete = false;
	send_error(f, FROM_UPLINK, error, "node:1025 > r1:8000 S seq 7 len 0 opts 20", &result);
	CHECK_INT(result.verdict, NEXT);
	send_error(f, FROM_UPLINK, error, "node:1024 > r1:8000 S seq 7 len 0 opts 20", &result);
	CHECK_INT(result.verdict, REDIRECT);
	CHECK_STR(result.text, fixture_expand(f, SYN, expected));
}

TEST(an_error_about_a_source_nat_port)
{
	fixture_each(through_snat, NULL);
}

/* ---- translation -------------------------------------------------------------------------*/

/* One error and what must become of it. `quote`: bytes of L4 that it quotes, 0: all. */
struct translated {
	const char *name;
	enum fixture_hook at;
	const char *v4, *v6;   /* the error */
	const char *quoted;
	size_t quote;
	int verdict;
	const char *out;       /* its ends then; NULL: untouched */
	const char *out_quoted;
};

/* The error with other ends: "r1 > client" for the first three words of `error`. */
static const char *with_ends(const char *error, const char *ends, char buf[PACKET_TEXT_LEN])
{
	const char *rest = strstr(error, " type");

	snprintf(buf, PACKET_TEXT_LEN, "%s%s", ends, rest);
	return buf;
}

static bool translate(struct fixture *f, const struct translated *row)
{
	size_t header = f->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	size_t quote = row->quote ? header + row->quote : 0;
	const char *error = f->v6 ? row->v6 : row->v4;
	char buf[PACKET_TEXT_LEN];
	struct fixture_result result;
	struct packet expected;
	bool good;

	if (!error)
		return true;
	icmp_build(f, error, row->quoted, quote, 1400, &result.in);
	fixture_send_built(f, row->at, &result);
	expected = result.in;
	if (row->out)
		icmp_build(f, with_ends(error, row->out, buf), row->out_quoted, quote, 1400,
			   &expected);
	/* To the node's own client it goes with the MAC address of the device. */
	good = result.verdict == row->verdict && (row->verdict == SHOT ||
	       icmp_equal(&result.out, &expected, row->at == FROM_NODE ? 0 : row->out ? 12 : 0));
	if (!good)
		printf("  [%s%s] %s: verdict %d, wanted %d\n", f->v6 ? "v6" : "v4",
		       f->complete ? ", complete" : "", row->name, result.verdict, row->verdict);
	return good;
}

#define TRANSLATE(f, rows)                                                                         \
	for (size_t i = 0; i < sizeof(rows) / sizeof((rows)[0]); i++)                              \
		CHECK(translate(f, &(rows)[i]))

#define CLIENT_TCP "client:4000 > r1:8000 A seq 8 ack 101 len 600"
#define CLIENT_TCP_VIP "client:4000 > vip:80 A seq 8 ack 101 len 600"
#define CLIENT_UDP "udp client:4000 > r2:53 len 600"
#define CLIENT_UDP_VIP "udp client:4000 > vip:53 len 600"

/* About what a client in a pod sent. */
static const struct translated to_client_rows[] = {
	{"too big, by a router", TO_POD, "other > client type 3 code 4", "other > client type 2 code 0",
	 CLIENT_TCP, 0, NEXT, "other > client", CLIENT_TCP_VIP},
	{"too big, by the replica's host", TO_POD, "r1 > client type 3 code 4",
	 "r1 > client type 2 code 0", CLIENT_TCP, 0, NEXT, "vip > client", CLIENT_TCP_VIP},
	{"eight bytes quoted", TO_POD, "other > client type 3 code 4", "other > client type 2 code 0",
	 CLIENT_TCP, 8, NEXT, "other > client", CLIENT_TCP_VIP},
	{"up to the checksum", TO_POD, "other > client type 3 code 4", "other > client type 2 code 0",
	 CLIENT_TCP, 16, NEXT, "other > client", CLIENT_TCP_VIP},
	{"a header", TO_POD, "other > client type 3 code 4", "other > client type 2 code 0",
	 CLIENT_TCP, 18, NEXT, "other > client", CLIENT_TCP_VIP},
	{"unreachable", TO_POD, "other > client type 3 code 1", "other > client type 1 code 3",
	 CLIENT_TCP, 0, NEXT, "other > client", CLIENT_TCP_VIP},
	{"filtered", TO_POD, "r1 > client type 3 code 13", "r1 > client type 1 code 1", CLIENT_TCP,
	 0, NEXT, "vip > client", CLIENT_TCP_VIP},
	{"time exceeded", TO_POD, "other > client type 11 code 0", "other > client type 3 code 0",
	 CLIENT_TCP, 0, NEXT, "other > client", CLIENT_TCP_VIP},
	{"parameter problem", TO_POD, "other > client type 12 code 0", "other > client type 4 code 1",
	 CLIENT_TCP, 0, NEXT, "other > client", CLIENT_TCP_VIP},
	{"with options", TO_POD, "other > client type 3 code 4 ipopts 40", NULL,
	 CLIENT_TCP " ipopts 40", 0, NEXT, "other > client", CLIENT_TCP_VIP " ipopts 40"},
	{"a first fragment", TO_POD, "other > client type 11 code 1", NULL, CLIENT_UDP " mf", 0,
	 NEXT, "other > client", CLIENT_UDP_VIP " mf"},
	{"a later fragment", TO_POD, "other > client type 11 code 1", NULL,
	 "frag client > r1 proto 17 offset 8 len 100", 0, NEXT, NULL, NULL},
	{"a closed port", TO_POD, "r2 > client type 3 code 3", "r2 > client type 1 code 4",
	 CLIENT_UDP, 0, NEXT, "vip > client", CLIENT_UDP_VIP},
	{"a datagram, eight bytes of it", TO_POD, "r2 > client type 3 code 3",
	 "r2 > client type 1 code 4", CLIENT_UDP, 8, NEXT, "vip > client", CLIENT_UDP_VIP},
	{"a datagram without a checksum", TO_POD, "r2 > client type 3 code 3", NULL,
	 CLIENT_UDP " nosum", 0, NEXT, "vip > client", CLIENT_UDP_VIP " nosum"},
	/* at every other hook it passes, and so does what is not ours */
	{"another hook", TO_UPLINK, "other > client type 3 code 4", "other > client type 2 code 0",
	 CLIENT_TCP, 0, NEXT, NULL, NULL},
	{"another hook", FROM_UPLINK, "other > client type 3 code 4", "other > client type 2 code 0",
	 CLIENT_TCP, 0, NEXT, NULL, NULL},
	{"another hook", FROM_POD, "other > client type 3 code 4", "other > client type 2 code 0",
	 CLIENT_TCP, 0, NEXT, NULL, NULL},
	{"to somebody else", TO_POD, "other > client2 type 3 code 4", "other > client2 type 2 code 0",
	 CLIENT_TCP, 0, NEXT, NULL, NULL},
	{"no flow", TO_POD, "other > client type 3 code 4", "other > client type 2 code 0",
	 "client:4001 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT, NULL, NULL},
	{"seven bytes quoted", TO_POD, "other > client type 3 code 4", "other > client type 2 code 0",
	 CLIENT_TCP, 7, NEXT, NULL, NULL},
	{"a redirect", TO_POD, "other > client type 5 code 1", "other > client type 137 code 0",
	 CLIENT_TCP, 0, NEXT, NULL, NULL},
	{"an echo", TO_POD, "other > client type 8 code 0", "other > client type 128 code 0",
	 CLIENT_TCP, 0, NEXT, NULL, NULL},
	{"another protocol", TO_POD, "other > client type 3 code 4", "other > client type 2 code 0",
	 "frag client > r1 proto 132 offset 0 len 100", 0, NEXT, NULL, NULL},
	{"extension headers quoted", TO_POD, NULL, "other > client type 2 code 0",
	 CLIENT_TCP " dst", 0, NEXT, NULL, NULL},
	{"a wrong checksum stays wrong", TO_POD, "r1 > client type 3 code 4 badsum", NULL,
	 "client:4001 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT, NULL, NULL},
};

static void open_pod_flows(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0"},
		{TO_POD, "r1:8000 > client:4000 SA seq 100 ack 8 len 0", NEXT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0"},
		{FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", NEXT,
		 "client:4000 > r1:8000 A seq 8 ack 101 len 0"},
		{FROM_POD, "udp client:4000 > vip:53 len 9", NEXT, "udp client:4000 > r2:53 len 9"},
	};
	__u32 service;

	fixture_simple(f, 0, 1);
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "udp vip:53");
	fixture_add_replica(f, service, "udp r2:53", 100);
	STEPS(f, steps);
}

static void about_client(struct fixture *f)
{
	__u64 state;

	open_pod_flows(f);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 1);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN), 1);
	state = f->replicas[0].state.inflight;
	TRANSLATE(f, to_client_rows);
	/* no error ends or moves a flow */
	CHECK_INT(f->replicas[0].state.inflight, state);
	CHECK_INT(f->replicas[0].state.connect_failures, 0);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 1);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_ICMP_ERRORS), f->v6 ? 11 : 14);
}

TEST(a_client_hears_of_its_packets)
{
	fixture_each(about_client, NULL);
}

#define REPLY_TCP "vip:80 > client:4000 A seq 101 ack 8 len 600"
#define REPLY_TCP_R1 "r1:8000 > client:4000 A seq 101 ack 8 len 600"
#define REPLY_UDP "udp vip:53 > client:4000 len 600"
#define REPLY_UDP_R2 "udp r2:53 > client:4000 len 600"

/* About what a replica sent, or its VIP as all the others see it. */
static const struct translated to_replica_rows[] = {
	{"too big, by a router", FROM_POD, "other > vip type 3 code 4", "other > vip type 2 code 0",
	 REPLY_TCP, 0, NEXT, "other > r1", REPLY_TCP_R1},
	{"eight bytes quoted", FROM_POD, "other > vip type 3 code 4", "other > vip type 2 code 0",
	 REPLY_TCP, 8, NEXT, "other > r1", REPLY_TCP_R1},
	{"the client's closed port", FROM_POD, "client > vip type 3 code 3",
	 "client > vip type 1 code 4", REPLY_UDP, 0, NEXT, "client > r2", REPLY_UDP_R2},
	{"another port of the VIP's", FROM_POD, "client > vip type 3 code 3",
	 "client > vip type 1 code 4", "udp vip:54 > client:4000 len 600", 0, NEXT, NULL, NULL},
	{"no flow", FROM_POD, "other > vip type 3 code 4", "other > vip type 2 code 0",
	 "vip:80 > client:4001 A seq 101 ack 8 len 600", 0, NEXT, NULL, NULL},
	{"not to the VIP", FROM_POD, "other > vip2 type 3 code 4", "other > vip2 type 2 code 0",
	 REPLY_TCP, 0, NEXT, NULL, NULL},
	{"an echo", FROM_POD, "client > vip type 8 code 0", "client > vip type 128 code 0",
	 REPLY_TCP, 0, NEXT, NULL, NULL},
	{"the VIP's way back", TO_POD, "vip > client type 3 code 4", "vip > client type 2 code 0",
	 CLIENT_TCP_VIP, 0, NEXT, NULL, NULL},
};

static void about_replica(struct fixture *f)
{
	open_pod_flows(f);
	fixture_add_vip(f, fixture_add_service(f, 0), "vip2:81");
	TRANSLATE(f, to_replica_rows);
	CHECK_INT(fixture_counter(f, SL_COUNT_ICMP_ERRORS), 3);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_OPEN), 1);
}

TEST(a_replica_hears_of_its_packets)
{
	fixture_each(about_replica, NULL);
}

/* An outside client and a replica on this node: in and out by the uplink. */
static const struct translated uplink_rows[] = {
	{"to the client", TO_UPLINK, "other > client type 3 code 4", "other > client type 2 code 0",
	 "client:4000 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT, "other > client",
	 "client:4000 > vip:80 A seq 8 ack 101 len 600"},
	{"to the replica", FROM_UPLINK, "other > vip type 3 code 4", "other > vip type 2 code 0",
	 REPLY_TCP, 0, NEXT, "other > r1", REPLY_TCP_R1},
	{"another hook", TO_POD, "other > client type 3 code 4", "other > client type 2 code 0",
	 "client:4000 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT, NULL, NULL},
};

static void by_uplink(struct fixture *f)
{
	static const struct step syn[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", NEXT,
		 "client:4000 > r1:8000 S seq 7 len 0"},
	};

	fixture_simple(f, 0, 1);
	STEPS(f, syn);
	TRANSLATE(f, uplink_rows);
}

TEST(an_outside_client_of_a_local_replica)
{
	fixture_each(by_uplink, NULL);
}

/* With source NAT both ends of the quoted packet change, and both of the error. */
static const struct translated snat_rows[] = {
	{"too big, by a router", FROM_UPLINK, "other > node type 3 code 4",
	 "other > node type 2 code 0", "node:1024 > r1:8000 A seq 8 ack 101 len 600", 0, REDIRECT,
	 "other > client", CLIENT_TCP_VIP},
	{"on a device of the fabric", FROM_FABRIC, "r1 > node type 3 code 10",
	 "r1 > node type 1 code 1", "node:1024 > r1:8000 A seq 8 ack 101 len 600", 8, REDIRECT,
	 "vip > client", CLIENT_TCP_VIP},
	{"a closed port", FROM_UPLINK, "r2 > node type 3 code 3", "r2 > node type 1 code 4",
	 "udp node:1024 > r2:53 len 600", 0, REDIRECT, "vip > client", CLIENT_UDP_VIP},
	{"to the replica", FROM_UPLINK, "other > vip type 3 code 4", "other > vip type 2 code 0",
	 REPLY_TCP, 0, REDIRECT, "node > r1", "r1:8000 > node:1024 A seq 101 ack 8 len 600"},
	{"the client's closed port", FROM_UPLINK, "client > vip type 3 code 3",
	 "client > vip type 1 code 4", REPLY_UDP, 8, REDIRECT, "node > r2",
	 "udp r2:53 > node:1024 len 600"},
	{"another port", FROM_UPLINK, "other > node type 3 code 4", "other > node type 2 code 0",
	 "node:1025 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT, NULL, NULL},
	{"another replica", FROM_UPLINK, "other > node type 3 code 4", "other > node type 2 code 0",
	 "node:1024 > r2:8000 A seq 8 ack 101 len 600", 0, NEXT, NULL, NULL},
	{"another hook", TO_UPLINK, "other > node type 3 code 4", "other > node type 2 code 0",
	 "node:1024 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT, NULL, NULL},
	{"the client's own address", FROM_UPLINK, "other > client type 3 code 4",
	 "other > client type 2 code 0", "client:4000 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT,
	 NULL, NULL},
};

static void by_source_nat(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:1024 > r1:8000 S seq 7 len 0"},
		{FROM_UPLINK, "udp client:4000 > vip:53 len 9", REDIRECT,
		 "udp node:1024 > r2:53 len 9"},
	};
	__u32 source = fixture_add_source(f, "node"), service;

	fixture_simple(f, 0, 1);
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "udp vip:53");
	fixture_make_remote(f, 0, source);
	fixture_make_remote(f, fixture_add_replica(f, service, "udp r2:53", 100), source);
	STEPS(f, steps);
	TRANSLATE(f, snat_rows);
	CHECK_INT(fixture_counter(f, SL_COUNT_ICMP_ERRORS), 5);
}

TEST(source_nat_is_undone_and_done_in_what_is_quoted)
{
	fixture_each(by_source_nat, NULL);
}

/* The node's own client; also when the address is one that source NAT uses. */
static const struct translated node_rows[] = {
	{"too big, on the uplink", FROM_UPLINK, "other > node type 3 code 4",
	 "other > node type 2 code 0", "node:4000 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT,
	 "other > node", "node:4000 > vip:80 A seq 8 ack 101 len 600"},
	{"from a pod", FROM_POD, "r1 > node type 3 code 10", "r1 > node type 1 code 1",
	 "node:4000 > r1:8000 A seq 8 ack 101 len 600", 0, REDIRECT, "vip > node",
	 "node:4000 > vip:80 A seq 8 ack 101 len 600"},
	{"to the replica", FROM_NODE, "node > vip type 3 code 4", "node > vip type 2 code 0",
	 "vip:80 > node:4000 A seq 101 ack 8 len 600", 0, REDIRECT, "node > r1",
	 "r1:8000 > node:4000 A seq 101 ack 8 len 600"},
	{"at its egress", TO_UPLINK, "other > node type 3 code 4", "other > node type 2 code 0",
	 "node:4000 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT, NULL, NULL},
	{"not ours, from a pod", FROM_POD, "r1 > node type 3 code 10", "r1 > node type 1 code 1",
	 "node:4001 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT, NULL, NULL},
};

static void of_the_node(struct fixture *f)
{
	static const struct step syn[] = {
		{FROM_NODE, "node:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:4000 > r1:8000 S seq 7 len 0"},
	};

	fixture_add_source(f, "node");
	fixture_add_local(f, "node");
	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	STEPS(f, syn);
	TRANSLATE(f, node_rows);
}

TEST(the_nodes_own_client)
{
	static const struct fixture_options options = {.node_ifindex = 1};

	fixture_each(of_the_node, &options);
}

/* On the fast path they come in where the flow's packets do, and pass the node's stack by. */
static const struct translated fast_rows[] = {
	{"from the replica", FROM_POD, "r1 > client type 3 code 10", "r1 > client type 1 code 1",
	 CLIENT_TCP, 0, REDIRECT, "vip > client", CLIENT_TCP_VIP},
	{"on the uplink", FROM_UPLINK, "other > client type 3 code 4", "other > client type 2 code 0",
	 CLIENT_TCP, 0, REDIRECT, "other > client", CLIENT_TCP_VIP},
	{"at an egress, by a device without programs", TO_POD, "other > client type 3 code 4",
	 "other > client type 2 code 0", CLIENT_TCP, 0, NEXT, "other > client", CLIENT_TCP_VIP},
	{"at another egress", TO_UPLINK, "other > client type 3 code 4",
	 "other > client type 2 code 0", CLIENT_TCP, 0, NEXT, NULL, NULL},
	{"to the replica", FROM_POD, "client > vip type 3 code 4", "client > vip type 2 code 0",
	 REPLY_TCP, 0, REDIRECT, "client > r1", REPLY_TCP_R1},
	{"no flow", FROM_POD, "r1 > client type 3 code 10", "r1 > client type 1 code 1",
	 "client:4001 > r1:8000 A seq 8 ack 101 len 600", 0, NEXT, NULL, NULL},
};

static void on_fast_path(struct fixture *f)
{
	static const struct step syn[] = {
		{FROM_POD, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "client:4000 > r1:8000 S seq 7 len 0"},
	};

	fixture_simple(f, 0, 1);
	fixture_make_fast(f, 0, FIXTURE_PEER);
	fixture_set_fast_client(f, FIXTURE_IFINDEX);
	STEPS(f, syn);
	TRANSLATE(f, fast_rows);
}

TEST(on_the_fast_path)
{
	static const struct fixture_options options = {.fast_path = true};

	fixture_each(on_fast_path, &options);
}

/* What a client is told when no other replica is left: as the replica, or a router, said it. */
static void nobody_left(struct fixture *f)
{
	static const struct step syn[] = {
		{FROM_POD, SYN, NEXT, "client:4000 > r1:8000 S seq 7 len 0 opts 20"},
	};
	static const struct translated row = {
		"refused for good", TO_POD, "r1 > client type 3 code 3", "r1 > client type 1 code 4",
		"client:4000 > r1:8000 S seq 7 len 0 opts 20", 0, NEXT, "vip > client", SYN};

	fixture_simple(f, SL_SERVICE_NO_RETRY, 1);
	STEPS(f, syn);
	CHECK(translate(f, &row));
	CHECK_INT(f->replicas[0].state.connect_failures, 1);
}

TEST(a_refusal_that_is_not_retried_is_translated)
{
	fixture_each(nobody_left, NULL);
}

/* ---- echo requests ------------------------------------------------------------------------*/

/* A ping of a VIP that nobody else serves, which is why it came to that device; at every other hook it
 * passes. */
static void ping(struct fixture *f)
{
	const char *request = f->v6 ? "icmp client > vip type 128 code 0 len 56 ttl 61" :
				      "icmp client > vip type 8 code 0 len 56 ttl 61";
	const char *reply = f->v6 ? "icmp vip > client type 129 code 0 len 56 ttl 61 tonode" :
				    "icmp vip > client type 0 code 0 len 56 ttl 61 tonode";
	const struct step steps[] = {
		{FROM_NODE, request, REDIRECT, reply},
		{FROM_NODE, f->v6 ? "icmp client > vip type 128 code 0 len 1401 badsum" :
				    "icmp client > vip type 8 code 0 len 1401 badsum", REDIRECT,
		 f->v6 ? "icmp vip > client type 129 code 0 len 1401 badsum tonode" :
			 "icmp vip > client type 0 code 0 len 1401 badsum tonode"},
		{FROM_POD, request, NEXT, NULL},
		{FROM_UPLINK, request, NEXT, NULL},
		{FROM_NODE, f->v6 ? "icmp client > other type 128 code 0 len 56" :
				    "icmp client > other type 8 code 0 len 56", SHOT, NULL},
		{FROM_NODE, f->v6 ? "icmp client > vip type 129 code 0 len 56" :
				    "icmp client > vip type 0 code 0 len 56", SHOT, NULL},
		{FROM_NODE, f->v6 ? "icmp client > vip type 128 code 1 len 56" :
				    "icmp client > vip type 8 code 1 len 56", SHOT, NULL},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	STEPS(f, steps);
	CHECK_INT(fixture_drops(f, SL_DROP_NO_PORT), 3);
}

TEST(a_ping_is_answered_where_nobody_else_would)
{
	static const struct fixture_options options = {.node_ifindex = 1};

	fixture_each(ping, &options);
}
