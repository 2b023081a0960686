// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a directory of manifests to a desired state. Refuses the directory whole
 * when any of it is bad. Called by the watch (discover_watch.c) and by
 * `sluice check`.
 */
#include "discover_file.h"

int discover_file_load(struct manifest_dir *dir, const struct policy_options *options,
		       struct verdicts *verdicts, struct model **ret, struct diag *diag)
{
	const struct objects *objects;
	int err = manifest_dir_read(dir, &objects, diag);

	return err ? err : policy_compile(objects, options, verdicts, ret, diag);
}
