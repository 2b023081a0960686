/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A directory of manifests as objects: *.yaml, *.yml and *.json directly in it,
 * several documents per file. What was decoded is kept file by file, so that
 * reading it again costs what changed since.
 */
#ifndef SLUICE_MANIFEST_DIR_H
#define SLUICE_MANIFEST_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "verdict.h"

struct objects; /* objects.h */
struct manifest_dir;

/* Whether a file of this name is read: it ends in .yaml, .yml or .json and is not hidden. */
bool manifest_dir_takes(const char *name);

/* Reads nothing yet. 0, or -ENOMEM. */
int manifest_dir_new(const char *dir, struct manifest_dir **ret);
void manifest_dir_free(struct manifest_dir *dir);

/* Brings the objects up to date with the directory, and seals them: theirs until the next call. 0;
 * -EINVAL with *diag: some file is bad, or two do not fit together; -ENOMEM. */
int manifest_dir_read(struct manifest_dir *dir, const struct objects **ret, struct diag *diag);

/* How many files were decoded so far. */
uint64_t manifest_dir_decoded(const struct manifest_dir *dir);

/* Grows when what the files say changes: objects came or went, if only for others. */
uint64_t manifest_dir_changes(const struct manifest_dir *dir);

#endif
