/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who sits at the TC hooks of an interface, ours and others', in the order in
 * which they see a packet. Reads only.
 */
#ifndef SLUICE_TC_HOOKS_H
#define SLUICE_TC_HOOKS_H

#include <stdbool.h>

#include <linux/types.h>

/* Attach types of kernel 6.6, which the headers of Debian 12 do not know yet. */
#define TC_HOOKS_TCX_INGRESS 46
#define TC_HOOKS_TCX_EGRESS  47

struct tc_hook {
	bool tcx;          /* else a filter of the clsact (or ingress) qdisc */
	unsigned priority; /* of that filter; 0 at tcx */
	__u32 program;     /* id of the BPF program; 0: a filter of another kind */
	char name[64];     /* the program's or the filter's name, else the filter's kind */
};

typedef void tc_hooks_fn(void *context, const struct tc_hook *hook);

struct nl_sock;

/* Calls `fn` for each program and filter at one hook; `sock` from route_query_open(). 0, also where
 * the kernel has no tcx; -EPERM: root is needed; -errno. */
int tc_hooks_list(struct nl_sock *sock, int ifindex, bool egress, tc_hooks_fn *fn, void *context);

/* Whether the kernel has tcx: 1 or 0; -EPERM: root is needed; -errno. */
int tc_hooks_have_tcx(void);

#endif
