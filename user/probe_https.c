// SPDX-License-Identifier: GPL-2.0-only
/*
 * The httpGet probe with scheme HTTPS, by libcurl's multi interface; judged as
 * in probe_http.c. The certificate is not verified: a pod's name is in no
 * certificate, and the kubelet does not either. Owns libcurl's handles, its
 * sockets (in an epoll of their own, which is one fd of the set's) and its
 * timer. Called through probe_https by probe_run.c.
 *
 * A TLS handshake costs a hundred times what a connection does, so a kept one
 * is used for CONNECTION_AGE_S and not for ten probes only.
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "addr.h"
#include "probe_set.h"

#define CONNECTION_AGE_S 10L
#define MAX_KEPT 512L  /* connections, of some tens of KiB each */
#define BODY_MAX 65536 /* a longer body costs the connection */
#define MAX_ROUNDS 16  /* of libcurl's immediate timers in a row */

struct probe_https {
	struct probe_io io;
	struct probe_set *set;
	CURLM *multi;
	int epoll_fd;
	uint64_t timer_ns; /* CLOCK_MONOTONIC; UINT64_MAX: none */
};

struct https_attempt {
	struct probe_attempt base;
	CURL *easy;
	struct curl_slist *headers;
	size_t body_len;
};

/* ---- what libcurl calls ------------------------------------------------------- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known)
{
	struct probe_https *https = context;
	struct epoll_event event = {.data.fd = fd};

	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(https->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	/* libcurl may close a socket without a word and open another of the same number. */
	if (epoll_ctl(https->epoll_fd, EPOLL_CTL_MOD, fd, &event) && errno == ENOENT)
		return epoll_ctl(https->epoll_fd, EPOLL_CTL_ADD, fd, &event);
	return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *context)
{
	struct probe_https *https = context;

	https->timer_ns = timeout_ms < 0 ? UINT64_MAX : uv_hrtime() + timeout_ms * 1000000ull;
	return 0;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *context)
{
	struct https_attempt *attempt = context;

	attempt->body_len += size * n;
	return attempt->body_len > BODY_MAX ? 0 : size * n;
}

/* ---- results ------------------------------------------------------------------- */

static void https_judge(struct https_attempt *attempt, CURLcode code)
{
	const char *reason = curl_easy_strerror(code);
	long status = 0, error = 0;

	curl_easy_getinfo(attempt->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(attempt->easy, CURLINFO_OS_ERRNO, &error);
	switch (code) {
	case CURLE_WRITE_ERROR: /* ours: the body was too long */
	case CURLE_OK:
		probe_attempt_end(&attempt->base,
				  status >= 200 && status <= 399 ? PROBE_GOOD : PROBE_BAD, NULL,
				  status);
		break;
	case CURLE_COULDNT_CONNECT:
		if (error)
			return probe_attempt_end_errno(&attempt->base, error);
		/* fall through */
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		probe_attempt_end(&attempt->base, PROBE_FAILED, reason, 0);
		break;
	case CURLE_FAILED_INIT:
	case CURLE_OUT_OF_MEMORY:
		probe_attempt_end(&attempt->base, PROBE_VOID, reason, 0);
		break;
	default:
		probe_attempt_end(&attempt->base, PROBE_BAD, reason, 0);
	}
}

/* Lets libcurl do all it can do now, and ends what is finished. */
static void https_settle(struct probe_https *https)
{
	struct https_attempt *attempt;
	CURLMsg *message;
	int n;

	for (unsigned i = 0; i < MAX_ROUNDS && https->timer_ns <= uv_hrtime(); i++) {
		https->timer_ns = UINT64_MAX;
		curl_multi_socket_action(https->multi, CURL_SOCKET_TIMEOUT, 0, &n);
	}
	while ((message = curl_multi_info_read(https->multi, &n))) {
		CURLcode code = message->data.result;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &attempt);
		https_judge(attempt, code);
	}
}

static void https_ready(struct probe_io *io, unsigned events)
{
	struct probe_https *https = (struct probe_https *)io;
	struct epoll_event list[64];
	int n = epoll_wait(https->epoll_fd, list, 64, 0), running;

	for (int i = 0; i < n; i++) {
		int mask = 0;

		if (list[i].events & EPOLLIN)
			mask |= CURL_CSELECT_IN;
		if (list[i].events & EPOLLOUT)
			mask |= CURL_CSELECT_OUT;
		if (list[i].events & (EPOLLERR | EPOLLHUP))
			mask |= CURL_CSELECT_ERR;
		curl_multi_socket_action(https->multi, list[i].data.fd, mask, &running);
	}
	https_settle(https);
}

void probe_https_tick(struct probe_https *https)
{
	if (https && https->timer_ns <= uv_hrtime())
		https_settle(https);
}

/* ---- life of the module ---------------------------------------------------------- */

static int https_open(struct probe_https *https)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &https->io};

	https->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (https->epoll_fd < 0 ||
	    epoll_ctl(https->set->epoll_fd, EPOLL_CTL_ADD, https->epoll_fd, &event))
		return -errno;
	https->multi = curl_multi_init();
	if (!https->multi ||
	    curl_multi_setopt(https->multi, CURLMOPT_SOCKETFUNCTION, on_socket) ||
	    curl_multi_setopt(https->multi, CURLMOPT_SOCKETDATA, https) ||
	    curl_multi_setopt(https->multi, CURLMOPT_TIMERFUNCTION, on_timer) ||
	    curl_multi_setopt(https->multi, CURLMOPT_TIMERDATA, https) ||
	    curl_multi_setopt(https->multi, CURLMOPT_MAXCONNECTS, MAX_KEPT))
		return -ENOMEM;
	return 0;
}

static int https_new(struct probe_set *set)
{
	struct probe_https *https;
	int err;

	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		return -ENOMEM;
	https = calloc(1, sizeof(*https));
	if (!https) {
		curl_global_cleanup();
		return -ENOMEM;
	}
	https->io.ready = https_ready;
	https->set = set;
	https->epoll_fd = -1;
	https->timer_ns = UINT64_MAX;
	err = https_open(https);
	if (err) {
		probe_https_free(https);
		return err;
	}
	set->https = https;
	return 0;
}

void probe_https_free(struct probe_https *https)
{
	if (!https)
		return;
	curl_multi_cleanup(https->multi);
	if (https->epoll_fd >= 0)
		close(https->epoll_fd);
	free(https);
	curl_global_cleanup();
}

/* ---- one attempt ------------------------------------------------------------------ */

/* The spec's header lines, one by one. */
static struct curl_slist *make_headers(const char *lines)
{
	struct curl_slist *list = NULL, *longer;

	while (*lines) {
		size_t len = strcspn(lines, "\r");
		char *line = strndup(lines, len);

		longer = line ? curl_slist_append(list, line) : NULL;
		free(line);
		if (!longer) {
			curl_slist_free_all(list);
			return NULL;
		}
		list = longer;
		lines += len + strlen("\r\n");
	}
	return list;
}

static int make_url(const struct probe_replica *replica, char **ret)
{
	char host[ADDR_PORT_STR_LEN];

	addr_format_port(&replica->addr, replica->spec->asked.port, host);
	return asprintf(ret, "https://%s%s", host, replica->spec->path) < 0 ? -ENOMEM : 0;
}

static int set_options(struct https_attempt *attempt, const char *url)
{
	CURL *easy = attempt->easy;

	if (curl_easy_setopt(easy, CURLOPT_URL, url) ||
	    curl_easy_setopt(easy, CURLOPT_PRIVATE, attempt) ||
	    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, attempt->headers) ||
	    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) ||
	    curl_easy_setopt(easy, CURLOPT_WRITEDATA, attempt) ||
	    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) ||
	    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L) ||
	    curl_easy_setopt(easy, CURLOPT_PROXY, "") || /* whatever the environment says */
	    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) ||
	    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L) ||
	    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L) ||
	    curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, CONNECTION_AGE_S))
		return -ENOMEM;
	return 0;
}

static int https_begin(struct https_attempt *attempt)
{
	struct probe_replica *replica = attempt->base.replica;
	char *url;
	int err;

	if (!replica->set->https) {
		err = https_new(replica->set);
		if (err)
			return err;
	}
	attempt->easy = curl_easy_init();
	attempt->headers = make_headers(replica->spec->request);
	if (!attempt->easy || !attempt->headers || make_url(replica, &url))
		return -ENOMEM;
	err = set_options(attempt, url);
	free(url);
	if (err)
		return err;
	return curl_multi_add_handle(replica->set->https->multi, attempt->easy) ? -ENOMEM : 0;
}

static void https_start(struct probe_attempt *base)
{
	struct probe_https *https;
	int err = https_begin((struct https_attempt *)base);

	https = base->replica->set->https;
	if (err)
		probe_attempt_end_errno(base, -err);
	else
		https_settle(https);
}

static void https_stop(struct probe_attempt *base)
{
	struct https_attempt *attempt = (struct https_attempt *)base;

	if (attempt->easy) {
		curl_multi_remove_handle(base->replica->set->https->multi, attempt->easy);
		curl_easy_cleanup(attempt->easy);
	}
	curl_slist_free_all(attempt->headers);
}

const struct probe_protocol probe_https = {sizeof(struct https_attempt), https_start, https_stop};
