/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the packet tables of outlier detection share: a service that has it, failures, time that
 * passes, the events that were written.
 */
#ifndef SLUICE_TEST_EJECT_CASE_H
#define SLUICE_TEST_EJECT_CASE_H

#include <stdio.h>
#include <time.h>

#include "bpf_fixture.h"
#include "check.h"

#define EJECT_STALE 30000 /* jiffies: two intervals of a probe, long enough for a slow machine */

/* As bpf/eject.h has them. */
enum { FAILURE_REFUSED, FAILURE_UNANSWERED, FAILURE_5XX, FAILURE_GATEWAY };

/* One service with `n` replicas and outlier detection: five 5xx eject for 30 s, one at most. */
static inline void eject_case(struct fixture *f, unsigned n)
{
	struct sl_service *service;

	fixture_simple(f, 0, n);
	service = &f->services[0];
	service->eject_5xx = 5;
	service->max_ejection_percent = 10;
	service->base_ejection_ticks = 30 * FIXTURE_HZ;
	service->max_ejection_ticks = 300 * FIXTURE_HZ;
	service->outlier_interval_ticks = 10 * FIXTURE_HZ;
}

/* `n` more replicas. */
static inline void eject_members(struct fixture *f, __u32 service, unsigned n)
{
	static unsigned number;
	char replica[32];

	for (unsigned i = 0; i < n; i++, number = (number + 1) % 50000) {
		snprintf(replica, sizeof(replica), "10.3.%u.%u:8000", number / 250,
			 1 + number % 250);
		fixture_add_replica(f, service, replica, 100);
	}
}

static inline void eject_fail(struct fixture *f, __u32 service, __u32 replica, __u32 client,
			      __u32 failure)
{
	fixture_eject(f, SL_EJECT_OP_FAILURE, service, replica, client, failure);
}

/* As the kernel's clock has it now. */
static inline __u32 eject_now(struct fixture *f)
{
	fixture_tick(f);
	return f->kernel->now;
}

/* Whether it is marked as ejected, until some time to come. */
static inline bool eject_is_out(struct fixture *f, __u32 replica)
{
	/* The clock is read anew: sl_kernel.now is 0 before the first sweep, which lies far from the
	 * jiffies of a machine that has just booted. */
	__u32 now = eject_now(f), until = f->replicas[replica].state.ejected_until;

	return until && (__s32)(until - now) > 0;
}

/* `ticks` jiffies pass for one replica. */
static inline void eject_pass(struct fixture *f, __u32 replica, __u32 ticks)
{
	struct sl_replica_state_row *state = &f->replicas[replica].state;

	if (state->ejected_until)
		state->ejected_until -= ticks;
	state->fit_since -= ticks;
}

/* The agent lives, and a probe of the replica was good just now. */
static inline void eject_vouch(struct fixture *f, __u32 replica)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	f->control->heartbeat_ns = now.tv_sec * 1000000000ull + now.tv_nsec;
	f->replicas[replica].config.probe_good = eject_now(f);
	f->replicas[replica].config.probe_stale_ticks = EJECT_STALE;
}

/* The newest event of a kind; an empty one if there is none. */
static inline const struct sl_event *eject_event(struct fixture *f, enum sl_event_kind kind)
{
	static const struct sl_event none;
	const struct sl_event *newest = &none;

	for (unsigned i = 0; i < FIXTURE_EVENTS; i++)
		if (f->events[i].kind == kind && f->events[i].seq > newest->seq)
			newest = &f->events[i];
	return newest;
}

#endif
