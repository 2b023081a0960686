/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's side of Sluice as the agent holds it: programs, maps and links.
 * Loads them, or adopts what an earlier agent left pinned; attaches programs to
 * interfaces; takes everything away again. The only module that sees the BPF
 * skeleton.
 */
#ifndef SLUICE_DATAPATH_H
#define SLUICE_DATAPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attach.h"
#include "tables.h"
#include "xdp.h"

struct datapath_options {
	const char *bpffs;      /* the directory to pin below; made if its parent is a bpffs */
	uint16_t snat_port_min; /* host byte order, inclusive; never overlapping the ranges of the */
	uint16_t snat_port_max; /* node's own ports: the caller checks */
	bool fast_path;         /* new flows bypass the node's stack where they can */
	enum sl_xdp_mode xdp;
	int node_ifindex;       /* of SL_NODE_DEVICE */
};

struct datapath;

/*
 * Loads the programs and pins them and their maps, or adopts the maps that are
 * pinned there: flows, rows and counts go on. Arms the sweep.
 * 0; -EPROTO: pinned maps of another layout; -EPERM; -ENOTSUP: bpffs is none; -errno. On failure
 * `error` says what is wrong and what to do, and nothing new is left pinned.
 */
int datapath_open(const struct datapath_options *options, struct datapath **ret, char *error,
		  size_t error_len);

/* Forgets it; all of it goes on in the kernel. NULL is fine. */
void datapath_close(struct datapath *datapath);

struct tables *datapath_tables(struct datapath *datapath);

/* Whether rows of an earlier agent were adopted. */
bool datapath_is_adopted(const struct datapath *datapath);

/* Whether flows of the fast path may be there: new ones, or those of an earlier agent, which go on. */
bool datapath_has_fast_path(const struct datapath *datapath);

/* Packets can be redirected to this device of clients, whom routes look for at device `home` (the bridge
 * that it is a port of, or itself); 0: they cannot. 0, or -errno. */
int datapath_set_fast_device(struct datapath *datapath, int ifindex, int home);

/* Puts the programs of `role` at the interface's hooks, or renews them in place. 0, or -errno. */
int datapath_attach(struct datapath *datapath, int ifindex, const char *name,
		    enum attach_role role);
/* An uplink's program at XDP besides, if --xdp and the device allow it; see xdp_attach(). Renewed in
 * place, or taken away. 0: it is there; -errno: it is not, and `why` says why. */
int datapath_attach_xdp(struct datapath *datapath, int ifindex, const char *name, const char *kind,
			char why[XDP_WHY_LEN]);
/* Takes all of them away. 0 also when the interface is gone already; -errno. */
int datapath_detach(struct datapath *datapath, int ifindex, const char *name);

/* See attach_prune(). */
int datapath_prune(struct datapath *datapath, attach_wanted_fn *wanted, void *context);

/* Removes every map and pin below `bpffs`, and every program, link, filter and empty qdisc but for those
 * of another agent: see others.h. 0 also when there is nothing; -errno with `error` set. *removed: how
 * many pins and filters there were. */
int datapath_unload(const char *bpffs, unsigned *removed, char *error, size_t error_len);

#endif
