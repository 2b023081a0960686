// SPDX-License-Identifier: GPL-2.0-only
/*
 * The server that counts who is there: how many connections it holds at once, and the most it ever
 * held, so that a test can say that a cap was never passed. One line asks, one line answers:
 *
 *   N          answers NAME after N milliseconds and closes
 *   hold       answers NAME at once, and waits for the client's end
 *   account    answers {"now": N, "peak": N, "served": N, "spared": N} and closes
 *
 * Connections from an address of --spare (the nodes, whose probes have no place to hold) are only
 * counted as spared.
 */
#include <getopt.h>
#include <sys/epoll.h>

#include "net.h"

#define MAX_SPARED 16

struct conn {
	int fd;
	bool spared;
	uint64_t done_ns; /* 0: nothing is due */
	struct conn *next;
	char line[16];
	size_t len;
};

struct slots {
	const char *name;
	int epoll_fd, listen_fd;
	struct conn *conns;
	unsigned now, peak, served, n_spared;
	char *spare[MAX_SPARED];
	unsigned n_spare;
};

static bool is_spared(const struct slots *slots, const struct sockaddr_in6 *peer)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, &peer->sin6_addr, text, sizeof(text));
	for (unsigned i = 0; i < slots->n_spare; i++)
		if (!strcmp(strncmp(text, "::ffff:", 7) ? text : text + 7, slots->spare[i]))
			return true;
	return false;
}

static void accept_one(struct slots *slots)
{
	struct sockaddr_in6 peer; /* by accept(): a probe's reset leaves no name to be asked for */
	socklen_t len = sizeof(peer);
	int fd = accept4(slots->listen_fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK);
	struct epoll_event event = {.events = EPOLLIN};
	struct conn *conn;

	if (fd < 0)
		return;
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		die("out of memory");
	conn->fd = fd;
	conn->spared = is_spared(slots, &peer);
	conn->next = slots->conns;
	slots->conns = conn;
	slots->n_spared += conn->spared;
	slots->served += !conn->spared;
	slots->now += !conn->spared;
	if (slots->now > slots->peak)
		slots->peak = slots->now;
	event.data.ptr = conn;
	epoll_ctl(slots->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void conn_close(struct slots *slots, struct conn *conn)
{
	struct conn **link = &slots->conns;

	while (*link != conn)
		link = &(*link)->next;
	*link = conn->next;
	slots->now -= !conn->spared;
	close(conn->fd);
	free(conn);
}

static void say(const struct conn *conn, const char *text)
{
	char line[128];
	int len = snprintf(line, sizeof(line), "%s\n", text);

	if (send(conn->fd, line, len, MSG_NOSIGNAL) != len)
		return; /* the client is gone, and its end will be read */
}

static void conn_readable(struct slots *slots, struct conn *conn)
{
	ssize_t n = recv(conn->fd, conn->line + conn->len, sizeof(conn->line) - 1 - conn->len, 0);
	char account[128];

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		conn_close(slots, conn);
		return;
	}
	conn->len += n;
	if (!memchr(conn->line, '\n', conn->len))
		return;
	if (!strncmp(conn->line, "hold\n", 5)) {
		conn->len = 0;
		say(conn, slots->name);
	} else if (!strncmp(conn->line, "account\n", 8)) {
		snprintf(account, sizeof(account),
			 "{\"now\": %u, \"peak\": %u, \"served\": %u, \"spared\": %u}", slots->now,
			 slots->peak, slots->served, slots->n_spared);
		say(conn, account);
		conn_close(slots, conn);
	} else {
		conn->done_ns = now_ns() + strtoull(conn->line, NULL, 10) * 1000000;
	}
}

/* Answers what is due; returns the milliseconds until the next one is, -1: none. */
static int serve(struct slots *slots)
{
	uint64_t now = now_ns();
	int wait_ms = -1;

	for (struct conn *conn = slots->conns, *next; conn; conn = next) {
		next = conn->next;
		if (!conn->done_ns)
			continue;
		if (conn->done_ns <= now) {
			say(conn, slots->name);
			conn_close(slots, conn);
		} else if (wait_ms < 0 || (int)((conn->done_ns - now) / 1000000) < wait_ms) {
			wait_ms = (conn->done_ns - now) / 1000000 + 1;
		}
	}
	return wait_ms;
}

static void slots_open(struct slots *slots, unsigned port)
{
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct epoll_event event = {.events = EPOLLIN};
	int one = 1, zero = 0;

	slots->epoll_fd = epoll_create1(0);
	slots->listen_fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(slots->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(slots->listen_fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(slots->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(slots->listen_fd, 1024))
		die("port %u: %s", port, strerror(errno));
	epoll_ctl(slots->epoll_fd, EPOLL_CTL_ADD, slots->listen_fd, &event);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"name", 1, 0, 'n'}, {"port", 1, 0, 'p'}, {"spare", 1, 0, 's'}, {0}};
	static struct slots slots = {.name = "slots"};
	struct epoll_event event;
	unsigned port = 8080;
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (option == 'n')
			slots.name = optarg;
		else if (option == 'p')
			port = atoi(optarg);
		else if (option == 's' && slots.n_spare < MAX_SPARED)
			slots.spare[slots.n_spare++] = optarg;
		else
			die("usage: slots [--name NAME] [--port PORT] [--spare ADDR]...");
	}
	slots_open(&slots, port);
	for (;;) {
		/* One event a round: one of its connections may be gone after the next. */
		if (epoll_wait(slots.epoll_fd, &event, 1, serve(&slots)) != 1)
			continue;
		if (event.data.ptr)
			conn_readable(&slots, event.data.ptr);
		else
			accept_one(&slots);
	}
}
