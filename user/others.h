/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What belongs to other agents: the programs that are pinned, or run by a pinned link, below other
 * directories of Sluice's in any bpf file system mounted here. What no pin holds is nobody's.
 */
#ifndef SLUICE_OTHERS_H
#define SLUICE_OTHERS_H

#include <limits.h>
#include <linux/types.h>
#include <stddef.h>

struct others {
	struct others_program *programs;
	size_t n;
};

/* Looks below every directory but `bpffs`. 0; -EACCES, -EPERM: root is needed; -errno. others_done()
 * in any case. */
int others_find(const char *bpffs, struct others *ret);
void others_done(struct others *others);

/* The directory that holds the program; NULL: none. */
const char *others_directory(const struct others *others, __u32 program);

/* Whether one of them has a program at the device's egress. 1: its directory is in `ret`; 0: none
 * has, or there is no such device; -errno. */
int others_at(const char *bpffs, const char *device, char ret[PATH_MAX]);

#endif
