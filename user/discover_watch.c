// SPDX-License-Identifier: GPL-2.0-only
/*
 * Follows a directory of manifests. inotify (through libuv) says that something
 * changed; when it has been quiet for a moment, what changed is read in libuv's
 * thread pool, since thousands of replicas take a tenth of a second to parse at
 * first and the loop has probes to run. Once a second it looks whether DIR is still
 * the directory that it watches: one that was replaced, mounted over, or
 * removed and made anew is followed by name. Where inotify refuses, for the limits
 * of a user, it reads the directory at each such look, and tells what is new. Called
 * by the agent.
 *
 * Not seen: changes of a file outside of DIR that a link in DIR leads to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "discover_file.h"

#define SETTLE_MS   100  /* quiet for so long: the writer has finished */
#define POSTPONE_MS 1000 /* never quiet: read nevertheless */
#define LOOK_MS     1000

struct discover_file {
	char *dir;
	struct manifest_dir *manifests; /* `work` alone touches it */
	uint64_t decoded;               /* of its files, when `work` was done last */
	const struct policy_options *options;
	const struct discover_ops *ops;
	void *context;
	uv_fs_event_t events;
	uv_timer_t settle, look;
	unsigned open_handles;
	bool watching;   /* `events` runs */
	int watch_error; /* why it cannot, as told; 0: it can, or there is no directory */
	dev_t device;    /* the directory's that it is, or would be, on */
	ino_t inode;
	bool changing; /* `settle` runs, since: */
	uint64_t since_ms;
	bool working; /* `work` is in the pool or on its way back */
	bool again;   /* it changed meanwhile */
	bool looking; /* `work` finds out whether there is anything new; that is read again when settled */
	bool closing;
	uv_work_t work;
	int err; /* what `work` found: */
	struct model *model;
	struct verdicts verdicts;
	struct diag diag;
	uint64_t changes; /* of the directory, and what else was told last: */
	uint64_t told_changes;
	int told_err;
	struct diag told_diag;
};

static void free_when_idle(struct discover_file *discover)
{
	if (discover->open_handles || discover->working)
		return;
	manifest_dir_free(discover->manifests);
	free(discover->dir);
	free(discover);
}

static void drop_result(struct discover_file *discover)
{
	model_free(discover->model);
	discover->model = NULL;
	verdicts_done(&discover->verdicts);
}

static void load(uv_work_t *work)
{
	struct discover_file *discover = work->data;

	discover->err = discover_file_load(discover->manifests, discover->options,
					   &discover->verdicts, &discover->model, &discover->diag);
	if (discover->err && discover->err != -EINVAL)
		diag_set(&discover->diag, discover->dir, 0, NULL,
			 "%s; free some and touch a manifest", strerror(-discover->err));
}

static void postpone(struct discover_file *discover);

/* Whether `work` found anything else than was told last. */
static bool is_news(const struct discover_file *discover)
{
	const struct diag *now = &discover->diag, *told = &discover->told_diag;

	if (discover->err != discover->told_err || discover->changes != discover->told_changes)
		return true;
	return discover->err && (now->line != told->line || strcmp(now->file, told->file) ||
				 strcmp(now->field, told->field) || strcmp(now->reason, told->reason));
}

/* The callee owns the model, and may free `discover`. */
static void tell(struct discover_file *discover)
{
	struct model *model = discover->model;

	discover->model = NULL;
	discover->told_changes = discover->changes;
	discover->told_err = discover->err;
	discover->told_diag = discover->diag;
	discover->ops->on_input(discover->context, model, &discover->verdicts,
				discover->err ? &discover->diag : NULL);
}

static void loaded(uv_work_t *work, int status)
{
	struct discover_file *discover = work->data;

	discover->decoded = manifest_dir_decoded(discover->manifests);
	discover->changes = manifest_dir_changes(discover->manifests);
	if (discover->looking)
		discover->again |= is_news(discover);
	else if (!discover->closing)
		tell(discover);
	if (discover->again && !discover->closing)
		postpone(discover);
	drop_result(discover);
	discover->working = false;
	if (discover->closing)
		free_when_idle(discover);
}

/* `looking`: tell of it only if it is new, once it has settled. */
static void start_load(struct discover_file *discover, bool looking)
{
	discover->again = discover->working;
	if (discover->working)
		return;
	discover->working = true;
	discover->looking = looking;
	discover->diag = (struct diag){};
	discover->work.data = discover;
	uv_queue_work(discover->settle.loop, &discover->work, load, loaded);
}

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
	/* "..data" is the link that a mounted ConfigMap swaps. */
	if (!name || manifest_dir_takes(name) || !strncmp(name, "..", 2))
		postpone(handle->data);
}

/* Tries to have `events` run on DIR. What comes of it is told when it changes. */
static void start_events(struct discover_file *discover)
{
	int error = uv_fs_event_start(&discover->events, on_event, discover->dir, 0);

	discover->watching = !error;
	if (!error == !discover->watch_error)
		return;
	discover->watch_error = error;
	discover->ops->on_watch(discover->context, discover->dir, error);
}

/* Watches what DIR is now; whether that is another directory than before, or none. */
static bool watch(struct discover_file *discover)
{
	struct stat st;
	bool is_there = !stat(discover->dir, &st) && S_ISDIR(st.st_mode), is_same;

	is_same = is_there ? st.st_dev == discover->device && st.st_ino == discover->inode :
			     !discover->inode;
	if (is_same && (discover->watching || !is_there))
		return false;
	uv_fs_event_stop(&discover->events);
	discover->watching = false;
	discover->device = is_there ? st.st_dev : 0;
	discover->inode = is_there ? st.st_ino : 0;
	if (is_there)
		start_events(discover);
	return !is_same;
}

static void on_settled(uv_timer_t *timer)
{
	struct discover_file *discover = timer->data;

	discover->changing = false;
	watch(discover); /* before reading, so that no change falls in between */
	start_load(discover, false);
}

static void postpone(struct discover_file *discover)
{
	uint64_t now = uv_now(discover->settle.loop), waited;

	if (!discover->changing)
		discover->since_ms = now;
	discover->changing = true;
	waited = now - discover->since_ms;
	if (waited + SETTLE_MS <= POSTPONE_MS || !uv_is_active((uv_handle_t *)&discover->settle))
		uv_timer_start(&discover->settle, on_settled, SETTLE_MS, 0);
}

static void on_look(uv_timer_t *timer)
{
	struct discover_file *discover = timer->data;
	bool was_blind = discover->watch_error;

	if (watch(discover))
		postpone(discover);
	else if (was_blind && !discover->changing && !(discover->working && discover->watch_error))
		start_load(discover, true); /* once more when it sees again: of before, no event tells */
}

static void on_closed(uv_handle_t *handle)
{
	struct discover_file *discover = handle->data;

	discover->open_handles--;
	free_when_idle(discover);
}

static void init_handles(uv_loop_t *loop, struct discover_file *discover)
{
	uv_timer_init(loop, &discover->settle);
	uv_timer_init(loop, &discover->look);
	uv_fs_event_init(loop, &discover->events);
	discover->settle.data = discover->look.data = discover->events.data = discover;
	discover->open_handles = 3;
}

int discover_file_check(const char *dir)
{
	struct stat st;

	if (stat(dir, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return access(dir, R_OK | X_OK) ? -errno : 0;
}

int discover_file_new(uv_loop_t *loop, const char *dir, const struct policy_options *options,
		      const struct discover_ops *ops, void *context, struct discover_file **ret)
{
	struct discover_file *discover;
	int error = discover_file_check(dir);

	if (error)
		return error;
	discover = calloc(1, sizeof(*discover));
	if (!discover)
		return -ENOMEM;
	discover->dir = strdup(dir);
	if (!discover->dir || manifest_dir_new(dir, &discover->manifests)) {
		free_when_idle(discover);
		return -ENOMEM;
	}
	discover->options = options;
	discover->ops = ops;
	discover->context = context;
	init_handles(loop, discover);
	watch(discover);
	uv_timer_start(&discover->look, on_look, LOOK_MS, LOOK_MS);
	start_load(discover, false);
	*ret = discover;
	return 0;
}

uint64_t discover_file_decoded(const struct discover_file *discover)
{
	return discover->decoded;
}

void discover_file_free(struct discover_file *discover)
{
	if (!discover)
		return;
	discover->closing = true;
	uv_cancel((uv_req_t *)&discover->work); /* fails where it runs or there is none */
	uv_close((uv_handle_t *)&discover->settle, on_closed);
	uv_close((uv_handle_t *)&discover->look, on_closed);
	uv_close((uv_handle_t *)&discover->events, on_closed);
}
