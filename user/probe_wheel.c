// SPDX-License-Identifier: GPL-2.0-only
/*
 * The timer wheel of the probes. Owns the lists of its slots; refuses to know
 * what it times or what time it is. Called by probe_run.c.
 */
#include <stddef.h>

#include "probe_wheel.h"

void probe_wheel_add(struct probe_wheel *wheel, struct probe_wheel_entry *entry, uint64_t due)
{
	struct probe_wheel_entry **slot;

	probe_wheel_del(entry);
	entry->due = due > wheel->now ? due : wheel->now;
	slot = &wheel->slot[entry->due & (PROBE_WHEEL_SLOTS - 1)];
	entry->next = *slot;
	entry->link = slot;
	if (entry->next)
		entry->next->link = &entry->next;
	*slot = entry;
}

void probe_wheel_del(struct probe_wheel_entry *entry)
{
	if (!entry->link)
		return;
	*entry->link = entry->next;
	if (entry->next)
		entry->next->link = entry->link;
	entry->link = NULL;
}

struct probe_wheel_entry *probe_wheel_expire(struct probe_wheel *wheel, uint64_t until)
{
	for (; wheel->now <= until; wheel->now++) {
		struct probe_wheel_entry *entry = wheel->slot[wheel->now & (PROBE_WHEEL_SLOTS - 1)];

		while (entry && entry->due > wheel->now)
			entry = entry->next;
		if (entry) {
			probe_wheel_del(entry);
			return entry;
		}
	}
	return NULL;
}
