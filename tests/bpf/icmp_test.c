// SPDX-License-Identifier: GPL-2.0-only
/*
 * ICMP errors that refuse a SYN of ours, and those that do not.
 */
#include <errno.h>
#include <string.h>

#include "bpf_fixture.h"
#include "check.h"

#define SYN "client:4000 > vip:80 S seq 7 len 0 opts 20"

/* Sends the error `error` (without a payload of its own) that quotes `quoted`. */
static void send_error(struct fixture *f, enum fixture_hook at, const char *error,
		       const char *quoted, struct fixture_result *ret)
{
	char line[PACKET_TEXT_LEN], text[PACKET_TEXT_LEN];
	struct packet inner;
	size_t l3 = 14, quote;

	if (packet_build(fixture_expand(f, quoted, text), &inner))
		fixture_die(text, EINVAL);
	snprintf(line, sizeof(line), "icmp %s len %zu", error, inner.len - l3);
	if (packet_build(fixture_expand(f, line, text), &ret->in))
		fixture_die(text, EINVAL);
	quote = ret->in.len - (inner.len - l3);
	memcpy(ret->in.data + quote, inner.data + l3, inner.len - l3);
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
