/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Doubt in lists of endpoints: one that became empty, or lost half of its members, between one input
 * and the next is more often a fault of whoever writes it than the death of so many. Who is missing
 * stays in the model for a while, held, or until its probe fails. What is held lies in the model that
 * is in force and nowhere else: a replica that leaves it is forgotten. Pure; time is an argument.
 */
#ifndef SLUICE_HOLD_H
#define SLUICE_HOLD_H

#include "model.h"

#define HOLD_MIN_MEMBERS 4 /* of fewer, some may go at once unheld, but not all */

struct hold_rules {
	uint64_t hold_ns; /* 0: every list is believed at once */
	/* Whether a replica of the model in force takes new flows by its probes and has a way to it. */
	bool (*is_fit)(void *context, const struct model_replica *replica);
	void *context;
};

/* What befell one service-port. */
struct hold_change {
	const struct model_service *service; /* of the model that was changed */
	size_t members, missing; /* of its list: before, and how many of them are not named any more */
	size_t begun;            /* are held from now on */
	size_t back;             /* are named again */
	size_t unfit;            /* left: their probe fails, or there is no way to them */
	size_t believed;         /* left: their time is over, or another list says that they end */
	size_t held;             /* now */
};

struct hold_changes {
	struct hold_change *list; /* hold_changes_done() frees it */
	size_t n;
};

/**
 * hold_carry - keep in a new model those whose absence is doubted
 * @before: the model in force, with who is held in it
 * @fresh: as policy built it, about to be applied; held replicas are added, in order
 * @rules: how long, and who is fit
 * @now_ns: CLOCK_MONOTONIC
 * @ret: all zero; what began or ended, to be said once @fresh is in force
 *
 * Members are replicas that serve and do not terminate. Held are those that @fresh does not name at
 * all, when the list has no member left, or lost half of HOLD_MIN_MEMBERS or more and is half as long
 * or less. Whom another service-port of @fresh names has its weight, cap and probe interval from
 * there. A service-port that is gone holds nobody, and so does one with another traffic policy. 0; -ENOMEM: free @fresh, it is half done.
 */
int hold_carry(const struct model *before, struct model *fresh, const struct hold_rules *rules,
	       uint64_t now_ns, struct hold_changes *ret);

/* Takes out of a model whose time is over and who is not fit any more. 0; -ENOMEM: some stay, try
 * again. */
int hold_end(struct model *model, const struct hold_rules *rules, uint64_t now_ns,
	     struct hold_changes *ret);

/* Takes out all that are held. Returns how many. */
size_t hold_drop(struct model *model);

/* How many are held. */
size_t hold_count(const struct model *model);

void hold_changes_done(struct hold_changes *changes);

#endif
