// SPDX-License-Identifier: GPL-2.0-only
/*
 * The HTTP server over real sockets of the loopback. Server and client share
 * one thread: while the client waits, it turns the server's loop.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "check.h"
#include "http.h"

#define DEADLINE_MS (5000 * check_slow())
#define BIG_BYTES   (8u << 20)

struct bench {
	uv_loop_t loop;
	struct http *http;
	char listen[32];
	char error[256];
	int rendered;
	int code; /* of http_new */
};

static int render_hello(void *context, struct strbuf *out)
{
	struct bench *bench = context;

	strbuf_addf(out, "hello %d\n", ++bench->rendered);
	return 200;
}

static int render_unready(void *context, struct strbuf *out)
{
	strbuf_add(out, "no input yet\n");
	return 503;
}

static int render_big(void *context, struct strbuf *out)
{
	for (unsigned i = 0; i < BIG_BYTES / 16; i++)
		strbuf_add_bytes(out, "0123456789abcde\n", 16);
	return 200;
}

static int render_empty(void *context, struct strbuf *out)
{
	return 200;
}

static const struct http_handler handlers[] = {
	{"/hello", "text/x-hello", render_hello},
	{"/readyz", "text/plain", render_unready},
	{"/big", "text/plain", render_big},
	{"/empty", "text/plain", render_empty},
};

static __be16 bound_port(int fd)
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);

	getsockname(fd, (struct sockaddr *)&addr, &len);
	return addr.sin_port;
}

/* A loopback socket on a port of the kernel's choice, listening or only bound. */
static int loopback_bind(bool listening)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_INT(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	if (listening)
		CHECK_INT(listen(fd, 1), 0);
	return fd;
}

static void bench_init(struct bench *bench)
{
	int fd = loopback_bind(false);

	*bench = (struct bench){0};
	snprintf(bench->listen, sizeof(bench->listen), "127.0.0.1:%u", ntohs(bound_port(fd)));
	close(fd);
	uv_loop_init(&bench->loop);
	bench->code = http_new(&bench->loop, bench->listen, handlers,
			       sizeof(handlers) / sizeof(handlers[0]), bench, &bench->http,
			       bench->error, sizeof(bench->error));
	CHECK_INT(bench->code, 0);
}

/* Every handle must close: otherwise uv_loop_close() says EBUSY. */
static void bench_done(struct bench *bench)
{
	http_free(bench->http);
	uv_run(&bench->loop, UV_RUN_DEFAULT);
	CHECK_INT(uv_loop_close(&bench->loop), 0);
}

static int client_connect(const struct bench *bench)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_port = htons(atoi(strchr(bench->listen, ':') + 1));
	CHECK_INT(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Whether `text` holds a whole answer: headers, and as many bytes as Content-Length says. */
static bool answer_is_whole(const struct strbuf *text, bool head)
{
	const char *body = text->data ? strstr(text->data, "\r\n\r\n") : NULL;
	const char *length = text->data ? strcasestr(text->data, "Content-Length: ") : NULL;

	if (!body || !length)
		return false;
	return head || text->len - (body + 4 - text->data) >= strtoul(length + 16, NULL, 10);
}

/* Sends `request`, turns the loop until the answer is there; false after the deadline. */
static bool exchange(struct bench *bench, int fd, const char *request, struct strbuf *ret)
{
	bool head = !strncmp(request, "HEAD ", 5);
	uint64_t end;
	static char buf[65536];
	ssize_t got;

	*ret = (struct strbuf){0};
	CHECK_INT(send(fd, request, strlen(request), 0), (long long)strlen(request));
	uv_update_time(&bench->loop);
	end = uv_now(&bench->loop) + DEADLINE_MS;
	while (uv_now(&bench->loop) < end) {
		uv_run(&bench->loop, UV_RUN_NOWAIT);
		got = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (got > 0)
			strbuf_add_bytes(ret, buf, got);
		if (answer_is_whole(ret, head))
			return true;
		if (got == 0)
			return false;
	}
	return false;
}

/* One request on a connection of its own; the answer's text is the caller's to free. */
static char *ask(struct bench *bench, const char *request)
{
	struct strbuf text;
	int fd = client_connect(bench);

	CHECK(exchange(bench, fd, request, &text));
	close(fd);
	return strbuf_take(&text);
}

#define CHECK_HAS(text, part) CHECK(strstr(text, part))

TEST(get_renders_anew)
{
	struct bench bench;
	char *text;

	bench_init(&bench);
	text = ask(&bench, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK_HAS(text, "HTTP/1.1 200 ");
	CHECK_HAS(text, "Content-Type: text/x-hello\r\n");
	CHECK_HAS(text, "\r\n\r\nhello 1\n");
	free(text);
	text = ask(&bench, "GET /hello?name=x HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK_HAS(text, "\r\n\r\nhello 2\n");
	free(text);
	bench_done(&bench);
}

TEST(head_has_no_body)
{
	struct bench bench;
	char *text;

	bench_init(&bench);
	text = ask(&bench, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK_HAS(text, "HTTP/1.1 200 ");
	CHECK_HAS(text, "Content-Length: 8\r\n");
	CHECK_STR(strstr(text, "\r\n\r\n"), "\r\n\r\n");
	free(text);
	bench_done(&bench);
}

TEST(unknown_path_lists_the_known_ones)
{
	struct bench bench;
	char *text;

	bench_init(&bench);
	text = ask(&bench, "GET /hello/ HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK_HAS(text, "HTTP/1.1 404 ");
	CHECK_HAS(text, "/hello\n/readyz\n/big\n");
	free(text);
	text = ask(&bench, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
	CHECK_HAS(text, "HTTP/1.1 404 ");
	free(text);
	bench_done(&bench);
}

TEST(other_methods_are_refused)
{
	struct bench bench;
	char *text;

	bench_init(&bench);
	text = ask(&bench, "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
	CHECK_HAS(text, "HTTP/1.1 405 ");
	CHECK_HAS(text, "Allow: GET, HEAD\r\n");
	free(text);
	text = ask(&bench, "DELETE /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK_HAS(text, "HTTP/1.1 405 ");
	free(text);
	CHECK_INT(bench.rendered, 0);
	bench_done(&bench);
}

TEST(status_is_the_handlers)
{
	struct bench bench;
	char *text;

	bench_init(&bench);
	text = ask(&bench, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK_HAS(text, "HTTP/1.1 503 ");
	CHECK_HAS(text, "\r\n\r\nno input yet\n");
	free(text);
	text = ask(&bench, "GET /empty HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK_HAS(text, "HTTP/1.1 200 ");
	CHECK_HAS(text, "Content-Length: 0\r\n");
	free(text);
	bench_done(&bench);
}

TEST(one_connection_many_requests)
{
	struct bench bench;
	struct strbuf text;
	char expected[32];
	int fd;

	bench_init(&bench);
	fd = client_connect(&bench);
	for (int i = 1; i <= 20; i++) {
		CHECK(exchange(&bench, fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", &text));
		snprintf(expected, sizeof(expected), "\r\n\r\nhello %d\n", i);
		CHECK(text.data && strstr(text.data, expected));
		strbuf_done(&text);
	}
	close(fd);
	bench_done(&bench);
}

static void count_turn(uv_prepare_t *prepare)
{
	++*(int *)prepare->data;
}

static void stop_loop(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

/* The server's timeouts must not turn into a busy loop. */
TEST(idle_connection_does_not_spin)
{
	uv_prepare_t prepare;
	struct bench bench;
	struct strbuf text;
	uv_timer_t timer;
	int fd, turns = 0;

	bench_init(&bench);
	fd = client_connect(&bench);
	CHECK(exchange(&bench, fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", &text));
	strbuf_done(&text);
	prepare.data = &turns;
	uv_prepare_init(&bench.loop, &prepare);
	uv_prepare_start(&prepare, count_turn);
	uv_timer_init(&bench.loop, &timer);
	uv_timer_start(&timer, stop_loop, 200, 0);
	uv_run(&bench.loop, UV_RUN_DEFAULT);
	CHECK(turns < 10);
	uv_close((uv_handle_t *)&prepare, NULL);
	uv_close((uv_handle_t *)&timer, NULL);
	close(fd);
	bench_done(&bench);
}

TEST(get_with_a_body)
{
	struct bench bench;
	char *text;

	bench_init(&bench);
	text = ask(&bench, "GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde");
	CHECK_HAS(text, "\r\n\r\nhello 1\n");
	free(text);
	bench_done(&bench);
}

TEST(big_answer_arrives_whole)
{
	struct bench bench;
	char *text, *body;

	bench_init(&bench);
	text = ask(&bench, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
	body = text ? strstr(text, "\r\n\r\n") : NULL;
	CHECK(body);
	CHECK_INT(body ? strlen(body + 4) : 0, BIG_BYTES);
	free(text);
	bench_done(&bench);
}

TEST(garbage_does_not_hurt)
{
	struct bench bench;
	struct strbuf text;
	char *answer;
	int fd;

	bench_init(&bench);
	fd = client_connect(&bench);
	exchange(&bench, fd, "\x16\x03\x01 what is this\r\n\r\n", &text);
	CHECK(!text.data || !strstr(text.data, " 200 "));
	strbuf_done(&text);
	close(fd);
	answer = ask(&bench, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK_HAS(answer, "hello 1\n");
	free(answer);
	bench_done(&bench);
}

TEST(free_with_an_open_connection)
{
	struct bench bench;
	char byte;
	int fd;

	bench_init(&bench);
	fd = client_connect(&bench);
	CHECK_INT(send(fd, "GET /hel", 8, 0), 8);
	uv_run(&bench.loop, UV_RUN_NOWAIT);
	bench_done(&bench);
	CHECK(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
	http_free(NULL);
}

/* What http_new() says to `text`; nothing must be left in the loop. */
static int refuse(const char *text, char *error, size_t len)
{
	struct http *http = NULL;
	uv_loop_t loop;
	int code;

	uv_loop_init(&loop);
	code = http_new(&loop, text, handlers, 1, NULL, &http, error, len);
	CHECK(!http);
	CHECK_INT(uv_loop_close(&loop), 0);
	return code;
}

TEST(listen_text_is_checked)
{
	static const char *const bad[] = {"",
					  "9911",
					  ":9911",
					  "127.0.0.1",
					  "127.0.0.1:",
					  "127.0.0.1:0",
					  "127.0.0.1:65536",
					  "127.0.0.1:http",
					  "localhost:9911",
					  "::1:9911:x",
					  "127.0.0.1:9911 "};
	char error[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		error[0] = '\0';
		CHECK_INT(refuse(bad[i], error, sizeof(error)), -EINVAL);
		CHECK_HAS(error, "not ADDR:PORT");
		CHECK_HAS(error, bad[i]);
	}
}

TEST(port_in_use)
{
	int fd = loopback_bind(true);
	char text[32], error[256] = "";

	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(bound_port(fd)));
	CHECK_INT(refuse(text, error, sizeof(error)), -EADDRINUSE);
	CHECK_HAS(error, text);
	CHECK_HAS(error, "another sluiced or another program listens there");
	close(fd);
}

TEST(address_of_no_interface)
{
	char error[256] = "";

	CHECK_INT(refuse("192.0.2.1:9911", error, sizeof(error)), -EADDRNOTAVAIL);
	CHECK_HAS(error, "no interface of this node holds that address");
}
