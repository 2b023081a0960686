// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the reader of `wakeups`. For each: copies the row of `pending`, makes the frame, runs the
 * program. Whether the flow still waits is the program's to say, at the last moment. Called by the
 * agent.
 */
#include "inject.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdlib.h>

#include "syn.h"

struct inject {
	const struct tables *tables;
	struct ring_buffer *ring;
	uv_poll_t poll;
	bool starting; /* what an earlier agent left unread is out of date */
	uint64_t sent, stale;
};

/* 1: sent, 0: not wanted any more. */
static int send_again(struct inject *inject, const struct sl_wakeup *wakeup)
{
	const struct tables *tables = inject->tables;
	struct __sk_buff context = {.cb = {wakeup->pending, wakeup->generation}};
	unsigned char frame[SYN_FRAME_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .ctx_in = &context,
		    .ctx_size_in = sizeof(context));
	struct sl_pending pending;

	if (bpf_map_lookup_elem(tables->pending_fd, &wakeup->pending, &pending) ||
	    pending.generation != wakeup->generation || pending.vip >= SL_MAX_VIPS)
		return 0;
	opts.data_size_in = syn_build(&pending, &tables->vips[pending.vip], frame);
	return opts.data_size_in && !bpf_prog_test_run_opts(tables->inject_fd, &opts) &&
	       !opts.retval;
}

static int on_wakeup(void *context, void *data, size_t size)
{
	struct inject *inject = context;

	if (size < sizeof(struct sl_wakeup))
		return 0;
	if (!inject->starting && send_again(inject, data))
		inject->sent++;
	else
		inject->stale++;
	return 0;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct inject *inject = poll->data;

	if (!status)
		ring_buffer__consume(inject->ring);
}

int inject_new(uv_loop_t *loop, const struct tables *tables, struct inject **ret)
{
	struct inject *inject = calloc(1, sizeof(*inject));
	int error;

	if (!inject)
		return -ENOMEM;
	inject->tables = tables;
	inject->ring = ring_buffer__new(tables->wakeups_fd, on_wakeup, inject, NULL);
	if (!inject->ring) {
		error = -errno;
		free(inject);
		return error;
	}
	error = uv_poll_init(loop, &inject->poll, ring_buffer__epoll_fd(inject->ring));
	if (error) {
		ring_buffer__free(inject->ring);
		free(inject);
		return error;
	}
	inject->starting = true;
	ring_buffer__consume(inject->ring);
	inject->starting = false;
	inject->poll.data = inject;
	uv_poll_start(&inject->poll, UV_READABLE, on_readable);
	*ret = inject;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct inject *inject = handle->data;

	ring_buffer__free(inject->ring);
	free(inject);
}

void inject_free(struct inject *inject)
{
	if (inject)
		uv_close((uv_handle_t *)&inject->poll, on_closed);
}

uint64_t inject_sent(const struct inject *inject)
{
	return inject->sent;
}

uint64_t inject_stale(const struct inject *inject)
{
	return inject->stale;
}
