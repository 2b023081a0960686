/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is pinned below a bpffs directory: maps in it, programs in progs/, links
 * of tcx and XDP in links/. Reads only.
 */
#ifndef SLUICE_PINS_H
#define SLUICE_PINS_H

#include <linux/types.h>
#include <net/if.h>
#include <stdbool.h>

enum pin_kind { PIN_MAP, PIN_PROGRAM, PIN_LINK };

struct pin {
	enum pin_kind kind;
	const char *name; /* of the file: the map, the program, or INTERFACE-ingress|egress|xdp */
	const char *path; /* the whole path */
	__u32 id;
	__u64 memory_bytes; /* locked by the kernel for it; 0 for links */
	__u32 program;      /* a link's program */
	int ifindex;        /* a link's interface; 0 when that is gone */
	__u32 attach_type;  /* a link's */
};

typedef void pins_fn(void *context, const struct pin *pin);

/* Calls `fn` for each pinned object: maps, programs, links, each by name. 0; -ENOENT: there is no
 * such directory; -EPERM or -EACCES: root is needed; -errno. */
int pins_list(const char *bpffs, pins_fn *fn, void *context);

/* The name of a link's pin, INTERFACE-HOOK. bpffs takes no dots, and interfaces no colons: eth0.7 is
 * eth0:7 there. */
#define PINS_LINK_NAME_LEN 32
void pins_link_name(const char *interface, const char *hook, char ret[PINS_LINK_NAME_LEN]);

/* The interface that a link's pin names; false: that is no link's name. */
bool pins_link_interface(const char *name, char ret[IF_NAMESIZE]);

/* Fills in what a link's descriptor says: id, program, ifindex, attach_type. 0, or -errno. */
int pins_read_link(int fd, struct pin *pin);

#endif
