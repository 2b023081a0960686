/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For the tests of the probes: a loop with a probe set in it, the changes it
 * reported, and a small TCP server in a thread of its own that answers each
 * request with a canned text.
 */
#ifndef SLUICE_TEST_PROBE_LAB_H
#define SLUICE_TEST_PROBE_LAB_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "addr.h"
#include "check.h"
#include "probe.h"

#define MS 1000000ull
#define LAB_DEADLINE_MS (8000 * check_slow())

/* ---- the probe set ----------------------------------------------------------- */

struct lab_change {
	__u32 row;
	bool known, suspect, down, refused;
	uint64_t at_ns;
	char evidence[256];
};

struct lab {
	uv_loop_t loop;
	uv_timer_t beat; /* so that turning the loop never waits for long */
	struct probe_set *set;
	struct lab_change changes[256];
	unsigned n_changes;
};

static inline void lab_note(void *context, __u32 row, const struct probe_health *health,
			    bool refused, const char *evidence)
{
	struct lab *lab = context;
	struct lab_change *change = &lab->changes[lab->n_changes % 256];

	lab->n_changes++;
	*change = (struct lab_change){row, health->known, health->suspect, health->down,
				      refused, uv_hrtime(), ""};
	snprintf(change->evidence, sizeof(change->evidence), "%s", evidence);
}

static inline void lab_beat(uv_timer_t *timer)
{
}

static inline void lab_open(struct lab *lab)
{
	signal(SIGPIPE, SIG_IGN);
	lab->n_changes = 0;
	CHECK_INT(uv_loop_init(&lab->loop), 0);
	CHECK_INT(uv_timer_init(&lab->loop, &lab->beat), 0);
	CHECK_INT(uv_timer_start(&lab->beat, lab_beat, 10, 10), 0);
	CHECK_INT(probe_set_new(&lab->loop, lab_note, lab, &lab->set), 0);
}

/* Also shows that the set leaves no handle behind. */
static inline void lab_close(struct lab *lab)
{
	uv_close((uv_handle_t *)&lab->beat, NULL);
	probe_set_free(lab->set);
	uv_run(&lab->loop, UV_RUN_DEFAULT);
	CHECK_INT(uv_loop_close(&lab->loop), 0);
}

static inline const struct lab_change *lab_last(const struct lab *lab)
{
	static const struct lab_change none;

	return lab->n_changes ? &lab->changes[(lab->n_changes - 1) % 256] : &none;
}

/* Turns the loop for some time. */
static inline void lab_run(struct lab *lab, unsigned ms)
{
	uint64_t end = uv_hrtime() + ms * MS;

	while (uv_hrtime() < end)
		uv_run(&lab->loop, UV_RUN_ONCE);
}

/* Turns the loop until `condition` holds; a failed check when it never does. */
#define LAB_WAIT(lab, condition)                                                                   \
	do {                                                                                       \
		uint64_t lab_end = uv_hrtime() + LAB_DEADLINE_MS * MS;                             \
		while (!(condition) && uv_hrtime() < lab_end)                                      \
			uv_run(&(lab)->loop, UV_RUN_ONCE);                                         \
		CHECK(condition);                                                                  \
	} while (0)

/* A quick probe: every 20 ms, 200 ms patience. */
static inline struct model_probe lab_probe(enum model_probe_kind kind, __be16 port)
{
	return (struct model_probe){.kind = kind, .port = port, .path = "/health",
				    .interval_ms = 20, .timeout_ms = 200, .period_ms = 1000,
				    .failure_threshold = 3, .success_threshold = 1};
}

static inline union sl_addr lab_addr(const char *text)
{
	union sl_addr addr = {0};

	CHECK_INT(addr_parse(text, &addr), 0);
	return addr;
}

/* Makes the set one replica, row 0, at 127.0.0.1. */
static inline const struct probe_health *lab_ask(struct lab *lab, const struct model_probe *probe)
{
	struct probe_target target = {.replica = 0, .addr = lab_addr("127.0.0.1"), .probe = probe};

	CHECK_INT(probe_set_sync(lab->set, &target, 1), 0);
	return probe_set_health(lab->set, 0);
}

/* ---- the server ----------------------------------------------------------------- */

#define SERVER_CONNECTIONS 128

/* How a server behaves. */
struct server_manner {
	const char *answer; /* NULL: never */
	bool close;         /* after each answer */
	unsigned drip_us;   /* pause between its bytes */
};

struct server_connection {
	int fd;
	void *state; /* of the manner below */
};

struct server {
	int listen_fd;
	__be16 port;
	int wake_fd;
	pthread_t thread;
	_Atomic(const struct server_manner *) manner;
	/* Instead of a manner: takes what is readable on a connection; non-zero ends it. NULL
	 * state: a new one. fd -1: free the state. */
	int (*serve)(struct server *server, struct server_connection *connection);
	atomic_bool stop, deaf; /* deaf: accepts no connection */
	atomic_uint connections, requests, resets;
	pthread_mutex_t lock;
	char request[4096]; /* the last one; under lock */
};

static inline int server_answer(struct server *server, int fd, const struct server_manner *manner)
{
	size_t len = manner->answer ? strlen(manner->answer) : 0;

	for (size_t i = 0; manner->drip_us && i < len; i++) {
		if (send(fd, manner->answer + i, 1, MSG_NOSIGNAL) != 1)
			return -1;
		usleep(manner->drip_us);
	}
	if (!manner->drip_us && len && send(fd, manner->answer, len, MSG_NOSIGNAL) < 0)
		return -1;
	return manner->close;
}

static inline int server_take(struct server *server, struct server_connection *connection)
{
	char bytes[4096];
	ssize_t n = recv(connection->fd, bytes, sizeof(bytes) - 1, MSG_DONTWAIT);

	if (n < 0 && errno == ECONNRESET)
		server->resets++;
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -1;
	bytes[n] = '\0';
	pthread_mutex_lock(&server->lock);
	strcpy(server->request, bytes);
	pthread_mutex_unlock(&server->lock);
	server->requests++;
	return server_answer(server, connection->fd, server->manner) ||
	       strstr(bytes, "Connection: close");
}

static inline void server_drop(struct server *server, struct server_connection *connection)
{
	close(connection->fd);
	connection->fd = -1;
	if (server->serve && connection->state)
		server->serve(server, connection);
	*connection = (struct server_connection){-1, NULL};
}

static inline void server_accept(struct server *server, struct server_connection *connections)
{
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	server->connections++;
	for (unsigned i = 0; i < SERVER_CONNECTIONS; i++) {
		if (connections[i].fd < 0) {
			connections[i].fd = fd;
			return;
		}
	}
	close(fd);
}

static inline void *server_main(void *argument)
{
	struct server *server = argument;
	struct server_connection connections[SERVER_CONNECTIONS];
	struct pollfd fds[SERVER_CONNECTIONS + 2];

	for (unsigned i = 0; i < SERVER_CONNECTIONS; i++)
		connections[i] = (struct server_connection){-1, NULL};
	while (!server->stop) {
		for (unsigned i = 0; i < SERVER_CONNECTIONS; i++)
			fds[i] = (struct pollfd){connections[i].fd, POLLIN, 0};
		fds[SERVER_CONNECTIONS] = (struct pollfd){server->wake_fd, POLLIN, 0};
		fds[SERVER_CONNECTIONS + 1] =
			(struct pollfd){server->deaf ? -1 : server->listen_fd, POLLIN, 0};
		poll(fds, SERVER_CONNECTIONS + 2, 50);
		for (unsigned i = 0; i < SERVER_CONNECTIONS; i++)
			if (fds[i].revents &&
			    (server->serve ?: server_take)(server, &connections[i]))
				server_drop(server, &connections[i]);
		if (fds[SERVER_CONNECTIONS + 1].revents)
			server_accept(server, connections);
	}
	for (unsigned i = 0; i < SERVER_CONNECTIONS; i++)
		if (connections[i].fd >= 0)
			server_drop(server, &connections[i]);
	return NULL;
}

/* A listening socket of 127.0.0.1 or ::1. */
static inline int server_listen(const char *address, int backlog, __be16 *ret_port)
{
	union sl_addr addr = lab_addr(address);
	struct sockaddr_storage own;
	socklen_t len = addr_to_sockaddr(&addr, 0, &own);
	int fd = socket(own.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	CHECK_INT(bind(fd, (struct sockaddr *)&own, len), 0);
	CHECK_INT(listen(fd, backlog), 0);
	CHECK_INT(getsockname(fd, (struct sockaddr *)&own, &len), 0);
	*ret_port = own.ss_family == AF_INET ? ((struct sockaddr_in *)&own)->sin_port
					     : ((struct sockaddr_in6 *)&own)->sin6_port;
	return fd;
}

/* `server` zeroed but for manner or serve. */
static inline void server_start(struct server *server, const char *address, int backlog)
{
	pthread_mutex_init(&server->lock, NULL);
	server->listen_fd = server_listen(address, backlog, &server->port);
	server->wake_fd = eventfd(0, EFD_CLOEXEC);
	CHECK_INT(pthread_create(&server->thread, NULL, server_main, server), 0);
}

static inline void server_stop(struct server *server)
{
	server->stop = true;
	CHECK_INT(eventfd_write(server->wake_fd, 1), 0);
	pthread_join(server->thread, NULL);
	close(server->listen_fd);
	close(server->wake_fd);
	pthread_mutex_destroy(&server->lock);
}

/* Whether the last request holds `text`. */
static inline bool server_was_asked(struct server *server, const char *text)
{
	bool found;

	pthread_mutex_lock(&server->lock);
	found = strstr(server->request, text);
	pthread_mutex_unlock(&server->lock);
	return found;
}

#endif
