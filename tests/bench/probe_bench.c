// SPDX-License-Identifier: GPL-2.0-only
/*
 * What probing many replicas costs: CPU time and memory of the probes alone,
 * against a server in a process of its own that answers on all of 127/8.
 *
 * usage: probe_bench [TARGETS [INTERVAL_MS [SECONDS]]]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "addr.h"
#include "probe.h"

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/* Any address, any free port. */
static int server_listen(__be16 *ret_port)
{
	struct sockaddr_in own = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(own);

	if (bind(fd, (struct sockaddr *)&own, len) || listen(fd, 16384) ||
	    getsockname(fd, (struct sockaddr *)&own, &len))
		return -errno;
	*ret_port = own.sin_port;
	return fd;
}

static void serve(int epoll_fd, int listen_fd, int fd)
{
	char bytes[4096];
	ssize_t n;

	if (fd == listen_fd) {
		while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
			struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

			epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
		}
		return;
	}
	n = recv(fd, bytes, sizeof(bytes), 0);
	if (n > 0 && send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) > 0 &&
	    !memmem(bytes, n, "Connection: close", 17))
		return;
	close(fd);
}

static void server_run(int listen_fd)
{
	int epoll_fd = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = listen_fd}, events[512];

	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event);
	for (;;) {
		int n = epoll_wait(epoll_fd, events, 512, -1);

		for (int i = 0; i < n; i++)
			serve(epoll_fd, listen_fd, events[i].data.fd);
	}
}

static void on_change(void *context, __u32 row, const struct probe_health *health, bool refused,
		      const char *evidence)
{
	unsigned *suspicions = context;

	*suspicions += health->suspect || health->down;
}

static double cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static long resident_bytes(void)
{
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%*s %ld", &pages) != 1)
		pages = 0;
	if (file)
		fclose(file);
	return pages * sysconf(_SC_PAGESIZE);
}

static void turn(uv_loop_t *loop, double seconds)
{
	uint64_t end = uv_hrtime() + (uint64_t)(seconds * 1e9);

	while (uv_hrtime() < end)
		uv_run(loop, UV_RUN_ONCE);
}

static int measure(const char *name, const struct model_probe *probe, unsigned n, double seconds)
{
	struct probe_target *targets = calloc(n, sizeof(*targets));
	unsigned suspicions = 0;
	struct probe_set *set;
	uint64_t sent = 0, good = 0, sum_us = 0, voided = 0, begun_ns;
	long memory;
	double cpu, sync_ms;
	uv_loop_t loop;
	char text[32];

	uv_loop_init(&loop);
	if (!targets || probe_set_new(&loop, on_change, &suspicions, &set))
		return -1;
	for (unsigned i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "127.%u.%u.%u", 1 + i / 62500, i / 250 % 250,
			 i % 250 + 1);
		addr_parse(text, &targets[i].addr);
		targets[i].replica = i;
		targets[i].probe = probe;
	}
	memory = resident_bytes();
	begun_ns = uv_hrtime();
	if (probe_set_sync(set, targets, n))
		return -1;
	sync_ms = (uv_hrtime() - begun_ns) / 1e6;
	turn(&loop, 2);
	memory = resident_bytes() - memory;
	for (unsigned i = 0; i < n; i++)
		sent -= probe_set_health(set, i)->sent;
	cpu = cpu_seconds();
	turn(&loop, seconds);
	cpu = cpu_seconds() - cpu;
	for (unsigned i = 0; i < n; i++) {
		sent += probe_set_health(set, i)->sent;
		voided += probe_set_health(set, i)->voided;
		good += probe_set_histogram(set, i)->total;
		sum_us += probe_set_histogram(set, i)->sum_us;
	}
	printf("%-5s %u targets: %.0f probes/s, %.2f CPUs (%.1f us a probe), %ld bytes a target, "
	       "mean latency %.0f us, sync %.1f ms, %u suspect or down, %llu voided\n",
	       name, n, sent / seconds, cpu / seconds, cpu * 1e6 / sent, memory / n,
	       good ? (double)sum_us / good : 0.0, sync_ms, suspicions,
	       (unsigned long long)voided);
	probe_set_free(set);
	uv_run(&loop, UV_RUN_DEFAULT);
	free(targets);
	return uv_loop_close(&loop);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? atoi(argv[1]) : 5000;
	unsigned interval_ms = argc > 2 ? atoi(argv[2]) : 100;
	double seconds = argc > 3 ? atof(argv[3]) : 3;
	struct model_probe probe = {.path = "/health", .interval_ms = interval_ms,
				    .timeout_ms = 1000, .failure_threshold = 3,
				    .success_threshold = 1};
	int listen_fd = server_listen(&probe.port), failed = 0;
	pid_t server;

	if (listen_fd < 0 || (server = fork()) < 0)
		return 1;
	if (!server)
		server_run(listen_fd);
	probe.kind = MODEL_PROBE_HTTP;
	failed |= measure("http", &probe, n, seconds);
	probe.kind = MODEL_PROBE_TCP;
	failed |= measure("tcp", &probe, n, seconds);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	return failed != 0;
}
