// SPDX-License-Identifier: GPL-2.0-only
/*
 * HTTP probes against real servers on the loopback: what each kind of answer
 * means, what is asked, and how connections are kept and closed.
 */
#include "probe_lab.h"

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static const struct server_manner good = {.answer = OK_EMPTY};
static const struct server_manner unready = {
	.answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 7\r\n\r\nloading"};
static const struct server_manner silent = {.answer = NULL};

struct bench {
	struct lab lab;
	struct server server;
	struct model_probe probe;
	const struct probe_health *health;
};

static void bench_open(struct bench *bench, const struct server_manner *manner)
{
	memset(bench, 0, sizeof(*bench));
	bench->server.manner = manner;
	server_start(&bench->server, "127.0.0.1", 64);
	lab_open(&bench->lab);
	bench->probe = lab_probe(MODEL_PROBE_HTTP, bench->server.port);
	bench->health = lab_ask(&bench->lab, &bench->probe);
}

/* For tests that bear no suspicion: a starved thread may well be silent for 60 ms. */
static void bench_slow_down(struct bench *bench)
{
	bench->probe.interval_ms = 100;
	bench->probe.timeout_ms = 1000;
	lab_ask(&bench->lab, &bench->probe);
}

static void bench_close(struct bench *bench)
{
	lab_close(&bench->lab);
	server_stop(&bench->server);
}

TEST(good_answers_over_kept_connections)
{
	const struct probe_histogram *histogram;
	struct bench bench;

	bench_open(&bench, &good);
	bench_slow_down(&bench);
	LAB_WAIT(&bench.lab, bench.health->sent >= 24);
	CHECK(bench.health->known && !bench.health->suspect && !bench.health->down);
	CHECK_INT(bench.health->failed, 0);
	CHECK_INT(bench.lab.n_changes, 1);
	CHECK_STR(lab_last(&bench.lab)->evidence, "http GET /health: 200");
	CHECK(bench.health->last_good_ns > 0 && bench.health->last_good_ns <= uv_hrtime());
	/* ten probes a connection, one changed probe, and no reset at the end of ten */
	CHECK(bench.server.connections >= 3 && bench.server.connections <= 4);
	CHECK(bench.server.resets <= 1);
	histogram = probe_set_histogram(bench.lab.set, 0);
	CHECK(histogram->total >= 20 && histogram->total <= bench.health->sent);
	CHECK(histogram->sum_us > 0);
	for (unsigned i = 1; i < PROBE_LATENCY_BUCKETS; i++)
		CHECK(histogram->count[i] >= histogram->count[i - 1]);
	CHECK(histogram->count[PROBE_LATENCY_BUCKETS - 1] <= histogram->total);
	bench_close(&bench);
}

TEST(a_new_replica_that_says_503_is_down)
{
	struct bench bench;

	bench_open(&bench, &unready);
	LAB_WAIT(&bench.lab, bench.health->known);
	CHECK(bench.health->down && !bench.health->suspect);
	CHECK_STR(lab_last(&bench.lab)->evidence, "http GET /health: 503, 1 of 3");
	CHECK(!lab_last(&bench.lab)->refused);
	bench_close(&bench);
}

TEST(three_quick_503_make_down_and_one_200_up)
{
	struct bench bench;
	uint64_t begun_ns;
	unsigned sent;

	bench_open(&bench, &good);
	LAB_WAIT(&bench.lab, bench.health->known);
	bench.server.manner = &unready;
	begun_ns = uv_hrtime();
	LAB_WAIT(&bench.lab, bench.health->down);
	CHECK(uv_hrtime() - begun_ns < 1000 * MS); /* 3 x 20 ms on a machine in time */
	CHECK(!bench.health->suspect);
	CHECK_STR(lab_last(&bench.lab)->evidence, "http GET /health: 503, 3 of 3");

	/* Down: once a second. */
	sent = bench.health->sent;
	lab_run(&bench.lab, 1500);
	CHECK(bench.health->sent - sent <= 3);
	bench.server.manner = &good;
	LAB_WAIT(&bench.lab, !bench.health->down);
	CHECK_STR(lab_last(&bench.lab)->evidence, "http GET /health: 200");
	CHECK_INT(bench.lab.n_changes, 3);
	/* Up: at full rate again. */
	sent = bench.health->sent;
	lab_run(&bench.lab, 500);
	CHECK(bench.health->sent - sent >= 10);
	bench_close(&bench);
}

TEST(a_hung_server_is_suspect_then_down)
{
	struct bench bench;
	uint64_t hung_ns;

	bench_open(&bench, &good);
	bench.probe.interval_ms = 100;
	bench.probe.timeout_ms = 400;
	lab_ask(&bench.lab, &bench.probe);
	LAB_WAIT(&bench.lab, bench.health->known);
	bench.server.manner = &silent;
	hung_ns = uv_hrtime();
	LAB_WAIT(&bench.lab, bench.health->suspect);
	/* 200 to 300 ms, and some slack for a busy machine */
	CHECK(uv_hrtime() - hung_ns >= 150 * MS);
	CHECK(uv_hrtime() - hung_ns <= 600 * MS);
	CHECK(!bench.health->down);
	CHECK(strstr(lab_last(&bench.lab)->evidence, "http GET /health: no answer for 3"));
	LAB_WAIT(&bench.lab, bench.health->down);
	CHECK(uv_hrtime() - hung_ns >= 1150 * MS); /* 3 x 400 ms in a row */
	CHECK_STR(lab_last(&bench.lab)->evidence, "http GET /health: no answer within 400 ms, 3 of 3");
	CHECK(!lab_last(&bench.lab)->refused);
	bench_close(&bench);
}

TEST(suspicion_ends_at_the_first_answer)
{
	struct bench bench;

	bench_open(&bench, &good);
	LAB_WAIT(&bench.lab, bench.health->known);
	bench.server.manner = &silent;
	LAB_WAIT(&bench.lab, bench.health->suspect);
	bench.server.manner = &good;
	LAB_WAIT(&bench.lab, !bench.health->suspect);
	CHECK(!bench.health->down);
	CHECK_STR(lab_last(&bench.lab)->evidence, "http GET /health: 200");
	bench_close(&bench);
}

TEST(pending_probes_are_bounded)
{
	struct bench bench;

	/* timeout / interval = 10 at once, while nothing is answered */
	bench_open(&bench, &silent);
	bench.probe.failure_threshold = 100;
	lab_ask(&bench.lab, &bench.probe);
	lab_run(&bench.lab, 180);
	CHECK(bench.health->sent >= 5 && bench.health->sent <= 10);
	bench.probe.timeout_ms = 60000;
	lab_ask(&bench.lab, &bench.probe);
	lab_run(&bench.lab, 1000);
	CHECK(bench.health->sent >= 5 + 16 && bench.health->sent <= 10 + 16);
	bench_close(&bench);
}

/* ---- kinds of answers ----------------------------------------------------------- */

struct kind {
	const char *what;
	struct server_manner manner;
	bool good;
	const char *evidence;
};

#define SAYS(text) {.answer = (text)}
#define ENDS(text) {.answer = (text), .close = true}
#define DRIPS(text, us) {.answer = (text), .drip_us = (us)}

static const struct server_manner chunked = {
	.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"};

static const struct kind kinds[] = {
	{"redirect", SAYS("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), true,
	 "302"},
	{"no content", SAYS("HTTP/1.1 204 No Content\r\n\r\n"), true, "204"},
	{"interim", SAYS("HTTP/1.1 103 Hints\r\n\r\n" OK_EMPTY), true, "200"},
	{"server closes", ENDS("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody"), true, "200"},
	{"HTTP/1.0", ENDS("HTTP/1.0 200 OK\r\n\r\nbody until the end"), true, "200"},
	{"slow head", DRIPS(OK_EMPTY, 1000), true, "200"},
	{"more than said", SAYS(OK_EMPTY "surplus"), true, "200"},
	{"not found", SAYS("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), false,
	 "404, 1 of 3"},
	{"upgrade", SAYS("HTTP/1.1 101 Switching\r\n\r\n"), false, "101, 1 of 3"},
	{"garbage", SAYS("SSH-2.0-OpenSSH_9.2\r\n"), false, "the answer is not HTTP, 1 of 3"},
	{"closes at once", ENDS(""), false, "closed without an answer, 3 of 3"},
	{"closes in the head", ENDS("HTTP/1.1 200 OK\r\nConte"), false,
	 "closed in the middle of its answer, 1 of 3"},
	{"closes in the body", ENDS("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), false,
	 "closed in the middle of its answer, 1 of 3"},
	{"head too slow", DRIPS(OK_EMPTY, 20000), false, "no answer within 200 ms, 3 of 3"},
};

TEST(kinds_of_answers)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct kind *kind = &kinds[i];
		bool failed = check_failed;
		char evidence[128];
		struct bench bench;

		check_failed = false;
		snprintf(evidence, sizeof(evidence), "http GET /health: %s", kind->evidence);
		bench_open(&bench, &kind->manner);
		LAB_WAIT(&bench.lab, bench.health->known);
		CHECK_INT(bench.health->down, !kind->good);
		CHECK_STR(lab_last(&bench.lab)->evidence, evidence);
		lab_run(&bench.lab, 100);
		CHECK_INT(bench.health->down, !kind->good);
		if (kind->good)
			CHECK_INT(bench.health->failed, 0);
		bench_close(&bench);
		if (check_failed)
			printf("  kind: %s\n", kind->what);
		check_failed |= failed;
	}
}

/* ---- connections ------------------------------------------------------------------ */

TEST(a_server_that_closes_kept_connections_does_no_harm)
{
	/* It says nothing of closing, and closes: every second probe meets a dead connection. */
	static const struct server_manner liar = {.answer = OK_EMPTY, .close = true};
	struct bench bench;

	bench_open(&bench, &liar);
	bench_slow_down(&bench);
	LAB_WAIT(&bench.lab, bench.health->sent >= 15);
	CHECK(bench.health->known && !bench.health->down);
	CHECK_INT(bench.health->failed, 0);
	CHECK_INT(bench.lab.n_changes, 1);
	bench_close(&bench);
}

TEST(a_server_that_keeps_no_connection_is_asked_to_close)
{
	struct bench bench;

	bench_open(&bench, &chunked);
	LAB_WAIT(&bench.lab, bench.health->sent >= 10);
	CHECK(server_was_asked(&bench.server, "Connection: close\r\n"));
	CHECK(bench.server.connections >= bench.server.requests);
	CHECK_INT(bench.health->failed, 0);
	bench_close(&bench);
}

TEST(a_full_accept_queue_is_noticed_behind_a_kept_connection)
{
	struct bench bench;
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fillers[8];
	uint64_t sent;

	memset(&bench, 0, sizeof(bench));
	bench.server.manner = &good;
	server_start(&bench.server, "127.0.0.1", 1);
	lab_open(&bench.lab);
	bench.probe = lab_probe(MODEL_PROBE_HTTP, bench.server.port);
	bench.health = lab_ask(&bench.lab, &bench.probe);
	LAB_WAIT(&bench.lab, bench.health->known);
	bench.server.deaf = true;
	lab_run(&bench.lab, 60); /* the server's poll ends */
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = bench.server.port;
	for (unsigned i = 0; i < 8; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(fillers[i], (struct sockaddr *)&to, sizeof(to));
	}
	sent = bench.health->sent;
	LAB_WAIT(&bench.lab, bench.health->suspect);
	/* ten over the connection that works, some into silence */
	CHECK(bench.health->sent - sent <= 40);
	LAB_WAIT(&bench.lab, bench.health->down);
	for (unsigned i = 0; i < 8; i++)
		close(fillers[i]);
	bench.server.deaf = false;
	LAB_WAIT(&bench.lab, !bench.health->down);
	bench_close(&bench);
}

TEST(a_body_in_pieces_and_one_too_long)
{
	static char answer[200000];
	static const struct server_manner manner = {.answer = answer};
	struct bench bench;

	memset(answer, 'x', sizeof(answer) - 1);
	memcpy(answer, "HTTP/1.1 200 OK\r\nContent-Length: 000060000\r\n\r\n", 46);
	answer[46 + 60000] = '\0';
	bench_open(&bench, &manner);
	LAB_WAIT(&bench.lab, bench.health->sent >= 15);
	CHECK_INT(bench.health->failed, 0);
	CHECK(bench.server.connections <= 3);
	bench_close(&bench);

	memset(answer + 46, 'x', sizeof(answer) - 47);
	memcpy(answer, "HTTP/1.1 200 OK\r\nContent-Length: 000199953\r\n\r\n", 46);
	bench_open(&bench, &manner);
	LAB_WAIT(&bench.lab, bench.health->sent >= 10);
	CHECK_INT(bench.health->failed, 0);
	CHECK(bench.server.connections >= 9);
	bench_close(&bench);
}

/* ---- what is asked ------------------------------------------------------------------ */

TEST(the_request_names_its_target)
{
	struct bench bench;
	char host[64];

	bench_open(&bench, &good);
	LAB_WAIT(&bench.lab, bench.health->known);
	CHECK(server_was_asked(&bench.server, "GET /health HTTP/1.1\r\n"));
	CHECK(server_was_asked(&bench.server, "User-Agent: sluice-probe/"));
	CHECK(server_was_asked(&bench.server, "Accept: */*\r\n"));
	CHECK(!server_was_asked(&bench.server, "Connection:"));
	snprintf(host, sizeof(host), "Host: 127.0.0.1:%u\r\n", ntohs(bench.server.port));
	CHECK(server_was_asked(&bench.server, host));
	bench_close(&bench);
}

TEST(host_headers_and_path_as_told_and_nothing_smuggled)
{
	struct model_header headers[] = {
		{"X-Token", "secret\r\nX-Evil: 1"}, {"user-agent", "mine"}, {"Bad:\r\nName", "v"}};
	struct bench bench;
	unsigned asked;

	bench_open(&bench, &good);
	bench.probe.path = "/ready?x=1 HTTP/1.0\r\nX-Evil: 2";
	bench.probe.host = "llm.example";
	bench.probe.headers = headers;
	bench.probe.n_headers = 3;
	LAB_WAIT(&bench.lab, bench.health->known);
	lab_ask(&bench.lab, &bench.probe);
	asked = bench.health->sent;
	LAB_WAIT(&bench.lab, bench.health->sent >= asked + 2);
	CHECK(server_was_asked(&bench.server,
			       "GET /ready?x=1%20HTTP/1.0%0D%0AX-Evil:%202 HTTP/1.1\r\n"));
	CHECK(server_was_asked(&bench.server, "Host: llm.example\r\n"));
	CHECK(!server_was_asked(&bench.server, "Host: 127"));
	CHECK(server_was_asked(&bench.server, "X-Token: secret  X-Evil: 1\r\n"));
	CHECK(server_was_asked(&bench.server, "user-agent: mine\r\n"));
	CHECK(server_was_asked(&bench.server, "BadName: v\r\n"));
	CHECK(!server_was_asked(&bench.server, "sluice-probe"));
	bench_close(&bench);
}

TEST(over_ipv6)
{
	struct probe_target target = {.addr = lab_addr("::1")};
	struct bench bench = {.server.manner = &good};
	char host[64];

	server_start(&bench.server, "::1", 16);
	lab_open(&bench.lab);
	bench.probe = lab_probe(MODEL_PROBE_HTTP, bench.server.port);
	target.probe = &bench.probe;
	CHECK_INT(probe_set_sync(bench.lab.set, &target, 1), 0);
	bench.health = probe_set_health(bench.lab.set, 0);
	LAB_WAIT(&bench.lab, bench.health->known);
	CHECK(!bench.health->down);
	snprintf(host, sizeof(host), "Host: [::1]:%u\r\n", ntohs(bench.server.port));
	CHECK(server_was_asked(&bench.server, host));
	bench_close(&bench);
}
