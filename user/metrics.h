/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The metrics of a node as Prometheus reads them (text exposition format
 * 0.0.4), rendered from the pinned maps and the agent's facts. Keeps nothing
 * between two calls.
 */
#ifndef SLUICE_METRICS_H
#define SLUICE_METRICS_H

#include "facts.h"
#include "strbuf.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends the whole exposition. 0, -ENOMEM, or -errno when a map cannot be read. */
int metrics_render(const struct facts *facts, struct strbuf *out);

#endif
