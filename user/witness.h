/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The second witness: whether a replica that is down because its probes failed is really dead, so
 * that its open flows may be reset. A saturated model server misses probes and goes on answering
 * its clients; a hung one does neither. Pure.
 */
#ifndef SLUICE_WITNESS_H
#define SLUICE_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

#define WITNESS_RESET_AFTER_MS 10000u /* unless the service says otherwise */
/* A server that shuts down well closes its listener first, and serves on whom it has. */
#define WITNESS_REFUSES_MS 2000u
/* Between two looks at a pod's CPU counter: at least one probe, which a living process answers,
 * falls into it (a down replica is probed once a second). */
#define WITNESS_CPU_NS 2500000000ull

/* What is known of a replica that is down by soft evidence. */
struct witness {
	uint64_t since_ns;       /* when it began to fail, and its flows to be watched */
	uint64_t payload_ns;     /* last payload byte of its flows; 0: none since */
	uint64_t answer_ns;      /* last answer to a probe, good or bad; 0: none since */
	uint32_t reset_after_ms; /* 0: WITNESS_RESET_AFTER_MS */
	bool unreachable;        /* the kernel knows no way to its host (EHOSTUNREACH) */
	bool refuses;            /* nobody listens on its port, and it was not told to leave */
	bool cpu_known;          /* the following two are */
	uint64_t cpu_us;         /* its pod's CPU time, at the first look ... */
	uint64_t cpu_since_ns;   /* ... which was then; 0: no look yet */
};

/* A look at its pod's CPU counter. */
void witness_cpu(struct witness *witness, uint64_t cpu_us, uint64_t now_ns);

/* When its flows last carried a payload byte, on the clock of `now_ns`; 0: not since long. `last`:
 * as in struct sl_replica_state_row; `now`: the same clock's now, `hz` to the second. */
uint64_t witness_payload_ns(uint32_t last, uint32_t now, uint32_t hz, uint64_t now_ns);

/* Whether its flows are to be reset, with what says so in `buf`, for people. */
bool witness_is_dead(const struct witness *witness, uint64_t now_ns, char *buf, unsigned len);

#endif
