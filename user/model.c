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

/* What many replicas have alike, kept once. NULL stays NULL. */
static int keep_text(struct texts *texts, const char *from, const char **ret)
{
	*ret = from ? texts_keep(texts, from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}

/* What each has for itself. */
static int copy_text(struct texts *texts, const char *from, const char **ret)
{
	*ret = from ? arena_strdup(&texts->arena, from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}

int model_probe_copy(struct texts *texts, const struct model_probe *from, struct model_probe *to)
{
	int err;

	*to = *from;
	err = keep_text(texts, from->path, &to->path);
	err = err ?: keep_text(texts, from->host, &to->host);
	err = err ?: keep_text(texts, from->grpc_service, &to->grpc_service);
	if (err || !from->n_headers)
		return err;
	to->headers = arena_alloc(&texts->arena, from->n_headers * sizeof(*to->headers));
	err = to->headers ? 0 : -ENOMEM;
	for (size_t i = 0; i < from->n_headers && !err; i++) {
		err = keep_text(texts, from->headers[i].name, &to->headers[i].name);
		err = err ?: keep_text(texts, from->headers[i].value, &to->headers[i].value);
	}
	return err;
}

int model_replica_copy(struct texts *texts, const struct model_replica *from,
		       struct model_replica *to)
{
	int err;

	*to = *from;
	err = copy_text(texts, from->pod, &to->pod);
	err = err ?: copy_text(texts, from->pod_uid, &to->pod_uid);
	err = err ?: keep_text(texts, from->node, &to->node);
	err = err ?: keep_text(texts, from->zone, &to->zone);
	return err ?: model_probe_copy(texts, &from->probe, &to->probe);
}

/* ---- ends -------------------------------------------------------------------------------*/

void model_service_done(struct model_service *service)
{
	free(service->replicas);
	free(service->vips);
}

void model_free(struct model *model)
{
	if (!model)
		return;
	for (size_t i = 0; i < model->n_services; i++)
		model_service_done(&model->services[i]);
	free(model->services);
	texts_done(&model->texts);
	free(model);
}
