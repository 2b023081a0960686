/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sees whether a replica whose probes fail goes on sending: the agent resets nothing of one that
 * does (user/witness.c). Called by to_client.h for every packet of a replica; costs one look at a
 * line that is at hand as long as the replica is well.
 */
#ifndef SLUICE_BPF_WITNESS_H
#define SLUICE_BPF_WITNESS_H

#include "parse.h"

static __always_inline void witness_payload(struct sl_replica *replica, const struct packet *pkt)
{
	__u32 now;

	if (likely(!(replica->config.flags & (SL_REPLICA_SUSPECT | SL_REPLICA_PROBE_DOWN))) ||
	    pkt->l4_length <= pkt->l4_header)
		return;
	now = bpf_jiffies64();
	if (READ_ONCE(replica->state.last_payload) != now)
		WRITE_ONCE(replica->state.last_payload, now ? now : 1);
}

#endif
