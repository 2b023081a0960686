// SPDX-License-Identifier: GPL-2.0-only
/*
 * First bytes of answers: which are taken for an HTTP status, what that says about the replica, how
 * long they took; and that nothing of it happens where nobody asked for it.
 */
#include <arpa/inet.h>
#include <string.h>

#include "bpf_fixture.h"
#include "check.h"
#include "eject_case.h"

static struct sl_service *sniffed(struct fixture *f, unsigned n)
{
	eject_case(f, n);
	f->services[0].flags |= SL_SERVICE_SNIFF;
	return &f->services[0];
}

/* Puts `text` at the end of a frame, and mends the checksum of TCP over IPv4 or IPv6. */
static void put_payload(struct fixture *f, struct packet *packet, const char *text, size_t len)
{
	size_t at = packet->len - len;
	__u8 *check = packet->data + 14 + (f->v6 ? 40 : 20) + 16;
	__u32 sum = 0xffff & ~(check[0] << 8 | check[1]);

	for (size_t i = 0; i < len; i++) {
		unsigned shift = i % 2 ? 0 : 8; /* headers are of even length */

		sum += 0xffff & ~(packet->data[at + i] << shift);
		sum += (__u8)text[i] << shift;
		packet->data[at + i] = text[i];
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	check[0] = ~sum >> 8;
	check[1] = ~sum;
}

/* The replica says `text` on the flow of client:4000. */
static void answer(struct fixture *f, const char *text)
{
	struct fixture_result result;
	char line[PACKET_TEXT_LEN], expanded[PACKET_TEXT_LEN], expected[PACKET_TEXT_LEN];
	size_t len = strlen(text);

	snprintf(line, sizeof(line), "r1:8000 > client:4000 PA seq 101 ack 9 len %zu", len);
	CHECK_INT(packet_build(fixture_expand(f, line, expanded), &result.in), 0);
	put_payload(f, &result.in, text, len);
	fixture_send_built(f, TO_POD, &result);
	CHECK_INT(result.verdict, NEXT);
	snprintf(line, sizeof(line), "vip:80 > client:4000 PA seq 101 ack 9 len %zu badload", len);
	CHECK_STR(result.text, fixture_expand(f, line, expected)); /* translated, the sum right */
	CHECK(!memcmp(result.out.data + result.out.len - len, text, len));
}

static void connect_flow(struct fixture *f)
{
	CHECK(fixture_say(f, "> S seq 7 len 0"));
	CHECK(fixture_say(f, "< SA seq 100 ack 8 len 0"));
	CHECK(fixture_say(f, "> A seq 8 ack 101 len 0"));
}

static void ask(struct fixture *f)
{
	CHECK(fixture_say(f, "> PA seq 8 ack 101 len 1"));
}

/* ---- status lines --------------------------------------------------------------------------*/

static const struct row {
	const char *text;
	unsigned answers, answers_5xx, http, gateway; /* counted with it */
} rows[] = {
	{"HTTP/1.1 200 OK\r\n", 1, 0, 0, 0},
	{"HTTP/1.0 204 No Content", 1, 0, 0, 0},
	{"HTTP/1.1 404 Not Found", 1, 0, 0, 0},
	{"HTTP/1.1 499", 1, 0, 0, 0},
	{"HTTP/1.1 500 Oh", 1, 1, 1, 0},
	{"HTTP/1.1 501", 1, 1, 1, 0},
	{"HTTP/1.1 502 Bad Gateway", 1, 1, 1, 1},
	{"HTTP/1.1 503", 1, 1, 1, 1},
	{"HTTP/1.0 504 x", 1, 1, 1, 1},
	{"HTTP/1.1 505 x", 1, 1, 1, 0},
	{"HTTP/1.1 599 x", 1, 1, 1, 0},
	{"HTTP/2.0 503 x", 0, 0, 0, 0},
	{"HTTP/1.1  503 ", 0, 0, 0, 0},
	{"HTTP/1.1 5x3 x", 0, 0, 0, 0},
	{"HTTP/1x1 503 x", 0, 0, 0, 0},
	{"http/1.1 503 x", 0, 0, 0, 0},
	{"\x16\x03\x03 TLS, say", 0, 0, 0, 0},
};

static const struct row *row;

static __u64 sum_buckets(const struct fixture *f)
{
	__u64 sum = 0;

	for (unsigned i = 0; i < SL_FIRST_BYTE_BUCKETS; i++)
		sum += f->first_bytes[0].bucket[i];
	return sum;
}

static void one_line(struct fixture *f)
{
	const struct sl_outlier *outlier = &f->outliers[0];

	sniffed(f, 1);
	connect_flow(f);
	ask(f);
	CHECK(fixture_flow(f)->request);
	answer(f, row->text);
	CHECK_INT(fixture_flow(f)->request, 0);
	if (outlier->answers != row->answers || outlier->answers_5xx != row->answers_5xx ||
	    outlier->failures_5xx != row->http || outlier->failures_gateway != row->gateway)
		printf("  %s\n", row->text);
	CHECK_INT(outlier->answers, row->answers);
	CHECK_INT(outlier->answers_5xx, row->answers_5xx);
	CHECK_INT(outlier->failures_5xx, row->http);
	CHECK_INT(outlier->failures_gateway, row->gateway);
	CHECK_INT(outlier->witnesses, row->http);
	CHECK_INT(fixture_counter(f, SL_COUNT_ANSWERS_5XX), row->answers_5xx);
	CHECK_INT(sum_buckets(f), row->answers);
}

TEST(a_status_line_is_an_answer)
{
	for (row = rows; row < rows + sizeof(rows) / sizeof(rows[0]); row++)
		fixture_each(one_line, NULL);
}

/* ---- which bytes are looked at --------------------------------------------------------------*/

static void first_only(struct fixture *f)
{
	sniffed(f, 1);
	connect_flow(f);
	answer(f, "HTTP/1.1 503 unasked"); /* the server speaks first: nothing was asked */
	CHECK_INT(f->outliers[0].answers, 0);
	ask(f);
	answer(f, "HTTP/1.1 200 OK");
	answer(f, "HTTP/1.1 503 in the body");
	CHECK_INT(f->outliers[0].answers, 1);
	ask(f); /* the connection is kept */
	ask(f); /* a long request */
	answer(f, "HTTP/1.1 503 really");
	CHECK_INT(f->outliers[0].answers, 2);
	CHECK_INT(f->outliers[0].answers_5xx, 1);
	CHECK_INT(f->outliers[0].failures_gateway, 1);
}

TEST(only_the_first_bytes_after_client_data_are_an_answer)
{
	fixture_once(first_only, NULL);
}

static void interim(struct fixture *f)
{
	sniffed(f, 1);
	connect_flow(f);
	ask(f);
	answer(f, "HTTP/1.1 100 Continue");
	answer(f, "HTTP/1.1 103 Early Hints");
	CHECK(fixture_flow(f)->request);
	CHECK_INT(f->outliers[0].answers, 0);
	answer(f, "HTTP/1.1 500 x");
	CHECK_INT(f->outliers[0].answers_5xx, 1);
	CHECK_INT(f->outliers[0].answers, 1);
}

TEST(an_interim_status_leaves_the_request_open)
{
	fixture_once(interim, NULL);
}

static void short_ones(struct fixture *f)
{
	sniffed(f, 1);
	connect_flow(f);
	ask(f);
	CHECK(fixture_say(f, "< A seq 101 ack 9 len 0"));
	answer(f, "HTTP/1.1 50"); /* 11 bytes: the status line is split, and not seen */
	CHECK(fixture_flow(f)->request);
	CHECK_INT(f->outliers[0].answers, 0);
	CHECK(fixture_say(f, "< FA seq 101 ack 9 len 0"));
	CHECK_INT(f->outliers[0].answers, 0);
}

TEST(fewer_than_twelve_bytes_say_nothing)
{
	fixture_once(short_ones, NULL);
}

static void unsniffed(struct fixture *f)
{
	eject_case(f, 1);
	connect_flow(f);
	ask(f);
	CHECK_INT(fixture_flow(f)->request, 0);
	answer(f, "HTTP/1.1 503 x");
	CHECK_INT(f->outliers[0].answers, 0);
	CHECK_INT(f->outliers[0].failures_5xx, 0);
}

TEST(a_service_that_is_not_sniffed_sees_no_status)
{
	fixture_once(unsniffed, NULL);
}

static void datagrams(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "udp client:4000 > vip:53 len 30", NEXT, "udp client:4000 > r1:53 len 30"},
		{TO_POD, "udp r1:53 > client:4000 len 30", NEXT, "udp vip:53 > client:4000 len 30"},
	};
	__u32 service = fixture_add_service(f, SL_SERVICE_SNIFF);

	fixture_add_vip(f, service, "udp vip:53");
	fixture_add_replica(f, service, "udp r1:53", 100);
	STEPS(f, steps);
	CHECK(!(fixture_flow(f)->state & SL_FLOW_SNIFF));
	CHECK(fixture_flow(f)->request); /* the stamp of the last answer */
	CHECK_INT(f->outliers[0].answers, 0);
}

TEST(udp_is_never_sniffed)
{
	fixture_once(datagrams, NULL);
}

/* An outside client, a remote replica: the answer comes with source NAT. */
static void by_snat(struct fixture *f)
{
	struct fixture_result result;
	char line[PACKET_TEXT_LEN], text[PACKET_TEXT_LEN];
	struct sl_flow *flow;
	unsigned port;

	sniffed(f, 1);
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	fixture_send(f, FROM_UPLINK, "other:4000 > vip:80 S seq 7 len 0", &result);
	flow = fixture_flow(f);
	CHECK(flow);
	if (!flow)
		return;
	port = ntohs(flow->snat_port);
	snprintf(line, sizeof(line), "r1:8000 > node:%u SA seq 100 ack 8 len 0", port);
	fixture_send(f, FROM_UPLINK, line, &result);
	fixture_send(f, FROM_UPLINK, "other:4000 > vip:80 PA seq 8 ack 101 len 1", &result);
	CHECK(flow->request);
	snprintf(line, sizeof(line), "r1:8000 > node:%u PA seq 101 ack 9 len 14", port);
	CHECK_INT(packet_build(fixture_expand(f, line, text), &result.in), 0);
	put_payload(f, &result.in, "HTTP/1.1 503 x", 14);
	fixture_send_built(f, FROM_UPLINK, &result);
	CHECK_INT(result.verdict, REDIRECT);
	CHECK_INT(flow->request, 0);
	CHECK_INT(f->outliers[0].failures_gateway, 1);
}

TEST(answers_that_come_back_through_source_nat_are_seen)
{
	fixture_each(by_snat, NULL);
}

/* ---- what follows -----------------------------------------------------------------------------*/

static void ejected(struct fixture *f)
{
	sniffed(f, 1);
	f->services[0].max_ejection_percent = 100;
	for (unsigned i = 0; i < 5; i++) {
		connect_flow(f); /* each SYN-ACK is a success of its own sort */
		fixture_eject(f, SL_EJECT_OP_SUCCESS, 0, 0, 1, 0);
		ask(f);
		CHECK(!f->replicas[0].state.ejected_until);
		answer(f, "HTTP/1.1 503 x");
		CHECK(fixture_say(f, "< RA seq 101 ack 8 len 0"));
		fixture_tick(f);
	}
	CHECK(eject_is_out(f, 0));
	CHECK_STR(eject_event(f, SL_EVENT_EJECT)->text,
		  "5 of 5 answers were 5xx, 1 client, no good probe; for 30 s");
}

TEST(five_503_in_a_row_eject)
{
	fixture_once(ejected, NULL);
}

static void times(struct fixture *f)
{
	static const unsigned ticks[] = {0, 1, 5, 250, 1u << 20};
	const struct sl_outlier *outlier = &f->outliers[0];
	__u32 mean, taken, bits;

	sniffed(f, 1);
	connect_flow(f);
	for (unsigned i = 0; i < 5; i++) {
		memset(f->first_bytes, 0, sizeof(*f->first_bytes));
		ask(f);
		fixture_flow(f)->request -= ticks[i];
		answer(f, "HTTP/1.1 200 OK");
		taken = f->first_bytes[0].ticks; /* more, where the machine is slow */
		CHECK(taken >= ticks[i]);
		bits = taken ? 32 - __builtin_clz(taken) : 0;
		CHECK_INT(f->first_bytes[0].bucket[bits < 14 ? bits : 14], 1);
		CHECK_INT(sum_buckets(f), 1);
	}
	mean = outlier->first_byte;
	CHECK(mean >= ((1u << 20) * 16) / 8);
	ask(f);
	answer(f, "HTTP/1.1 503 at once");
	CHECK_INT(outlier->first_byte, mean); /* a quick failure is no good time */
	ask(f);
	answer(f, "HTTP/1.1 200 OK");
	CHECK(outlier->first_byte < mean && outlier->first_byte > mean / 2);
}

TEST(times_of_first_bytes_are_kept)
{
	fixture_once(times, NULL);
}
