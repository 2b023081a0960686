/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * XDP at an uplink: whether it is wanted there, why it cannot be had, and who is
 * there.
 */
#ifndef SLUICE_XDP_H
#define SLUICE_XDP_H

#include <stdbool.h>
#include <stddef.h>

#include <sluice/abi.h>

#include "attach.h"

/* An uplink, as netlink tells it. */
struct xdp_uplink {
	int ifindex;
	const char *name;
	const char *kind; /* "" for a device with a driver of its own */
};

/* What sits at XDP of an interface. */
struct xdp_place {
	__u32 program; /* its id; 0: nothing */
	bool native;
	char name[16]; /* as the kernel cuts it */
};

#define XDP_WHY_LEN 160

/* 0, or -EINVAL: `text` is no name of a mode ("auto", "on", "off"). */
int xdp_mode_parse(const char *text, enum sl_xdp_mode *ret);

/* Whether this kernel knows frames in several buffers (5.18); else long ones keep a device from native
 * XDP. */
bool xdp_has_frags(void);

/* Attaches program `fd` where the mode asks for it, and takes ours away where it does not. 0: it is there.
 * -errno: it is not, and `why` tells people the reason. */
int xdp_attach(const struct attach *attach, enum sl_xdp_mode mode, const struct xdp_uplink *uplink,
	       int fd, char why[XDP_WHY_LEN]);

/* 0, also when nothing is there; -errno. */
int xdp_query(int ifindex, struct xdp_place *ret);

#endif
