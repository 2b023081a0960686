/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From Kubernetes objects to the desired state: which Services are steered,
 * which replicas stand behind which VIPs, with what weight and probe. Pure:
 * no files, no network, no datapath.
 */
#ifndef SLUICE_POLICY_H
#define SLUICE_POLICY_H

#include "addr.h"
#include "model.h"
#include "verdict.h"

struct objects; /* objects.h: the decoded Kubernetes objects */

struct policy_options {
	const char *node_name;                  /* this node: for traffic policies `Local` */
	const struct addr_cidr *external_cidrs; /* --allow-external-ips */
	size_t n_external_cidrs;
};

/* Builds the model of all steered Services. On success 0 and *ret is the caller's
 * to free; verdicts about whole-object relations are appended. -EINVAL: refused,
 * *diag says why. -ENOMEM. */
int policy_compile(const struct objects *objects, const struct policy_options *options,
		   struct verdicts *verdicts, struct model **ret, struct diag *diag);

#endif
