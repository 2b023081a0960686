/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The CPU time of a pod of this node, from the kernel's control groups, where the kubelet puts every
 * pod: .../kubepods[.slice]/[QOS/].../pod<uid>, or with systemd kubepods-[QOS-]pod<uid>.slice and
 * the uid's dashes as underscores. Without Kubernetes: a cgroup /kubepods/pod<uid>, made by hand.
 */
#ifndef SLUICE_CGROUP_H
#define SLUICE_CGROUP_H

#include <stddef.h>
#include <stdint.h>

/* Where cgroups are mounted: version 2, version 2 beside 1, version 1. */
extern const char *const cgroup_roots[];

/* The directory of the pod below one of `roots` (ends with NULL). 0; -ENOENT: there is none, or the
 * uid is none; -ENAMETOOLONG. */
int cgroup_find_pod(const char *const *roots, const char *uid, char *ret, size_t len);

/* CPU time used by all that is in it, in microseconds. 0; -ENOENT: it is gone; -ENODATA; -errno. */
int cgroup_cpu_us(const char *path, uint64_t *ret);

#endif
