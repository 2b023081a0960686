// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replicas of a service-port: the endpoints of its slices under the port of
 * the same name, merged, with weight and probe resolved from Pod and Service.
 * Refuses more of them than a member list holds. Called by policy.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy_parts.h"

#define MAX_REPLICAS      65535u /* SL_MEMBERS has 16 bits for the length */
#define PROBE_INTERVAL_MS 100

/* An endpoint under one port of its slice. */
struct candidate {
	const struct object_endpoint *endpoint;
	__be16 port;
};

struct candidates {
	struct candidate *list;
	size_t n, capacity;
};

/* The container whose port it is has the say; else the first that has a probe. */
static const struct object_container *find_probe(const struct object_pod *pod, __u16 port)
{
	const struct object_container *first = NULL;

	for (size_t i = 0; pod && i < pod->n_containers; i++) {
		const struct object_container *container = &pod->containers[i];

		if (!container->has_probe)
			continue;
		first = first ? first : container;
		for (size_t j = 0; j < container->n_ports; j++)
			if (container->ports[j].port == port)
				return container;
	}
	return first;
}

static void set_probe(const struct object_service *service, const struct object_pod *pod,
		      struct model_replica *replica)
{
	const struct object_container *container = find_probe(pod, ntohs(replica->port));
	struct model_probe probe = {.timeout_ms = 1000,
				    .period_ms = 1000,
				    .failure_threshold = 3,
				    .success_threshold = 1};

	if (container && !service->publish_not_ready)
		probe = container->probe;
	if (probe.kind == MODEL_PROBE_NONE && !service->publish_not_ready &&
	    replica->proto == IPPROTO_TCP) {
		probe.kind = MODEL_PROBE_TCP;
		probe.port = replica->port;
	}
	probe.interval_ms = PROBE_INTERVAL_MS;
	if (service->object.probe_interval_ms)
		probe.interval_ms = service->object.probe_interval_ms;
	if (pod && pod->object.probe_interval_ms)
		probe.interval_ms = pod->object.probe_interval_ms;
	replica->probe = probe;
}

/* As the objects have it, whose strings it borrows. */
static struct model_replica replica_of(const struct object_service *service,
				       const struct object_port *port,
				       const struct candidate *candidate)
{
	const struct object_endpoint *endpoint = candidate->endpoint;
	const struct object_pod *pod = endpoint->pod;
	struct model_replica replica = {
		.addr = endpoint->addr,
		.port = candidate->port,
		.proto = port->proto,
		.weight = MODEL_WEIGHT_DEFAULT,
		.max_connections = policy_max_connections(service, port, pod),
		/* publishNotReadyAddresses: readiness is to be disregarded, so nobody asks for it
		 * either. */
		.ready = endpoint->ready || service->publish_not_ready,
		.serving = endpoint->serving || service->publish_not_ready,
		.terminating = endpoint->terminating,
		.pod_uid = endpoint->pod_uid,
		.node = endpoint->node,
		.zone = endpoint->zone,
	};

	if (service->object.weight)
		replica.weight = (__u16)service->object.weight;
	if (pod && pod->object.weight)
		replica.weight = (__u16)pod->object.weight;
	set_probe(service, pod, &replica);
	return replica;
}

static int fill_replica(struct policy *policy, const struct object_service *service,
			const struct object_port *port, const struct candidate *candidate,
			struct model_replica *ret)
{
	const struct object_endpoint *endpoint = candidate->endpoint;
	struct model_replica replica = replica_of(service, port, candidate);
	char pod[512]; /* a namespace has 63 characters, a name 253 */

	if (endpoint->pod_name) {
		stpcpy(stpcpy(stpcpy(pod, endpoint->pod_namespace), "/"), endpoint->pod_name);
		replica.pod = pod;
	}
	return model_replica_copy(&policy->model->texts, &replica, ret);
}

static bool is_local(const struct policy *policy, const struct object_endpoint *endpoint)
{
	return endpoint->node && policy->options->node_name &&
	       !strcmp(endpoint->node, policy->options->node_name);
}

static int add_candidate(struct candidates *candidates, const struct object_endpoint *endpoint,
			 __u16 port)
{
	size_t capacity = candidates->capacity ? candidates->capacity * 2 : 64;
	struct candidate *list;

	if (candidates->n == candidates->capacity) {
		list = reallocarray(candidates->list, capacity, sizeof(*list));
		if (!list)
			return -ENOMEM;
		candidates->list = list;
		candidates->capacity = capacity;
	}
	candidates->list[candidates->n++] = (struct candidate){endpoint, htons(port)};
	return 0;
}

static int add_slice(const struct policy *policy, const struct object_slice *slice,
		     const struct object_port *port, bool local, struct candidates *candidates)
{
	int err = 0;

	for (size_t i = 0; i < slice->n_ports; i++) {
		const struct object_port *here = &slice->ports[i];

		if (!here->port || here->proto != port->proto || strcmp(here->name, port->name))
			continue;
		for (size_t j = 0; j < slice->n_endpoints && !err; j++)
			if (!local || is_local(policy, &slice->endpoints[j]))
				err = add_candidate(candidates, &slice->endpoints[j], here->port);
	}
	return err;
}

/* Of two that are the same, the one fitter for new flows comes first: an endpoint that moves from
 * slice to slice stands in both for a moment. */
static unsigned fitness(const struct object_endpoint *endpoint)
{
	return endpoint->serving * 2u + !endpoint->terminating;
}

static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int order = memcmp(&x->endpoint->addr, &y->endpoint->addr, sizeof(union sl_addr));

	if (!order)
		order = (int)ntohs(x->port) - (int)ntohs(y->port);
	return order ? order : (int)fitness(y->endpoint) - (int)fitness(x->endpoint);
}

static void merge(struct candidates *candidates)
{
	size_t n = 0;

	if (!candidates->n)
		return;
	qsort(candidates->list, candidates->n, sizeof(*candidates->list), compare_candidates);
	for (size_t i = 0; i < candidates->n; i++) {
		const struct candidate *last = n ? &candidates->list[n - 1] : NULL;
		const struct candidate *next = &candidates->list[i];

		if (!last || last->port != next->port ||
		    !addr_equal(&last->endpoint->addr, &next->endpoint->addr))
			candidates->list[n++] = *next;
	}
	candidates->n = n;
}

static int build_replicas(struct policy *policy, const struct object_service *service,
			  const struct object_port *port, const struct candidates *candidates,
			  struct model_replica **ret)
{
	struct model_replica *replicas = calloc(candidates->n + 1, sizeof(*replicas));
	int err = replicas ? 0 : -ENOMEM;

	for (size_t i = 0; i < candidates->n && !err; i++)
		err = fill_replica(policy, service, port, &candidates->list[i], &replicas[i]);
	if (!err) {
		*ret = replicas;
		return 0;
	}
	free(replicas);
	return err;
}

int policy_collect_replicas(struct policy *policy, const struct object_service *service,
			    const struct object_port *port, bool ipv6, bool local,
			    struct model_replica **ret, size_t *ret_n)
{
	struct candidates candidates = {0};
	int err = 0;

	for (const struct object_slice *slice = service->slices; slice && !err; slice = slice->next)
		if (slice->ipv6 == ipv6)
			err = add_slice(policy, slice, port, local, &candidates);
	merge(&candidates);
	if (!err && candidates.n > MAX_REPLICAS)
		err = diag_set(policy->diag, service->object.file, port->line, port->field,
			       "has %zu endpoints, more than %u; split the Service", candidates.n,
			       MAX_REPLICAS);
	if (!err)
		err = build_replicas(policy, service, port, &candidates, ret);
	if (!err)
		*ret_n = candidates.n;
	free(candidates.list);
	return err;
}
