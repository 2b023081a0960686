/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which interface has which role, and the programs at it: pod interfaces by
 * glob, uplinks by name (or the default route's), fabric devices because a
 * replica is routed over them. Follows interfaces as they come and go.
 */
#ifndef SLUICE_INTERFACES_H
#define SLUICE_INTERFACES_H

#include <stdbool.h>

#include "datapath.h"
#include "events.h"
#include "route.h"

struct interfaces_options {
	const char *pod_globs; /* "veth*,cali*" */
	const char *uplinks;   /* "eth0,eth1"; NULL: the interface of the default route */
};

struct interfaces;

/* 0, or -ENOMEM. `datapath` and the options' strings must outlive it. */
int interfaces_new(struct datapath *datapath, struct events *events,
		   const struct interfaces_options *options, struct interfaces **ret);
/* Leaves the programs where they are. */
void interfaces_free(struct interfaces *interfaces);

/* An interface appeared or changed: attaches, renames or leaves alone. 0, or -errno; -EMEDIUMTYPE,
 * once for each interface: its frames have no Ethernet header, and the role that it should have needs
 * one. It is left alone then, but may still be a fabric device. */
int interfaces_link_new(struct interfaces *interfaces, const struct route_link *link);
void interfaces_link_gone(struct interfaces *interfaces, const struct route_link *link);

/* The default route's interface, where no --uplinks says otherwise. 0, or -errno as above. */
int interfaces_default_uplink(struct interfaces *interfaces, const struct route_link *link);

/* A replica is routed over this device. 0, or -errno as above. */
int interfaces_fabric(struct interfaces *interfaces, const struct route_link *link);

/* The next of the named uplinks that is not there, after *at (NULL: from the first one), which is
 * moved on. False when there are no more. */
bool interfaces_missing_uplink(const struct interfaces *interfaces, const char **at, char *ret,
			       size_t len);

enum attach_role interfaces_role(const struct interfaces *interfaces, int ifindex);
unsigned interfaces_count(const struct interfaces *interfaces, enum attach_role role);

/* Takes programs of an earlier agent off interfaces that have no role now. 0, or -errno. */
int interfaces_prune(struct interfaces *interfaces);

#endif
