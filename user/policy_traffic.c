// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a DestinationRule, a VirtualService and annotations make of one port of
 * a Service: timeouts, retries, outlier detection, slow start, caps. Resolves
 * which of them has the say; refuses nothing. Called by policy.c and
 * policy_replica.c.
 */
#include "policy_parts.h"

#define IDLE_TCP_MS (3600u * 1000) /* Istio's default for idleTimeout */
#define IDLE_UDP_MS (120u * 1000)  /* nf_conntrack_udp_timeout_stream */

/* A port's own settings take the place of the rule's, they do not add to them (Istio). */
static const struct object_traffic *traffic_of(const struct object_service *service,
					       const struct object_port *port)
{
	static const struct object_traffic none;
	const struct object_rule *rule = service->rule;

	for (size_t i = 0; rule && i < rule->n_ports; i++)
		if (rule->ports[i].port == port->port)
			return &rule->ports[i];
	return rule ? &rule->traffic : &none;
}

bool policy_has_outlier(const struct object_service *service)
{
	for (size_t i = 0; i < service->n_ports; i++)
		if (service->ports[i].proto == IPPROTO_TCP &&
		    traffic_of(service, &service->ports[i])->outlier.enabled)
			return true;
	return false;
}

static struct model_retry retry_of(const struct object_service *service,
				   const struct object_port *port,
				   const struct object_traffic *traffic)
{
	const struct object_virtual *virtual = service->virtual;
	struct model_retry retry = {.attempts = MODEL_ATTEMPTS_DEFAULT};

	if (virtual && virtual->has_retries && !virtual->left_out &&
	    (!virtual->port || virtual->port == port->port))
		retry = virtual->retry;
	if (traffic->connect_timeout_ms &&
	    (!retry.deadline_ms || traffic->connect_timeout_ms < retry.deadline_ms))
		retry.deadline_ms = traffic->connect_timeout_ms;
	return retry;
}

void policy_set_traffic(const struct object_service *service, const struct object_port *port,
			struct model_service *row)
{
	const struct object_traffic *traffic = traffic_of(service, port);
	const struct object *object = &service->object;

	row->warmup = traffic->warmup;
	row->reset_after_ms = object->reset_after_ms ? object->reset_after_ms
						     : MODEL_RESET_AFTER_MS;
	row->keep_on_eject = object->keep_on_eject;
	if (port->proto != IPPROTO_TCP) {
		row->idle_timeout_ms = IDLE_UDP_MS;
		return; /* no connects: none to retry, count, cap or let wait */
	}
	row->idle_timeout_ms = traffic->has_idle_timeout ? traffic->idle_timeout_ms : IDLE_TCP_MS;
	row->outlier = traffic->outlier;
	if (row->outlier.enabled)
		row->outlier.latency_factor = object->latency_factor;
	row->retry = retry_of(service, port, traffic);
	row->max_parked = traffic->max_parked ? traffic->max_parked : MODEL_PARKED_DEFAULT;
	row->wait_full = object->wait_full;
	row->wait_none = object->wait_none;
}

unsigned policy_max_connections(const struct object_service *service,
				const struct object_port *port, const struct object_pod *pod)
{
	if (port->proto != IPPROTO_TCP)
		return 0;
	if (pod && pod->object.max_connections)
		return pod->object.max_connections;
	if (service->object.max_connections)
		return service->object.max_connections;
	return traffic_of(service, port)->max_connections;
}
