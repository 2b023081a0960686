/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files policy_*.c share with each other; nobody else includes it. */
#ifndef SLUICE_POLICY_PARTS_H
#define SLUICE_POLICY_PARTS_H

#include "objects.h"
#include "policy.h"

/* Where a VIP of the model comes from. */
struct policy_vip {
	struct model_vip vip;
	const struct object_service *service;
	unsigned line;
	const char *field;
};

struct policy {
	const struct objects *objects;
	const struct policy_options *options;
	struct verdicts *verdicts;
	struct diag *diag;
	struct model *model;
	const struct object_service **origins; /* of model->services, row by row */
	size_t capacity;                       /* rows of both */
	struct policy_vip *vips;               /* all VIPs of the model */
	size_t n_vips, vips_capacity;
	bool *said;                            /* by object.index: its notes are verdicts now */
};

/* All of these: 0, -ENOMEM, or -EINVAL with policy->diag filled. */

/* A verdict on a whole object or on what it has to do with others. */
int policy_say(struct policy *policy, const struct object *object, enum verdict_kind kind,
	       unsigned line, const char *field, const char *format, ...)
	__attribute__((format(printf, 6, 7)));

/* policy_vip.c: the VIPs of one port of a Service in one family: those for clients inside, and
 * those for clients outside (load balancer, external, node port). */
struct policy_vips {
	struct policy_vip *list;
	size_t n, n_inside; /* the inside ones first */
};
int policy_collect_vips(const struct policy *policy, const struct object_service *service,
			const struct object_port *port, bool ipv6, struct policy_vips *ret);
void policy_families(const struct object_service *service, bool *ret_ipv4, bool *ret_ipv6);
/* Verdicts on the addresses of a Service. */
int policy_judge_vips(struct policy *policy, const struct object_service *service);

/* policy_replica.c: the replicas of one port in one family, sorted by address and port, merged.
 * `local`: those on this node alone. */
int policy_collect_replicas(struct policy *policy, const struct object_service *service,
			    const struct object_port *port, bool ipv6, bool local,
			    struct model_replica **ret, size_t *ret_n);

/* policy_traffic.c: what DestinationRule, VirtualService and annotations say of one port goes into
 * its row; the cap of one of its replicas (`pod` may be NULL), 0: none. */
void policy_set_traffic(const struct object_service *service, const struct object_port *port,
			struct model_service *row);
/* Whether outlierDetection governs any port. */
bool policy_has_outlier(const struct object_service *service);
unsigned policy_max_connections(const struct object_service *service,
				const struct object_port *port, const struct object_pod *pod);

/* policy_check.c: what the parts of the model must not do to each other. */
int policy_check_vips(const struct policy *policy);
int policy_unite_replicas(struct policy *policy);

/* policy_verdict.c: notes become verdicts. */
int policy_say_service(struct policy *policy, const struct object_service *service);
int policy_say_rest(struct policy *policy);

#endif
