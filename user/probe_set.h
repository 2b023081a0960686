/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the probes: what probe.c (the set and its replicas), probe_run.c (time
 * and judgement) and the protocols (probe_tcp, probe_http, probe_grpc,
 * probe_https) share. Nobody else includes this.
 *
 * An attempt is one probe under way. Its protocol starts it, is called back by
 * the loop, and ends it exactly once with probe_attempt_end(); the wheel ends
 * those that take too long.
 */
#ifndef SLUICE_PROBE_SET_H
#define SLUICE_PROBE_SET_H

#include <errno.h>
#include <uv.h>

#include "probe.h"
#include "probe_clock.h"
#include "probe_health.h"
#include "probe_wheel.h"

#define PROBE_TICK_MS 10
#define PROBE_TICK_NS (PROBE_TICK_MS * 1000000ull)
#define PROBE_SLOW_NS 1000000000ull /* a down replica is asked once in this time */
#define PROBE_MAX_PENDING 16u
/* A kept connection carries so many probes and is then closed, so that at least every tenth probe
 * is a new connection: a server that still serves its old connections but whose accept queue is
 * full has none to fall back on. It also reaches the other processes behind one port. */
#define PROBE_MAX_USES 10u

/* Stands for ECONNREFUSED that no RST brought: a firewall's word, on the way or on this node. No
 * connect() fails with this one. */
#define PROBE_EICMP ECOMM

struct probe_attempt;
struct probe_conn;
struct probe_https;

struct probe_protocol {
	size_t size; /* of its attempt, which begins with a struct probe_attempt */
	/* May end the attempt at once. */
	void (*start)(struct probe_attempt *attempt);
	/* Lets go of whatever start took; the attempt is freed afterwards. */
	void (*stop)(struct probe_attempt *attempt);
};

extern const struct probe_protocol probe_tcp, probe_http, probe_grpc, probe_https;

/* What is asked; shared by all replicas that are asked the same. */
struct probe_spec {
	unsigned refs;
	unsigned max_pending;
	const struct probe_protocol *protocol; /* NULL: no probe */
	struct model_probe asked;              /* a copy, strings and all: */
	struct texts texts;
	struct probe_rules rules;
	uint64_t timeout_ns;
	char *title;   /* for evidence: "http GET /health" */
	char *path;    /* HTTP(S), percent-encoded */
	char *request; /* HTTP: all but what differs by replica; HTTPS: headers; gRPC: message */
	size_t request_len;
};

struct probe_replica {
	struct probe_wheel_entry due; /* next probe or suspicion, whichever is first */
	struct probe_set *set;
	struct probe_spec *spec;
	struct probe_attempt *attempts; /* pending ones, newest first */
	struct probe_conn *idle;        /* kept for the next probe, or waiting for its end */
	uint64_t next_ns;               /* next probe */
	union sl_addr addr;
	__u32 row;
	unsigned epoch; /* of the sync that last named it */
	uint8_t n_pending;
	uint8_t ask_close; /* HTTP probes to go that ask it to close: it keeps no connection */
	struct probe_judge judge;
	struct probe_histogram histogram;
};

struct probe_attempt {
	struct probe_wheel_entry deadline;
	struct probe_replica *replica;
	struct probe_attempt *next, **link; /* in replica->attempts */
	uint64_t begun_ns;                  /* awake clock */
	uint64_t begun_real_ns;             /* CLOCK_MONOTONIC */
	uint64_t full_before;               /* refusals by the owner until it began */
};

/* Whatever the set's epoll reports on begins with this. */
struct probe_io {
	void (*ready)(struct probe_io *io, unsigned events);
};

struct probe_set {
	uv_timer_t tick;
	uv_poll_t poll; /* on epoll_fd */
	int epoll_fd;   /* one fd for the loop, whatever number of sockets */
	unsigned open_handles;
	probe_change_fn *fn;
	probe_good_fn *good; /* NULL: nobody asks */
	probe_full_fn *full; /* NULL: no replica has a cap */
	void *context;
	struct probe_replica **rows; /* by row of the replica; holes are NULL */
	size_t n_rows;
	unsigned epoch;
	uint64_t random;
	unsigned grpc_sessions;    /* that connections hold now */
	struct probe_https *https; /* NULL until the first HTTPS probe */
	struct probe_clock clock;
	struct probe_wheel replicas;
	struct probe_wheel deadlines;
};

/* ---- probe_spec.c ----------------------------------------------------------- */
/* NULL: out of memory. */
struct probe_spec *probe_spec_new(const struct model_probe *probe);
void probe_spec_unref(struct probe_spec *spec);

/* ---- probe_run.c ------------------------------------------------------------- */
/* Begins probing at a random point of the interval. */
void probe_run_start(struct probe_replica *replica);
/* Stops, and drops what is under way, uncounted. */
void probe_run_stop(struct probe_replica *replica);
/* One turn: answers that wait, then deadlines, then probes that are due. */
void probe_run_tick(struct probe_set *set);
/* See probe_set_fail(). */
void probe_run_fail(struct probe_replica *replica, const char *evidence);
/* Serves sockets that are ready; does not wait. */
void probe_run_drain(struct probe_set *set);
/* Ends an attempt and frees it: touch neither it nor its connection afterwards. What was seen, for
 * people: `reason` (static text or NULL), `status` (0: none). */
void probe_attempt_end(struct probe_attempt *attempt, enum probe_outcome outcome,
		       const char *reason, unsigned status);
/* The same for an errno of ours (positive). */
void probe_attempt_end_errno(struct probe_attempt *attempt, int error);

/* ---- probe_https.c ------------------------------------------------------------ */
/* Lets libcurl's timers run. NULL is fine for both. */
void probe_https_tick(struct probe_https *https);
void probe_https_free(struct probe_https *https);

#endif
