/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Discovery from a directory of manifests. load reads it once, and again as often
 * as one likes; watch follows it with inotify and reads it anew when it has been
 * quiet for a moment. A directory with any bad file is refused whole.
 */
#ifndef SLUICE_DISCOVER_FILE_H
#define SLUICE_DISCOVER_FILE_H

#include <uv.h>

#include "manifest_dir.h"
#include "policy.h"

/* Reads what changed in the directory since the last time. 0 and *ret, or -EINVAL with *diag, or -ENOMEM. `verdicts` is appended to. */
int discover_file_load(struct manifest_dir *dir, const struct policy_options *options,
		       struct verdicts *verdicts, struct model **ret, struct diag *diag);

/* Called after each settled change (and once from start): exactly one of `model`
 * (ownership passes to the callee) and `diag` is set. `verdicts` live for the call alone. */
typedef void discover_file_fn(void *context, struct model *model, const struct verdicts *verdicts,
			      const struct diag *diag);

/* inotify cannot watch DIR (`error`: -EMFILE, -ENOSPC, -errno): it is read every second instead, and a
 * change told as ever; or it can again (0). */
typedef void discover_watch_fn(void *context, const char *dir, int error);

struct discover_ops {
	discover_file_fn *on_input;
	discover_watch_fn *on_watch;
};

struct discover_file;

/* Whether DIR can be watched: 0, -ENOENT, -ENOTDIR, -EACCES, -errno. */
int discover_file_check(const char *dir);

/* Watches DIR. `options` and `ops` must outlive the watch. 0; as discover_file_check(); -ENOMEM. */
int discover_file_new(uv_loop_t *loop, const char *dir, const struct policy_options *options,
		      const struct discover_ops *ops, void *context, struct discover_file **ret);
/* How many files were decoded so far, as of the last call of on_input(). */
uint64_t discover_file_decoded(const struct discover_file *discover);
/* Stops at once; its handles are closed on the next turn of the loop. NULL is fine. */
void discover_file_free(struct discover_file *discover);

#endif
