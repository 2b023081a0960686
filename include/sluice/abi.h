/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The layout of everything that the kernel programs, the agent and the CLI
 * share: map keys, map values, events. One definition of each, compiled by
 * clang -target bpf and by the host compiler; `make check-abi` shows that it
 * holds no hidden padding. A change of layout raises SL_LAYOUT_VERSION.
 *
 * Addresses are 16 bytes, network byte order, IPv4 as ::ffff:a.b.c.d (RFC 4291
 * section 2.5.5.2), so that both families take one code path. Ports are network
 * byte order (__be16). Everything else is host byte order.
 *
 * Fields written by the agent and fields written by the kernel never share a
 * cache line.
 */
#ifndef SLUICE_ABI_H
#define SLUICE_ABI_H

#include <linux/types.h>

#include "names.h"

#define SL_LAYOUT_VERSION 4

/* Sizes of the maps. Nothing changes them; who opens pinned maps takes the sizes that it finds. */
#define SL_MAX_SERVICES 4096u    /* service-ports */
#define SL_MAX_VIPS 16384u
#define SL_MAX_REPLICAS 16384u
#define SL_MAX_MEMBERS 262144u   /* slots in all member ranges together */
#define SL_MAX_SOURCES 256u      /* own addresses used for source NAT */
#define SL_MAX_ROUTE_MTUS 1024u  /* devices with a route that has an MTU of its own */
#define SL_MAX_SHARED 7u         /* service-ports that may share one replica */
#define SL_FLOW_WAYS 8u          /* entries per set */
#define SL_FLOW_SETS 32768u      /* 256 K flows, 16 MiB; a power of two */
#define SL_SNAT_WAYS 8u
#define SL_SNAT_SETS 32768u      /* 256 K source-NAT ports, 8 MiB; a power of two */
#define SL_MAX_SPILL 4096u
#define SL_MAX_FAST_DEVICES 16384u /* pod interfaces and uplinks */
#define SL_INDEX_WAYS 8u
#define SL_INDEX_SETS 16384u     /* 128 K keys, 4 MiB; a power of two */
#define SL_FILTER_BITS 65536u    /* 8 KiB */
#define SL_MAX_EVENTS 65536u
#define SL_MAX_EVENT_KINDS 32u
#define SL_PENDING 16384u          /* handshakes under way that can be retried, 3 MiB; a power of two */
#define SL_TRIED_MAX 16u         /* replicas that one connect is offered to */
#define SL_SYN_OPTIONS_MAX 40u   /* bytes of TCP options (RFC 9293 section 3.1) */
#define SL_SCAN_MAX 32u          /* up to this many replicas every one is compared */

/* An address, network byte order, IPv4 v4-mapped. */
union sl_addr {
	__u8 b[16];
	__be32 w[4];
	__u64 d[2];
};

/* The third word of a v4-mapped address: ::ffff:0:0, as it lies in memory. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SL_V4_MARK 0xffff0000u
#else
#define SL_V4_MARK 0x0000ffffu
#endif

/* ---- index: (address, port, protocol) -> what it is ------------------------
 * One table of own sets for VIPs, replicas and source addresses. Written by
 * the agent alone, by plain stores into the mapped array; read lock-free.
 * `kind` is part of the key: an address of this node may be a source and carry
 * node ports as well. Bare addresses have port 0 and protocol 0.
 */

enum sl_index_kind {
	SL_INDEX_FREE = 0,
	SL_INDEX_VIP,     /* id: row in vips */
	SL_INDEX_REPLICA, /* id: row in replicas */
	SL_INDEX_SOURCE,  /* id: row in sources; port 0, protocol 0 */
	SL_INDEX_ADDRESS, /* an address with at least one VIP, row of one in `id`; port 0, protocol 0 */
	SL_INDEX_LOCAL,   /* an address of this node, exempt from caps; port 0, protocol 0; id 0 */
};

/* The device pair through which the node's own clients reach VIPs that nobody else serves: the
 * name of the end with routes, that of the other end, which nothing comes out of, the MAC address
 * of the first (locally administered), and the protocol number of the routes (RTA_PROTOCOL). */
#define SL_NODE_DEVICE "sluice0"
#define SL_NODE_PEER "sluice1"
#define SL_NODE_ROUTES 115
#define SL_NODE_MAC {0x02, 0x73, 0x6c, 0x75, 0x63, 0x65}

struct sl_index_entry {
	union sl_addr addr;
	__be16 port;
	__u8 proto; /* IPPROTO_TCP, IPPROTO_UDP or 0 */
	__u8 kind;  /* enum sl_index_kind; stored last when a row appears, first when it goes */
	__u32 id;
	__u64 reserved;
};
_Static_assert(sizeof(struct sl_index_entry) == 32, "index entry");

struct sl_index_set {
	struct sl_index_entry way[SL_INDEX_WAYS];
};

/* One bit per hash of (address, port, protocol); set before the row appears. */
struct sl_filter {
	__u64 word[SL_FILTER_BITS / 64];
};
/* Rows of the map `filters`. */
enum sl_filter_id {
	SL_FILTER_VIP,     /* VIPs; with port 0 and protocol 0 their addresses, and those of this node */
	SL_FILTER_REPLICA,
	SL_FILTER_MAX
};

/* ---- vips -------------------------------------------------------------------*/
#define SL_VIP_USED 0x1u
#define SL_VIP_NO_NEW 0x2u /* withdrawn: known flows go on, SYNs are not ours */
#define SL_ADMIN_HANDED_BACK 0x1u /* `sluice hand-back`: the same, until it is undone */

struct sl_vip {
	union sl_addr addr;
	__be16 port;
	__u8 proto;
	__u8 flags;
	__u32 service;  /* row in services */
	__u32 addr_sum; /* sl_addr_sum(addr): what a checksum delta is made of */
	__u32 admin;    /* SL_ADMIN_HANDED_BACK: the CLI's; the agent hands it on to new VIPs of the
			 * service, and ends it with the service */
};
_Static_assert(sizeof(struct sl_vip) == 32, "vip");

/* ---- services (service-ports) -------------------------------------------------*/
#define SL_SERVICE_USED 0x1u
#define SL_SERVICE_REPLACE 0x2u /* nobody else serves it: RST unknown flows, never pass */
#define SL_SERVICE_LOADS 0x4u   /* replicas report load: cost uses it, never a full scan */
#define SL_SERVICE_NO_RETRY 0x8u    /* retries.retryOn has no connect-failure: RSTs reach the client */
#define SL_SERVICE_SNIFF 0x10u      /* look for HTTP/1.x status lines in first bytes of answers */
#define SL_SERVICE_SPLIT 0x20u      /* splitExternalLocalOriginErrors: connect failures count apart */
#define SL_SERVICE_WAIT_FULL 0x40u  /* when-full: wait; else refuse */
#define SL_SERVICE_WAIT_NONE 0x80u  /* when-none: wait; else refuse */
#define SL_SERVICE_KEEP 0x100u      /* on-eject: keep: open flows are never reset */

/*
 * `members` is one u64 so that a store publishes a new list at once:
 * bits 0-23 offset into the map `members`, 24-39 length, 40-63 generation.
 */
#define SL_MEMBERS_OFFSET(m) ((__u32)((m) & 0xffffff))
#define SL_MEMBERS_LENGTH(m) ((__u32)(((m) >> 24) & 0xffff))
#define SL_MEMBERS_GENERATION(m) ((__u32)((m) >> 40))
#define SL_MEMBERS(offset, length, generation)                                                     \
	((__u64)((offset) & 0xffffff) | (__u64)((length) & 0xffff) << 24 |                         \
	 (__u64)((generation) & 0xffffff) << 40)

struct sl_service {
	__u64 members;
	__u32 flags;
	__u32 mean_load;   /* 1/256 requests, over replicas with a fresh report */
	__u32 idle_ticks;  /* established TCP, or UDP once answered; in jiffies */
	__u32 load_ttl_ms; /* a report older than this is stale */
	__u32 epoch;       /* tells this life of the row from others; never 0 in use */
	/* Connect retries. */
	__u16 retry_attempts;    /* re-sends of a SYN that nobody answers; 0: none */
	__u16 max_parked;        /* SYNs that may wait, for SL_SERVICE_WAIT_*; per node */
	__u32 retry_budget;      /* retries a second while no replica answers; more are shed */
	__u32 syn_deadline_ticks; /* connectTimeout, perTryTimeout: shortens the deadline; 0: neither */
	/* Outlier detection: failures in a row until ejection, 0: off. */
	__u16 eject_5xx;         /* consecutive5xxErrors */
	__u16 eject_gateway;     /* consecutiveGatewayErrors */
	__u16 eject_local;       /* consecutiveLocalOriginFailures, with SL_SERVICE_SPLIT */
	__u8 max_ejection_percent; /* 0-100; one of several may go whatever it says */
	__u8 min_health_percent; /* below it ejections are ignored; 0: never */
	__u32 base_ejection_ticks; /* of the first ejection; the n-th lasts n times as long, */
	__u32 max_ejection_ticks;  /* but never longer than this; 0: no cap */
	__u32 outlier_interval_ticks; /* of success rates, latency, and the decay of back-off; 0: 10 s */
	__u16 latency_factor;    /* latency-outliers: 1/100 of the median first byte; 0: off */
	__u16 reset_after_ds;    /* the second witness: no payload for so many tenths of a second; for
				  * people: 65535: that long or longer */
};
_Static_assert(sizeof(struct sl_service) == 64, "service");

/* What the programs keep of a service-port; same row. */
struct sl_service_state {
	__u32 last_answer;   /* jiffies of the last SYN-ACK of any of its replicas */
	__u32 budget_second; /* jiffies when the second began over which retries are counted */
	__u32 budget_used;   /* retries in it while no replica answered */
	__u32 parked;        /* tickets of its line that are out; the programs', whoever has the row */
	__u64 retries;
	__u64 retries_shed;  /* not made: over the budget while no replica answered */
	__u64 parked_total;
	__u64 resets;        /* flows reset */
	__u32 unhealthy;     /* 1: below min_health_percent, so ejections are ignored */
	__u32 spared_at;     /* jiffies of the last event about an ejection that was not made; 0: never */
	__u32 retried_at;    /* jiffies of the last event about a retry; 0: never */
	__u32 retries_unsaid; /* since that event */
};
_Static_assert(sizeof(struct sl_service_state) == 64, "service state");

/* One slot of an alias table (Walker 1977, Vose 1991) and at the same time of
 * the member list: slot i holds replica i of the list. */
struct sl_member {
	__u32 replica;   /* row in replicas */
	__u32 alias;     /* row in replicas, taken when the draw is not below threshold */
	__u32 threshold; /* of 2^32: the share of this slot that is `replica`'s own */
	__u32 reserved;
};
_Static_assert(sizeof(struct sl_member) == 16, "member");

/* ---- replicas -------------------------------------------------------------------*/
#define SL_REPLICA_USED 0x01u
#define SL_REPLICA_NOT_SERVING 0x02u /* EndpointSlice says so, or it left: never picked */
#define SL_REPLICA_PROBE_DOWN 0x04u  /* failureThreshold reached, or the port refuses */
#define SL_REPLICA_DRAINING 0x08u    /* terminating: picked only if all others are gone */
#define SL_REPLICA_SUSPECT 0x10u
#define SL_REPLICA_WARMING 0x20u
#define SL_REPLICA_LOCAL 0x40u       /* behind a pod interface of this node, or their bridge */
#define SL_REPLICA_NO_ROUTE 0x100u   /* there is no way to it */
#define SL_REPLICA_HELD 0x200u       /* a list that lacks it is doubted, and it stays for a while */
#define SL_REPLICA_FAST 0x400u       /* packets can be redirected to it: see bpf/fast.h */
#define SL_REPLICA_HAS_LOAD 0x80u    /* load, inflight_at_report and report_ns are valid */
/* Any of these keeps a replica out of the first choice. */
#define SL_REPLICA_UNFIT                                                                           \
	(SL_REPLICA_NOT_SERVING | SL_REPLICA_NO_ROUTE | SL_REPLICA_PROBE_DOWN |                    \
	 SL_REPLICA_DRAINING | SL_REPLICA_SUSPECT)
#define SL_ADMIN_DRAINED 0x1u        /* `sluice replica drain` */

/* Written by the agent (`admin`: by the CLI alone), read by the kernel. */
struct sl_replica_config {
	union sl_addr addr;
	__be16 port;
	__u8 proto;
	__u8 admin;              /* SL_ADMIN_* */
	__u16 weight;            /* 1-65535, 100 when nothing says otherwise */
	__u16 flags;             /* SL_REPLICA_* */
	__u32 load;              /* 1/256 requests, as last reported */
	__u32 inflight_at_report;/* requests, at the time of the report */
	__u64 report_ns;         /* CLOCK_MONOTONIC of the report */
	__u32 addr_sum;          /* sl_addr_sum(addr) */
	__u32 out_ifindex;       /* device of the route to it; 0: no route */
	union {
		struct {
			__u16 source;    /* row in sources + 1: preferred source of that route; 0: none */
			__u16 pad;
		};
		__u32 peer_ifindex;      /* with SL_REPLICA_LOCAL: the pod interface that it is behind, if
					  * the other end is in another namespace; 0: none, or unknown */
	};
	__u32 max_connections;   /* 0: no cap; exact at the owner, in-flight below it elsewhere */
	__u32 probe_good;        /* sl_kernel.now at the last good probe; 0: never */
	__u16 probe_stale_ticks; /* older than this (two intervals), the probe is no witness; 0: none */
	__u16 warming;           /* with SL_REPLICA_WARMING: share of its draws that it takes, of 65536 */
};
_Static_assert(sizeof(struct sl_replica_config) == 64, "replica config");

/* Written by the kernel, with atomics. */
struct sl_replica_state_row {
	__u32 inflight;     /* flows that this node steers to it */
	__u32 owned;        /* flows at its own interface; 0 where it is not local */
	__u64 picks;
	__u64 connect_failures;
	__u32 ejected_until; /* jiffies; 0: not ejected */
	__u32 ejected_times; /* ejections that lengthen the next one; decays in healthy intervals */
	__u32 ejections;     /* ever */
	__u32 retries;
	__u32 snat_cursor;  /* next source-NAT port to try, from the start of the range */
	__u32 syn_rtt;      /* from SYN to SYN-ACK, 1/16 jiffies; rises at once, falls slowly; 0: unknown */
	__u32 full;         /* SYNs refused for being at its cap, as seen from here */
	__u32 last_payload; /* jiffies of the last payload byte it sent while suspect or down; 0: none */
	__u32 ejected_for;  /* enum sl_eject_cause, while ejected */
	__u32 fit_since;    /* jiffies from which the next step of ejected_times' decay counts */
};
_Static_assert(sizeof(struct sl_replica_state_row) == 64, "replica state");

struct sl_replica {
	struct sl_replica_config config;
	struct sl_replica_state_row state;
};
_Static_assert(sizeof(struct sl_replica) == 128, "replica");

/* What the program eject_now is run with, in cb[]: op, service row, replica row, two arguments. */
enum sl_eject_op {
	SL_EJECT_OP_EJECT,   /* cause, evidence (SL_EJECT_RATE: own rate | mean rate << 16, 1/1000;
			      * SL_EJECT_LATENCY: own time | median << 16, 1/100 s, and replicas that
			      * it is the median of << 16 beside the cause): 1 if it was ejected */
	SL_EJECT_OP_PROBED,  /* a probe was good: ends what failed connects began; 1 if it did */
	SL_EJECT_OP_FAILURE, /* hash of a client, enum failure of bpf/eject.h: what a packet would say */
	SL_EJECT_OP_SUCCESS, /* 1: a connect, 0: an answer; likewise */
};

/* How a replica has behaved lately; same row. Written by the programs, read by the agent. */
struct sl_outlier {
	/* In a row, and together one word that is changed by compare-and-swap; see bpf/eject.h. */
	__u16 failures_5xx;     /* HTTP 5xx */
	__u16 failures_gateway; /* HTTP 502, 503, 504 */
	__u16 failures_local;   /* refused and unanswered connects */
	__u16 witnesses;        /* 0, 1, 2: client addresses that saw failures since the last success */
	__u32 witness;          /* hash of the first of them */
	__u32 last_success;     /* jiffies */
	__u32 last_failure;     /* jiffies; 0: never */
	__u32 first_byte;       /* from request to first byte of the answer, 1/16 jiffies, smoothed */
	__u64 answers;          /* HTTP/1.x status lines seen */
	__u64 answers_5xx;
	__u64 connects;         /* SYN-ACKs */
	__u64 refused;          /* connects answered by RST or ICMP unreachable */
	__u64 unanswered;       /* connects without an answer within a second */
};
_Static_assert(sizeof(struct sl_outlier) == 64, "outlier");

/*
 * How long first bytes of HTTP/1.x answers took, of a service-port; same row as in services. Bucket i
 * counts answers whose time in whole jiffies has i bits: 0, 1, 2-3, 4-7, ...; the last one all longer
 * ones.
 */
#define SL_FIRST_BYTE_BUCKETS 15
struct sl_first_byte {
	__u64 bucket[SL_FIRST_BYTE_BUCKETS];
	__u64 ticks; /* sum, in jiffies */
};
_Static_assert(sizeof(struct sl_first_byte) == 128, "first byte");

/* Which service-ports a replica belongs to: the reply's way back to its flow. */
struct sl_replica_services {
	__u32 n;
	__u32 service[SL_MAX_SHARED];
};
_Static_assert(sizeof(struct sl_replica_services) == 32, "replica services");

/* An address of this node that replies to source-NATed flows come to. */
struct sl_source {
	union sl_addr addr;
	__u32 addr_sum;
	__u32 used;
	__u64 reserved;
};
_Static_assert(sizeof(struct sl_source) == 32, "source");

/* ---- flows ------------------------------------------------------------------------*/
/*
 * state: bits 0-3 enum sl_flow_phase, then flags, bits 32-63 the generation.
 * Every change is a compare-and-swap on the whole word, so that a late packet
 * of one generation cannot touch the next.
 */
#define SL_FLOW_PHASE(state) ((__u32)((state) & 0xf))
#define SL_FLOW_GENERATION(state) ((__u32)((state) >> 32))
#define SL_FLOW_CLIENT_FIN 0x10ull
#define SL_FLOW_REPLICA_FIN 0x20ull
#define SL_FLOW_ANSWERED 0x80ull /* the replica sent its SYN-ACK */
/* An RST of this end's finished it; the other end may not have believed it (RFC 5961). */
#define SL_FLOW_CLIENT_RST 0x100ull
#define SL_FLOW_REPLICA_RST 0x200ull
#define SL_FLOW_RETRY 0x400ull  /* the next SYN is ours: it goes to an untried replica */
#define SL_FLOW_RESET 0x800ull  /* its replica is gone: whatever the client sends is answered by RST */
#define SL_FLOW_REFUSED 0x8000ull /* with SL_FLOW_RETRY: its replica said no */
#define SL_FLOW_SYN_DATA 0x1000ull /* its SYN carried data: no other replica may see it */
#define SL_FLOW_SNIFF 0x2000ull /* its service looks for HTTP status lines: see bpf/sniff.h */
#define SL_FLOW_SPILLED 0x40ull /* lies in the spill table, outside every count */
#define SL_FLOW_PLACE 0x4000ull /* an owner's entry: as SL_FLOW_OWNED in its key */
#define SL_FLOW_GENERATION_ONE (1ull << 32)

/*
 * An entry of a replica's owner: a connection at the replica's own interface, whoever sends it and
 * however it was steered. It holds a place below the replica's cap, counted in `owned`; nothing is
 * translated by it. Its client is the source as the replica sees it, its vip is none.
 */
#define SL_FLOW_OWNED 0x1u
#define SL_NO_VIP 0xffffffffu
#define SL_NO_REPLICA 0xffffffffu

/*
 * Both directions find a flow by this and one thing more: the client's side by
 * its VIP, the replica's side by its replica. So a client may use one port
 * towards two VIPs of a service, as long as they lead to different replicas.
 */
struct sl_flow_key {
	union sl_addr client;
	__be16 port;
	__u8 proto;
	__u8 flags;    /* SL_FLOW_OWNED, or 0 */
	__u32 service; /* row in services; with SL_FLOW_OWNED: in replicas */
};
_Static_assert(sizeof(struct sl_flow_key) == 24, "flow key");

struct sl_flow {
	struct sl_flow_key key;
	__u64 state;
	__u32 replica;    /* SL_NO_REPLICA while it is parked */
	__u32 vip;
	__be32 isn;       /* the client's initial sequence number, as on the wire */
	__u32 last_seen;  /* jiffies, low 32 bits */
	__u32 request;    /* jiffies: when the request now unanswered began, 0: none; UDP: of the
			   * last answer, or of the first datagram */
	union {
		__be16 snat_port;      /* with SL_HOOK_FABRIC: source NAT; 0: none yet */
		__u16 ifindex_low;     /* with a hook of the fast path: SL_FLOW_IFINDEX() */
	};
	__u8 hook;        /* enum sl_hook: where replies are translated */
	union {
		__u8 source;           /* row in sources, where there is a snat_port */
		__u8 ifindex_high;
	};
	__u32 pending;    /* row in pending + 1 while the handshake can be retried; 0: none */
	union {
		__be32 answer; /* TCP, once answered: the replica's initial sequence number */
		__u32 flags;   /* of a flow that is to be inserted: SL_FLOW_SNIFF */
	};
};
_Static_assert(sizeof(struct sl_flow) == 64, "flow");

/* The interface to which replies go on the fast path: the one where the client's packets come in. */
#define SL_FLOW_IFINDEX(flow) ((__u32)(flow)->ifindex_high << 16 | (flow)->ifindex_low)
#define SL_FLOW_IFINDEX_MAX 0xffffffu

struct sl_flow_set {
	struct sl_flow way[SL_FLOW_WAYS];
};

/* ---- handshakes under way ----------------------------------------------------------
 * What it takes to send a client's SYN again, to another replica: kept from the first SYN until
 * every replica that was asked has answered or had its second. Rows are taken in a circle; who changes
 * `phase` from another one than CLAIMED does so by compare-and-swap. {slot, generation} say which flow it belongs to; a row whose flow is
 * of another generation is nobody's.
 */
enum sl_pending_phase {
	SL_PENDING_FREE,
	SL_PENDING_CLAIMED, /* being written by one CPU */
	SL_PENDING_WAITING, /* for an answer, with a deadline */
	SL_PENDING_PARKED,  /* for a replica with room (when-full, when-none: wait) */
};

/* In `waiting`, above the bits of tried[]. */
#define SL_PENDING_TRIED 0xffffu
#define SL_PENDING_ANSWERED 0x10000u /* some replica has answered */
#define SL_PENDING_REPEATED 0x20000u /* a SYN went to one replica twice: no answer tells a round trip */
#define SL_PENDING_AT_HOME 0x40000u /* where the SYN came in is where its sender lives: see bpf/fast.h */

struct sl_pending {
	__u32 phase;      /* enum sl_pending_phase */
	__u32 slot;       /* of the flow: set * SL_FLOW_WAYS + way */
	__u32 generation; /* of that flow */
	__u32 ifindex;    /* where the SYN came in */
	__u32 begun;      /* jiffies of the first SYN */
	__u32 deadline;   /* jiffies */
	__u32 vip;
	__be32 isn;
	union sl_addr client;
	__be16 port;
	__be16 window;
	__u8 mac[12];     /* destination and source of the SYN's frame */
	__u8 v6;
	__u8 tos;
	__u8 tcp_flags;   /* SYN, ECE, CWR */
	__u8 n_options;   /* bytes */
	__u8 n_tried;
	__u8 resends;     /* at deadlines */
	__u16 full;       /* bit i: tried[i] said that it is at its cap */
	__u32 waiting;    /* bit i: tried[i] has neither answered nor had its second; SL_PENDING_* */
	__u8 options[SL_SYN_OPTIONS_MAX];
	__u16 tried[SL_TRIED_MAX]; /* rows in replicas, the current one last */
	__u16 sent[SL_TRIED_MAX];  /* jiffies after `begun` */
	__u32 ticket;     /* place in the waiting line of `service`; 0: it has none */
	__u32 heard;      /* jiffies of the client's last SYN, while it is parked */
	__u16 service;    /* row in services */
	__u16 offers;     /* from the line, that were refused */
};
_Static_assert(sizeof(struct sl_pending) == 192, "pending");
_Static_assert(SL_MAX_REPLICAS <= 65536 && SL_MAX_SERVICES <= 65536, "rows in 16 bits");

/* The line of a service-port in which parked SYNs wait; same row. Tickets count from 1. */
struct sl_line {
	__u32 head;    /* nobody waits with a ticket up to this one: gone, or on offer */
	__u32 tail;    /* the last ticket given */
	__u32 offered; /* jiffies when one was last offered, 0: nothing is on offer */
	__u32 next;    /* jiffies before which none is offered */
	__u16 run;     /* how many more may be offered one right after the other */
	__u16 runs;    /* how many that is at each look; 0: LINE_RUN */
	__u32 reserved;
};
_Static_assert(sizeof(struct sl_line) == 24, "line");

/* Key of the map line_places: -> row in pending + 1. */
struct sl_line_place {
	__u32 service;
	__u32 ticket;
};
_Static_assert(sizeof(struct sl_line_place) == 8, "line place");

/* What the timer tells the agent (ring buffer `wakeups`): send this SYN again. */
struct sl_wakeup {
	__u32 pending;    /* row */
	__u32 generation; /* of the flow */
};
_Static_assert(sizeof(struct sl_wakeup) == 8, "wakeup");

/* An RST of an owner's whose replica is at its cap has this window, which nobody reads in an RST
 * (RFC 9293 section 3.5.2), so that the sender's node does not take it for a dead port. */
#define SL_FULL_WINDOW 0x51ceu

/* ---- source NAT ---------------------------------------------------------------------
 * (source address, port, protocol, replica) -> flow. A port is free again 60 s
 * after its flow ended.
 */
union sl_snat_key {
	struct {
		__u32 replica;
		__be16 port;
		__u8 proto;
		__u8 source; /* row in sources */
	};
	__u64 d;
};

enum sl_snat_phase { SL_SNAT_FREE, SL_SNAT_CLAIMED, SL_SNAT_LIVE, SL_SNAT_QUARANTINE };

struct sl_snat {
	union sl_snat_key key;
	__u32 phase;   /* enum sl_snat_phase, by compare-and-swap */
	__u32 flow;    /* set * SL_FLOW_WAYS + way */
	__u32 generation; /* of that flow */
	__u32 client_ifindex; /* where the client's packets come in and its replies go out */
	__u32 freed;   /* jiffies when quarantine began */
	__u32 reserved;
};
_Static_assert(sizeof(struct sl_snat) == 32, "snat");

struct sl_snat_set {
	struct sl_snat way[SL_SNAT_WAYS];
};

/* What `sluiced --xdp` said. */
enum sl_xdp_mode { SL_XDP_AUTO, SL_XDP_ON, SL_XDP_OFF, SL_XDP_MODES };

/* ---- control and accounts -------------------------------------------------------------*/
/* Row 0 of the map `control`: written by the agent. */
struct sl_control {
	__u32 layout;          /* SL_LAYOUT_VERSION */
	__u32 agent_pid;
	__u64 heartbeat_ns;    /* CLOCK_MONOTONIC, every 500 ms */
	__u64 seed;            /* of every hash; drawn once, kept over restarts */
	__u64 started_ns;      /* CLOCK_REALTIME of the agent's last start */
	__u32 hz;              /* jiffies per second of this kernel */
	__u16 snat_port_min;   /* host byte order, inclusive */
	__u16 snat_port_max;
	__u64 applied;         /* desired states applied so far */
	__u64 realtime_offset_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC, at each heartbeat */
	__u32 frozen_until;    /* `sluice freeze`: jiffies until which nothing is ejected or reset; 0 */
	__u8 caps;             /* bool: some replica has a cap (max_connections) */
	__u8 xdp;              /* enum sl_xdp_mode; for people */
	__u8 doubt;            /* bool: soft evidence is void, as of the last heartbeat; for people */
	__u8 fast_path;        /* SL_FAST_PATH_* */
};
_Static_assert(sizeof(struct sl_control) == 64, "control");
#define SL_FAST_PATH_FLOWS 0x1u /* flows of the fast path may be there, of this agent or an earlier one */
#define SL_FAST_PATH_NEW 0x2u   /* new flows take it where they can */

/* Row 0 of the map `kernel`: written by the programs. */
struct sl_kernel {
	__u32 half_open;       /* flows in SL_FLOW_SYN */
	__u32 spilled;         /* flows ever put into the spill table; 0 spares its look-up */
	__u32 sweep_cursor;    /* next set of flows to sweep */
	__u32 sweep_count;     /* whole passes over the table */
	__u32 live;            /* SYN and OPEN flows met by the last whole pass */
	__u32 lingering;       /* DONE flows met by it */
	__u32 live_now;        /* the same, for the pass under way */
	__u32 lingering_now;
	__u32 snat_cursor;     /* next set of source-NAT ports to sweep */
	__u32 now;             /* jiffies, low 32 bits, as of the last sweep: ages count from here */
	__u32 pending_head;    /* rows of pending ever taken */
	__u32 pending_tail;    /* all before this one are free or parked */
	__u32 replica_cursor;  /* next replica row to sweep */
	__u32 ejections;       /* 0: no replica is ejected or was lately: none need be swept */
	__u32 service_cursor;  /* next service row to sweep, while there are ejections */
	__u32 parked;          /* tickets that are out, of all lines */
};
_Static_assert(sizeof(struct sl_kernel) == 64, "kernel");

/* What the agent asks of the program `reset_flows`, and is told: the five words of skb->cb. */
struct sl_reset {
	__u32 replica; /* row */
	__u32 slot;    /* of the flow table: where to go on; all are seen from the table's end on */
	__u32 max;     /* flows to deal with yet, 1 at least */
	__u32 pass;    /* 0: marks and probes; n: probes once more who has not answered */
	__u32 reset;   /* flows that were marked (TCP) or ended (UDP) */
};
_Static_assert(sizeof(struct sl_reset) == 20, "reset");

/* ---- names: so that the CLI works with the agent dead ------------------------------------*/
#define SL_NAME_LEN 320 /* namespace/name: 63 + 1 + 253, and a NUL */

struct sl_service_name {
	char service[SL_NAME_LEN]; /* namespace/name */
	char port_name[64];        /* "" when the port has no name */
	__be16 port;
	__u8 proto;
	__u8 external;             /* the variant that outside clients use (externalTrafficPolicy) */
	__u8 ipv6;                 /* the variant whose VIPs and replicas are IPv6 */
	__u8 reserved[3];
};

struct sl_replica_name {
	char pod[SL_NAME_LEN];     /* namespace/name, "" when unknown */
	char node[256];
};

/* ---- events -----------------------------------------------------------------------------
 * A ring of SL_MAX_EVENTS rows; `seq` is stored last and never 0 in a valid row.
 * Row of event number n: n % SL_MAX_EVENTS. Row 0 of the map `event_head` holds
 * the number of the last event, advanced by atomic add.
 */
struct sl_event {
	__u64 seq;
	__u64 time_ns;       /* CLOCK_REALTIME */
	__u16 kind;          /* enum sl_event_kind */
	__be16 port;         /* of the replica, 0: none */
	__u32 service;       /* row + 1; 0: none */
	__u32 value;         /* the new enum sl_replica_state, for SL_EVENT_REPLICA_STATE */
	__u32 epoch;         /* of the service's row then: another one now, another service now */
	union sl_addr addr;  /* of the replica, all zero: none */
	char text[208];      /* evidence, NUL-terminated; the reason is the tail of many */
};
_Static_assert(sizeof(struct sl_event) == 256, "event");

struct sl_event_head {
	__u64 last;
	__u64 followed; /* the last event that an agent has looked at, to log what programs wrote */
	__u64 reserved[6];
	__u64 kinds[SL_MAX_EVENT_KINDS]; /* events ever written, by enum sl_event_kind */
};
_Static_assert(SL_EVENT_MAX <= SL_MAX_EVENT_KINDS, "a count for each kind");

#endif
