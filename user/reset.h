/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The queue of replicas whose open flows are to be reset. The flow table is walked in the kernel, a
 * slice each turn of the loop, so that neither new picks nor the agent's other work wait; who has
 * not answered is asked again 600 ms later (Linux answers such a probe once in 500 ms) and once
 * more. Resets on soft evidence have a budget per service and second. Knows no evidence: it does
 * what it is asked.
 */
#ifndef SLUICE_RESET_H
#define SLUICE_RESET_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include <sluice/abi.h>

/* Flows of one service that may be reset on soft evidence within a second. */
#define RESET_BUDGET 1000u
#define RESET_PASSES 4u

/* Whose flows, and why. */
struct reset_request {
	__u32 replica;  /* row */
	bool soft;      /* on soft evidence: by the budget, and void when that is in doubt */
	union sl_addr addr; /* of the replica: its row may be another's by the time */
	__be16 port;
	__u32 n_services;
	__u32 services[SL_MAX_SHARED]; /* rows: whose budgets it draws on */
	char evidence[128];            /* one line for people */
};

struct reset_ops {
	/* Goes on with a walk: see struct sl_reset. 0, or -errno: given up. */
	int (*run)(void *context, struct sl_reset *job);
	/* Whether resets are off now. */
	bool (*is_frozen)(void *context);
	/* Whether what was asked holds still: looked at before each slice, and in a freeze too.
	 * NULL: always. */
	bool (*holds)(void *context, const struct reset_request *request, bool first_pass);
	/* A replica's table is walked through: `flows` are being reset, 0 perhaps; `error`: as run()
	 * returned. */
	void (*done)(void *context, const struct reset_request *request, __u32 flows, int error);
};

struct reset;

/* `flow_slots`: size of the flow table. 0, or -ENOMEM. */
int reset_new(uv_loop_t *loop, const struct reset_ops *ops, void *context, __u32 flow_slots,
	      struct reset **ret);
/* Closes its handles on the next turn of the loop. NULL is fine. */
void reset_free(struct reset *reset);

/* Resets the flows that the replica has now. While that goes on, asking again only makes soft
 * evidence hard. 0, or -ENOMEM. */
int reset_ask(struct reset *reset, const struct reset_request *request);

/* The replica is well again: what is not reset yet goes on. */
void reset_cancel(struct reset *reset, __u32 replica);
/* Soft evidence is void: what was asked on it and is not done yet. Returns how many replicas. */
unsigned reset_void(struct reset *reset);

/* Replicas that are being walked or wait for it. */
unsigned reset_pending(const struct reset *reset);

#endif
