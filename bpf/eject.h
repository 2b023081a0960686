/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Outlier detection at the packet: counts what a replica does well and badly, in a row, and asks for
 * its ejection when a threshold of the service is reached. Called where an answer is seen, or missed:
 * flow.h, retry.h, pending.h, sniff.h. What becomes of the request is ejection.h's business.
 *
 * Three counts in a row: HTTP 5xx, those of them that are 502 to 504, failed connects. Connect
 * failures count as 5xx and as gateway errors too, as in Envoy, unless the service counts them
 * apart; so thresholds look at the sum, and each count keeps what only its own successes end:
 *
 *   a status below 500  ends all three (with SL_SERVICE_SPLIT not that of connects)
 *   a SYN-ACK           ends that of connects alone. It says nothing about statuses: a server that
 *                       answers each connection with 503 accepts them all. Nor may what connects
 *                       added outlive it: where statuses cannot be seen (TLS, not sniffed), nothing
 *                       else would ever end it, and five refusals in a month would eject.
 *   a plain 5xx         ends that of 502 to 504
 *
 * The ejection itself runs in a timer of its own, started here with no delay: it may look at
 * thousands of replicas and write an event, for which the stacks of those who call have no room
 * (512 bytes for all nested frames). Where that timer is not armed the next sweep does it.
 */
#ifndef SLUICE_BPF_EJECT_H
#define SLUICE_BPF_EJECT_H

#include <stdbool.h>

#include <sluice/hash.h>

#include "config.h"
#include "count.h"
#include "maps.h"
#include "verifier.h"

#define EJECT_TRIES 4 /* of a compare-and-swap; a count that loses them all is lost */

enum failure {
	FAILURE_REFUSED,    /* RST or ICMP unreachable answered a SYN */
	FAILURE_UNANSWERED, /* nothing answered a SYN within a second */
	FAILURE_5XX,        /* HTTP/1.x 5yy but the following */
	FAILURE_GATEWAY,    /* 502, 503, 504 */
};

/* The counts of sl_outlier, as one word. */
union eject_counts {
	struct {
		__u16 http, gateway, local, witnesses;
	};
	__u64 word;
};

/* Whether an ejection is under way; one whose time is over has ended, whoever notices. */
static __always_inline bool eject_is_out(const struct sl_replica *replica)
{
	__u32 until = READ_ONCE(replica->state.ejected_until);

	return unlikely(until) && (__s32)(until - (__u32)bpf_jiffies64()) > 0;
}

/* Whether a service has outlier detection. Others pick its shared replicas, ejected or not. */
static __always_inline bool eject_is_on(const struct sl_service *service)
{
	return service->eject_5xx || service->eject_gateway || service->eject_local ||
	       service->latency_factor;
}

static __always_inline bool eject_is_connect(__u32 failure)
{
	return failure == FAILURE_REFUSED || failure == FAILURE_UNANSWERED;
}

static __always_inline __u16 eject_one_more(__u16 n)
{
	return n < 0xffff ? n + 1 : n;
}

/* The counts after one more failure, seen by `client`. */
static __always_inline union eject_counts eject_add(union eject_counts counts,
						    struct sl_outlier *outlier, __u32 client,
						    __u32 failure)
{
	if (!counts.witnesses) {
		WRITE_ONCE(outlier->witness, client); /* before the swap that says it is there */
		counts.witnesses = 1;
	} else if (READ_ONCE(outlier->witness) != client) {
		counts.witnesses = 2;
	}
	if (eject_is_connect(failure)) {
		counts.local = eject_one_more(counts.local);
	} else {
		counts.http = eject_one_more(counts.http);
		counts.gateway = failure == FAILURE_GATEWAY ? eject_one_more(counts.gateway) : 0;
	}
	return counts;
}

/* The threshold that `counts` reach with a failure of this kind: its cause and the run that did. */
static __always_inline __u32 eject_reached(const struct sl_service *service,
					   union eject_counts counts, __u32 failure, __u32 *ret_run)
{
	bool split = service->flags & SL_SERVICE_SPLIT, connect = eject_is_connect(failure);
	__u32 local = split ? 0 : counts.local;

	if (connect && split) {
		*ret_run = counts.local;
		return service->eject_local && counts.local >= service->eject_local ?
			       SL_EJECT_CONNECT : SL_EJECT_NONE;
	}
	*ret_run = counts.gateway + local;
	if (failure != FAILURE_5XX && service->eject_gateway && *ret_run >= service->eject_gateway)
		return local > counts.gateway ? SL_EJECT_CONNECT : SL_EJECT_GATEWAY;
	*ret_run = counts.http + local;
	if (service->eject_5xx && *ret_run >= service->eject_5xx)
		return local > counts.http ? SL_EJECT_CONNECT : SL_EJECT_5XX;
	return SL_EJECT_NONE;
}

/* What is left of the counts when a threshold was reached: who saw failures, and what counts apart. */
static __always_inline union eject_counts eject_restart(const struct sl_service *service,
							union eject_counts counts, __u32 failure)
{
	bool split = service->flags & SL_SERVICE_SPLIT;

	if (!split || eject_is_connect(failure))
		counts.local = 0;
	if (!split || !eject_is_connect(failure))
		counts.http = counts.gateway = 0;
	return counts;
}

/* Adds a failure; the cause when it reached a threshold, which exactly one CPU does. */
static __always_inline __u32 eject_count(const struct sl_service *service,
					 struct sl_outlier *outlier, __u32 client, __u32 failure,
					 struct eject_due *due)
{
	union eject_counts before, next;
	__u32 cause, run;

#pragma clang loop unroll(disable) /* four times the stack otherwise */
	for (int i = 0; i < EJECT_TRIES; i++) {
		before.word = READ_ONCE(*(__u64 *)outlier);
		next = eject_add(before, outlier, client, failure);
		cause = eject_reached(service, next, failure, &run);
		due->witnesses = next.witnesses;
		if (cause)
			next = eject_restart(service, next, failure);
		if (__sync_val_compare_and_swap((__u64 *)outlier, before.word, next.word) !=
		    before.word)
			continue;
		due->cause = cause;
		due->run = run;
		return cause;
	}
	return SL_EJECT_NONE;
}

static __always_inline void eject_tally(struct sl_replica *replica, struct sl_outlier *outlier,
					__u32 failure)
{
	WRITE_ONCE(outlier->last_failure, (__u32)bpf_jiffies64() ?: 1);
	if (eject_is_connect(failure)) {
		count(SL_COUNT_CONNECT_FAILURES);
		__sync_fetch_and_add(&replica->state.connect_failures, 1);
		__sync_fetch_and_add(failure == FAILURE_REFUSED ? &outlier->refused :
								  &outlier->unanswered, 1);
	} else {
		count(SL_COUNT_ANSWERS_5XX);
		__sync_fetch_and_add(&outlier->answers, 1);
		__sync_fetch_and_add(&outlier->answers_5xx, 1);
	}
}

static __always_inline void eject_ask(const struct eject_due *due)
{
	__u32 row = TIMER_EJECT;
	struct sweep_timer *timer = bpf_map_lookup_elem(&sweep_timers, &row);

	/* Full: whoever fails so often will reach the threshold again. */
	if (!bpf_map_push_elem(&ejections_due, due, 0) && timer)
		bpf_timer_start(&timer->timer, 0, 0);
}

/* How a client's address is known to eject_failure(), whatever it saw. */
static __always_inline __u32 eject_witness(const union sl_addr *client)
{
	return sl_hash_addr(client, 0, 0, seed);
}

/* A replica failed a client. `client`: eject_witness() of its address. `failure`: enum failure. A global
 * function: verified by itself. */
__noinline int eject_failure(__u32 service_row, __u32 replica_row, __u32 client, __u32 failure)
{
	struct eject_due due = {.service = service_row, .replica = replica_row};
	struct sl_service *service = bpf_map_lookup_elem(&services, &due.service);
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &due.replica);
	struct sl_outlier *outlier = bpf_map_lookup_elem(&outliers, &due.replica);

	if (!service || !replica || !outlier)
		return 0;
	eject_tally(replica, outlier, failure);
	if (eject_count(service, outlier, client, failure, &due))
		eject_ask(&due);
	return 0;
}

/* The counts after a success. `split`: connects count apart. */
static __always_inline union eject_counts eject_forgive(union eject_counts counts, bool connect,
							bool split)
{
	if (connect || !split)
		counts.local = 0;
	if (!connect)
		counts.http = counts.gateway = 0;
	if (!counts.local && !counts.http)
		counts.witnesses = 0;
	return counts;
}

/* A replica answered a client as it should: a SYN-ACK (`connect`), or an HTTP status below 500. */
static __always_inline void eject_success(__u32 service_row, __u32 replica_row, bool connect)
{
	struct sl_outlier *outlier = bpf_map_lookup_elem(&outliers, &replica_row);
	struct sl_service *service;
	union eject_counts before, next;

	if (!outlier)
		return;
	WRITE_ONCE(outlier->last_success, bpf_jiffies64());
	__sync_fetch_and_add(connect ? &outlier->connects : &outlier->answers, 1);
	before.word = READ_ONCE(*(__u64 *)outlier);
	if (likely(!before.word))
		return;
	/* Only an answer asks for it: `connect` is a constant, and stack is scarce. */
	service = connect ? NULL : bpf_map_lookup_elem(&services, &service_row);
	next = eject_forgive(before, connect, service && service->flags & SL_SERVICE_SPLIT);
	/* One that loses to a failure on another CPU came before it, as far as anybody can tell. */
	__sync_val_compare_and_swap((__u64 *)outlier, before.word, next.word);
}

/* The same for a SYN-ACK, as a global function: verified by itself. */
__noinline int eject_accept(__u32 service_row, __u32 replica_row)
{
	eject_success(service_row, replica_row, true);
	return 0;
}

#endif
