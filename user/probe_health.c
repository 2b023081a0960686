// SPDX-License-Identifier: GPL-2.0-only
/*
 * Judges replicas by their probes. Owns the counts and clocks that lead to
 * known, suspect and down; refuses to read a clock or touch a socket. Called by
 * probe_run.c for every probe sent and ended.
 */
#include "probe_health.h"

/* What the caller is told about when it changes. */
static unsigned verdict_of(const struct probe_judge *judge)
{
	const struct probe_health *health = &judge->health;

	return health->known | health->suspect << 1 | health->down << 2;
}

bool probe_health_trust(struct probe_judge *judge)
{
	unsigned before = verdict_of(judge);

	*judge = (struct probe_judge){.health = judge->health};
	judge->health.known = true;
	judge->health.suspect = false;
	judge->health.down = false;
	judge->health.refuses = false;
	return verdict_of(judge) != before;
}

void probe_health_sent(struct probe_judge *judge, uint64_t now_ns)
{
	judge->health.sent++;
	if (!judge->asked_since_ns)
		judge->asked_since_ns = now_ns;
}

void probe_health_restart(struct probe_judge *judge, uint64_t now_ns)
{
	judge->quiet_since_ns = now_ns;
	judge->asked_since_ns = 0;
}

static void count_success(struct probe_judge *judge, const struct probe_rules *rules,
			  uint64_t begun_ns, uint64_t now_ns)
{
	/* Even a late good answer breaks a row of failures. */
	judge->failures = 0;
	if (begun_ns < judge->counted_until_ns)
		return;
	judge->counted_until_ns = now_ns;
	if (judge->successes < rules->success_threshold)
		judge->successes++;
	if (judge->successes < rules->success_threshold)
		return;
	judge->health.known = true;
	judge->health.down = false;
}

static void count_failure(struct probe_judge *judge, const struct probe_rules *rules,
			  enum probe_outcome outcome, uint64_t begun_ns, uint64_t now_ns)
{
	bool at_once = outcome == PROBE_REFUSED || (outcome == PROBE_BAD && !judge->health.known);

	if (begun_ns < judge->counted_until_ns && !at_once)
		return;
	judge->counted_until_ns = now_ns;
	judge->successes = 0;
	if (judge->failures < rules->failure_threshold)
		judge->failures++;
	if (judge->failures < rules->failure_threshold && !at_once)
		return;
	judge->health.known = true;
	judge->health.down = true;
}

/* One that was asked before the port refused, and ends after, says nothing about the port. */
static void note_port(struct probe_judge *judge, enum probe_outcome outcome, uint64_t begun_ns,
		      uint64_t now_ns)
{
	if (outcome == PROBE_REFUSED) {
		judge->health.refuses = true;
		judge->refused_ns = now_ns;
	} else if (begun_ns >= judge->refused_ns) {
		judge->health.refuses = false;
	}
}

bool probe_health_result(struct probe_judge *judge, const struct probe_rules *rules,
			 enum probe_outcome outcome, uint64_t begun_ns, uint64_t now_ns)
{
	unsigned before = verdict_of(judge);
	bool was_refused = judge->refused;

	if (outcome == PROBE_VOID) {
		judge->health.voided++;
		probe_health_restart(judge, now_ns);
		return false;
	}
	note_port(judge, outcome, begun_ns, now_ns);
	if (outcome == PROBE_GOOD || outcome == PROBE_BAD) {
		probe_health_restart(judge, now_ns);
		judge->health.suspect = false;
		judge->refused = false;
	} else if (outcome == PROBE_REFUSED) {
		judge->refused = true;
	}
	judge->hopeful = outcome == PROBE_GOOD;
	if (outcome == PROBE_GOOD) {
		count_success(judge, rules, begun_ns, now_ns);
	} else {
		judge->health.failed++;
		count_failure(judge, rules, outcome, begun_ns, now_ns);
	}
	return verdict_of(judge) != before || (judge->refused && !was_refused);
}

uint64_t probe_health_suspect_at(const struct probe_judge *judge, const struct probe_rules *rules)
{
	uint64_t quiet = judge->quiet_since_ns ? judge->quiet_since_ns : judge->asked_since_ns;
	uint64_t by_silence = quiet + 3 * rules->interval_ns;
	uint64_t by_question = judge->asked_since_ns + 2 * rules->interval_ns;

	if (!judge->asked_since_ns || judge->health.suspect || judge->health.down)
		return UINT64_MAX;
	return by_silence > by_question ? by_silence : by_question;
}

bool probe_health_check(struct probe_judge *judge, const struct probe_rules *rules, uint64_t now_ns)
{
	if (now_ns < probe_health_suspect_at(judge, rules))
		return false;
	judge->health.suspect = true;
	return true;
}

bool probe_health_is_slow(const struct probe_judge *judge)
{
	return judge->health.down && !judge->hopeful;
}
