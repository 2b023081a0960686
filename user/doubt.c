// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counts who began to fail, and how much time our own loop lost, over the last second, and says
 * whether soft evidence is to be believed. Owns no list of replicas and reads no clock: the caller
 * (agent_failure.c) does.
 */
#include "doubt.h"

#include <stdio.h>

#define NS_PER_MS 1000000ull

static void recent_turn(struct doubt_recent *recent, uint64_t now_ns, uint64_t half_ns)
{
	if (now_ns < recent->until_ns)
		return;
	recent->before = now_ns < recent->until_ns + half_ns ? recent->now : 0;
	recent->now = 0;
	recent->until_ns = now_ns + half_ns;
}

static void recent_add(struct doubt_recent *recent, uint64_t now_ns, uint64_t half_ns,
		       uint64_t value)
{
	recent_turn(recent, now_ns, half_ns);
	recent->now += value;
}

static uint64_t recent_sum(struct doubt_recent *recent, uint64_t now_ns, uint64_t half_ns)
{
	recent_turn(recent, now_ns, half_ns);
	return recent->now + recent->before;
}

/* A sum is over half a window at least, and that is to be an interval. */
static uint64_t half_window(const struct doubt *doubt)
{
	return (doubt->window_ns ?: DOUBT_WINDOW_NS) / 2;
}

void doubt_pace(struct doubt *doubt, uint64_t interval_ns)
{
	doubt->window_ns = 2 * interval_ns > DOUBT_WINDOW_NS ? 2 * interval_ns : DOUBT_WINDOW_NS;
}

/* Most of those that could began to fail within the window, and fail still. */
static bool many_begin(struct doubt *doubt, uint64_t now_ns)
{
	uint64_t onsets = recent_sum(&doubt->onsets, now_ns, half_window(doubt));
	unsigned fresh = onsets < doubt->failing ? onsets : doubt->failing;
	unsigned candidates = doubt->good - (doubt->failing - fresh);

	if (candidates < DOUBT_LEAST || fresh * 2 <= candidates)
		return false;
	doubt->failing_before = doubt->failing - fresh;
	doubt->candidates = candidates;
	return true;
}

static bool many_go_on(const struct doubt *doubt, uint64_t now_ns)
{
	unsigned fresh = doubt->failing > doubt->failing_before ?
				 doubt->failing - doubt->failing_before : 0;

	return fresh * 2 > doubt->candidates && now_ns - doubt->many_since_ns < DOUBT_MAX_NS;
}

/* DOUBT_LATE, DOUBT_SLOW or nothing. */
static unsigned lateness(struct doubt *doubt, uint64_t now_ns, uint64_t lost_ns)
{
	uint64_t lately_ns;

	recent_add(&doubt->lost, now_ns, DOUBT_WINDOW_NS / 2, lost_ns - doubt->lost_ns);
	doubt->lost_ns = lost_ns;
	lately_ns = recent_sum(&doubt->lost, now_ns, DOUBT_WINDOW_NS / 2);
	if (lately_ns >= DOUBT_LATE_NS) {
		doubt->late_until_ns = now_ns + DOUBT_WINDOW_NS;
		doubt->late_ns = lately_ns;
	}
	if (now_ns >= doubt->late_until_ns) {
		doubt->late_since_ns = 0;
		return 0;
	}
	if (!doubt->late_since_ns)
		doubt->late_since_ns = now_ns;
	return now_ns - doubt->late_since_ns < DOUBT_MAX_NS ? DOUBT_LATE : DOUBT_SLOW;
}

unsigned doubt_look(struct doubt *doubt, uint64_t now_ns, uint64_t lost_ns)
{
	unsigned late = lateness(doubt, now_ns, lost_ns);

	if (doubt->many_since_ns) {
		if (!many_go_on(doubt, now_ns)) {
			doubt->many_since_ns = 0;
			doubt->onsets = (struct doubt_recent){}; /* judged, once */
		}
	} else if (many_begin(doubt, now_ns)) {
		doubt->many_since_ns = now_ns;
	}
	return (doubt->many_since_ns ? DOUBT_MANY : 0) | late;
}

void doubt_add(struct doubt *doubt)
{
	doubt->good++;
}

void doubt_del(struct doubt *doubt)
{
	doubt->good--;
}

void doubt_fail(struct doubt *doubt, uint64_t now_ns)
{
	doubt->failing++;
	recent_add(&doubt->onsets, now_ns, half_window(doubt), 1);
}

void doubt_mend(struct doubt *doubt)
{
	doubt->failing--;
}

const char *doubt_format(const struct doubt *doubt, unsigned reasons, char *buf, size_t len)
{
	unsigned fresh = doubt->failing - doubt->failing_before;

	if (reasons & DOUBT_MANY)
		snprintf(buf, len, "%u of %u replicas fail at once: silence is void, nobody is reset",
			 fresh, doubt->candidates);
	else
		snprintf(buf, len, "our own loop did not run for %llu ms: nobody is left out or reset",
			 (unsigned long long)(doubt->late_ns / NS_PER_MS));
	return buf;
}
