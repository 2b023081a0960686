/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the packet tables of the waiting line share: a service that waits, and an agent, played by
 * call(), which sends out what the programs called out.
 */
#ifndef SLUICE_TEST_LINE_CASE_H
#define SLUICE_TEST_LINE_CASE_H

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <time.h>

#include "bpf_fixture.h"
#include "check.h"

#define SYN(port)        "client:" port " > vip:80 S seq 7 len 0 opts 20"
#define SYN_TO(port, r)  "client:" port " > " r ":8000 S seq 7 len 0 opts 20"
#define FULL(r, port)    r ":8000 > client:" port " RA seq 0 ack 8 len 0 win 20942"
#define ANSWER(r, port)  r ":8000 > client:" port " SA seq 100 ack 8 len 0 opts 20"
#define VIP_ANSWER(port) "vip:80 > client:" port " SA seq 100 ack 8 len 0 opts 20"
#define REFUSED(port)    "vip:80 > client:" port " RA seq 0 ack 8 len 0 back"

/* One service that waits, of `n` replicas with one place each, all taken. */
static inline void line_case(struct fixture *f, __u32 flags, unsigned n)
{
	struct timespec now;

	fixture_simple(f, flags, n);
	f->services[0].max_parked = 3;
	f->services[0].retry_attempts = 3;
	for (unsigned i = 0; i < n; i++) {
		f->replicas[i].config.weight = 4000 / (i + 1);
		fixture_set_cap(f, i, 1);
		f->replicas[i].state.owned = 1; /* somebody else's */
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	f->control->heartbeat_ns = now.tv_sec * 1000000000ull + now.tv_nsec;
}

static inline void sends(struct fixture *f, enum fixture_hook at, const char *in, int verdict,
			 const char *out)
{
	struct step step = {at, in, verdict, out};

	CHECK(fixture_step(f, &step));
}

static inline void parks(struct fixture *f, const char *syn)
{
	sends(f, FROM_POD, syn, SHOT, NULL);
}

static inline int note_wakeup(void *context, void *data, size_t size)
{
	*(struct sl_wakeup *)context = *(struct sl_wakeup *)data;
	return 0;
}

/* Client port of the handshake that was called out last; 0: none since the last time. */
static inline unsigned called(struct fixture *f, struct sl_wakeup *ret)
{
	struct ring_buffer *ring;
	int n;

	ring = ring_buffer__new(bpf_map__fd(f->skel->maps.wakeups), note_wakeup, ret, NULL);
	if (!ring)
		fixture_die("wakeups", errno);
	n = ring_buffer__consume(ring);
	ring_buffer__free(ring);
	return n > 0 ? ntohs(f->pending[ret->pending].port) : 0;
}

/* As the agent does; the frame goes nowhere. */
static inline int inject(struct fixture *f, const struct sl_wakeup *wakeup)
{
	struct __sk_buff context = {.cb = {wakeup->pending, wakeup->generation}};
	unsigned char frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &context, .ctx_size_in = sizeof(context));

	if (bpf_prog_test_run_opts(bpf_program__fd(f->skel->progs.inject), &opts))
		fixture_die("inject", errno);
	return opts.retval;
}

/* Who is called out by now is `port` (0: nobody), and will be sent. */
static inline void call(struct fixture *f, unsigned port)
{
	struct sl_wakeup wakeup;

	CHECK_INT(called(f, &wakeup), port);
	if (port)
		CHECK_INT(inject(f, &wakeup), 0);
}

/* The timer looks, whatever it would have waited for. */
static inline void look(struct fixture *f)
{
	struct sl_wakeup wakeup;

	called(f, &wakeup);
	f->lines[0].next = f->kernel->now;
	fixture_sweep(f);
}

/* One beat of the timers: a whole sweep may take longer than a line waits, where all is emulated.
 */
static inline void beat(struct fixture *f)
{
	unsigned char frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));

	if (bpf_prog_test_run_opts(bpf_program__fd(f->skel->progs.sweep_now), &opts))
		fixture_die("sweep_now", errno);
}

/* `n` wait, `offered` of them on offer right now. */
static inline void check_parked(struct fixture *f, unsigned n, unsigned offered)
{
	CHECK_INT(f->service_states[0].parked, n);
	CHECK_INT(f->kernel->parked, n);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_PARKED), n - offered);
}

static inline void check_clean(struct fixture *f)
{
	struct sl_line_place key;
	unsigned pending = 0;

	check_parked(f, 0, 0);
	CHECK_INT(f->kernel->half_open, 0);
	for (unsigned i = 0; i < f->n_replicas; i++)
		CHECK_INT(f->replicas[i].state.inflight, 0);
	for (unsigned i = 0; i < SL_PENDING; i++)
		pending += f->pending[i].phase != SL_PENDING_FREE;
	CHECK_INT(pending, 0);
	CHECK(bpf_map_get_next_key(bpf_map__fd(f->skel->maps.line_places), NULL, &key) != 0);
}

#endif
