/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the agent knows and no map holds: the input of metrics and status. The
 * agent owns one and keeps it true as things happen; nobody else writes it.
 */
#ifndef SLUICE_FACTS_H
#define SLUICE_FACTS_H

#include <stdint.h>

#include "maps.h"
#include "probe.h"
#include "tables.h"
#include "verdict.h"

struct facts {
	const char *version;            /* SLUICE_VERSION */
	const char *node_name;          /* --node-name */
	const char *bpffs;              /* --bpffs; programs are pinned in BPFFS/progs */
	const struct maps *maps;        /* NULL until the datapath is loaded */
	const struct probe_set *probes; /* NULL until there are probes */
	const char *unready;            /* why /readyz says 503; NULL: ready */

	uint64_t applied, refused;        /* desired states since the agent started */
	uint64_t decoded;                 /* files of the input, since then */
	uint64_t verdicts[VERDICT_KINDS]; /* fields of the input in force */
	const struct verdicts *ignored;   /* its unsupported and unknown ones; may be NULL */
	const struct diag *last_refused;  /* NULL: none, or mended since */
	uint64_t last_refused_ns;         /* CLOCK_REALTIME */

	bool in_doubt;   /* soft evidence is void now */
	uint64_t doubts; /* times that it was */
};

/* The readers' view of what the agent has mapped anyway: each mapped array counts whole as resident
 * memory, so none is mapped twice. `flows`, `snat`, `events`, `spill_fd` are left out (NULL, -1).
 * Valid as long as `tables`. 0, or -errno; on failure nothing is left open. */
int facts_open_maps(const struct tables *tables, const char *bpffs, struct maps *ret);
void facts_close_maps(struct maps *maps);

#endif
