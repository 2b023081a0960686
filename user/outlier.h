/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent's part of outlier detection: what takes more than one packet to see. Success rates, and
 * where it is asked for times to first bytes, once an interval of each service; and good probes,
 * which end what failed connects began. It only asks: whether a replica is ejected, by the rules of
 * all ejections, is the program eject_now's to decide.
 */
#ifndef SLUICE_OUTLIER_H
#define SLUICE_OUTLIER_H

#include "tables.h"

struct outlier;

/* 0, or -ENOMEM. `tables` outlive it. */
int outlier_new(struct tables *tables, struct outlier **ret);
/* NULL is fine. */
void outlier_free(struct outlier *outlier);

/* A probe of a replica (row) was good. */
void outlier_probed(struct outlier *outlier, __u32 replica);

/* Judges the services whose interval is over. Call it once a second or so. */
void outlier_tick(struct outlier *outlier);

#endif
