/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kubernetes objects, decoded into what Sluice reads of them: types checked,
 * values checked as the API server would, every field judged (a note). They come
 * and go in batches, one for each source (a file): decode a batch, put it among
 * the objects; after objects_seal() they can be read, until the next change.
 * What is steered, and how, is policy's business. Pure.
 *
 * Strings and structs live as long as their batch. A batch says each thing once:
 * equal strings are one, and Pods of one template share what they have in common.
 */
#ifndef SLUICE_OBJECTS_H
#define SLUICE_OBJECTS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "model.h"
#include "verdict.h"
#include "yaml.h"

enum object_kind {
	OBJECT_NAMESPACE,
	OBJECT_SERVICE,
	OBJECT_SLICE,
	OBJECT_POD,
	OBJECT_RULE,    /* DestinationRule */
	OBJECT_VIRTUAL, /* VirtualService */
	OBJECT_OTHER,  /* a kind that Sluice does not use */
	OBJECT_KINDS,
};

/* A verdict in waiting: it counts once the object turns out to concern a steered Service. */
struct object_note {
	enum verdict_kind kind;
	bool always; /* it counts whether or not */
	unsigned line; /* lines after the object's own */
	const char *field;
	const char *reason;
};

struct object_notes {
	struct object_note *list;
	unsigned n;
};

enum object_steer { STEER_UNSET, STEER_ENABLED, STEER_DISABLED };

/* What every object begins with. */
struct object {
	enum object_kind kind;
	unsigned index;        /* among all, once sealed: 0 to objects_count() - 1 */
	unsigned order;        /* in its batch */
	unsigned line;
	const char *namespace; /* "" for a Namespace */
	const char *name;
	const char *title;     /* "Service default/llm" */
	struct object_batch *batch;
	const char *file;      /* of the batch */
	struct object_notes notes;
	struct object_notes *ties;   /* by objects_seal(): what is said of whom it names; NULL: nothing */
	const char *proxy_name;      /* label service.kubernetes.io/service-proxy-name, or NULL */
	const char *service_name;    /* label kubernetes.io/service-name, or NULL */
	enum object_steer steer;     /* label sluice.dev/steer */
	unsigned weight;             /* annotation sluice.dev/weight; 0: none */
	unsigned probe_interval_ms;  /* annotation sluice.dev/probe-interval; 0: none */
	unsigned max_connections;    /* annotation sluice.dev/max-connections-per-replica; 0: none */
	unsigned reset_after_ms;     /* annotation sluice.dev/reset-after; 0: none */
	unsigned latency_factor;     /* annotation sluice.dev/latency-outliers, in 1/100; 0: none */
	unsigned latency_line;       /* of that annotation: its verdict waits for the rule */
	bool wait_full, wait_none;   /* annotations sluice.dev/when-full, when-none: wait */
	bool keep_on_eject;          /* annotation sluice.dev/on-eject: keep */
};

struct object_ip {
	union sl_addr addr;
	unsigned line;
	const char *field;
};

struct object_ips {
	struct object_ip *list;
	size_t n;
};

struct object_port {
	const char *name; /* "" when it has none */
	__u16 port;       /* 0: none (an EndpointSlice may leave it out) */
	__u16 node_port;  /* 0: none */
	__u8 proto;       /* IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP */
	unsigned line;
	const char *field;
};

struct object_batch;
struct object_slice;
struct object_rule;
struct object_virtual;

struct object_service {
	struct object object;
	struct object_port *ports;
	size_t n_ports;
	struct object_ips cluster_ips, load_balancer_ips, external_ips;
	bool headless;
	bool external_name;    /* type: ExternalName */
	bool takes_node_ports; /* type: NodePort or LoadBalancer */
	bool ipv4, ipv6;       /* ipFamilies; both false: not said */
	bool external_local;   /* externalTrafficPolicy: Local */
	bool internal_local;
	bool publish_not_ready;
	bool source_ranges;    /* has loadBalancerSourceRanges */
	unsigned spec_line;
	struct object_slice *slices;    /* by objects_seal() */
	const struct object_rule *rule; /* by objects_seal(); NULL: none */
	const struct object_virtual *virtual; /* likewise */
};

struct object_container {
	struct object_port *ports;
	size_t n_ports;
	bool has_probe;
	struct model_probe probe; /* kind NONE: one that Sluice cannot run (exec) */
};

struct object_pod {
	struct object object;
	struct object_container *containers;
	size_t n_containers;
};

struct object_endpoint {
	union sl_addr addr;
	unsigned line;
	bool ready, serving, terminating; /* Kubernetes' defaults applied */
	const char *node, *zone;          /* NULL when absent */
	const char *pod_namespace, *pod_name; /* targetRef; NULL when it names no Pod */
	const char *pod_uid;                  /* the same; NULL when absent */
	const struct object_pod *pod;     /* by objects_seal(); NULL: not among the objects */
};

struct object_slice {
	struct object object;
	bool ipv6;
	bool fqdn; /* addressType FQDN: no endpoint is read */
	struct object_port *ports;
	size_t n_ports;
	struct object_endpoint *endpoints;
	size_t n_endpoints;
	struct object_slice *next; /* of the same Service */
};

/* What Sluice acts upon of a traffic policy. */
struct object_traffic {
	__u16 port;      /* of portLevelSettings; 0: the whole Service */
	unsigned line;   /* of that port */
	const char *field;
	bool has_idle_timeout;
	unsigned idle_timeout_ms;
	unsigned connect_timeout_ms;  /* 0: none */
	unsigned max_connections;     /* 0: none */
	unsigned max_parked;          /* http1MaxPendingRequests; 0: none */
	struct model_outlier outlier; /* Istio's defaults applied; all zero: none */
	struct model_warmup warmup;   /* likewise */
};

/* Whom a rule is about, by the name of a Service of the cluster. */
struct object_host {
	const char *namespace, *name; /* NULL: no Service of ours */
	unsigned line;
	const char *field;
};

struct object_rule {
	struct object object;
	struct object_host host;
	bool selective;                         /* workloadSelector: not for everyone */
	struct object_traffic traffic;
	struct object_traffic *ports;
	size_t n_ports;
};

/* A VirtualService: whole, or nothing of it. */
struct object_virtual {
	struct object object;
	struct object_host *hosts; /* those that name a Service of the cluster */
	size_t n_hosts;
	const char *left_out;      /* why nothing of it is acted upon; NULL: its retries are */
	bool has_retries;
	struct model_retry retry;
	__u16 port;                /* the Service's port that it is about; 0: all */
	unsigned port_line;
	const char *port_field;
};

struct object_batch;

/* Empty; `file` is for messages. 0, or -ENOMEM. */
int object_batch_new(const char *file, struct object_batch **ret);
/* NULL is fine. Not for one that is among the objects. */
void object_batch_free(struct object_batch *batch);
/* Decodes one document (a List is unpacked) into the batch. 0, -EINVAL with *diag, -ENOMEM: the batch
 * is then good for object_batch_free() alone. */
int object_batch_add(struct object_batch *batch, const struct yaml_node *document,
		     struct diag *diag);
/* The same with all documents of the file's `len` bytes, which a NUL follows. */
int object_batch_read(struct object_batch *batch, const char *bytes, size_t len, struct diag *diag);

struct objects;

int objects_new(struct objects **ret);
/* And all batches in it. */
void objects_free(struct objects *objects);

/* The batch is the objects' now, and may get no more. 0; -ENOMEM: it is still the caller's. */
int objects_put(struct objects *objects, struct object_batch *batch);
/* Takes a batch out, to be freed by the next objects_flush() or objects_seal(). */
void objects_remove(struct objects *objects, struct object_batch *batch);
/* Frees what was removed; nothing may be read before objects_seal(). */
void objects_flush(struct objects *objects);

/* Sorts the objects, refuses doubles, and ties slices, rules and Pods to what they name. 0; -EINVAL
 * with *diag, or -ENOMEM: nothing may be read, but batches may be put and removed. */
int objects_seal(struct objects *objects, struct diag *diag);

/* The sealed objects of one kind, by namespace and name. */
struct object *const *objects_of(const struct objects *objects, enum object_kind kind,
				 size_t *ret_n);
size_t objects_count(const struct objects *objects);
/* NULL when there is none. */
struct object *objects_find(const struct objects *objects, enum object_kind kind,
			    const char *namespace, const char *name);

#endif
