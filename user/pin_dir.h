/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The directory below which maps, programs and links are pinned: made, judged
 * and locked for one agent, removed. Knows nothing of what is pinned there.
 */
#ifndef SLUICE_PIN_DIR_H
#define SLUICE_PIN_DIR_H

#include <stddef.h>

/* What to do where there is no bpf file system: root's alone, lest others make our directory first. */
#define PIN_DIR_MOUNT "mount -t bpf -o mode=700 bpf /sys/fs/bpf"

/* Makes `path`, progs/ and links/ where they are missing. 0; -EPERM: somebody else may change what
 * is pinned there; -ENOTSUP: not in a bpf file system; -errno. On failure `error` says what to do,
 * and what was made is gone again. */
int pin_dir_make(const char *path, char *error, size_t error_len);

/* Whether `path` is a directory, no link to one, that only its owner, we, can change. 0; -EPERM;
 * -errno; with `error` as above. */
int pin_dir_check(const char *path, char *error, size_t error_len);

/* Whether there can be pins below `path` at all. 1; 0: there is no such directory; -ENOTSUP: it is
 * not in a bpf file system, whatever is there is not ours; -errno; with `error` as above. */
int pin_dir_find(const char *path, char *error, size_t error_len);

/* " (root is needed)" where that is why, or "". */
const char *pin_dir_hint(int code);

/* One agent a directory: two would write the same rows. The kernel drops the lock with its holder.
 * The descriptor that holds it, or -EBUSY, -errno. */
int pin_dir_lock(const char *path);

/* Removes the directories, which must be empty. 0 also when they are gone already; -errno. */
int pin_dir_remove(const char *path);

#endif
