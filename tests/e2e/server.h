/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of server.c that are not requests and answers: what it keeps, its
 * options, its sockets, its log, and the faults that a test switches on and off.
 *
 * The control socket (--control PATH, AF_UNIX, SOCK_SEQPACKET: seen from every
 * network namespace) takes one command a connection and answers "ok" once it
 * is done:
 *
 *   status N     answer every request but /health with that status
 *   each N       only each Nth of those without a body
 *   delay US     the service time from now on, in microseconds
 *   close        stop listening: the port refuses; what was accepted goes on
 *   full         accept nobody and fill the accept queue: SYNs are dropped
 *   listen       end of the last two
 */
#ifndef E2E_SERVER_H
#define E2E_SERVER_H

#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/un.h>

#include "net.h"

#define MAX_CONNS 16384
#define HEAD_LEN 2048
#define CHUNK 65536
#define BACKLOG 4096
#define MAX_FILLERS 8 /* connections of our own; a backlog of 0 holds one */

struct conn {
	int fd;
	bool waiting; /* in the queue for a slot, or in one */
	bool close_after, reset_after;
	size_t head_len;
	char head[HEAD_LEN];
	bool in_upload, upload_good;
	size_t upload, upload_expected;
	char answer[512]; /* head and, for a text answer, body */
	size_t answer_len, answer_sent;
	size_t pattern, pattern_sent; /* bytes of pattern that follow */
};

/* A request in one of the slots. */
struct job {
	struct conn *conn;
	uint64_t done_ns;
};

struct server {
	const char *name, *control, *log;
	unsigned port, service_us, jitter_us, slots;
	int status; /* of answers to all but /health */
	unsigned each, n_requests; /* only to each so many */
	int epoll_fd, udp_fd, listen_fd, control_fd, log_fd; /* -1: none */
	int filler[MAX_FILLERS]; /* in the accept queue, while it is kept full */
	unsigned n_fillers;
	struct job running[MAX_CONNS]; /* in no order */
	struct conn *waiting[MAX_CONNS]; /* a ring, in order of arrival */
	unsigned n_running, first, n_waiting;
	char pattern[CHUNK];
};

static void options_parse(struct server *server, int argc, char **argv)
{
	static const struct option longs[] = {
		{"name", 1, 0, 'n'},  {"port", 1, 0, 'p'},      {"service-us", 1, 0, 's'},
		{"slots", 1, 0, 'l'}, {"jitter-us", 1, 0, 'j'}, {"control", 1, 0, 'c'},
		{"log", 1, 0, 'o'},   {0},
	};
	int opt;

	*server = (struct server){.name = "server", .port = 8080, .slots = MAX_CONNS,
				  .status = 200, .each = 1, .control_fd = -1, .log_fd = -1};
	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'n': server->name = optarg; break;
		case 'p': server->port = atoi(optarg); break;
		case 's': server->service_us = atoi(optarg); break;
		case 'l': server->slots = atoi(optarg); break;
		case 'j': server->jitter_us = atoi(optarg); break;
		case 'c': server->control = optarg; break;
		case 'o': server->log = optarg; break;
		default: exit(2);
		}
	}
}

/* ---- sockets -------------------------------------------------------------------------*/
/* A socket on [::]:port that takes both families. */
static int socket_open(unsigned port, int type)
{
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, type | SOCK_NONBLOCK, 0), one = 1, zero = 0;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("port %u: %s", port, strerror(errno));
	if (type == SOCK_STREAM && listen(fd, BACKLOG))
		die("listen: %s", strerror(errno));
	return fd;
}

/* Has `slot`, a file descriptor in struct server, watched; events name it by its address. */
static void server_watch(struct server *server, int *slot)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = slot};

	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, *slot, &event))
		die("epoll_ctl: %s", strerror(errno));
}

static void control_open(struct server *server)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (!server->control)
		return;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", server->control);
	unlink(server->control);
	server->control_fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (bind(server->control_fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(server->control_fd, 1))
		die("%s: %s", server->control, strerror(errno));
	server_watch(server, &server->control_fd);
}

/* ---- the log -------------------------------------------------------------------------*/
static void log_open(struct server *server)
{
	if (!server->log)
		return;
	server->log_fd = open(server->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (server->log_fd < 0)
		die("%s: %s", server->log, strerror(errno));
}

/* Notes whose request this head is; a server that is killed a moment later has noted it. */
static void log_request(const struct server *server, const char *head)
{
	const char *id = strcasestr(head, "\nX-Request-Id: ");
	char line[64];
	int len;

	if (server->log_fd < 0 || !id)
		return;
	id += strlen("\nX-Request-Id: ");
	len = snprintf(line, sizeof(line), "%.*s\n", (int)strcspn(id, "\r\n"), id);
	if (write(server->log_fd, line, len) != len)
		die("%s: %s", server->log, strerror(errno));
}

/* ---- faults --------------------------------------------------------------------------*/
static void fault_close(struct server *server)
{
	close(server->listen_fd);
	server->listen_fd = -1;
}

/* Connects to ourselves until no more fits; whoever comes now finds the accept queue full. */
static void fault_full(struct server *server)
{
	struct sockaddr_in6 self = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT,
				    .sin6_port = htons(server->port)};

	epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, server->listen_fd, NULL);
	listen(server->listen_fd, 0);
	while (server->n_fillers < MAX_FILLERS) {
		int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);

		if (fd < 0)
			die("socket: %s", strerror(errno));
		connect(fd, (struct sockaddr *)&self, sizeof(self));
		server->filler[server->n_fillers++] = fd;
	}
}

static void fault_listen(struct server *server)
{
	while (server->n_fillers)
		close(server->filler[--server->n_fillers]);
	if (server->listen_fd < 0)
		server->listen_fd = socket_open(server->port, SOCK_STREAM);
	listen(server->listen_fd, BACKLOG);
	server_watch(server, &server->listen_fd);
}

static bool control_obey(struct server *server, const char *command)
{
	bool listens = server->listen_fd >= 0 && !server->n_fillers;
	unsigned each;

	if (sscanf(command, "each %u", &each) == 1 && each) {
		server->each = each;
		return true;
	}
	if (sscanf(command, "status %d", &server->status) == 1 ||
	    sscanf(command, "delay %u", &server->service_us) == 1)
		return true;
	if (listens && !strcmp(command, "close"))
		fault_close(server);
	else if (listens && !strcmp(command, "full"))
		fault_full(server);
	else if (!listens && !strcmp(command, "listen"))
		fault_listen(server);
	else
		return false;
	return true;
}

/* One command, whole: the test sends it as soon as it is connected. */
static void control_take(struct server *server)
{
	int fd = accept(server->control_fd, NULL, NULL);
	char command[64];
	ssize_t n = recv(fd, command, sizeof(command) - 1, 0);
	const char *answer;

	if (n > 0) {
		command[n] = '\0';
		answer = control_obey(server, command) ? "ok" : "no such command, or not now";
		send(fd, answer, strlen(answer), MSG_NOSIGNAL);
	}
	close(fd);
}

#endif
