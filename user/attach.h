/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Puts programs at the TC hooks of an interface: tcx links where the kernel has
 * them (6.6), pinned so that they outlive the agent and renewed in place; clsact
 * filters otherwise. We are first at ingress and last at egress. XDP is a pinned
 * link likewise, and only ours or somebody else's.
 */
#ifndef SLUICE_ATTACH_H
#define SLUICE_ATTACH_H

#include <stdbool.h>

#include "others.h"

enum attach_role {
	ATTACH_NONE,
	ATTACH_POD,    /* host side of a pod's interface: both hooks */
	ATTACH_UPLINK, /* both hooks, and XDP where it can be had: see xdp.h */
	ATTACH_FABRIC, /* another device over which replicas are routed: ingress only */
	ATTACH_FABRIC_L3, /* the same, of a device without Ethernet headers */
	ATTACH_NODE,   /* SL_NODE_DEVICE: egress only */
	ATTACH_ROLES,
};

extern const char *const attach_role_names[ATTACH_ROLES]; /* "none", "pod", "uplink", ... */

struct attach {
	const char *links_dir; /* BPFFS/links, there already */
	bool tcx;
};

/* Program `fd` at one hook, renewed in place if one of ours is there. 0, or -errno. */
int attach_hook(const struct attach *attach, int ifindex, const char *name, bool egress, int fd);

/* Takes ours away from one hook; 0 also when there is none or the interface is gone. */
int detach_hook(const struct attach *attach, int ifindex, const char *name, bool egress);

/* Program `fd` at XDP, native mode, renewed in place if ours is there. 0; -EBUSY or -EEXIST: somebody
 * else's is; -EOPNOTSUPP: the driver cannot; -errno. */
int attach_xdp(const struct attach *attach, int ifindex, const char *name, int fd);

/* 0 also when there is none. */
int detach_xdp(const struct attach *attach, const char *name);

/* Detaches and unpins the links of interfaces that nobody wants any more: left by an earlier agent,
 * or of interfaces that went while none ran. Goes on after one that fails. 0, or the first -errno. */
typedef bool attach_wanted_fn(void *context, const char *name);
int attach_prune(const struct attach *attach, attach_wanted_fn *wanted, void *context);

/* Detaches and unpins every link below links_dir, then removes our clsact filters from every
 * interface, whatever pins there are but for `others`, and each clsact qdisc that is empty then. Adds
 * the number of filters to *removed. Goes on after one that fails. 0, or the first -errno; -EOWNERDEAD:
 * tcx links are left whose pins are in no bpf file system that is seen. */
int detach_all(const struct attach *attach, const struct others *others, unsigned *removed);

/* Whether this kernel has tcx; SLUICE_FORCE_CLSACT=1 in the environment says no (for tests). */
bool attach_has_tcx(void);

#endif
