/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Outlier detection at the packet: what a success or a failure of a replica means for it.
 * Called where an answer is seen: flow.h, retry.h, pending.h, sniff.h.
 */
#ifndef SLUICE_BPF_EJECT_H
#define SLUICE_BPF_EJECT_H

#include <stdbool.h>

#include "count.h"
#include "maps.h"
#include "verifier.h"

enum failure {
	FAILURE_REFUSED,    /* RST or ICMP unreachable answered a SYN */
	FAILURE_UNANSWERED, /* nothing answered a SYN within a second */
	FAILURE_5XX,        /* HTTP/1.x 5yy but the following */
	FAILURE_GATEWAY,    /* 502, 503, 504 */
};

/* A replica failed a client. `client`: any hash of its address. A global function: verified by
 * itself. */
__noinline int eject_failure(__u32 service_row, __u32 replica_row, __u32 client, __u32 failure)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);
	struct sl_outlier *outlier = bpf_map_lookup_elem(&outliers, &replica_row);

	if (!replica || !outlier)
		return 0;
	if (failure == FAILURE_REFUSED || failure == FAILURE_UNANSWERED) {
		count(SL_COUNT_CONNECT_FAILURES);
		__sync_fetch_and_add(&replica->state.connect_failures, 1);
	}
	outlier->witness = client ^ service_row;
	outlier->last_failure = bpf_jiffies64();
	return 0;
}

/* A replica answered a client as it should: a SYN-ACK (`connect`), or an HTTP status below 500. */
static __always_inline void eject_success(__u32 service_row, __u32 replica_row, bool connect)
{
	struct sl_outlier *outlier = bpf_map_lookup_elem(&outliers, &replica_row);

	if (outlier)
		outlier->last_success = bpf_jiffies64();
}

#endif
