/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every name that the kernel programs, the agent and the CLI must agree on:
 * an enum and its strings come from one X-macro, so that neither can drift.
 *
 * X(ENUMERATOR, "name as printed", "what it means, for # HELP and for man/sluice.8, where
 * scripts/man-names writes it")
 */
#ifndef SLUICE_NAMES_H
#define SLUICE_NAMES_H

/* Why a packet of ours was dropped or refused. Index into the map `drops`. */
#define SL_DROP_REASONS(X)                                                                         \
	X(SL_DROP_FRAGMENT, "fragment", "a fragment addressed to a VIP: it carries no ports")      \
	X(SL_DROP_NO_REPLICA, "no_replica", "refused: the service has no replica to offer")        \
	X(SL_DROP_TABLE_FULL, "table_full", "flow table and spill table are full")                 \
	X(SL_DROP_HALF_OPEN, "half_open", "half-open flows fill their half of the flow table")     \
	X(SL_DROP_COLLISION, "collision", "client port already used towards every replica")        \
	X(SL_DROP_SNAT_EXHAUSTED, "snat_exhausted", "no source-NAT port left towards the replica") \
	X(SL_DROP_SNAT_NO_SOURCE, "snat_no_source", "no route, so no source address, to a replica")\
	X(SL_DROP_UNKNOWN_FLOW, "unknown_flow", "mid-flow packet without a flow, answered by RST") \
	X(SL_DROP_TRUNCATED, "truncated", "a packet to a VIP too short for its own headers")       \
	X(SL_DROP_RESET, "reset", "a packet of a flow whose replica is gone, answered by RST")     \
	X(SL_DROP_LATE_ANSWER, "late_answer", "a SYN-ACK whose flow went to another replica at that moment") \
	X(SL_DROP_RETRY_FAILED, "retry_failed", "a refusal whose SYN had gone on already, or cannot be made again") \
	X(SL_DROP_AWAITS_OTHERS, "awaits_others", "a refused SYN that another replica may still answer") \
	X(SL_DROP_FULL, "full", "refused: every replica is at its connection cap")                 \
	X(SL_DROP_OVER_CAP, "over_cap", "a SYN over the cap of a replica of this node, sent back") \
	X(SL_DROP_PARKED, "parked", "a SYN that waits for a free replica")                         \
	X(SL_DROP_NO_PORT, "no_port", "the node's own packet to a VIP's address, but to no port of it") \
	X(SL_DROP_NOT_NODES, "not_nodes",                                                          \
	  "to a VIP, but it came by an interface at which Sluice is not")                           \
	X(SL_DROP_NO_WAY_BACK, "no_way_back",                                                      \
	  "every replica left is on the client's own address, and its port is one of the VIP's; "   \
	  "or on another address of its own node")                                                 \
	X(SL_DROP_TOO_BIG, "too_big", "longer than the MTU of the way out, answered by ICMP")      \
	X(SL_DROP_CHECKSUM, "checksum", "the kernel refused to rewrite the packet")

/* What the datapath counts besides drops. Index into the map `counters`. */
#define SL_COUNTERS(X)                                                                             \
	X(SL_COUNT_PICKS, "picks", "new flows given a replica")                                    \
	X(SL_COUNT_PANIC_PICKS, "panic_picks", "picks among replicas that are all down")           \
	X(SL_COUNT_SPILLS, "spills", "flows kept in the spill table, outside the in-flight count") \
	X(SL_COUNT_PASSED_FULL, "passed_full", "SYNs left to kube-proxy since the table was full") \
	X(SL_COUNT_PASSED_MIDFLOW, "passed_midflow", "mid-flow packets left to kube-proxy")        \
	X(SL_COUNT_EXPIRED_SYN, "expired_syn", "half-open flows that nobody answered")             \
	X(SL_COUNT_EXPIRED_IDLE, "expired_idle", "flows that were silent past their timeout")      \
	X(SL_COUNT_CONNECT_FAILURES, "connect_failures", "SYNs that a replica refused or ignored")  \
	X(SL_COUNT_RETRIES, "retries", "SYNs sent to another replica than the one picked first")   \
	X(SL_COUNT_RETRIES_SHED, "retries_shed", "retries not made: over the budget, nobody accepts") \
	X(SL_COUNT_NO_PENDING, "no_pending", "handshakes that no room was left to retry")          \
	X(SL_COUNT_LATE_WINS, "late_wins", "flows given back to a replica that answered after its deadline") \
	X(SL_COUNT_FULL, "full", "SYNs sent on since a replica was at its cap; not a failure")     \
	X(SL_COUNT_EJECTIONS, "ejections", "replicas taken out by outlier detection")              \
	X(SL_COUNT_RESETS, "resets", "open flows of dead replicas reset")                          \
	X(SL_COUNT_ANSWERS_5XX, "answers_5xx", "HTTP/1.x answers with status 5xx")                 \
	X(SL_COUNT_XDP, "xdp", "packets that XDP at the uplink sent on by itself")                 \
	X(SL_COUNT_ICMP_ERRORS, "icmp_errors", "ICMP errors translated, to a client or a replica") \
	X(SL_COUNT_FAST_PATH, "fast_path", "picks and retries on the fast path")                   \
	X(SL_COUNT_FAST_DECLINED, "fast_path_declined", "picks and retries by the node's stack although --fast-path is on")

/* Everything worth an entry in the event ring. */
#define SL_EVENTS(X)                                                                               \
	X(SL_EVENT_NONE, "none", "unused slot")                                                    \
	X(SL_EVENT_AGENT_START, "agent_start", "the agent started (text: fresh or adopted)")       \
	X(SL_EVENT_AGENT_STOP, "agent_stop", "the agent stopped, the programs stay")               \
	X(SL_EVENT_CONFIG_APPLIED, "config_applied", "a new desired state is in force")            \
	X(SL_EVENT_CONFIG_REFUSED, "config_refused", "bad input: the previous state stays")        \
	X(SL_EVENT_SERVICE_ADD, "service_add", "a service is steered from now on")                 \
	X(SL_EVENT_SERVICE_DEL, "service_del", "a service takes no new flows any more")            \
	X(SL_EVENT_REPLICA_ADD, "replica_add", "a replica joined")                                 \
	X(SL_EVENT_REPLICA_DEL, "replica_del", "a replica left; its open flows go on")             \
	X(SL_EVENT_REPLICA_STATE, "replica_state", "a replica changed its state (text: evidence)") \
	X(SL_EVENT_PANIC, "panic", "a service has no healthy replica: picks go to all")            \
	X(SL_EVENT_PANIC_END, "panic_end", "a service has a healthy replica again")                \
	X(SL_EVENT_EJECT, "eject", "a replica was ejected (value: seconds; text: evidence)")       \
	X(SL_EVENT_EJECT_END, "eject_end", "an ejection is over")                                  \
	X(SL_EVENT_EJECT_SPARED, "eject_spared", "a threshold was reached, and the replica stays (why)") \
	X(SL_EVENT_RETRY, "retry", "a connect was sent to another replica (sampled; value: how many)") \
	X(SL_EVENT_RESET, "reset", "open flows of a dead replica are reset (value: how many)")     \
	X(SL_EVENT_DOUBT, "doubt", "many fail at once, or we ran late: this round is void")        \
	X(SL_EVENT_FREEZE, "freeze", "ejections and resets are off until a time, or on again")     \
	X(SL_EVENT_ATTACH, "attach", "programs attached to an interface")                          \
	X(SL_EVENT_DETACH, "detach", "programs left an interface")                                 \
	X(SL_EVENT_NO_XDP, "no_xdp", "no XDP at an uplink (why), TC does all (value: 1: --xdp on)") \
	X(SL_EVENT_ENDPOINTS_DOUBTED, "endpoints_doubted", "many left a list at once, and stay (value: how many)") \
	X(SL_EVENT_ENDPOINTS_SETTLED, "endpoints_settled", "what became of those that stayed (value: stay still)") \
	X(SL_EVENT_HAND_BACK, "hand_back", "a service's new flows are left to kube-proxy, or not any more (value: flows left)") \
	X(SL_EVENT_ROUTE_MOVED, "route_moved", "replicas are reached another way (value: how many)")

/* Why a replica is ejected; the names go into the text of events: "5 of 5 ...". */
#define SL_EJECT_CAUSES(X)                                                                         \
	X(SL_EJECT_NONE, "none", "it is not")                                                      \
	X(SL_EJECT_CONNECT, "connects failed", "refused or unanswered; ends at the first good probe") \
	X(SL_EJECT_5XX, "answers were 5xx", "HTTP status, or a mixture with failed connects")      \
	X(SL_EJECT_GATEWAY, "answers were 502-504", "HTTP status, or a mixture with failed connects") \
	X(SL_EJECT_RATE, "success rate", "far below that of its peers")                            \
	X(SL_EJECT_LATENCY, "first byte", "far later than those of its peers")

/* Replica states (most severe last); where several hold, the most severe is shown. */
#define SL_REPLICA_STATES(X)                                                                       \
	X(SL_STATE_READY, "ready", "takes new flows")                                              \
	X(SL_STATE_WARMING, "warming", "takes a growing share of new flows")                       \
	X(SL_STATE_SUSPECT, "suspect", "unanswered for three probe intervals: no new flows")       \
	X(SL_STATE_EJECTED, "ejected", "temporarily out, by outlier detection")                    \
	X(SL_STATE_DRAINING, "draining", "no new flows, open ones finish")                         \
	X(SL_STATE_DOWN, "down", "not serving, or its probe failed by its own numbers")

/* Phases of a flow, in the order it goes through them. */
#define SL_FLOW_PHASES(X)                                                                          \
	X(SL_FLOW_FREE, "free", "the slot holds nothing")                                          \
	X(SL_FLOW_CLAIMED, "claimed", "being written by one CPU")                                  \
	X(SL_FLOW_SYN, "syn", "half-open: the handshake (UDP: the first answer) is outstanding")                         \
	X(SL_FLOW_OPEN, "open", "established (UDP: answered)")                                                        \
	X(SL_FLOW_DONE, "done", "finished and uncounted; lingers for late packets")                \
	X(SL_FLOW_PARKED, "parked", "waits for a replica with room; counted with none")

/* Where a program sits; a flow names the one that translates its replies. */
#define SL_HOOKS(X)                                                                                \
	X(SL_HOOK_NONE, "none", "no hook")                                                         \
	X(SL_HOOK_POD, "pod", "egress of the client's own pod interface")                          \
	X(SL_HOOK_UPLINK, "uplink", "egress of the uplink: outside client, local replica")         \
	X(SL_HOOK_FABRIC, "fabric", "ingress of the device on which the reply arrives: source NAT") \
	X(SL_HOOK_NODE, "node", "ingress of the device on which the reply arrives: the node's own client") \
	X(SL_HOOK_FAST_POD, "fast-pod", "the same: fast path, to a client in a pod")               \
	X(SL_HOOK_FAST_UPLINK, "fast-uplink", "the same: fast path, to an outside client")

#define SL_ENUM_ROW(enumerator, name, help) enumerator,
#define SL_NAME_ROW(enumerator, name, help) [enumerator] = name,
#define SL_HELP_ROW(enumerator, name, help) [enumerator] = help,

enum sl_drop_reason { SL_DROP_REASONS(SL_ENUM_ROW) SL_DROP_MAX };
enum sl_counter { SL_COUNTERS(SL_ENUM_ROW) SL_COUNT_MAX };
enum sl_event_kind { SL_EVENTS(SL_ENUM_ROW) SL_EVENT_MAX };
enum sl_eject_cause { SL_EJECT_CAUSES(SL_ENUM_ROW) SL_EJECT_MAX };
enum sl_replica_state { SL_REPLICA_STATES(SL_ENUM_ROW) SL_STATE_MAX };
enum sl_flow_phase { SL_FLOW_PHASES(SL_ENUM_ROW) SL_FLOW_PHASE_MAX };
enum sl_hook { SL_HOOKS(SL_ENUM_ROW) SL_HOOK_MAX };

#endif
