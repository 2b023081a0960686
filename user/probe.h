/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Active probes: asks every replica that this node should probe whether it is
 * ready, at millisecond intervals, and says when the answer changes. It knows
 * nothing of maps or manifests: targets go in, health comes out.
 *
 * Two clocks run at once: overlapping probes every interval_ms
 * make a replica *suspect* when nothing was answered for 3 intervals, and clear
 * that at the first answer; probes that do not overlap count towards
 * failure_threshold / success_threshold and make it *down* and up again.
 */
#ifndef SLUICE_PROBE_H
#define SLUICE_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "model.h"

struct probe_target {
	__u32 replica;  /* row in replicas: the target's identity */
	union sl_addr addr;
	const struct model_probe *probe; /* copied by probe_set_sync() */
};

struct probe_health {
	bool known;    /* judged: good success_threshold times, or failed by its numbers, or its very
			* first answer was bad. Unknown is not down: the caller decides */
	bool suspect;
	bool down;
	bool refuses;  /* the port answered the last connect with an RST */
	uint64_t last_good_ns; /* CLOCK_MONOTONIC; 0: never */
	uint64_t last_answer_ns; /* the same, of any answer, good or bad */
	uint64_t unreachable_ns; /* the same, of the last EHOSTUNREACH: no way to its host */
	uint32_t latency_us;   /* of the last good probe */
	uint64_t sent, failed; /* probes so far */
	uint64_t voided;       /* probes that this node could not make (no ports, files, memory) */
};

/* Latency of good probes, cumulative as Prometheus wants it. */
#define PROBE_LATENCY_BUCKETS 10
extern const unsigned probe_latency_bounds_us[PROBE_LATENCY_BUCKETS];
struct probe_histogram {
	uint32_t count[PROBE_LATENCY_BUCKETS]; /* cumulative, <= bound; years until they wrap */
	uint32_t total;
	uint64_t sum_us;
};

/* Called when known, suspect or down of a target changed; `evidence` is one line for people,
 * such as "http GET /health: 503, 3 of 3". `port_refused`: hard evidence; it may also
 * come as news about a target that was down already. Comes from the loop, and from
 * probe_set_sync() for targets without a probe: those are known at once. Must call neither
 * probe_set_sync() nor probe_set_free(). */
typedef void probe_change_fn(void *context, __u32 replica, const struct probe_health *health,
			     bool port_refused, const char *evidence);

/* How often one of `peers` (0: 1) agents asks a replica that they share, so that together they ask it as
 * often as one would; once an hour at least. */
unsigned probe_shared_interval_ms(unsigned interval_ms, unsigned peers);

struct probe_set;

/* 0, or -errno. Sockets are kept open, up to about one a target: raise RLIMIT_NOFILE. SIGPIPE must
 * be ignored (TLS). */
int probe_set_new(uv_loop_t *loop, probe_change_fn *fn, void *context, struct probe_set **ret);
/* Called for each good probe, from the loop, before any change that it brings; `context` is that of
 * the changes. It must be cheap, and call nothing of the set. NULL: for none, as at first. */
typedef void probe_good_fn(void *context, __u32 replica);
void probe_set_on_good(struct probe_set *set, probe_good_fn *fn);
/* How many connects to the replica its owner has refused so far because it was at its cap. A probe
 * that is refused while that number grows is void: the owner spoke, not the port. Cheap, as above.
 * NULL: as if none ever was. */
typedef uint64_t probe_full_fn(void *context, __u32 replica);
void probe_set_ask_full(struct probe_set *set, probe_full_fn *fn);
/* Stops at once; its handles are closed on the next turn of the loop. NULL is fine. */
void probe_set_free(struct probe_set *set);

/* Makes the targets exactly these: new ones start at a random phase of their interval, those whose
 * probe changed keep their health, those whose address changed begin anew, missing ones stop.
 * Copies what it needs. 0, or -ENOMEM with some of it done: call it again. */
int probe_set_sync(struct probe_set *set, const struct probe_target *targets, size_t n);

/* NULL when there is no such target. Valid until the next sync. */
const struct probe_health *probe_set_health(const struct probe_set *set, __u32 replica);
/* Time in which the loop did not run, since the set was made: nobody was asked in it. */
uint64_t probe_set_lost_ns(const struct probe_set *set);
/* Hard evidence from elsewhere (its link is gone): the replica is down, until good probes say
 * otherwise, and the change is told as if its port had refused. False: it is not probed. */
bool probe_set_fail(struct probe_set *set, __u32 replica, const char *evidence);
const struct probe_histogram *probe_set_histogram(const struct probe_set *set, __u32 replica);

#endif
