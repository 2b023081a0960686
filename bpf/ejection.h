/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ejections: whether a replica whose failures reached a threshold (eject.h) is taken out, for how
 * long, and when it is back. All rules are here, whoever asks: packets, by a timer; the agent, for
 * success rates and latency, by the program eject_now; the sweep, which ends what is over.
 *
 * Refused, with an event that says why, are ejections: while they are frozen; of a replica that
 * failed only one client address, while a probe vouches for it; beyond max_ejection_percent of any
 * service with outlier detection that has the replica. That share is counted at that moment, over
 * the first 5120 members, with the replica already marked: of two CPUs that eject two replicas at
 * once, at least one sees both. One replica of several may always be ejected, whatever the share.
 */
#ifndef SLUICE_BPF_EJECTION_H
#define SLUICE_BPF_EJECTION_H

#include "eject.h"
#include "event.h"
#include "survey.h"

#define EJECT_DRAIN_MAX 128u   /* requests served at once: all that the queue holds */
#define EJECT_TICKS_MAX (1u << 30) /* jiffies are compared as signed 32-bit differences */

static const char eject_words[][24] = {SL_EJECT_CAUSES(SL_NAME_ROW)};

/* ---- whether and how long ----------------------------------------------------------------*/

enum spared { SPARED_FROZEN, SPARED_VOUCHED, SPARED_SHARE, SPARED_MAX };
static const char spared_words[][32] = {
	[SPARED_FROZEN] = "ejections are frozen",
	[SPARED_VOUCHED] = "one client's, its probe is good",
	[SPARED_SHARE] = "enough are ejected",
};

/* Says why a replica stays; at most once a second for a service. */
__noinline int eject_spare(__u32 service_row, __u32 replica_row, __u32 cause, __u32 run, __u32 why)
{
	struct sl_service_state *state = bpf_map_lookup_elem(&service_states, &service_row);
	struct sl_event *row;
	__u64 seq;

	if (!state || cause >= SL_EJECT_MAX || why >= SPARED_MAX ||
	    !event_is_due(&state->spared_at, hz))
		return 0;
	row = event_begin(SL_EVENT_EJECT_SPARED, service_row, replica_row, run, &seq);
	if (!row)
		return 0;
	if (cause == SL_EJECT_RATE)
		BPF_SNPRINTF(row->text, EVENT_TEXT_LEN, "success rate %u.%u%%: %s", run / 10,
			     run % 10, spared_words[why]);
	else if (cause == SL_EJECT_LATENCY)
		BPF_SNPRINTF(row->text, EVENT_TEXT_LEN, "first byte after %u.%02u s: %s", run / 100,
			     run % 100, spared_words[why]);
	else
		BPF_SNPRINTF(row->text, EVENT_TEXT_LEN, "%u of %u %s: %s", run, run,
			     eject_words[cause], spared_words[why]);
	event_end(row, seq);
	return 0;
}

/* Says that it goes, for `ticks` jiffies. `witnesses` above 1: several clients saw it fail. */
__noinline int eject_tell(const struct eject_due *due, __u32 ticks)
{
	__u32 cause, run, seconds = ticks / hz;
	struct sl_event *row;
	__u64 seq;

	if (!due)
		return 0;
	cause = due->cause;
	run = due->run;
	if (cause >= SL_EJECT_MAX)
		return 0;
	row = event_begin(SL_EVENT_EJECT, due->service, due->replica, seconds, &seq);
	if (!row)
		return 0;
	if (cause == SL_EJECT_RATE)
		BPF_SNPRINTF(row->text, EVENT_TEXT_LEN, "success rate %u.%u%%, mean %u.%u%%; for "
			     "%u s", run / 10, run % 10, due->peers / 10, due->peers % 10, seconds);
	else if (cause == SL_EJECT_LATENCY)
		BPF_SNPRINTF(row->text, EVENT_TEXT_LEN, "first byte after %u.%02u s, median "
			     "%u.%02u s of %u; for %u s", run / 100, run % 100, due->peers / 100,
			     due->peers % 100, due->witnesses, seconds);
	else if (due->witnesses > 1)
		BPF_SNPRINTF(row->text, EVENT_TEXT_LEN, "%u of %u %s, 2 or more clients; for %u s",
			     run, run, eject_words[cause], seconds);
	else
		BPF_SNPRINTF(row->text, EVENT_TEXT_LEN, "%u of %u %s, 1 client, no good probe; for "
			     "%u s", run, run, eject_words[cause], seconds);
	event_end(row, seq);
	return 0;
}

/* Whether a probe of a living agent's was good lately: then one client's word is not enough. Without
 * probes nobody vouches for the replica, and failures speak for themselves. */
static __always_inline bool eject_is_vouched(const struct sl_control *c,
					     const struct sl_replica_config *config, __u32 now)
{
	__s64 silent_ns = bpf_ktime_get_ns() - c->heartbeat_ns;

	return silent_ns < HEARTBEAT_DEAD_S * 1000000000ll && config->probe_good &&
	       config->probe_stale_ticks &&
	       (__s32)(now - config->probe_good) <= (__s32)config->probe_stale_ticks;
}

/* How long the next ejection lasts; never 0. */
static __always_inline __u32 eject_ticks(const struct sl_service *service,
					 const struct sl_replica *replica)
{
	__u64 ticks = (__u64)service->base_ejection_ticks *
		      ((__u64)READ_ONCE(replica->state.ejected_times) + 1);
	__u64 max = service->max_ejection_ticks;

	if (!max || max > EJECT_TICKS_MAX)
		max = EJECT_TICKS_MAX;
	return (ticks < max ? ticks : max) ?: 1;
}

/* Keeps the books of an ejection that was just made. */
static __always_inline void eject_book(const struct eject_due *due, struct sl_replica *replica)
{
	__u32 row = due->replica, zero = 0; /* a key on the stack: before 6.4 none may lie in *due */
	struct sl_outlier *outlier = bpf_map_lookup_elem(&outliers, &row);
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	WRITE_ONCE(replica->state.ejected_for, due->cause);
	__sync_fetch_and_add(&replica->state.ejected_times, 1);
	__sync_fetch_and_add(&replica->state.ejections, 1);
	count(SL_COUNT_EJECTIONS);
	if (outlier) /* what comes from open flows from now on counts anew */
		__sync_lock_test_and_set((__u64 *)outlier, 0);
	if (k)
		WRITE_ONCE(k->ejections, 1);
}

/* What keeps it in: enum spared, SPARED_MAX for nothing. Sooner checks are cheaper ones. */
static __always_inline enum spared eject_objection(const struct eject_due *due,
						   const struct sl_replica *replica, __u32 now)
{
	__u32 zero = 0;
	struct sl_control *c = bpf_map_lookup_elem(&control, &zero);
	__u32 frozen = c ? READ_ONCE(c->frozen_until) : 0;

	if (frozen && (__s32)(frozen - now) > 0)
		return SPARED_FROZEN;
	if (due->witnesses < 2 && c && eject_is_vouched(c, &replica->config, now))
		return SPARED_VOUCHED;
	return SPARED_MAX;
}

/* Ejects a replica if all rules allow it: 1 if it did. Of two CPUs one does. */
__noinline int eject_try(const struct eject_due *due)
{
	__u32 now = bpf_jiffies64(), before, until, ticks, why, service_row, replica_row;
	struct sl_service *service;
	struct sl_replica *replica;

	if (!due)
		return 0;
	/* Keys on the stack: before 6.4 none may lie in a global function's argument. */
	service_row = due->service;
	replica_row = due->replica;
	service = bpf_map_lookup_elem(&services, &service_row);
	replica = bpf_map_lookup_elem(&replicas, &replica_row);
	if (!service || !replica || eject_is_out(replica))
		return 0;
	why = eject_objection(due, replica, now);
	before = READ_ONCE(replica->state.ejected_until);
	ticks = eject_ticks(service, replica);
	until = now + ticks ?: 1;
	if (why == SPARED_MAX) {
		if (__sync_val_compare_and_swap(&replica->state.ejected_until, before, until) !=
		    before)
			return 0;
		if (!eject_is_allowed(replica_row)) {
			why = SPARED_SHARE;
			__sync_val_compare_and_swap(&replica->state.ejected_until, until, before);
		}
	}
	if (why != SPARED_MAX) {
		eject_spare(service_row, replica_row, due->cause, due->run, why);
		return 0;
	}
	eject_book(due, replica);
	eject_weigh_all(replica_row);
	if (before) /* over, and not yet swept */
		event_add(SL_EVENT_EJECT_END, service_row, replica_row, 0,
			  EVENT_TEXT_EJECTED_ANEW);
	eject_tell(due, ticks);
	return 1;
}

/* Serves the requests of eject.h. */
static __always_inline void eject_drain(void)
{
	struct eject_due due;

	for (__u32 i = 0; i < EJECT_DRAIN_MAX && !bpf_map_pop_elem(&ejections_due, &due); i++)
		eject_try(&due);
}

static int eject_expire(void *map, __u32 *key, struct sweep_timer *timer)
{
	eject_drain();
	return 0;
}

/* ---- the end ---------------------------------------------------------------------------------*/

/* The service in whose name things are said of a replica, and whose interval counts: the first of its
 * services that has outlier detection. Its row, or that of the first of all. */
static __always_inline __u32 eject_service(__u32 replica_row)
{
	struct sl_replica_services *shared = bpf_map_lookup_elem(&replica_services, &replica_row);

	for (__u32 i = 0; shared && i < SL_MAX_SHARED && i < shared->n; i++) {
		__u32 row = shared->service[i];
		struct sl_service *service = bpf_map_lookup_elem(&services, &row);

		if (service && eject_is_on(service))
			return row;
	}
	return shared ? shared->service[0] : 0;
}

/* Ends the ejection of a replica that is not to end by itself, or whose time is over: 1 if it did.
 * `text`: enum event_text. */
__noinline int eject_end(__u32 replica_row, __u32 text)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);
	struct sl_outlier *outlier = bpf_map_lookup_elem(&outliers, &replica_row);
	__u32 until;

	if (!replica || !outlier)
		return 0;
	until = READ_ONCE(replica->state.ejected_until);
	if (!until ||
	    __sync_val_compare_and_swap(&replica->state.ejected_until, until, 0) != until)
		return 0;
	WRITE_ONCE(replica->state.ejected_for, SL_EJECT_NONE);
	WRITE_ONCE(replica->state.fit_since, bpf_jiffies64());
	__sync_lock_test_and_set((__u64 *)outlier, 0);
	WRITE_ONCE(outlier->first_byte, 0); /* or it would soon go again for how slow it was */
	eject_weigh_all(replica_row);
	event_add(SL_EVENT_EJECT_END, eject_service(replica_row), replica_row, 0, text);
	return 1;
}

/* A probe of the agent's was good: it disproves failed connects, and nothing else. */
static __always_inline int eject_probed(__u32 replica_row)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);

	return replica && READ_ONCE(replica->state.ejected_for) == SL_EJECT_CONNECT ?
		       eject_end(replica_row, EVENT_TEXT_PROBED) : 0;
}

/* ---- the sweep ---------------------------------------------------------------------------------*/

/* Back-off forgets one ejection for each interval in which the replica was not ejected (as Envoy
 * does). */
static __always_inline void eject_decay(struct sl_replica *replica, __u32 row, __u32 times,
					__u32 now)
{
	__u32 service_row = eject_service(row), interval;
	struct sl_service *service = bpf_map_lookup_elem(&services, &service_row);

	interval = service && service->outlier_interval_ticks ? service->outlier_interval_ticks :
								OUTLIER_INTERVAL_S * hz;
	if ((__s32)(now - READ_ONCE(replica->state.fit_since)) < (__s32)interval)
		return;
	WRITE_ONCE(replica->state.fit_since, now);
	__sync_val_compare_and_swap(&replica->state.ejected_times, times, times - 1);
}

/* The next replica row. A pass that meets nothing leaves k->ejections 0; an ejection made while it
 * runs sets it again. */
__noinline int eject_sweep_replica(__u32 now)
{
	__u32 zero = 0, row, until, times;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);
	struct sl_replica *replica;

	if (!k)
		return 0;
	row = k->replica_cursor;
	if (!row)
		WRITE_ONCE(k->ejections, 0);
	k->replica_cursor = row + 1 < SL_MAX_REPLICAS ? row + 1 : 0;
	replica = bpf_map_lookup_elem(&replicas, &row);
	if (!replica)
		return 0;
	until = READ_ONCE(replica->state.ejected_until);
	times = READ_ONCE(replica->state.ejected_times);
	if (!until && !times)
		return 0;
	WRITE_ONCE(k->ejections, 1);
	if (!until)
		eject_decay(replica, row, times, now);
	else if ((__s32)(until - now) <= 0)
		eject_end(row, EVENT_TEXT_TIME_OVER);
	return 0;
}

/* The next service row: what is fit changes by probes and drains too. */
__noinline int eject_sweep_service(void)
{
	__u32 zero = 0, row;
	struct sl_kernel *k = bpf_map_lookup_elem(&kernel, &zero);

	if (!k)
		return 0;
	row = k->service_cursor;
	k->service_cursor = row + 1 < SL_MAX_SERVICES ? row + 1 : 0;
	return eject_weigh(row);
}

#define EJECT_SLICE_REPLICAS (SL_MAX_REPLICAS * SWEEP_TICK_MS / SWEEP_REPLICAS_MS + 1)
#define EJECT_SLICE_SERVICES (SL_MAX_SERVICES * SWEEP_TICK_MS / (SWEEP_PASS_S * 1000) + 1)

/* The sweep's part here: nothing at all while no replica is ejected, or was lately. */
static __always_inline void eject_sweep(struct sl_kernel *k, __u32 now)
{
	eject_drain();
	if (likely(!READ_ONCE(k->ejections) && !k->replica_cursor))
		return;
	for (__u32 i = 0; i < EJECT_SLICE_REPLICAS; i++) {
		eject_sweep_replica(now);
		if (!k->replica_cursor) /* the pass is over */
			break;
	}
	for (__u32 i = 0; i < EJECT_SLICE_SERVICES; i++)
		eject_sweep_service();
}

#endif
