// SPDX-License-Identifier: GPL-2.0-only
/*
 * The server with manners to choose from: HTTP/1.1 and UDP echo on one port,
 * one epoll loop. It stands for a model server with a service time and a
 * number of slots (a request beyond them waits its turn), and for one that
 * misbehaves. The ordinary cases use nginx.
 *
 *   GET /            "replica NAME\n"          GET /bytes/N   N bytes of pattern
 *   POST (any)       checks the pattern, answers "received N\n", or 400
 *   GET /health      200; 503 after SIGUSR1, 200 again after the next
 *   GET /rst         RST instead of an answer  GET /hang      no answer at all
 *   GET /close       answers and closes first, whatever the client asked for
 *
 * What it does wrong to all requests but /health is told by its control socket
 * (server.h), and what it has read by its log: a line for the X-Request-Id of
 * each request, written before anything else is done with it.
 *
 * Every answer names the server (X-Replica) and who it came from (X-Client).
 * A datagram is answered by "NAME CLIENT\n" and the datagram itself.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>

#include "server.h"

static volatile sig_atomic_t unhealthy;

static void toggle_health(int signal)
{
	unhealthy = !unhealthy;
}

static const char *peer_of(int fd, char buf[INET6_ADDRSTRLEN])
{
	struct sockaddr_in6 peer;
	socklen_t len = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &len))
		return "?";
	inet_ntop(AF_INET6, &peer.sin6_addr, buf, INET6_ADDRSTRLEN);
	return strncmp(buf, "::ffff:", 7) ? buf : buf + 7;
}

static void conn_close(struct conn *conn, bool reset)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	if (reset)
		setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(conn->fd);
	if (conn->waiting)
		conn->fd = -1; /* its job frees it */
	else
		free(conn);
}

/* Sends what is left of the answer. False when the connection is gone. */
static bool conn_send(struct server *server, struct conn *conn)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
	ssize_t n = 1;

	while (n > 0 && conn->answer_sent < conn->answer_len) {
		n = send(conn->fd, conn->answer + conn->answer_sent,
			 conn->answer_len - conn->answer_sent, MSG_NOSIGNAL);
		conn->answer_sent += n > 0 ? n : 0;
	}
	while (n > 0 && conn->pattern_sent < conn->pattern) {
		size_t offset = conn->pattern_sent % 23, left = conn->pattern - conn->pattern_sent;

		n = send(conn->fd, server->pattern + offset,
			 left < CHUNK - offset ? left : CHUNK - offset, MSG_NOSIGNAL);
		conn->pattern_sent += n > 0 ? n : 0;
	}
	if (n < 0 && errno == EAGAIN) {
		event.events |= EPOLLOUT;
	} else if (n < 0 || conn->close_after) {
		conn_close(conn, n < 0);
		return false;
	}
	epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
	return true;
}

static void answer_text(struct server *server, struct conn *conn, int status, const char *text,
			size_t pattern)
{
	char client[INET6_ADDRSTRLEN];

	conn->answer_len = snprintf(
		conn->answer, sizeof(conn->answer),
		"HTTP/1.1 %d %s\r\nX-Replica: %s\r\nX-Client: %s\r\nContent-Length: %zu\r\n%s\r\n%s",
		status, status == 200 ? "OK" : "Error", server->name, peer_of(conn->fd, client),
		pattern ? pattern : strlen(text), conn->close_after ? "Connection: close\r\n" : "",
		pattern ? "" : text);
	conn->answer_sent = 0;
	conn->pattern = pattern;
	conn->pattern_sent = 0;
}

/* The answer to the request in conn->head. False: there will be none. */
static bool answer_build(struct server *server, struct conn *conn)
{
	const char *path = strchr(conn->head, ' ');
	char text[128];

	if (strstr(conn->head, "\nConnection: close"))
		conn->close_after = true;
	path = path ? path + 1 : "";
	if (!strncmp(conn->head, "POST ", 5)) {
		snprintf(text, sizeof(text), "received %zu\n", conn->upload);
		answer_text(server, conn, conn->upload_good ? server->status : 400, text, 0);
	} else if (server->status != 200 && strncmp(path, "/health ", 8) &&
		   !(++server->n_requests % server->each)) {
		answer_text(server, conn, server->status, "wrong\n", 0);
	} else if (!strncmp(path, "/bytes/", 7)) {
		answer_text(server, conn, 200, "", strtoul(path + 7, NULL, 10));
	} else if (!strncmp(path, "/health ", 8)) {
		answer_text(server, conn, unhealthy ? 503 : 200, unhealthy ? "no\n" : "yes\n", 0);
	} else if (!strncmp(path, "/hang ", 6)) {
		return false;
	} else {
		conn->reset_after = !strncmp(path, "/rst ", 5);
		conn->close_after |= !strncmp(path, "/close ", 7);
		snprintf(text, sizeof(text), "replica %s\n", server->name);
		answer_text(server, conn, 200, text, 0);
	}
	conn->head_len = 0;
	return true;
}

static void conn_answer(struct server *server, struct conn *conn)
{
	conn->waiting = false;
	if (conn->fd < 0)
		free(conn);
	else if (conn->reset_after)
		conn_close(conn, true);
	else
		conn_send(server, conn);
}

/* The service time of one request: service_us, up to jitter_us more or less. */
static uint64_t service_ns(const struct server *server)
{
	int64_t jitter = server->jitter_us ? random() % (2 * server->jitter_us + 1) : 0;

	return (server->service_us + jitter - server->jitter_us) * 1000;
}

/* Answers what is done and gives free slots to those who wait; returns the nanoseconds until the
 * next answer is due. */
static uint64_t jobs_run(struct server *server)
{
	uint64_t now = now_ns(), next = UINT64_MAX;

	for (unsigned i = 0; i < server->n_running;) {
		struct job job = server->running[i];

		if (job.done_ns > now) {
			i++;
			continue;
		}
		server->running[i] = server->running[--server->n_running];
		conn_answer(server, job.conn);
	}
	while (server->n_waiting && server->n_running < server->slots) {
		server->running[server->n_running++] =
			(struct job){server->waiting[server->first], now + service_ns(server)};
		server->first = (server->first + 1) % MAX_CONNS;
		server->n_waiting--;
	}
	for (unsigned i = 0; i < server->n_running; i++)
		if (server->running[i].done_ns < next)
			next = server->running[i].done_ns;
	return next - now;
}

static void request_done(struct server *server, struct conn *conn)
{
	bool probe = strstr(conn->head, " /health ") != NULL;

	if (!answer_build(server, conn))
		return;
	if (!server->service_us || probe) {
		conn_answer(server, conn);
		return;
	}
	if (server->n_waiting == MAX_CONNS)
		die("more than %d requests wait", MAX_CONNS);
	conn->waiting = true;
	server->waiting[(server->first + server->n_waiting++) % MAX_CONNS] = conn;
}

static void upload_take(struct conn *conn, const char *data, size_t len)
{
	conn->upload_good &= pattern_matches(data, len, conn->upload);
	conn->upload += len;
}

/* Whether the head is whole; begins the upload that may follow it. */
static bool head_take(const struct server *server, struct conn *conn)
{
	const char *length;
	char *end;

	conn->head[conn->head_len] = '\0';
	end = strstr(conn->head, "\r\n\r\n");
	if (!end)
		return false;
	end[2] = '\0';
	log_request(server, conn->head);
	length = strcasestr(conn->head, "\nContent-Length:");
	conn->upload_expected = length ? strtoul(length + 16, NULL, 10) : 0;
	conn->upload = 0;
	conn->upload_good = true;
	conn->in_upload = true;
	upload_take(conn, end + 4, conn->head_len - (end + 4 - conn->head));
	return true;
}

static void conn_readable(struct server *server, struct conn *conn)
{
	static char scratch[CHUNK];
	ssize_t n;

	if (conn->in_upload)
		n = recv(conn->fd, scratch, sizeof(scratch), 0);
	else
		n = recv(conn->fd, conn->head + conn->head_len, HEAD_LEN - 1 - conn->head_len, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		conn_close(conn, false);
		return;
	}
	if (conn->in_upload) {
		upload_take(conn, scratch, n);
	} else {
		conn->head_len += n;
		if (!head_take(server, conn))
			return;
	}
	if (conn->upload >= conn->upload_expected) {
		conn->in_upload = false;
		request_done(server, conn);
	}
}

static void accept_all(struct server *server)
{
	int one = 1, fd;

	while ((fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct conn *conn = calloc(1, sizeof(*conn));
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

		if (!conn)
			die("out of memory");
		conn->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event);
	}
}

static void udp_answer(struct server *server)
{
	char buf[CHUNK], reply[CHUNK + 128], client[INET6_ADDRSTRLEN];
	struct sockaddr_in6 peer;
	socklen_t len = sizeof(peer);
	ssize_t n = recvfrom(server->udp_fd, buf, sizeof(buf), 0, (struct sockaddr *)&peer, &len);
	int head;

	if (n < 0)
		return;
	inet_ntop(AF_INET6, &peer.sin6_addr, client, sizeof(client));
	head = snprintf(reply, sizeof(reply), "%s %s\n", server->name,
			strncmp(client, "::ffff:", 7) ? client : client + 7);
	memcpy(reply + head, buf, n);
	sendto(server->udp_fd, reply, head + n, 0, (struct sockaddr *)&peer, len);
}

static void server_open(struct server *server)
{
	struct sigaction usr1 = {.sa_handler = toggle_health};

	sigaction(SIGUSR1, &usr1, NULL);
	pattern_fill(server->pattern, CHUNK, 0);
	log_open(server);
	server->epoll_fd = epoll_create1(0);
	server->udp_fd = socket_open(server->port, SOCK_DGRAM);
	server->listen_fd = socket_open(server->port, SOCK_STREAM);
	server_watch(server, &server->udp_fd);
	server_watch(server, &server->listen_fd);
	control_open(server);
}

static void server_event(struct server *server, const struct epoll_event *event)
{
	if (event->data.ptr == &server->listen_fd)
		accept_all(server);
	else if (event->data.ptr == &server->udp_fd)
		udp_answer(server);
	else if (event->data.ptr == &server->control_fd)
		control_take(server);
	else if (event->events & EPOLLOUT)
		conn_send(server, event->data.ptr);
	else
		conn_readable(server, event->data.ptr);
}

int main(int argc, char **argv)
{
	static struct server server;
	struct epoll_event events[256];

	options_parse(&server, argc, argv);
	srandom(getpid());
	server_open(&server);
	for (;;) {
		uint64_t wait_ns = jobs_run(&server);
		struct timespec wait = {wait_ns / NS_PER_SEC, wait_ns % NS_PER_SEC};
		int n = epoll_pwait2(server.epoll_fd, events, 256,
				     server.n_running ? &wait : NULL, NULL);

		for (int i = 0; i < n; i++)
			server_event(&server, &events[i]);
	}
}
