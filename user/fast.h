/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which replicas the fast path (--fast-path) leads to, and why not the others, as the rows have it:
 * for the log and for people. What decides is fast_hook() of bpf/fast.h.
 */
#ifndef SLUICE_FAST_H
#define SLUICE_FAST_H

#include <stdbool.h>
#include <stddef.h>

#include <sluice/abi.h>

/* Why new flows to a replica take the node's stack, as far as the replica is the reason. */
enum fast_answer {
	FAST_YES,
	FAST_CAP,    /* its owner counts its connections where the fast path does not pass */
	FAST_NO_PEER, /* of this node, and behind no pod interface that takes redirects */
	FAST_NO_WAY, /* remote: the device on the way has no program of ours to meet the answers */
	FAST_ANSWERS,
};

struct fast_tally {
	unsigned n[FAST_ANSWERS];
};

/* Whether new flows take the fast path where they can. */
bool fast_is_on(const struct sl_control *control);

enum fast_answer fast_replica(const struct sl_replica_config *config);

/* Whether the pinned flow table below `bpffs` holds flows of the fast path, finished ones included; true
 * also when it cannot be read. */
bool fast_has_flows(const char *bpffs);

/* Counts the replicas in use. */
struct fast_tally fast_tally(const struct sl_replica *replicas, size_t n);

/* "5 of 8 replicas; by the node's stack: 2 with a cap, 1 behind no veth of a pod" */
const char *fast_format(const struct fast_tally *tally, char *buf, size_t len);

#endif
