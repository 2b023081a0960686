/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The desired state: what discovery and policy found that the datapath should
 * do, in Sluice's own terms and with all Kubernetes detail resolved. Pure data,
 * built whole by policy_compile(), compared and applied by reconcile, probed by
 * probe. Once built it is changed by hold (hold.h) alone.
 */
#ifndef SLUICE_MODEL_H
#define SLUICE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

#include "texts.h"

#define MODEL_WEIGHT_DEFAULT 100
#define MODEL_ATTEMPTS_DEFAULT 3
#define MODEL_ATTEMPTS_MAX (SL_TRIED_MAX - 1u)
#define MODEL_PARKED_DEFAULT 1024
#define MODEL_RESET_AFTER_MS 10000

enum model_vip_kind {
	MODEL_VIP_CLUSTER,
	MODEL_VIP_LOAD_BALANCER,
	MODEL_VIP_EXTERNAL,
	MODEL_VIP_NODE_PORT, /* addr is ANY of its family: every such address of this node */
};

struct model_vip {
	union sl_addr addr;
	__be16 port;
	__u8 proto; /* IPPROTO_TCP or IPPROTO_UDP */
	enum model_vip_kind kind;
};

enum model_probe_kind { MODEL_PROBE_NONE, MODEL_PROBE_TCP, MODEL_PROBE_HTTP, MODEL_PROBE_HTTPS,
			MODEL_PROBE_GRPC };

struct model_header {
	const char *name;
	const char *value;
};

#define MODEL_PROBE_INTERVAL_MAX_MS 3600000u

/* How a replica's readiness is asked; always at the replica's own address. */
struct model_probe {
	enum model_probe_kind kind;
	__be16 port;
	const char *path;             /* HTTP: "/..." ; else NULL */
	const char *host;             /* HTTP: the Host header; NULL: address:port */
	struct model_header *headers; /* HTTP: besides Host, User-Agent and Accept */
	size_t n_headers;
	const char *grpc_service;     /* gRPC: "" or a name; else NULL */
	unsigned interval_ms;         /* sluice.dev/probe-interval, default 100, up to the above */
	unsigned timeout_ms;          /* timeoutSeconds, default 1000 */
	unsigned period_ms;           /* periodSeconds as Kubernetes means it, default 1000 */
	unsigned failure_threshold;   /* default 3: non-overlapping failures until down */
	unsigned success_threshold;   /* default 1 */
};

/* One address:port behind one service-port. The same address:port may stand
 * behind several; it is then one replica of the datapath. */
struct model_replica {
	union sl_addr addr;
	__be16 port;
	__u8 proto;
	__u16 weight;      /* 1-65535 */
	bool serving;      /* conditions.serving, or ready where serving is absent */
	bool ready;        /* conditions.ready; absent means true */
	bool terminating;
	uint64_t held_until_ns; /* CLOCK_MONOTONIC: its list lacks it, and is doubted so long; 0: named */
	unsigned max_connections; /* 0: no cap */
	const char *pod;   /* namespace/name; NULL when targetRef names none */
	const char *pod_uid; /* its metadata.uid, by which its cgroup is found; NULL when absent */
	const char *node;  /* nodeName; NULL when absent: every node owns it */
	const char *zone;  /* NULL when absent */
	struct model_probe probe;
};

/* outlierDetection of the DestinationRule; all zero when it has none. */
struct model_outlier {
	bool enabled;
	bool split;                       /* splitExternalLocalOriginErrors */
	unsigned consecutive_5xx;         /* failures in a row until ejection; 0: off */
	unsigned consecutive_gateway;
	unsigned consecutive_local;       /* counts with `split` alone */
	unsigned latency_factor;          /* latency-outliers, in 1/100; 0: off */
	unsigned interval_ms;             /* of rates and latency, and of the decay of back-off */
	unsigned base_ejection_ms;
	unsigned max_ejection_percent;    /* 0-100 */
	unsigned min_health_percent;      /* 0-100 */
};

/* What becomes of a connect that fails (VirtualService retries, connectTimeout); UDP: all zero. */
struct model_retry {
	bool off;             /* retryOn without connect-failure */
	unsigned attempts;    /* re-sends of an unanswered SYN, default MODEL_ATTEMPTS_DEFAULT */
	unsigned deadline_ms; /* connectTimeout, perTryTimeout: the shorter; 0: neither */
};

/* Slow start of new and returning replicas; duration 0: none. */
struct model_warmup {
	unsigned duration_ms;
	unsigned minimum_percent;    /* 1-100, default 10 */
	unsigned aggression_percent; /* 100: linear */
};

/* One service-port: a VIP set, a policy and replicas, all of one address family,
 * since no datapath of ours translates between families. A dual-stack Service
 * port becomes two of them; so does one whose externalTrafficPolicy and
 * internalTrafficPolicy lead to different replicas. */
struct model_service {
	const char *name;      /* namespace/name */
	const char *port_name; /* "" when unnamed */
	__be16 port;       /* of the Service */
	__u8 proto;
	bool external;     /* the variant for outside clients */
	bool ipv6;         /* family of every VIP and replica */
	bool local;        /* replicas of this node alone, by a traffic policy `Local` */
	bool replace;      /* service-proxy-name: sluice; else overlay */
	unsigned idle_timeout_ms;  /* TCP established / UDP answered */
	struct model_outlier outlier;
	struct model_retry retry;
	struct model_warmup warmup;
	unsigned max_parked;       /* SYNs that may wait on this node */
	bool wait_full, wait_none; /* when-full, when-none: wait; else refuse */
	bool keep_on_eject;        /* on-eject: keep */
	unsigned reset_after_ms;   /* second witness: no payload for so long; default 10000 */
	struct model_vip *vips;
	size_t n_vips;
	struct model_replica *replicas; /* by address, port: no two equal */
	size_t n_replicas;
};

struct model {
	struct model_service *services; /* by name, port_name, external, ipv6: no two equal */
	size_t n_services;
	struct texts texts; /* all strings, and the headers of probes */
};

/* Their orders, for qsort() and bsearch(). */
int model_service_compare(const void *a, const void *b);
int model_replica_compare(const void *a, const void *b);

/* Whether they ask the same in the same way. */
bool model_probe_equal(const struct model_probe *a, const struct model_probe *b);

/* Deep copies; what they refer to lives as long as `texts`. 0, or -ENOMEM. */
int model_probe_copy(struct texts *texts, const struct model_probe *from, struct model_probe *to);
int model_replica_copy(struct texts *texts, const struct model_replica *from,
		       struct model_replica *to);

/* Frees the lists of the row, not the row itself. */
void model_service_done(struct model_service *service);

/* Frees a model and all it owns; NULL is fine. */
void model_free(struct model *model);

#endif
