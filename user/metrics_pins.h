/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The metrics that are read through pins and not from mapped memory: what the
 * kernel accounts of its programs, and the table of source-NAT ports. Called by
 * metrics.c alone.
 */
#ifndef SLUICE_METRICS_PINS_H
#define SLUICE_METRICS_PINS_H

#include "strbuf.h"

/* Run counts and times of the programs in BPFFS/progs; none where there is no such directory. */
void metrics_programs_render(const char *bpffs, struct strbuf *out);

/* Source-NAT ports by phase, from BPFFS/snat. 0, also where there is no such map; -errno. */
int metrics_snat_render(const char *bpffs, struct strbuf *out);

#endif
