// SPDX-License-Identifier: GPL-2.0-only
/*
 * What any holder of a desired state needs: the orders of its rows, copies of
 * them, and their end. A model is plain data; policy_compile() makes it, hold
 * adds to it, reconcile and probe read it.
 */
#include "model.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int model_service_compare(const void *a, const void *b)
{
	const struct model_service *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	order = order ? order : strcmp(x->port_name, y->port_name);
	order = order ? order : (int)x->external - (int)y->external;
	return order ? order : (int)x->ipv6 - (int)y->ipv6;
}

int model_replica_compare(const void *a, const void *b)
{
	const struct model_replica *x = a, *y = b;
	int order = memcmp(&x->addr, &y->addr, sizeof(x->addr));

	return order ? order : (int)ntohs(x->port) - (int)ntohs(y->port);
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool same_headers(const struct model_probe *a, const struct model_probe *b)
{
	if (a->n_headers != b->n_headers)
		return false;
	for (size_t i = 0; a->headers != b->headers && i < a->n_headers; i++)
		if (strcmp(a->headers[i].name, b->headers[i].name) ||
		    strcmp(a->headers[i].value, b->headers[i].value))
			return false;
	return true;
}

bool model_probe_equal(const struct model_probe *a, const struct model_probe *b)
{
	return a->kind == b->kind && a->port == b->port && a->interval_ms == b->interval_ms &&
	       a->timeout_ms == b->timeout_ms && a->period_ms == b->period_ms &&
	       a->failure_threshold == b->failure_threshold &&
	       a->success_threshold == b->success_threshold && same_text(a->path, b->path) &&
	       same_text(a->host, b->host) && same_text(a->grpc_service, b->grpc_service) &&
	       same_headers(a, b);
}

/* ---- copies -----------------------------------------------------------------------------*/

static int copy_text(const char *from, char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}

int model_probe_copy(const struct model_probe *from, struct model_probe *to)
{
	*to = *from;
	to->headers = NULL;
	to->n_headers = 0;
	to->path = to->host = to->grpc_service = NULL;
	if (copy_text(from->path, &to->path) || copy_text(from->host, &to->host) ||
	    copy_text(from->grpc_service, &to->grpc_service))
		return -ENOMEM;
	if (!from->n_headers)
		return 0;
	to->headers = calloc(from->n_headers, sizeof(*to->headers));
	if (!to->headers)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_headers; i++) {
		to->n_headers++;
		if (copy_text(from->headers[i].name, &to->headers[i].name) ||
		    copy_text(from->headers[i].value, &to->headers[i].value))
			return -ENOMEM;
	}
	return 0;
}

int model_replica_copy(const struct model_replica *from, struct model_replica *to)
{
	*to = *from;
	to->pod = to->pod_uid = to->node = to->zone = NULL;
	to->probe = (struct model_probe){};
	if (copy_text(from->pod, &to->pod) || copy_text(from->pod_uid, &to->pod_uid) ||
	    copy_text(from->node, &to->node) || copy_text(from->zone, &to->zone))
		return -ENOMEM;
	return model_probe_copy(&from->probe, &to->probe);
}

/* ---- ends -------------------------------------------------------------------------------*/

static void probe_done(struct model_probe *probe)
{
	for (size_t i = 0; i < probe->n_headers; i++) {
		free(probe->headers[i].name);
		free(probe->headers[i].value);
	}
	free(probe->headers);
	free(probe->path);
	free(probe->host);
	free(probe->grpc_service);
}

void model_replica_done(struct model_replica *replica)
{
	probe_done(&replica->probe);
	free(replica->pod);
	free(replica->pod_uid);
	free(replica->node);
	free(replica->zone);
}

void model_service_done(struct model_service *service)
{
	for (size_t i = 0; i < service->n_replicas; i++)
		model_replica_done(&service->replicas[i]);
	free(service->replicas);
	free(service->vips);
	free(service->name);
	free(service->port_name);
}

void model_free(struct model *model)
{
	if (!model)
		return;
	for (size_t i = 0; i < model->n_services; i++)
		model_service_done(&model->services[i]);
	free(model->services);
	free(model);
}
