/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent: owns every module and the wires between them. Discovery gives a
 * model, reconcile writes it into the maps, probes say who is healthy, routes
 * and interfaces are followed, all on one loop.
 */
#ifndef SLUICE_AGENT_H
#define SLUICE_AGENT_H

#include <stddef.h>

#include "addr.h"
#include "datapath.h"
#include "interfaces.h"

struct agent_options {
	const char *manifests;
	const char *listen;
	const char *node_name;
	unsigned peers; /* agents in the cluster; 0: as many as nodes have replicas, 256 at most */
	unsigned hold_s; /* how long a list that lost many at once is doubted; 0: not at all */
	struct addr_cidr *external_cidrs;
	size_t n_external_cidrs;
	struct datapath_options datapath;
	struct interfaces_options interfaces;
};

/* Runs until SIGTERM or SIGINT, which leave everything in the kernel. 0, or -errno when it could
 * not start; what went wrong is logged. */
int agent_run(const struct agent_options *options);

#endif
