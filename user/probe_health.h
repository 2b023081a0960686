/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The judgement over one replica: from what became of its probes to known,
 * suspect and down. Pure: time is an argument (the clock of probe_clock.h).
 *
 * suspect   Nothing was answered for three intervals, although we asked: the
 *           last answer is three intervals old and a probe sent after it two.
 *           Any answer, good or bad, ends it at once.
 * down      failure_threshold failures in a row of probes that do not overlap:
 *           a probe that began before the previous counted one had ended says
 *           nothing new. Three timeouts of 1 s take 3 s; three quick answers of
 *           503 at an interval of 100 ms take 300 ms. A refusing port needs no
 *           second opinion. success_threshold good ones in a row end it.
 * known     Judged for the first time. A replica starts unknown, as a pod starts
 *           unready in Kubernetes: a bad answer makes it known and down at once,
 *           success_threshold good ones make it known and up.
 */
#ifndef SLUICE_PROBE_HEALTH_H
#define SLUICE_PROBE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "probe.h"

enum probe_outcome {
	PROBE_GOOD,      /* answered as it should */
	PROBE_BAD,       /* answered, but not as it should: 503, NOT_SERVING, nonsense */
	PROBE_FAILED,    /* no answer, and we know at once: reset, closed, unreachable */
	PROBE_TIMED_OUT, /* no answer in time */
	PROBE_REFUSED,   /* the port refuses: nobody listens there */
	PROBE_VOID,      /* our own fault, says nothing about the replica: out of ports, of files */
};

struct probe_rules {
	uint64_t interval_ns;
	unsigned failure_threshold; /* >= 1 */
	unsigned success_threshold; /* >= 1 */
};

/* Zeroed: a replica that was never asked. */
struct probe_judge {
	struct probe_health health;
	uint64_t quiet_since_ns;   /* last answer, or when a round was void; 0: none yet */
	uint64_t asked_since_ns;   /* oldest probe sent after that; 0: none */
	uint64_t counted_until_ns; /* end of the last probe that counted */
	unsigned short failures;   /* in a row, up to failure_threshold */
	unsigned short successes;  /* in a row, up to success_threshold */
	bool refused;              /* the port refused, and nothing answered since */
	uint64_t refused_ns;       /* when it last did; 0: never */
	bool hopeful;              /* the last probe was good */
};

/* A replica without a probe: known, and never anything worse. True when that is a change. */
bool probe_health_trust(struct probe_judge *judge);

void probe_health_sent(struct probe_judge *judge, uint64_t now_ns);

/* The time without answers starts anew: what went before says nothing about the replica. */
void probe_health_restart(struct probe_judge *judge, uint64_t now_ns);

/* What became of the probe sent at `begun_ns`. True when known, suspect or down changed, or when
 * the port began to refuse. health.last_good_ns and latency_us are the caller's to set. */
bool probe_health_result(struct probe_judge *judge, const struct probe_rules *rules,
			 enum probe_outcome outcome, uint64_t begun_ns, uint64_t now_ns);

/* When the replica becomes suspect unless it answers before; UINT64_MAX: not by waiting. */
uint64_t probe_health_suspect_at(const struct probe_judge *judge, const struct probe_rules *rules);

/* Makes it suspect if the time has come. True when that is a change. */
bool probe_health_check(struct probe_judge *judge, const struct probe_rules *rules,
			uint64_t now_ns);

/* Whether to ask once a second and one at a time: more would only fill the accept queue of a hung
 * server. A replica that comes back is asked at full rate from its first good answer. */
bool probe_health_is_slow(const struct probe_judge *judge);

#endif
