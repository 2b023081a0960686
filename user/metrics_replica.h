/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The metrics of services and replicas: the part of metrics that grows with
 * the cluster. Called by metrics.c alone.
 */
#ifndef SLUICE_METRICS_REPLICA_H
#define SLUICE_METRICS_REPLICA_H

#include "facts.h"
#include "strbuf.h"

/* Appends the families of services and replicas. 0, or -ENOMEM. */
int metrics_replica_render(const struct facts *facts, uint64_t now_ns, struct strbuf *out);

#endif
