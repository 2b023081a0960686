/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the packet tables of the fast path share: replicas and a client that may take it, its lines, what
 * a flow of it holds. A test run does not say where a packet is redirected to:
 * tests/e2e/fast_path_test.py does.
 */
#ifndef SLUICE_TEST_FAST_CASE_H
#define SLUICE_TEST_FAST_CASE_H

#include <errno.h>
#include <string.h>

#include "bpf_fixture.h"
#include "check.h"

#define SYN "client:4000 > vip:80 S seq 7 len 0 opts 20"
#define SYN_TO(r) "client:4000 > " r ":8000 S seq 7 len 0 opts 20"
#define REFUSAL_OF(r) r ":8000 > client:4000 RA seq 0 ack 8 len 0"
#define ANSWER_OF(r) r ":8000 > client:4000 SA seq 100 ack 8 len 0 opts 20"
#define ANSWER "vip:80 > client:4000 SA seq 100 ack 8 len 0 opts 20"
#define RETRIED TRIMMED

#define PEER FIXTURE_PEER /* the pod interface of r1 is PEER, that of r2 PEER + 1, ... */

static const struct fixture_options on = {.fast_path = true};

/* `n` replicas on the fast path, of falling weight: r1 is picked first. */
static inline __u32 begin(struct fixture *f, __u32 flags, unsigned n)
{
	__u32 service = fixture_simple(f, flags, n);

	for (unsigned i = 0; i < n; i++) {
		f->replicas[i].config.weight = 4000 / (i + 1);
		fixture_make_fast(f, i, PEER + i);
	}
	fixture_set_fast_client(f, FIXTURE_IFINDEX);
	return service;
}

static inline void check_inflight(struct fixture *f, const __u32 *expected, unsigned n, __u32 half_open)
{
	for (unsigned i = 0; i < n; i++)
		CHECK_INT(f->replicas[i].state.inflight, expected[i]);
	CHECK_INT(f->kernel->half_open, half_open);
}

static inline void check_client(struct fixture *f, enum sl_hook hook)
{
	struct sl_flow *flow = fixture_flow(f);

	CHECK_INT(flow ? flow->hook : SL_HOOK_NONE, hook);
	CHECK_INT(flow ? SL_FLOW_IFINDEX(flow) : 0, FIXTURE_IFINDEX);
}

#endif
