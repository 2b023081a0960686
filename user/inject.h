/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sends SYNs again whose deadline has passed: the kernel's timer names them in a ring buffer, since
 * nothing in the kernel transmits from a timer; the program `inject` checks that they are still
 * wanted, and sends them.
 */
#ifndef SLUICE_INJECT_H
#define SLUICE_INJECT_H

#include <stdint.h>
#include <uv.h>

#include "tables.h"

struct inject;

/* 0, or -errno. `tables` outlive it. */
int inject_new(uv_loop_t *loop, const struct tables *tables, struct inject **ret);
/* Its handle is closed on the next turn of the loop. NULL is fine. */
void inject_free(struct inject *inject);

/* SYNs sent again so far; deadlines that had nothing to send any more. */
uint64_t inject_sent(const struct inject *inject);
uint64_t inject_stale(const struct inject *inject);

#endif
