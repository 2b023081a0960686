/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * First bytes of answers, for services with SL_SERVICE_SNIFF (a flow knows from its first SYN on, by
 * SL_FLOW_SNIFF; others pay the test of a bit in a word that was read anyway). Client data stamps
 * flow->request; the first answer of 12 bytes or more to it is looked at, for "HTTP/1.x NNN": its
 * status is a success or a failure of the replica's (eject.h), its time goes into the replica's mean
 * and the service's histogram. An interim status (1xx) leaves the request open.
 *
 * Not seen: what TLS or HTTP/2 hide, a status line split over segments, all but the first answer to
 * requests sent in one go. None of these counts as anything. Called from flow.h and to_client.h.
 */
#ifndef SLUICE_BPF_SNIFF_H
#define SLUICE_BPF_SNIFF_H

#include "eject.h"
#include "parse.h"
#include "table.h"

#define SNIFF_BYTES 12u   /* "HTTP/1.1 200" */
#define SNIFF_MEAN_SHARE 8 /* of the new one in the mean: an eighth */

/* The flag of a new flow of this service: handed to the table in `flags`. */
static __always_inline __u32 sniff_flag(const struct sl_service *service, __u8 proto)
{
	return service && service->flags & SL_SERVICE_SNIFF && proto == IPPROTO_TCP ?
		       SL_FLOW_SNIFF : 0;
}

/* A packet of the client's: its first data begin a request. */
static __always_inline void sniff_request(const struct flow_ref *ref, const struct packet *pkt,
					  __u32 now)
{
	if (likely(!(ref->state & SL_FLOW_SNIFF)) || pkt->l4_length <= pkt->l4_header ||
	    ref->flow->request)
		return;
	WRITE_ONCE(ref->flow->request, now ?: 1);
}

static __always_inline bool sniff_is_digit(__u8 c)
{
	return c >= '0' && c <= '9';
}

/* The status of an HTTP/1.x status line; 0: it is none. */
static __always_inline __u32 sniff_status(const __u8 line[SNIFF_BYTES])
{
	if (line[0] != 'H' || line[1] != 'T' || line[2] != 'T' || line[3] != 'P' ||
	    line[4] != '/' || line[5] != '1' || line[6] != '.' || !sniff_is_digit(line[7]) ||
	    line[8] != ' ' || !sniff_is_digit(line[9]) || !sniff_is_digit(line[10]) ||
	    !sniff_is_digit(line[11]))
		return 0;
	return (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
}

/* How many bits a number of ticks has: 0, 1, 2-3, 4-7, ... */
static __always_inline __u32 sniff_bucket(__u32 ticks)
{
	__u32 bits = 0;

	for (__u32 i = 0; i < SL_FIRST_BYTE_BUCKETS - 1; i++)
		bits += ticks >> i != 0;
	return bits;
}

/* Books how long an answer took. A failure may well be quick: it stays out of the mean. */
static __always_inline void sniff_time(__u32 service_row, __u32 replica_row, __u32 ticks,
				       bool good)
{
	struct sl_first_byte *times = bpf_map_lookup_elem(&first_bytes, &service_row);
	struct sl_outlier *outlier = bpf_map_lookup_elem(&outliers, &replica_row);
	__u32 bucket = sniff_bucket(ticks), sample, mean;

	if (times && bucket < SL_FIRST_BYTE_BUCKETS) {
		__sync_fetch_and_add(&times->bucket[bucket], 1);
		__sync_fetch_and_add(&times->ticks, ticks);
	}
	if (!good || !outlier)
		return;
	sample = ticks < 1u << 24 ? ticks * 16 + 1 : 1u << 28; /* never 0: that is "unknown" */
	mean = READ_ONCE(outlier->first_byte);
	mean = mean ? mean - mean / SNIFF_MEAN_SHARE + sample / SNIFF_MEAN_SHARE : sample;
	WRITE_ONCE(outlier->first_byte, mean ?: 1);
}

/* Reads the first bytes of an answer, at `offset` of the frame, and books its time. The status when
 * there is one to judge the replica by, else 0. A global function: verified by itself; it calls none
 * that needs a stack, since from_uplink leaves little. */
__noinline int sniff_answer(struct __sk_buff *skb, struct sl_flow *flow, __u32 offset)
{
	__u8 line[SNIFF_BYTES];
	__u32 status, ticks;

	if (!flow || bpf_skb_load_bytes(skb, offset, line, sizeof(line)))
		return 0;
	status = sniff_status(line);
	if (status >= 100 && status < 200)
		return 0;
	ticks = (__u32)bpf_jiffies64() - flow->request;
	WRITE_ONCE(flow->request, 0);
	if (status)
		sniff_time(flow->key.service, flow->replica, ticks, status < 500);
	return status;
}

/* An answer as it should be; a global function for its stack. */
__noinline int sniff_success(__u32 service_row, __u32 replica_row)
{
	eject_success(service_row, replica_row, false);
	return 0;
}

/* A packet of the replica's, before it is translated. */
static __always_inline void sniff_reply(struct __sk_buff *skb, const struct flow_ref *ref,
					const struct packet *pkt)
{
	struct sl_flow *flow = ref->flow;
	int status;

	if (likely(!(ref->state & SL_FLOW_SNIFF)) || !READ_ONCE(flow->request) ||
	    (__u32)pkt->l4_length < pkt->l4_header + SNIFF_BYTES)
		return;
	status = sniff_answer(skb, flow, pkt->l4_offset + pkt->l4_header);
	if (status >= 500 && status <= 599)
		eject_failure(flow->key.service, flow->replica, eject_witness(&flow->key.client),
			      status >= 502 && status <= 504 ? FAILURE_GATEWAY : FAILURE_5XX);
	else if (status)
		sniff_success(flow->key.service, flow->replica);
}

#endif
