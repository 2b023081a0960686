/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few words of the pinned maps that are the CLI's to write, and the events
 * that say so. Works with the agent dead.
 */
#ifndef SLUICE_STORE_H
#define SLUICE_STORE_H

#include <stddef.h>

#include "cli.h"
#include "maps.h"

/* A pinned map in memory, writable; munmap() the `size` bytes. CLI_OK, or CLI_FAILED after a message on
 * stderr. */
int store_map(const struct cli *cli, const char *name, size_t size, void *ret);

/* Notes in the event ring who did what. CLI_OK, or CLI_FAILED after a message on stderr. */
int store_event(const struct cli *cli, const struct maps *maps, const struct sl_event *event,
		const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
