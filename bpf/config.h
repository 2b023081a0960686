/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is fixed for the life of the loaded programs: set by datapath.c (and by
 * tests) before load, constants to the verifier afterwards. What changes while
 * they run lies in maps.
 */
#ifndef SLUICE_BPF_CONFIG_H
#define SLUICE_BPF_CONFIG_H

#include <sluice/abi.h>

const volatile __u64 seed = 0;                     /* of every hash; from `control` */
const volatile __u32 hz = 250;                     /* jiffies per second */
const volatile __u32 flow_sets = SL_FLOW_SETS;     /* a power of two */
const volatile __u32 snat_sets = SL_SNAT_SETS;     /* a power of two */
const volatile __u16 snat_port_min = 1024;         /* host byte order, inclusive */
const volatile __u16 snat_port_max = 29999;

/* Times, in seconds. */
#define SYN_TIMEOUT_S 5u          /* half-open, counted from the last SYN */
#define UDP_UNANSWERED_S 30u      /* as nf_conntrack_udp_timeout */
#define REPLICA_CLOSED_S 60u      /* FIN from the replica only: its kernel forgets after tcp_fin_timeout */
#define CLIENT_CLOSED_S 600u      /* FIN from the client only: the answer may still be streaming */
#define SILENT_S 60u              /* an open flow this silent gives way to a new SYN of its client */
#define LINGER_S 3u               /* finished, kept for late packets; its slot may be taken then */
#define RESET_LINGER_S 60u        /* the same for one ended by RST, unless its slot is needed */
#define SNAT_QUARANTINE_S 60u     /* a source-NAT port rests (TIME_WAIT at the replica) */
#define SWEEP_PASS_S 2u           /* one whole pass over the tables */
#define SWEEP_TICK_MS 10u

#endif
