// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opens pinned maps for writing. Knows no word of theirs: which ones may be
 * written is the business of the commands that call this.
 */
#include "store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "events.h"
#include "log.h"

/* CLI_OK or CLI_FAILED. */
static int open_pinned(const struct cli *cli, const char *name, int *ret_fd)
{
	char path[512];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", cli->bpffs, name) >= sizeof(path))
		return cli_error("--bpffs %s: too long", cli->bpffs);
	*ret_fd = bpf_obj_get(path);
	if (*ret_fd < 0)
		return cli_error("cannot open %s for writing: %s", path, strerror(errno));
	return CLI_OK;
}

int store_map(const struct cli *cli, const char *name, size_t size, void *ret)
{
	void *data;
	int fd, status = open_pinned(cli, name, &fd);

	if (status)
		return status;
	data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (data == MAP_FAILED)
		return cli_error("cannot map %s/%s: %s", cli->bpffs, name, strerror(errno));
	*(void **)ret = data;
	return CLI_OK;
}

int store_event(const struct cli *cli, const struct maps *maps, const struct sl_event *event,
		const char *format, ...)
{
	size_t size = sysconf(_SC_PAGESIZE);
	struct events events = {.maps = maps};
	char text[sizeof(event->text)];
	va_list args;
	int status = open_pinned(cli, "events", &events.ring_fd);

	if (status)
		return status;
	status = store_map(cli, "event_head", size, &events.head);
	if (!status) {
		va_start(args, format);
		vsnprintf(text, sizeof(text), format, args);
		va_end(args);
		log_init(LOG_LEVEL_ERROR, false); /* an event is a line of the agent's log, not of ours */
		events_add(&events, event, "%s", text);
		events_done(&events);
		munmap(events.head, size);
	}
	close(events.ring_fd);
	return status;
}
