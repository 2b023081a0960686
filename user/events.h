/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent's pen for the event ring: appends rows to the pinned maps `events`
 * and `event_head` and says the same in the log.
 */
#ifndef SLUICE_EVENTS_H
#define SLUICE_EVENTS_H

#include <stddef.h>

#include <sluice/abi.h>

#include "maps.h"

struct events {
	/* NULL: only the log. The ring is memory of SL_MAX_EVENTS rows, or the map `ring_fd`, of
	 * which only the page being written is mapped: all of it would be 8 MiB of resident memory. */
	struct sl_event_head *head;
	struct sl_event *ring;
	int ring_fd;
	void *window;
	size_t window_at;
	uint64_t waited; /* for this one, counted but not written at the last look of events_follow() */
	const struct maps *maps; /* for names and epochs of services; NULL: rows by number, 0 */
};

/* Appends one event; `event` needs kind and whatever of service, addr, port, value applies; seq,
 * time and epoch are set here. `format`: the text (cut at 79 bytes in the ring, whole in the log). */
void events_add(struct events *events, const struct sl_event *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* True when there was any: logs the kinds that the programs and the CLI write into the ring, of all
 * since the last call, or since an earlier agent's: where it got to lies beside the ring
 * (sl_event_head.followed). Call it every 100 ms or so. */
bool events_follow(struct events *events);

/* Unmaps what is mapped; the struct can be used again. */
void events_done(struct events *events);

#endif
