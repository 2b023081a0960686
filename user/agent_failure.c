// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the list of failing replicas and the doubt in ourselves: every verdict of the probes passes
 * here on its way into the maps. In doubt, what a round said softly is withheld, so that picks go
 * on as before, and believed later if it still holds. Called by agent_health.c and agent_input.c.
 */
#include "agent_failure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define TICK_MS 100
#define HEALTH (SL_REPLICA_PROBE_DOWN | SL_REPLICA_SUSPECT)
#define ANSWER_NS 20000000ull /* a report follows its answer within this */
#define LOUD_NS 1000000000ull /* our loop losing this much in a second is worth an event by itself */

/* ---- the list --------------------------------------------------------------------------*/

/* The one of this row, made if need be; NULL: no memory, and nobody is reset without it. `ours`:
 * it fails in a way for which we may be to blame. */
static struct failing *failing_get(struct failures *failures, __u32 row, uint64_t now_ns,
				   bool ours)
{
	struct subject *subject = &failures->subjects[row];
	struct failing *failing = subject->failing;

	if (failing)
		return failing;
	failing = calloc(1, sizeof(*failing));
	if (!failing)
		return NULL;
	failing->row = row;
	failures_watch(failures, failing, now_ns);
	failing->fresh = ours && failures->reasons & DOUBT_VOID;
	failing->next = failures->first;
	failing->link = &failures->first;
	if (failing->next)
		failing->next->link = &failing->next;
	failures->first = subject->failing = failing;
	if (subject->good && ours) {
		failing->counted = true;
		doubt_fail(&failures->doubt, now_ns);
	}
	return failing;
}

static void failing_uncount(struct failures *failures, struct failing *failing)
{
	if (failing->counted)
		doubt_mend(&failures->doubt);
	failing->counted = false;
}

static void failing_del(struct failures *failures, struct failing *failing)
{
	failing_uncount(failures, failing);
	failures->subjects[failing->row].failing = NULL;
	*failing->link = failing->next;
	if (failing->next)
		failing->next->link = failing->link;
	free(failing);
}

/* ---- doubt ------------------------------------------------------------------------------*/

/* Says once what is doubted. */
static void tell(struct failures *failures)
{
	struct sl_event event = {.kind = SL_EVENT_DOUBT, .value = failures->doubt.failing};
	char text[160];

	failures->told = true;
	failures->agent->facts.doubts++;
	events_add(&failures->agent->events, &event, "%s",
		   doubt_format(&failures->doubt, failures->reasons, text, sizeof(text)));
}

/* Stores what may be stored of `bits` while in doubt: no more than was before this round. */
static __u16 withhold(struct failing *failing, __u16 bits)
{
	__u16 allowed = failing->fresh ? 0 : failing->stored;

	failing->withheld = (bits & HEALTH & ~allowed) != 0;
	return bits & (allowed | ~HEALTH);
}

static void doubt_begin(struct failures *failures, uint64_t now_ns)
{
	failures->told = false;
	reset_void(failures->reset);
	for (struct failing *at = failures->first; at; at = at->next) {
		__u16 bits = at->stored;

		at->fresh |= now_ns - at->witness.since_ns < failures->doubt.window_ns;
		at->believed_ns = 0;
		if (at->hard || !at->fresh)
			continue;
		at->stored = withhold(at, bits);
		if (at->stored != bits)
			reconcile_health(failures->agent->reconcile, at->row, at->stored,
					 "in doubt: many fail at once, or we ran late");
	}
}

static __u16 bits_of(const struct probe_health *health)
{
	return (health->down ? SL_REPLICA_PROBE_DOWN : 0) |
	       (health->suspect ? SL_REPLICA_SUSPECT : 0);
}

/* `was`: DOUBT_*, until now. Who began to fail meanwhile has a second more to answer. */
static void doubt_end(struct failures *failures, unsigned was, uint64_t now_ns)
{
	if (failures->told)
		log_info("no doubt any more: probes are believed again");
	for (struct failing *at = failures->first; at; at = at->next) {
		if (at->fresh) {
			at->spoilt |= was & DOUBT_MANY;
			failures_watch(failures, at, now_ns);
		}
		at->believed_ns = at->fresh || at->withheld ? now_ns + DOUBT_WINDOW_NS : 0;
	}
}

/* Believes those who fail still although nothing is in doubt any more. */
static void believe(struct failures *failures, uint64_t now_ns)
{
	for (struct failing *at = failures->first; at; at = at->next) {
		const struct probe_health *health;

		if (!at->believed_ns || now_ns < at->believed_ns)
			continue;
		at->fresh = false;
		at->believed_ns = 0;
		health = probe_set_health(failures->agent->probes, at->row);
		if (!at->withheld || !health)
			continue;
		at->withheld = false;
		at->stored = bits_of(health);
		reconcile_health(failures->agent->reconcile, at->row, at->stored, at->evidence);
		agent_health_changed(failures->agent);
	}
}

static void look(struct failures *failures, uint64_t now_ns)
{
	uint64_t lost_ns = probe_set_lost_ns(failures->agent->probes);
	unsigned was = failures->reasons;
	bool loud = false;

	failures->reasons = doubt_look(&failures->doubt, now_ns, lost_ns);
	failures->agent->facts.in_doubt = failures->reasons;
	if (failures->reasons & DOUBT_VOID && !(was & DOUBT_VOID))
		doubt_begin(failures, now_ns);
	for (struct failing *at = failures->first; at && !loud; at = at->next)
		loud = at->withheld;
	if (failures->reasons && !failures->told &&
	    (loud || failures->reasons & DOUBT_MANY ||
	     failures->doubt.lost.now + failures->doubt.lost.before >= LOUD_NS))
		tell(failures);
	if (was & DOUBT_VOID && !(failures->reasons & DOUBT_VOID))
		doubt_end(failures, was, now_ns);
	if (was & DOUBT_SLOW && !failures->reasons)
		for (struct failing *at = failures->first; at; at = at->next)
			failures_watch(failures, at, now_ns); /* what was missed meanwhile is void */
}

/* ---- verdicts ------------------------------------------------------------------------------*/

static __u16 judge_good(struct failures *failures, __u32 row, const struct probe_health *health,
			__u16 bits)
{
	struct subject *subject = &failures->subjects[row];

	if (subject->failing)
		failing_del(failures, subject->failing);
	/* Of one that left and came back, or whose address another pod has now, as well. */
	if (health->known)
		reset_cancel(failures->reset, row);
	if (!health->known || !subject->replica)
		return bits;
	subject->seen = true;
	if (!subject->good) {
		subject->good = true;
		doubt_add(&failures->doubt);
	}
	return bits;
}

__u16 failures_judge(struct failures *failures, __u32 row, const struct probe_health *health,
		     bool hard, const char *evidence, __u16 bits)
{
	uint64_t now_ns = uv_hrtime();
	/* Told of while its answer, a bad one, is at hand: that is no silence. */
	bool silent = now_ns - health->last_answer_ns > ANSWER_NS;
	bool gone = hard && !health->refuses, ours = !gone && (silent || hard);
	struct failing *failing;

	hard = gone || (hard && failures_is_own_port(failures, row));

	if (!health->suspect && !(health->known && health->down)) {
		bits = judge_good(failures, row, health, bits);
		look(failures, now_ns);
		return bits;
	}
	failing = failing_get(failures, row, now_ns, ours);
	if (!failing)
		return bits;
	failing->down = health->known && health->down;
	failing->gone |= gone;
	failing->hard = hard || failing->gone;
	snprintf(failing->evidence, sizeof(failing->evidence), "%s", evidence);
	if (!ours)
		failing_uncount(failures, failing);
	look(failures, now_ns);
	failing->withheld = false;
	if (!failing->hard && ours && (failures->reasons & DOUBT_VOID || failing->believed_ns))
		bits = withhold(failing, bits);
	failing->stored = bits & HEALTH;
	if (failing->withheld && failures->reasons & DOUBT_VOID && !failures->told)
		tell(failures);
	if (gone) {
		failing->asked_ns = now_ns;
		failures_reset(failures, row, false, evidence);
	}
	return bits;
}

/* ---- who is under probe ------------------------------------------------------------------*/

void failures_sync_begin(struct failures *failures)
{
	for (__u32 row = 0; row < SL_MAX_REPLICAS; row++)
		if (failures->subjects[row].replica)
			failures->subjects[row] = (struct subject){
				.failing = failures->subjects[row].failing,
				.good = failures->subjects[row].good,
				.seen = failures->subjects[row].seen,
			};
}

void failures_sync_add(struct failures *failures, __u32 row, const struct model_replica *replica,
		       unsigned reset_after_ms)
{
	const struct sl_replica_config *config = &failures->agent->maps.replicas[row].config;
	struct subject *subject = &failures->subjects[row];

	if (reset_after_ms == 0)
		reset_after_ms = WITNESS_RESET_AFTER_MS;
	subject->replica = replica;
	if (reset_after_ms > subject->reset_after_ms)
		subject->reset_after_ms = reset_after_ms;
	/* One that an earlier agent found well: should it and others fail now, we are the news. */
	if (!subject->good && config->probe_good && !(config->flags & SL_REPLICA_PROBE_DOWN)) {
		subject->good = true;
		doubt_add(&failures->doubt);
	}
}

void failures_sync_pace(struct failures *failures, unsigned interval_ms)
{
	doubt_pace(&failures->doubt, interval_ms * 1000000ull);
}

/* Of one that is probed no longer nothing is known: no flow of its is reset on soft evidence (that
 * what was asked on it is gone, agent_reset.c finds). */
void failures_sync_end(struct failures *failures)
{
	for (__u32 row = 0; row < SL_MAX_REPLICAS; row++) {
		struct subject *subject = &failures->subjects[row];

		if (subject->replica)
			continue;
		if (subject->failing) {
			failing_del(failures, subject->failing);
		}
		if (subject->seen) /* a page of subjects that there never were stays nobody's */
			subject->seen = false;
		if (subject->good) {
			subject->good = false;
			doubt_del(&failures->doubt);
		}
	}
}

/* ---- new and free --------------------------------------------------------------------------*/

static void on_tick(uv_timer_t *timer)
{
	struct failures *failures = timer->data;
	uint64_t now_ns = uv_hrtime();

	look(failures, now_ns);
	if (!(failures->reasons & DOUBT_VOID))
		believe(failures, now_ns);
	if (!failures->reasons)
		failures_look(failures, now_ns);
}

int failures_new(struct agent *agent, struct failures **ret)
{
	struct failures *failures = calloc(1, sizeof(*failures));
	int error;

	if (!failures)
		return -ENOMEM;
	failures->agent = agent;
	doubt_pace(&failures->doubt, 0);
	error = failures_open_reset(failures);
	if (error) {
		free(failures);
		return error;
	}
	uv_timer_init(&agent->loop, &failures->tick);
	failures->tick.data = failures;
	uv_timer_start(&failures->tick, on_tick, TICK_MS, TICK_MS);
	*ret = failures;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void failures_free(struct failures *failures)
{
	if (!failures)
		return;
	while (failures->first)
		failing_del(failures, failures->first);
	failures_close_reset(failures);
	uv_close((uv_handle_t *)&failures->tick, on_closed);
}
