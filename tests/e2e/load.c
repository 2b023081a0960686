// SPDX-License-Identifier: GPL-2.0-only
/*
 * The load client of the e2e tests: HTTP/1.1 over one epoll loop, with a fixed
 * number of requests at a time (--connections) or a fixed rate of new ones
 * (--rate). It reads every body whole and checks it, and says in JSON on
 * stdout what became of each request. It never retries: a request that fails
 * is an error of its kind, with the time it happened at.
 */
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include "load.h"
#include "load_answer.h"

static struct options options = {
	.path = "/", .timeout_ms = 5000, .connections = 1, .expect_bytes = -1,
};

static enum error_kind error_of(int err)
{
	switch (err) {
	case ECONNREFUSED:
		return ERROR_REFUSED;
	case ECONNRESET:
	case EPIPE:
		return ERROR_RESET;
	case ETIMEDOUT:
		return ERROR_TIMEOUT;
	case EHOSTUNREACH:
	case ENETUNREACH:
		return ERROR_UNREACHABLE;
	default:
		return ERROR_OTHER;
	}
}

static unsigned replica_index(struct load *load, const char *name)
{
	for (unsigned i = 0; i < load->n_replicas; i++)
		if (!strcmp(load->replicas[i].name, name))
			return i;
	if (load->n_replicas == MAX_REPLICAS)
		die("more than %d replicas answered", MAX_REPLICAS);
	snprintf(load->replicas[load->n_replicas].name, NAME_LEN, "%s", name);
	return load->n_replicas++;
}

static void count_ok(struct load *load, struct conn *conn)
{
	uint64_t us = (now_ns() - conn->began_ns) / 1000;

	load->ok++;
	histogram_add(&load->total.request, us);
	histogram_add(&load->recent.request, us);
	load->replicas[replica_index(load, conn->name)].requests++;
}

static unsigned local_port(int fd)
{
	struct sockaddr_in6 local = {};
	socklen_t len = sizeof(local);

	getsockname(fd, (struct sockaddr *)&local, &len);
	return ntohs(local.sin6_port); /* of IPv4 it lies at the same place */
}

static void count_error(struct load *load, const struct conn *conn, enum error_kind kind)
{
	struct error_record *record = &load->error_log[load->n_error_log];

	load->failed++;
	load->connect_failed += !conn->connected_ns;
	load->errors[kind]++;
	load->recent_errors++;
	if (load->n_error_log == MAX_ERROR_LOG)
		return;
	load->n_error_log++;
	record->at_ms = (now_ns() - load->started_ns) / 1000000;
	record->kind = kind;
	record->connected = conn->connected_ns != 0;
	record->port = local_port(conn->fd);
	snprintf(record->name, NAME_LEN, "%s", conn->name);
}

/* Ends a connection the way `end` says, and frees its slot. */
static void conn_close(struct load *load, struct conn *conn, enum end end)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	if (end == END_RST || end == END_ABORT)
		setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(conn->fd);
	conn->fd = -1;
	load->open--;
	load->free_slots[load->n_free++] = conn - load->conns;
}

static void conn_fail(struct load *load, struct conn *conn, enum error_kind kind)
{
	count_error(load, conn, kind);
	conn_close(load, conn, END_RST);
	if (options.error_pause_ms && !options.rate)
		load->rests[(load->rest_first + load->resting++) % load->n_conns] =
			now_ns() + options.error_pause_ms * 1000000ull;
}

/* Users whose pause is over are free again; all pauses are equal, so the first ends first. */
static void end_rests(struct load *load)
{
	while (load->resting && load->rests[load->rest_first] <= now_ns()) {
		load->rest_first = (load->rest_first + 1) % load->n_conns;
		load->resting--;
	}
}

static void bind_source(struct load *load, int fd)
{
	struct sockaddr_storage source;
	socklen_t len;
	int one = 1;

	if (!options.n_sources && !options.port_min)
		return;
	if (options.n_sources)
		len = sockaddr_set(options.sources[load->begun % options.n_sources], 0, &source);
	else
		len = sockaddr_set(options.target.ss_family == AF_INET ? "0.0.0.0" : "::", 0,
				   &source);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (options.port_min) {
		unsigned range = options.port_max - options.port_min + 1;

		((struct sockaddr_in *)&source)->sin_port =
			htons(options.port_min + load->begun % range);
	} else {
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	}
	if (bind(fd, (struct sockaddr *)&source, len))
		die("bind: %s", strerror(errno));
}

static void request_begin(struct load *load, struct conn *conn, uint64_t began_ns)
{
	conn->id = load->begun++;
	conn->began_ns = began_ns;
	conn->sent = 0;
	conn->head_len = 0;
	conn->in_body = false;
	conn->body = 0;
	conn->body_expected = -1;
}

/* 0, or the error. A user with one connection at a time, on one port, waits while the last acknowledgement of
 * the one before is under way (LAST_ACK). */
static int conn_connect(const struct conn *conn)
{
	const struct sockaddr *target = (const struct sockaddr *)&options.target;
	bool one_port = options.port_min && options.port_min == options.port_max && options.connections == 1;
	uint64_t deadline_ns = conn->opened_ns + NS_PER_SEC;

	while (connect(conn->fd, target, options.target_len)) {
		if (errno != EADDRNOTAVAIL || !one_port || now_ns() > deadline_ns)
			return errno;
		usleep(1000);
	}
	return 0;
}

static void conn_open(struct load *load, uint64_t began_ns)
{
	struct conn *conn = &load->conns[load->free_slots[--load->n_free]];
	struct epoll_event event = {.events = EPOLLOUT | EPOLLIN, .data.ptr = conn};
	int one = 1, err;

	memset(conn, 0, offsetof(struct conn, head));
	conn->fd = socket(options.target.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (conn->fd < 0)
		die("socket: %s", strerror(errno));
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	bind_source(load, conn->fd);
	conn->end = options.end == END_MIX ? load->begun % END_MIX : options.end;
	load->open++;
	request_begin(load, conn, began_ns);
	conn->opened_ns = now_ns();
	err = conn_connect(conn);
	if (err && err != EINPROGRESS) {
		conn_fail(load, conn, error_of(err));
		return;
	}
	if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event))
		die("epoll_ctl: %s", strerror(errno));
}

static void want_events(struct load *load, struct conn *conn, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = conn};

	if (conn->events == events)
		return;
	conn->events = events;
	epoll_ctl(load->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
}

/* The answer is complete: end the connection, or ask again on it. */
static void conn_answered(struct load *load, struct conn *conn)
{
	if (conn->status != 200) {
		conn_fail(load, conn, ERROR_STATUS);
		return;
	}
	count_ok(load, conn);
	if (options.keepalive && !load_is_over(load, &options)) {
		request_begin(load, conn, now_ns());
		want_events(load, conn, EPOLLOUT | EPOLLIN);
	} else if (conn->end == END_SERVER && !options.keepalive) {
		conn->answered = true;
	} else {
		conn_close(load, conn, conn->end);
	}
}

static int send_request(struct conn *conn)
{
	const char *from = options.request + conn->sent;
	ssize_t n;

	request_stamp(&options, conn->id);
	n = send(conn->fd, from, options.request_len - conn->sent, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	conn->sent += n;
	return 0;
}

static void conn_writable(struct load *load, struct conn *conn)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (!conn->connected_ns) {
		getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len);
		if (!err || err == ECONNRESET) /* an RST before that is ECONNREFUSED */
			conn->connected_ns = now_ns();
		if (err) {
			conn_fail(load, conn, error_of(err));
			return;
		}
		histogram_add(&load->total.connect, (conn->connected_ns - conn->opened_ns) / 1000);
	}
	err = send_request(conn);
	if (err) {
		conn_fail(load, conn, error_of(-err));
	} else if (conn->sent == options.request_len) {
		want_events(load, conn, EPOLLIN);
		if (conn->end == END_ABORT) {
			load->aborted++;
			conn_close(load, conn, END_ABORT);
		}
	}
}

/* Takes `len` new bytes of the answer. False when they are not what was asked for. */
static bool take_body(struct conn *conn, const char *data, size_t len)
{
	bool good = !options.pattern || conn->status != 200 ||
		    pattern_matches(data, len, conn->body);

	conn->body += len;
	return good;
}

static void conn_readable(struct load *load, struct conn *conn)
{
	static char scratch[65536];
	const char *body = scratch;
	bool good = true;
	ssize_t n;

	if (conn->in_body)
		n = recv(conn->fd, scratch, sizeof(scratch), 0);
	else
		n = recv(conn->fd, conn->head + conn->head_len, HEAD_LEN - 1 - conn->head_len, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 && conn->answered) {
		conn_close(load, conn, END_CLIENT);
		return;
	}
	if (n <= 0) {
		conn_fail(load, conn, n ? error_of(errno) : ERROR_SHORT);
		return;
	}
	if (!conn->in_body) {
		conn->head_len += n;
		n = take_head(conn, &body);
	}
	if (n > 0)
		good = take_body(conn, body, n);
	if (!good || (conn->in_body && conn->body_expected < 0)) {
		conn_fail(load, conn, ERROR_CONTENT);
	} else if (conn->in_body && conn->body >= conn->body_expected && !conn->answered) {
		if (options.expect_bytes >= 0 && conn->status == 200 &&
		    conn->body != options.expect_bytes)
			conn_fail(load, conn, ERROR_CONTENT);
		else
			conn_answered(load, conn);
	}
}

static void conn_event(struct load *load, struct conn *conn, uint32_t events)
{
	if (conn->fd >= 0 && (!conn->connected_ns || (events & EPOLLOUT)) &&
	    conn->sent < options.request_len)
		conn_writable(load, conn);
	if (conn->fd >= 0 && conn->connected_ns && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		conn_readable(load, conn);
}

static void expire(struct load *load, uint64_t now)
{
	for (unsigned i = 0; i < load->n_conns; i++) {
		struct conn *conn = &load->conns[i];

		if (conn->fd < 0 || now < conn->began_ns + options.timeout_ms * 1000000ull)
			continue;
		if (conn->answered)
			conn_close(load, conn, END_CLIENT);
		else
			conn_fail(load, conn, ERROR_TIMEOUT);
	}
}

/* Opens what is due; returns the nanoseconds until the next one is. */
static uint64_t open_due(struct load *load)
{
	uint64_t now = now_ns();

	if (!options.rate) {
		end_rests(load);
		while (load->open + load->resting < options.connections && load->n_free &&
		       !load_is_over(load, &options))
			conn_open(load, now_ns());
		return 50000000;
	}
	while (load->next_ns <= now && !load_is_over(load, &options)) {
		if (load->n_free)
			conn_open(load, load->next_ns);
		else
			load->overrun++;
		load->next_ns += NS_PER_SEC / options.rate;
	}
	return load->next_ns > now ? load->next_ns - now : 0;
}

static void run(struct load *load)
{
	uint64_t next_expire = 0, next_report = load->started_ns + options.progress_ms * 1000000ull;
	struct epoll_event events[256];

	while (!load_is_over(load, &options) || load->open) {
		uint64_t wait_ns = open_due(load), now;
		struct timespec ts = {.tv_nsec = wait_ns < 20000000 ? wait_ns : 20000000};
		int n = epoll_pwait2(load->epoll_fd, events, 256, &ts, NULL);

		for (int i = 0; i < n; i++)
			conn_event(load, events[i].data.ptr, events[i].events);
		now = now_ns();
		if (now > next_expire) {
			expire(load, now);
			next_expire = now + 50000000;
		}
		if (options.progress_ms && now > next_report) {
			load_progress(load);
			next_report += options.progress_ms * 1000000ull;
		}
	}
}

int main(int argc, char **argv)
{
	static struct load load;

	options_parse(&options, argc, argv);
	load_init(&load, &options);
	run(&load);
	load_report(&load);
	return 0;
}
