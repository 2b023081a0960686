/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of load.c that are not the loop: its options, what it counts, and
 * how that is printed.
 */
#ifndef E2E_LOAD_H
#define E2E_LOAD_H

#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>

#include "histogram.h"
#include "net.h"

#define MAX_REPLICAS 256
#define MAX_SOURCES 64
#define MAX_ERROR_LOG 1000
#define NAME_LEN 32
#define HEAD_LEN 1024
#define ID_LEN 24
#define GIVE_UP 24 /* failures before the first success: nobody is there */

enum error_kind {
	ERROR_REFUSED,
	ERROR_RESET,
	ERROR_TIMEOUT,
	ERROR_SHORT,   /* the connection ended before the answer did */
	ERROR_STATUS,  /* an answer other than 200 */
	ERROR_CONTENT, /* a body that is not what was asked for */
	ERROR_UNREACHABLE,
	ERROR_OTHER,
	ERROR_KINDS,
};

/* How a connection ends. END_MIX takes the others in turn. */
enum end {
	END_SERVER, /* the server closes first */
	END_CLIENT, /* the client closes first */
	END_BOTH,   /* both at once: the client does not wait for the server's FIN */
	END_RST,    /* the client resets after the answer */
	END_ABORT,  /* the client resets right after its request */
	END_MIX,
};
static const char *const error_names[ERROR_KINDS] = {
	[ERROR_REFUSED] = "refused", [ERROR_RESET] = "reset",   [ERROR_TIMEOUT] = "timeout",
	[ERROR_SHORT] = "short",     [ERROR_STATUS] = "status", [ERROR_CONTENT] = "content",
	[ERROR_UNREACHABLE] = "unreachable", [ERROR_OTHER] = "other",
};
static const char *const end_names[] = {"server", "client", "both", "rst", "abort", "mix"};

struct options {
	struct sockaddr_storage target;
	socklen_t target_len;
	const char *target_text, *path;
	unsigned connections, rate, timeout_ms, post_bytes;
	unsigned error_pause_ms; /* how long a user of a closed loop waits after an error */
	unsigned port_min, port_max;
	double duration_s;
	uint64_t count;
	long expect_bytes;
	unsigned progress_ms; /* between reports; 0: only the one in the end */
	bool keepalive, pattern, ids;
	enum end end;
	char *sources[MAX_SOURCES];
	unsigned n_sources;
	char *request;
	size_t request_len;
	char *request_id; /* in `request`, ID_LEN digits; NULL without --ids */
};

struct conn {
	int fd;
	enum end end;
	uint32_t events;
	uint64_t began_ns;     /* of the request now under way */
	uint64_t opened_ns;    /* of the connection */
	uint64_t connected_ns; /* 0: not yet */
	uint64_t id;           /* of the request, in this process */
	size_t sent, head_len;
	bool in_body, answered;
	int status;
	long body, body_expected;
	char name[NAME_LEN]; /* of the replica, "" before it is known */
	char head[HEAD_LEN];
};

struct error_record {
	uint64_t at_ms;
	enum error_kind kind;
	bool connected;
	unsigned port; /* of the client */
	char name[NAME_LEN];
};

struct load {
	int epoll_fd;
	struct conn *conns;
	unsigned *free_slots;
	uint64_t *rests;            /* ring of n_conns: when users may ask again after an error */
	unsigned rest_first, resting;
	unsigned n_conns, n_free, open;
	uint64_t started_ns, next_ns, begun, ok, aborted, overrun;
	uint64_t failed, connect_failed, errors[ERROR_KINDS], recent_errors;
	struct {
		struct histogram connect, request;
	} total, recent;
	struct {
		char name[NAME_LEN];
		uint64_t requests;
	} replicas[MAX_REPLICAS];
	unsigned n_replicas;
	struct error_record error_log[MAX_ERROR_LOG];
	unsigned n_error_log;
};

/* Set by SIGTERM and SIGINT: open requests finish, no new one begins. */
static volatile sig_atomic_t load_stop;

static void stop_on_signal(int signal)
{
	load_stop = 1;
}

static inline bool load_is_over(const struct load *load, const struct options *options)
{
	if (load_stop || (!load->ok && load->failed >= GIVE_UP))
		return true;
	if (options->count && load->begun >= options->count)
		return true;
	return options->duration_s &&
	       now_ns() - load->started_ns > options->duration_s * NS_PER_SEC;
}

static void sources_parse(struct options *options, char *list)
{
	for (char *one = strtok(list, ","); one; one = strtok(NULL, ",")) {
		if (options->n_sources == MAX_SOURCES)
			die("more than %d source addresses", MAX_SOURCES);
		options->sources[options->n_sources++] = one;
	}
}

static enum end end_parse(const char *name)
{
	for (unsigned i = 0; i <= END_MIX; i++)
		if (!strcmp(name, end_names[i]))
			return i;
	die("--end %s: server, client, both, rst, abort or mix", name);
}

/* The one request that every connection sends; with --ids, but for the number that
 * request_stamp() writes into it. */
static void request_build(struct options *options)
{
	bool close_first = !options->keepalive && options->end != END_CLIENT;
	int len;

	options->request = malloc(2048 + options->post_bytes);
	len = snprintf(options->request, 2048, "%s %s HTTP/1.1\r\nHost: %s\r\n%s",
		       options->post_bytes ? "POST" : "GET", options->path, options->target_text,
		       close_first ? "Connection: close\r\n" : "");
	if (options->post_bytes)
		len += snprintf(options->request + len, 2048 - len, "Content-Length: %u\r\n",
				options->post_bytes);
	if (options->ids) {
		len += snprintf(options->request + len, 2048 - len, "X-Request-Id: %0*d\r\n", ID_LEN,
				0);
		options->request_id = options->request + len - 2 - ID_LEN;
	}
	len += snprintf(options->request + len, 2048 - len, "\r\n");
	pattern_fill(options->request + len, options->post_bytes, 0);
	options->request_len = len + options->post_bytes;
}

/* Makes the one request this connection's, before each piece of it that is sent. */
static inline void request_stamp(const struct options *options, uint64_t id)
{
	char digits[ID_LEN + 1];

	if (!options->request_id)
		return;
	snprintf(digits, sizeof(digits), "%08x%016lx", (unsigned)getpid(), id);
	memcpy(options->request_id, digits, ID_LEN);
}

static void options_parse(struct options *options, int argc, char **argv)
{
	static const struct option longs[] = {
		{"target", 1, 0, 't'},      {"connections", 1, 0, 'c'}, {"rate", 1, 0, 'r'},
		{"duration", 1, 0, 'd'},    {"count", 1, 0, 'n'},       {"path", 1, 0, 'p'},
		{"error-pause-ms", 1, 0, 'w'},
		{"keepalive", 0, 0, 'k'},   {"end", 1, 0, 'e'},         {"timeout-ms", 1, 0, 'T'},
		{"source", 1, 0, 's'},      {"ports", 1, 0, 'P'},       {"post", 1, 0, 'b'},
		{"expect-bytes", 1, 0, 'x'}, {"pattern", 0, 0, 'm'},    {"progress", 1, 0, 'g'},
		{"ids", 0, 0, 'i'},         {0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 't': options->target_text = optarg; break;
		case 'c': options->connections = atoi(optarg); break;
		case 'r': options->rate = atoi(optarg); break;
		case 'd': options->duration_s = atof(optarg); break;
		case 'n': options->count = strtoull(optarg, NULL, 10); break;
		case 'p': options->path = optarg; break;
		case 'w': options->error_pause_ms = atoi(optarg); break;
		case 'k': options->keepalive = true; break;
		case 'e': options->end = end_parse(optarg); break;
		case 'T': options->timeout_ms = atoi(optarg); break;
		case 's': sources_parse(options, optarg); break;
		case 'P':
			if (sscanf(optarg, "%u-%u", &options->port_min, &options->port_max) != 2)
				die("--ports %s: expected LOW-HIGH", optarg);
			break;
		case 'b': options->post_bytes = atoi(optarg); break;
		case 'x': options->expect_bytes = atol(optarg); break;
		case 'm': options->pattern = true; break;
		case 'g': options->progress_ms = atoi(optarg); break;
		case 'i': options->ids = true; break;
		default: exit(2);
		}
	}
	if (!options->target_text || (!options->duration_s && !options->count))
		die("usage: load --target ADDR:PORT (--duration S | --count N) [options]");
	options->target_len = sockaddr_parse(options->target_text, &options->target);
	request_build(options);
}

static void load_init(struct load *load, const struct options *options)
{
	struct sigaction stop = {.sa_handler = stop_on_signal};

	load->n_conns = options->rate ? 8192 : options->connections;
	load->conns = calloc(load->n_conns, sizeof(*load->conns));
	load->free_slots = calloc(load->n_conns, sizeof(*load->free_slots));
	load->rests = calloc(load->n_conns, sizeof(*load->rests));
	load->epoll_fd = epoll_create1(0);
	if (!load->conns || !load->free_slots || !load->rests || load->epoll_fd < 0)
		die("out of memory or file descriptors");
	for (unsigned i = load->n_conns; i-- > 0;) {
		load->conns[i].fd = -1;
		load->free_slots[load->n_free++] = i;
	}
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	load->started_ns = load->next_ns = now_ns();
}

static void quantiles_print(const char *name, const struct histogram *histogram)
{
	printf("\"%s\": {\"p50\": %lu, \"p95\": %lu, \"p99\": %lu, \"max\": %lu}", name,
	       histogram_quantile(histogram, 0.50), histogram_quantile(histogram, 0.95),
	       histogram_quantile(histogram, 0.99), histogram->max_us);
}

/* [[microseconds, requests], ...] of the buckets that are not empty, to be merged by the reader. */
static void histogram_print(const struct histogram *histogram)
{
	const char *comma = "";

	printf("\"histogram\": [");
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (!histogram->bucket[i])
			continue;
		printf("%s[%lu, %lu]", comma, histogram_value(i), histogram->bucket[i]);
		comma = ", ";
	}
	printf("]");
}

/* One line about the time since the last one. */
static inline void load_progress(struct load *load)
{
	printf("{\"at_ms\": %lu, \"ok\": %lu, \"errors\": %lu, ",
	       (now_ns() - load->started_ns) / 1000000, load->recent.request.n,
	       load->recent_errors);
	histogram_print(&load->recent.request);
	printf("}\n");
	fflush(stdout);
	memset(&load->recent, 0, sizeof(load->recent));
	load->recent_errors = 0;
}

static void error_log_print(const struct load *load)
{
	printf("\"error_log\": [");
	for (unsigned i = 0; i < load->n_error_log; i++) {
		const struct error_record *record = &load->error_log[i];

		printf("%s{\"at_ms\": %lu, \"kind\": \"%s\", \"connected\": %s, \"port\": %u, "
		       "\"replica\": \"%s\"}", i ? ", " : "", record->at_ms,
		       error_names[record->kind], record->connected ? "true" : "false",
		       record->port, record->name);
	}
	printf("]");
}

/* The account of the whole run, one line of JSON. */
static void load_report(const struct load *load)
{
	printf("{\"duration_s\": %.3f, \"requests\": %lu, \"ok\": %lu, \"aborted\": %lu, ",
	       (now_ns() - load->started_ns) / 1e9, load->begun, load->ok, load->aborted);
	printf("\"failed\": %lu, \"connect_failed\": %lu, \"overrun\": %lu, \"errors\": {",
	       load->failed + load->overrun, load->connect_failed, load->overrun);
	for (unsigned i = 0; i < ERROR_KINDS; i++)
		printf("%s\"%s\": %lu", i ? ", " : "", error_names[i], load->errors[i]);
	printf("}, ");
	quantiles_print("connect_us", &load->total.connect);
	printf(", ");
	quantiles_print("request_us", &load->total.request);
	printf(", \"replicas\": {");
	for (unsigned i = 0; i < load->n_replicas; i++)
		printf("%s\"%s\": %lu", i ? ", " : "", load->replicas[i].name,
		       load->replicas[i].requests);
	printf("}, ");
	histogram_print(&load->total.request);
	printf(", ");
	error_log_print(load);
	printf("}\n");
}

#endif
