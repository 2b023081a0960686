// SPDX-License-Identifier: GPL-2.0-only
/*
 * The probe set with TCP probes against the loopback: hard and soft evidence,
 * whose fault a failure is, what a late loop means, and how targets come, change
 * and go.
 */
#include <sys/resource.h>

#include "probe_conn.h"
#include "probe_lab.h"

/* A listener that nobody accepts from: the kernel completes handshakes while there is room. */
struct bench {
	struct lab lab;
	int listen_fd;
	struct model_probe probe;
	const struct probe_health *health;
};

static void bench_open(struct bench *bench, int backlog)
{
	__be16 port;

	memset(bench, 0, sizeof(*bench));
	bench->listen_fd = server_listen("127.0.0.1", backlog, &port);
	lab_open(&bench->lab);
	bench->probe = lab_probe(MODEL_PROBE_TCP, port);
	bench->health = lab_ask(&bench->lab, &bench->probe);
}

static void bench_close(struct bench *bench)
{
	lab_close(&bench->lab);
	if (bench->listen_fd >= 0)
		close(bench->listen_fd);
}

/* Connections from or to a port that linger in TIME_WAIT. */
static unsigned count_time_wait(__be16 port)
{
	FILE *file = fopen("/proc/net/tcp", "r");
	unsigned n = 0, local, remote, state;
	char line[512];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " %*u: %*x:%x %*x:%x %x", &local, &remote, &state) == 3)
			n += state == 6 && (local == ntohs(port) || remote == ntohs(port));
	if (file)
		fclose(file);
	return n;
}

TEST(agents_share_the_probes_of_a_replica)
{
	CHECK_INT(probe_shared_interval_ms(100, 0), 100);
	CHECK_INT(probe_shared_interval_ms(100, 1), 100);
	CHECK_INT(probe_shared_interval_ms(100, 256), 25600);
	CHECK_INT(probe_shared_interval_ms(100, 36000), MODEL_PROBE_INTERVAL_MAX_MS);
	/* In 32 bits this would wrap to 704 ms. */
	CHECK_INT(probe_shared_interval_ms(2147484, 2000), MODEL_PROBE_INTERVAL_MAX_MS);
	CHECK_INT(probe_shared_interval_ms(MODEL_PROBE_INTERVAL_MAX_MS, 100000),
		  MODEL_PROBE_INTERVAL_MAX_MS);
}

TEST(a_connection_is_good)
{
	struct bench bench;

	bench_open(&bench, 4096);
	LAB_WAIT(&bench.lab, bench.health->sent >= 20);
	CHECK(bench.health->known && !bench.health->suspect && !bench.health->down);
	CHECK_INT(bench.health->failed, 0);
	CHECK_INT(bench.lab.n_changes, 1);
	CHECK_STR(lab_last(&bench.lab)->evidence, "tcp connect: connected");
	for (int fd; (fd = accept4(bench.listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
		close(fd);
	CHECK_INT(count_time_wait(bench.probe.port), 0);
	bench_close(&bench);
}

TEST(a_refusing_port_is_down_at_once)
{
	struct bench bench;
	uint64_t closed_ns;

	bench_open(&bench, 4096);
	LAB_WAIT(&bench.lab, bench.health->known);
	close(bench.listen_fd);
	bench.listen_fd = -1;
	closed_ns = uv_hrtime();
	LAB_WAIT(&bench.lab, bench.health->down);
	CHECK(uv_hrtime() - closed_ns < 500 * MS); /* one interval of 20 ms on a machine in time */
	CHECK(lab_last(&bench.lab)->refused);
	CHECK_STR(lab_last(&bench.lab)->evidence, "tcp connect: Connection refused, 1 of 3");
	CHECK_INT(bench.lab.n_changes, 2);
	lab_run(&bench.lab, 1200);
	CHECK_INT(bench.lab.n_changes, 2);
	CHECK(bench.health->failed <= 3);
	bench_close(&bench);
}

TEST(a_full_accept_queue_is_silence)
{
	struct bench bench;

	bench_open(&bench, 3); /* each probe leaves an entry that nobody accepts */
	LAB_WAIT(&bench.lab, bench.health->suspect);
	CHECK(bench.health->known && !bench.health->down);
	LAB_WAIT(&bench.lab, bench.health->down);
	CHECK(!lab_last(&bench.lab)->refused);
	CHECK_STR(lab_last(&bench.lab)->evidence,
		  "tcp connect: no answer within 200 ms, 3 of 3");
	bench_close(&bench);
}

TEST(our_own_lack_of_files_is_not_the_replicas_fault)
{
	struct rlimit limit, few;
	struct bench bench;
	uint64_t failed;

	bench_open(&bench, 4096);
	LAB_WAIT(&bench.lab, bench.health->known);
	CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
	few = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
	failed = bench.health->failed;
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), 0);
	lab_run(&bench.lab, 500);
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
	CHECK(bench.health->voided >= 5);
	CHECK_INT(bench.health->failed, failed);
	CHECK(!bench.health->suspect && !bench.health->down);
	CHECK_INT(bench.lab.n_changes, 1);
	bench_close(&bench);
}

TEST(a_probe_that_meets_itself_is_refused)
{
	struct probe_spec spec = {0};
	struct probe_replica replica = {.addr = lab_addr("127.0.0.1"), .spec = &spec};
	struct probe_conn conn = {.replica = &replica};
	struct sockaddr_storage own;
	socklen_t len;
	const int on = 1;
	int listen_fd = server_listen("127.0.0.1", 1, &spec.asked.port);

	/* What the kernel does once in 30 000 connects, done on purpose: the source port is the
	 * port asked for. */
	len = addr_to_sockaddr(&replica.addr, spec.asked.port, &own);
	conn.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK_INT(setsockopt(conn.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	close(listen_fd);
	CHECK_INT(bind(conn.fd, (struct sockaddr *)&own, len), 0);
	CHECK(!connect(conn.fd, (struct sockaddr *)&own, len) || errno == EINPROGRESS);
	CHECK(!connect(conn.fd, (struct sockaddr *)&own, len) || errno == EISCONN);
	CHECK_INT(probe_conn_finish(&conn), -ECONNREFUSED);
	CHECK(!conn.connected);
	close(conn.fd);
}

/* ---- our own loop is late ------------------------------------------------------------ */

TEST(a_late_loop_blames_nobody)
{
	static const struct server_manner good = {
		.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", .drip_us = 1000};
	struct server server = {.manner = &good};
	struct model_probe probe;
	const struct probe_health *health;
	struct lab lab;
	uint64_t sent;

	/* Answers take 40 ms, so that one is always on its way when we fall asleep. */
	server_start(&server, "127.0.0.1", 64);
	lab_open(&lab);
	probe = lab_probe(MODEL_PROBE_HTTP, server.port);
	probe.interval_ms = 100;
	health = lab_ask(&lab, &probe);
	LAB_WAIT(&lab, health->known);
	for (unsigned i = 0; i < 5; i++) {
		sent = health->sent;
		LAB_WAIT(&lab, health->sent > sent);
		usleep(500 * 1000);
		uv_run(&lab.loop, UV_RUN_ONCE);
		CHECK(!health->suspect && !health->down);
	}
	CHECK_INT(health->failed, 0);
	CHECK_INT(lab.n_changes, 1);
	lab_close(&lab);
	server_stop(&server);
}

TEST(a_late_loop_does_not_take_its_sleep_for_silence)
{
	struct bench bench;
	uint64_t sent;

	bench_open(&bench, 1);
	bench.probe.interval_ms = 100;
	bench.probe.timeout_ms = 500;
	lab_ask(&bench.lab, &bench.probe);
	LAB_WAIT(&bench.lab, bench.health->known);
	sent = bench.health->sent;
	LAB_WAIT(&bench.lab, bench.health->sent >= sent + 2 && bench.health->suspect);
	sent = bench.health->failed;
	usleep(2000 * 1000);
	uv_run(&bench.lab.loop, UV_RUN_ONCE);
	/* Nobody listened for 2 s: no probe has timed out in them. */
	CHECK(bench.health->failed - sent <= 1);
	CHECK(!bench.health->down);
	LAB_WAIT(&bench.lab, bench.health->down);
	bench_close(&bench);
}

TEST(a_late_loop_makes_no_burst)
{
	struct bench bench;
	uint64_t sent;

	bench_open(&bench, 4096);
	LAB_WAIT(&bench.lab, bench.health->known);
	sent = bench.health->sent;
	usleep(500 * 1000);
	uv_run(&bench.lab.loop, UV_RUN_ONCE);
	CHECK(bench.health->sent - sent <= 2); /* not the 25 that were due */
	bench_close(&bench);
}

/* ---- targets ----------------------------------------------------------------------------- */

TEST(without_a_probe_known_at_once)
{
	struct model_probe none = {.kind = MODEL_PROBE_NONE};
	const struct probe_health *health;
	struct bench bench;

	bench_open(&bench, 4096);
	close(bench.listen_fd);
	bench.listen_fd = -1;
	LAB_WAIT(&bench.lab, bench.health->down);
	health = lab_ask(&bench.lab, &none);
	CHECK(health->known && !health->down && !health->suspect);
	CHECK_STR(lab_last(&bench.lab)->evidence, "no probe");
	CHECK(lab_last(&bench.lab)->known && !lab_last(&bench.lab)->down);
	CHECK_INT(bench.lab.n_changes, 2);
	lab_run(&bench.lab, 300);
	CHECK_INT(bench.lab.n_changes, 2);
	bench_close(&bench);
}

static void check_sync(struct lab *lab, const struct probe_target *targets, size_t n)
{
	CHECK_INT(probe_set_sync(lab->set, targets, n), 0);
}

TEST(targets_come_change_and_go)
{
	struct probe_target targets[3];
	struct model_probe slower;
	struct bench bench;
	uint64_t sent;

	bench_open(&bench, 4096);
	slower = bench.probe;
	slower.interval_ms = 50;
	targets[0] = (struct probe_target){0, lab_addr("127.0.0.1"), &bench.probe};
	targets[1] = (struct probe_target){7, lab_addr("127.0.0.2"), &bench.probe};
	targets[2] = (struct probe_target){9000, lab_addr("127.0.0.1"), &slower};
	LAB_WAIT(&bench.lab, bench.health->known);
	sent = bench.health->sent;
	check_sync(&bench.lab, targets, 3);

	/* An unchanged one goes on as the same, a gap is empty, nobody listens at 127.0.0.2. */
	CHECK(probe_set_health(bench.lab.set, 0) == bench.health);
	CHECK(bench.health->sent >= sent && sent > 0);
	CHECK(!probe_set_health(bench.lab.set, 1));
	CHECK(!probe_set_health(bench.lab.set, 4000000000u));
	CHECK(!probe_set_histogram(bench.lab.set, 4000000000u));
	LAB_WAIT(&bench.lab, probe_set_health(bench.lab.set, 7)->down);
	CHECK_INT(lab_last(&bench.lab)->row == 7 || bench.lab.n_changes > 2, true);
	LAB_WAIT(&bench.lab, probe_set_health(bench.lab.set, 9000)->known);

	/* Another probe: health stays. Another address in the same row: another replica. */
	targets[0].probe = &slower;
	targets[2].addr = lab_addr("127.0.0.3");
	check_sync(&bench.lab, targets, 3);
	CHECK(probe_set_health(bench.lab.set, 0)->known);
	CHECK(!probe_set_health(bench.lab.set, 9000)->known);

	check_sync(&bench.lab, targets + 1, 1);
	CHECK(!probe_set_health(bench.lab.set, 0));
	CHECK(probe_set_health(bench.lab.set, 7)->down);
	CHECK(!probe_set_health(bench.lab.set, 9000));
	check_sync(&bench.lab, NULL, 0);
	CHECK(!probe_set_health(bench.lab.set, 7));
	lab_run(&bench.lab, 50);
	bench_close(&bench);
}

TEST(a_set_may_go_in_the_middle_of_its_work)
{
	struct probe_target targets[200];
	struct bench bench;
	char text[32];

	bench_open(&bench, 4096);
	bench.probe.port = htons(9); /* towards a net where nobody answers, or nobody is */
	bench.probe.kind = MODEL_PROBE_HTTP;
	for (unsigned i = 0; i < 200; i++) {
		snprintf(text, sizeof(text), "192.0.2.%u", i + 1);
		targets[i] = (struct probe_target){i, lab_addr(text), &bench.probe};
	}
	check_sync(&bench.lab, targets, 200);
	lab_run(&bench.lab, 60);
	bench_close(&bench);
}

TEST(probes_are_spread_over_their_interval)
{
	struct probe_target targets[1000];
	uint64_t before = 0, most = 0, total = 0;
	struct bench bench;
	char text[32];

	bench_open(&bench, 4096);
	bench.probe.interval_ms = 1000 * check_slow();
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "127.1.%u.%u", i / 250, i % 250 + 1);
		targets[i] = (struct probe_target){i, lab_addr(text), &bench.probe};
	}
	check_sync(&bench.lab, targets, 1000);
	for (uint64_t end = uv_hrtime() + 2000 * MS * check_slow(); uv_hrtime() < end;) {
		uint64_t sent = 0;

		uv_run(&bench.lab.loop, UV_RUN_ONCE);
		for (unsigned i = 0; i < 1000; i++)
			sent += probe_set_health(bench.lab.set, i)->sent;
		most = sent - before > most ? sent - before : most;
		total += sent - before;
		before = sent;
	}
	/* 10 each tick of 10 ms; a late loop may serve two ticks at once */
	CHECK(total >= 1000 && total <= 2200);
	CHECK(most <= 80);
	bench_close(&bench);
}

static unsigned good_probes;

static void note_good(void *context, __u32 replica)
{
	good_probes += replica == 0;
}

TEST(each_good_probe_is_told_and_no_other)
{
	struct bench bench;
	unsigned told;

	good_probes = 0;
	bench_open(&bench, 4096);
	probe_set_on_good(bench.lab.set, note_good);
	LAB_WAIT(&bench.lab, good_probes >= 10);
	CHECK_INT(bench.lab.n_changes, 1); /* though nothing changed */
	close(bench.listen_fd);
	bench.listen_fd = -1;
	LAB_WAIT(&bench.lab, bench.health->down);
	told = good_probes;
	lab_run(&bench.lab, 100);
	CHECK_INT(good_probes, told);
	bench_close(&bench);
}

static uint64_t full;

static uint64_t full_so_far(void *context, __u32 replica)
{
	return full;
}

static uint64_t full_again(void *context, __u32 replica)
{
	return ++full;
}

TEST(a_refusal_of_an_owner_at_its_cap_is_void)
{
	struct bench bench;
	uint64_t voided;

	bench_open(&bench, 4096);
	probe_set_ask_full(bench.lab.set, full_again);
	LAB_WAIT(&bench.lab, bench.health->known);
	close(bench.listen_fd);
	bench.listen_fd = -1;
	voided = bench.health->voided;
	LAB_WAIT(&bench.lab, bench.health->voided >= voided + 5);
	CHECK(!bench.health->down && !bench.health->suspect);
	probe_set_ask_full(bench.lab.set, full_so_far); /* the port's own word */
	LAB_WAIT(&bench.lab, bench.health->down);
	CHECK(lab_last(&bench.lab)->refused);
	bench_close(&bench);
}
