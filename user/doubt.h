/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Doubts ourselves first. A probe that is not answered says that the replica, the way to it, or we
 * have failed; when most replicas fail at once, or our own loop did not run, it is hardly them.
 * Silence of such a round is void: nobody is left out or reset for it. A port that refuses is left
 * out, but a firewall can refuse for all of them, so that nobody is reset for it either. Links that
 * are gone and bad answers never come here. Pure: time is an argument.
 */
#ifndef SLUICE_DOUBT_H
#define SLUICE_DOUBT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOUBT_WINDOW_NS 1000000000ull /* "at once": within this, or longer: doubt_pace() */
#define DOUBT_LEAST 3u                /* of fewer replicas any number may fail at once */
/* A round in which this much of a window was lost is void. */
#define DOUBT_LATE_NS 300000000ull
/* Longer than this most do not fail by our fault, and a loop that ran late so long will not do
 * better: who is silent then is left out, not reset. */
#define DOUBT_MAX_NS 10000000000ull

/* A sum over the last window, between a half and the whole of it. */
struct doubt_recent {
	uint64_t until_ns; /* end of the half window under way */
	uint64_t now, before;
};

struct doubt {
	struct doubt_recent onsets; /* replicas that began to fail */
	struct doubt_recent lost;   /* time in which our loop did not run */
	uint64_t lost_ns;           /* of which we know, since the start */
	uint64_t late_until_ns;
	uint64_t late_since_ns;     /* 0: not so */
	uint64_t late_ns;           /* lost in the window that last was too much */
	uint64_t window_ns;         /* of onsets; 0: DOUBT_WINDOW_NS */
	uint64_t many_since_ns;     /* 0: not so */
	unsigned good;              /* replicas that ever answered well, and are probed */
	unsigned failing;           /* of them, silent or refusing now */
	unsigned failing_before;    /* when most began to */
	unsigned candidates;        /* who might have failed then */
};

enum doubt_reason {
	DOUBT_NONE = 0,
	DOUBT_MANY = 1, /* most replicas fail at once */
	DOUBT_LATE = 2, /* our loop did not run */
	DOUBT_SLOW = 4, /* nor will it: silence is believed, but nobody is reset for it */
	DOUBT_VOID = DOUBT_MANY | DOUBT_LATE, /* silence is void */
};

/* What is in doubt now, DOUBT_* together. `lost_ns`: time lost by our loop since the start. */
unsigned doubt_look(struct doubt *doubt, uint64_t now_ns, uint64_t lost_ns);

/* The longest interval at which a replica is probed: who fails at once is noticed within it. */
void doubt_pace(struct doubt *doubt, uint64_t interval_ns);

/* A replica answered well for the first time; one is no longer probed. */
void doubt_add(struct doubt *doubt);
void doubt_del(struct doubt *doubt);
/* One that had answered well begins to fail, or does no longer. Then doubt_look() again. */
void doubt_fail(struct doubt *doubt, uint64_t now_ns);
void doubt_mend(struct doubt *doubt);

/* What `reasons` say, with numbers, for people. */
const char *doubt_format(const struct doubt *doubt, unsigned reasons, char *buf, size_t len);

#endif
