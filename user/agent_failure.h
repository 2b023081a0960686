/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What becomes of failing replicas beyond the bits of their rows: whether to believe soft evidence at
 * all (doubt.h), and when open flows are reset (witness.h, reset.h). agent_failure.c keeps the list
 * of those that fail and the doubt, agent_reset.c asks for resets. Part of the agent.
 */
#ifndef SLUICE_AGENT_FAILURE_H
#define SLUICE_AGENT_FAILURE_H

#include <limits.h>
#include <uv.h>

#include "agent_state.h"
#include "doubt.h"
#include "reset.h"
#include "reset_run.h"
#include "witness.h"

/* A replica whose probes fail, or whose link is gone. */
struct failing {
	__u32 row;
	bool down;     /* not merely suspect */
	bool hard;     /* its port refuses or its link is gone: left out in doubt too */
	bool gone;     /* its link is */
	bool counted;  /* in the doubt: it had answered well, and is silent or refuses */
	bool fresh;    /* began to fail in a round in doubt, and is not believed yet */
	bool withheld; /* its row says less than its probes do */
	bool spoilt;   /* began to fail in a round in doubt: never reset on that evidence */
	__u16 stored;  /* SL_REPLICA_* of its row's, as far as probes set them */
	uint64_t believed_ns; /* when it is, if it fails still; 0: the doubt goes on */
	uint64_t asked_ns; /* when its flows were last asked to be reset; 0: not yet */
	uint64_t looked_ns; /* at its pod's CPU counter */
	struct witness witness;
	char evidence[128];
	char cgroup[PATH_MAX / 8]; /* "": not known */
	struct failing *next, **link;
};

/* What is known of each replica row under probe. */
struct subject {
	const struct model_replica *replica; /* of the model in force; NULL: not probed */
	struct failing *failing;             /* NULL: it does not */
	uint32_t reset_after_ms;             /* the longest of its services'; 0: the default */
	bool good;                           /* it has answered well once, or before our start */
	bool seen;                           /* it has answered us well */
};

struct failures {
	struct agent *agent;
	uv_timer_t tick;
	struct doubt doubt;
	unsigned reasons; /* DOUBT_* */
	bool told;        /* this doubt is in the event ring */
	struct reset *reset;
	struct reset_run run;
	bool raw_told;    /* that it has no raw socket is in the log */
	struct failing *first;
	struct subject subjects[SL_MAX_REPLICAS];
};

/* agent_reset.c */
/* 0, or -ENOMEM. */
int failures_open_reset(struct failures *failures);
void failures_close_reset(struct failures *failures);
/* Resets the flows of a row, unless its services all keep them. `soft`: not if it comes to be in
 * doubt, nor if the evidence goes. */
void failures_reset(struct failures *failures, __u32 row, bool soft, const char *evidence);
/* Looks for second witnesses against those that are down by soft evidence. */
void failures_look(struct failures *failures, uint64_t now_ns);
/* Its flows are to be watched from now on. */
void failures_watch(struct failures *failures, struct failing *failing, uint64_t now_ns);
/* Whether no firewall or sidecar can have been the one that refused. */
bool failures_is_own_port(const struct failures *failures, __u32 row);

#endif
