/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is fixed for the life of the loaded programs: set by datapath.c (and by
 * tests) before load, constants to the verifier afterwards. Each stands here so that no code
 * is dead when nobody sets it, as where the verifier's work is counted. What changes while
 * they run lies in maps.
 */
#ifndef SLUICE_BPF_CONFIG_H
#define SLUICE_BPF_CONFIG_H

#include <stdbool.h>

#include <sluice/abi.h>

const volatile __u64 seed = 0;                     /* of every hash; from `control` */
const volatile __u32 hz = 250;                     /* jiffies per second */
const volatile __u32 flow_sets = SL_FLOW_SETS;     /* a power of two */
const volatile __u32 snat_sets = SL_SNAT_SETS;     /* a power of two */
const volatile __u32 event_rows = SL_MAX_EVENTS;   /* of the ring of events */
const volatile __u32 node_ifindex = 1;             /* of SL_NODE_DEVICE; 0: there is none */
const volatile bool fast_path = true;              /* there may be flows of the fast path */
const volatile bool fast_path_new = true;          /* new flows take it where they can */
const volatile __u16 snat_port_min = 1024;         /* host byte order, inclusive */
const volatile __u16 snat_port_max = 29999;

/* Times, in seconds. */
#define SYN_DEADLINE_MS 50u       /* until a SYN that nobody answered goes to another replica */
#define SYN_CHARGE_S 1u           /* until its silence is a failure */
#define SYN_DEADLINE_MAX_MS 900u  /* the same, with long round trips: before the silence is a failure */
#define PENDING_S 3u              /* a SYN is kept, although nobody owes an answer to it */
#define SYN_AGAIN_MS 200u         /* a SYN that comes again after this is the client's retransmit */
#define PENDING_TICK_MS 4u
#define LINE_TICK_MS 4u           /* mean time between two looks at the waiting lines */
#define LINE_OFFER_MS 100u        /* a SYN called out from a line and not heard of since is lost */
#define LINE_PAUSE_MS 64u         /* mean, at most, between offers of a line that are refused */
#define LINE_RUN 1u               /* offers made right after one that was accepted, at first */
#define LINE_RUN_MAX 64u
#define PARKED_S 130u             /* a client silent for so long gave up: TCP's longest pause is 64 s */
#define SYN_TIMEOUT_S 5u          /* half-open, counted from the last SYN */
#define UDP_UNANSWERED_S 30u      /* as nf_conntrack_udp_timeout */
#define REPLICA_CLOSED_S 60u      /* FIN from the replica only: its kernel forgets after tcp_fin_timeout */
#define CLIENT_CLOSED_S 3600u     /* FIN from the client only: it may wait for a long silent answer */
#define UDP_ORPHAN_S 3u           /* unanswered this long, a conversation may leave a dead replica */
#define SILENT_S 60u              /* an open flow this silent gives way to a new SYN of its client */
#define LINGER_S 3u               /* finished, kept for late packets; its slot may be taken then */
#define LINGER_LEAST_S 1u         /* the same where a new flow would else find no room, of one that closed */
#define RESET_LINGER_S 600u       /* the same for one ended by RST, as long as its slot is not needed */
#define RESET_DOUBT_S 1u          /* a segment this long after an RST says that nobody believed it */
#define RESET_ANSWER_S 5u         /* a client that has not answered a probe since its flow was reset is gone */
#define XDP_UNSEEN_MS 250u         /* a flow that TC has not seen for so long passes XDP once */
#define SNAT_QUARANTINE_S 60u     /* a source-NAT port rests (TIME_WAIT at the replica) */
#define SWEEP_PASS_S 2u           /* one whole pass over the tables */
#define SWEEP_TICK_MS 10u
#define SWEEP_REPLICAS_MS 200u    /* one pass over the replicas, while any is ejected or was lately */
#define OUTLIER_INTERVAL_S 10u    /* where the service has none of its own */
#define HEARTBEAT_DEAD_S 3u       /* an agent silent for so long is gone, and so are its probes */

#endif
