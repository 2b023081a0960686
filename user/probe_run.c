// SPDX-License-Identifier: GPL-2.0-only
/*
 * Probes in time: when each replica is asked, when an attempt has taken too
 * long, what its end means, and who is told. Owns attempts and both wheels;
 * refuses to know any protocol or to keep the list of replicas. Called by
 * probe.c (loop, sync) and by the protocols (probe_attempt_end).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "probe_set.h"

#define DRAIN_EVENTS 128
#define DRAIN_ROUNDS 64 /* then the rest waits for the loop's next turn */
#define NS_PER_MS 1000000ull

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* xorshift64 (Marsaglia 2003): phases and jitter need no better. */
static uint64_t next_random(struct probe_set *set)
{
	set->random ^= set->random << 13;
	set->random ^= set->random >> 7;
	set->random ^= set->random << 17;
	return set->random;
}

/* The first tick at or after a time. */
static uint64_t tick_of(uint64_t time_ns)
{
	return (time_ns + PROBE_TICK_NS - 1) / PROBE_TICK_NS;
}

static void replica_arm(struct probe_replica *replica)
{
	uint64_t suspect_at = probe_health_suspect_at(&replica->judge, &replica->spec->rules);
	uint64_t at = suspect_at < replica->next_ns ? suspect_at : replica->next_ns;

	probe_wheel_add(&replica->set->replicas, &replica->due, tick_of(at));
}

/* Time to the next probe: within 5 % of the interval, so that replicas do not fall into step with
 * each other, with other nodes, or with what the server does at intervals of its own. */
static uint64_t next_step(struct probe_replica *replica)
{
	uint64_t interval = replica->spec->rules.interval_ns;

	if (probe_health_is_slow(&replica->judge) && interval < PROBE_SLOW_NS)
		interval = PROBE_SLOW_NS;
	return interval - interval / 20 + next_random(replica->set) % (interval / 10 + 1);
}

void probe_run_start(struct probe_replica *replica)
{
	struct probe_set *set = replica->set;

	probe_health_restart(&replica->judge, set->clock.awake_ns);
	replica->next_ns = set->clock.awake_ns + next_random(set) % replica->spec->rules.interval_ns;
	replica_arm(replica);
}

static void attempt_free(struct probe_attempt *attempt)
{
	struct probe_replica *replica = attempt->replica;

	probe_wheel_del(&attempt->deadline);
	*attempt->link = attempt->next;
	if (attempt->next)
		attempt->next->link = attempt->link;
	replica->n_pending--;
	replica->spec->protocol->stop(attempt);
	free(attempt);
}

void probe_run_stop(struct probe_replica *replica)
{
	probe_wheel_del(&replica->due);
	while (replica->attempts)
		attempt_free(replica->attempts);
}

static void report(struct probe_replica *replica, bool refused, const char *evidence)
{
	struct probe_set *set = replica->set;

	set->fn(set->context, replica->row, &replica->judge.health, refused, evidence);
}

static void report_result(struct probe_replica *replica, enum probe_outcome outcome,
			  const char *reason, unsigned status)
{
	const struct probe_spec *spec = replica->spec;
	char evidence[512], seen[160], count[48] = "";

	if (outcome == PROBE_TIMED_OUT)
		snprintf(seen, sizeof(seen), "no answer within %llu ms",
			 (unsigned long long)(spec->timeout_ns / NS_PER_MS));
	else if (!status)
		snprintf(seen, sizeof(seen), "%s", reason);
	else
		snprintf(seen, sizeof(seen), "%s%s%u", reason ?: "", reason ? " " : "", status);
	if (outcome != PROBE_GOOD && replica->judge.failures > 0)
		snprintf(count, sizeof(count), ", %u of %u", replica->judge.failures,
			 spec->rules.failure_threshold);
	snprintf(evidence, sizeof(evidence), "%.250s: %s%s", spec->title, seen, count);
	report(replica, outcome == PROBE_REFUSED, evidence);
}

static void note_good(struct probe_replica *replica, uint64_t begun_ns, uint64_t now_ns)
{
	struct probe_histogram *histogram = &replica->histogram;
	uint32_t latency_us = (now_ns - begun_ns) / 1000;

	replica->judge.health.last_good_ns = now_ns;
	replica->judge.health.latency_us = latency_us;
	if (replica->set->good)
		replica->set->good(replica->set->context, replica->row);
	histogram->total++;
	histogram->sum_us += latency_us;
	for (int i = PROBE_LATENCY_BUCKETS - 1; i >= 0; i--) {
		if (latency_us > probe_latency_bounds_us[i])
			break;
		histogram->count[i]++;
	}
}

void probe_attempt_end(struct probe_attempt *attempt, enum probe_outcome outcome,
		       const char *reason, unsigned status)
{
	struct probe_replica *replica = attempt->replica;
	uint64_t real_ns = uv_hrtime(), begun_ns = attempt->begun_ns;
	uint64_t now_ns = probe_clock_read(&replica->set->clock, real_ns);
	bool was_slow = probe_health_is_slow(&replica->judge), changed;

	if (outcome == PROBE_GOOD)
		note_good(replica, attempt->begun_real_ns, real_ns);
	if (outcome == PROBE_GOOD || outcome == PROBE_BAD)
		replica->judge.health.last_answer_ns = real_ns;
	attempt_free(attempt);
	changed = probe_health_result(&replica->judge, &replica->spec->rules, outcome, begun_ns,
				      now_ns);
	if (was_slow && !probe_health_is_slow(&replica->judge)) {
		replica->next_ns = now_ns + next_step(replica);
		replica_arm(replica);
	}
	if (changed)
		report_result(replica, outcome, reason, status);
}

static enum probe_outcome outcome_of_errno(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return PROBE_REFUSED;
	/* What only this node can be blamed for. */
	case EACCES:
	case EADDRINUSE:
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
	case ENOSPC:
	case EPERM:
		return PROBE_VOID;
	case ETIMEDOUT:
		return PROBE_TIMED_OUT;
	default:
		return PROBE_FAILED;
	}
}

/* Refusals by the replica's owner so far: it is at its cap. */
static uint64_t full_so_far(const struct probe_replica *replica)
{
	const struct probe_set *set = replica->set;

	return set->full ? set->full(set->context, replica->row) : 0;
}

void probe_attempt_end_errno(struct probe_attempt *attempt, int error)
{
	if (error == EHOSTUNREACH)
		attempt->replica->judge.health.unreachable_ns = uv_hrtime();
	if (error == ECONNREFUSED && full_so_far(attempt->replica) != attempt->full_before) {
		probe_attempt_end(attempt, PROBE_VOID, "at its connection cap", 0);
		return;
	}
	if (error == PROBE_EICMP)
		probe_attempt_end(attempt, PROBE_FAILED, "refused by ICMP, not by the port", 0);
	else
		probe_attempt_end(attempt, outcome_of_errno(error), strerrordesc_np(error), 0);
}

void probe_run_fail(struct probe_replica *replica, const char *evidence)
{
	uint64_t now_ns = replica->set->clock.awake_ns;

	probe_health_result(&replica->judge, &replica->spec->rules, PROBE_REFUSED, now_ns, now_ns);
	replica->judge.health.refuses = false; /* its link speaks, not its port */
	replica_arm(replica);
	report(replica, true, evidence);
}

static void attempt_start(struct probe_replica *replica)
{
	const struct probe_protocol *protocol = replica->spec->protocol;
	struct probe_attempt *attempt = calloc(1, protocol->size);
	struct probe_set *set = replica->set;

	if (!attempt) {
		probe_health_result(&replica->judge, &replica->spec->rules, PROBE_VOID, 0,
				    set->clock.awake_ns);
		return;
	}
	attempt->replica = replica;
	attempt->begun_ns = set->clock.awake_ns;
	attempt->begun_real_ns = uv_hrtime();
	attempt->full_before = full_so_far(replica);
	attempt->next = replica->attempts;
	attempt->link = &replica->attempts;
	if (attempt->next)
		attempt->next->link = &attempt->next;
	replica->attempts = attempt;
	replica->n_pending++;
	probe_wheel_add(&set->deadlines, &attempt->deadline,
			tick_of(attempt->begun_ns + replica->spec->timeout_ns));
	probe_health_sent(&replica->judge, attempt->begun_ns);
	protocol->start(attempt);
}

/* Something is due: the next probe, or suspicion. */
static void replica_fire(struct probe_replica *replica)
{
	uint64_t now_ns = replica->set->clock.awake_ns;
	unsigned max = probe_health_is_slow(&replica->judge) ? 1 : replica->spec->max_pending;
	char evidence[320];

	if (now_ns >= replica->next_ns) {
		replica->next_ns += next_step(replica);
		if (replica->next_ns <= now_ns)
			replica->next_ns = now_ns + next_step(replica);
		if (replica->n_pending < max)
			attempt_start(replica);
	}
	if (probe_health_check(&replica->judge, &replica->spec->rules, now_ns)) {
		uint64_t since_ns = replica->judge.quiet_since_ns ?: replica->judge.asked_since_ns;

		snprintf(evidence, sizeof(evidence), "%.250s: no answer for %llu ms",
			 replica->spec->title,
			 (unsigned long long)((now_ns - since_ns) / NS_PER_MS));
		report(replica, false, evidence);
	}
	replica_arm(replica);
}

void probe_run_drain(struct probe_set *set)
{
	struct epoll_event events[DRAIN_EVENTS];
	int n = DRAIN_EVENTS;

	for (unsigned i = 0; i < DRAIN_ROUNDS && n == DRAIN_EVENTS; i++) {
		n = epoll_wait(set->epoll_fd, events, DRAIN_EVENTS, 0);
		for (int j = 0; j < n; j++) {
			struct probe_io *io = events[j].data.ptr;

			io->ready(io, events[j].events);
		}
	}
}

void probe_run_tick(struct probe_set *set)
{
	uint64_t tick = probe_clock_tick(&set->clock, uv_hrtime()) / PROBE_TICK_NS;
	struct probe_wheel_entry *entry;

	/* libuv runs timers before sockets: an answer that came while the loop was busy must be
	 * heard before its probe is called unanswered. */
	probe_run_drain(set);
	probe_https_tick(set->https);
	while ((entry = probe_wheel_expire(&set->deadlines, tick)))
		probe_attempt_end(container_of(entry, struct probe_attempt, deadline),
				  PROBE_TIMED_OUT, NULL, 0);
	while ((entry = probe_wheel_expire(&set->replicas, tick)))
		replica_fire(container_of(entry, struct probe_replica, due));
}
