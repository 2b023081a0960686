// SPDX-License-Identifier: GPL-2.0-only
/*
 * What names what: an EndpointSlice its Service, an endpoint its Pod, a
 * DestinationRule or a VirtualService the Services of its hosts. One that names
 * nobody is noted and left out, not refused: objects come and go in any order.
 * Called by objects_seal().
 */
#include <errno.h>
#include <stdio.h>

#include "decode.h"

static int note_loose(struct texts *ties, struct object *object, const char *field,
		      const char *reason)
{
	struct object_note note = {.kind = VERDICT_UNSUPPORTED,
				   .always = true,
				   .field = field,
				   .reason = reason};
	int err;

	if (!object->ties)
		object->ties = arena_alloc(&ties->arena, sizeof(*object->ties));
	err = object->ties ? object_add_note(&ties->arena, ties, object->ties, &note) : -ENOMEM;
	return err == -E2BIG ? 0 : err; /* it has its thousand already */
}

/* Those that were tied before still are, unless their Pod left. */
static void tie_pods(struct objects *objects, struct object_slice *slice)
{
	for (size_t i = 0; i < slice->n_endpoints; i++) {
		struct object_endpoint *endpoint = &slice->endpoints[i];

		if (endpoint->pod_name && !endpoint->pod)
			endpoint->pod = (const struct object_pod *)objects_find(
				objects, OBJECT_POD, endpoint->pod_namespace, endpoint->pod_name);
	}
}

static int tie_slice(struct objects *objects, struct texts *ties, struct object_slice *slice)
{
	struct object *object = &slice->object;
	struct object_service *service;
	char reason[512];

	if (!object->service_name)
		return note_loose(ties, object, "metadata.labels[kubernetes.io/service-name]",
				  "is missing, so the slice belongs to no Service; add the label");
	service = (struct object_service *)objects_find(objects, OBJECT_SERVICE, object->namespace,
							object->service_name);
	if (!service) {
		snprintf(reason, sizeof(reason),
			 "Service %s/%s is not in the input: the slice is left out",
			 object->namespace, object->service_name);
		return note_loose(ties, object, "metadata.labels[kubernetes.io/service-name]",
				  reason);
	}
	slice->next = service->slices;
	service->slices = slice;
	tie_pods(objects, slice);
	return 0;
}

static struct object_service *service_of(struct objects *objects, const struct object_host *host)
{
	return (struct object_service *)objects_find(objects, OBJECT_SERVICE, host->namespace,
						     host->name);
}

/* 1: the Service that `host` names has no rule of this kind yet (`taken`), and may take this one; else
 * says why not, and 0. -ENOMEM. */
static int may_tie(struct texts *ties, struct object *object, const struct object_host *host,
		   const struct object_service *service, const struct object *taken)
{
	char reason[512];

	if (service && (!taken || taken == object))
		return 1;
	if (service)
		snprintf(reason, sizeof(reason),
			 "%s governs this host already: the rule is left out", taken->title);
	else
		snprintf(reason, sizeof(reason),
			 "Service %s/%s is not in the input: the rule is left out",
			 host->namespace, host->name);
	return note_loose(ties, object, host->field, reason);
}

static int tie_rule(struct objects *objects, struct texts *ties, struct object_rule *rule)
{
	struct object_service *service;
	int ret;

	if (!rule->host.name || rule->selective)
		return 0; /* noted when it was decoded */
	service = service_of(objects, &rule->host);
	ret = may_tie(ties, &rule->object, &rule->host, service,
		      service && service->rule ? &service->rule->object : NULL);
	if (ret > 0)
		service->rule = rule;
	return ret < 0 ? ret : 0;
}

/* One that is left out is tied too: its Service's verdicts name it. */
static int tie_virtual(struct objects *objects, struct texts *ties,
		       struct object_virtual *virtual)
{
	int ret = 0;

	for (size_t i = 0; i < virtual->n_hosts && ret >= 0; i++) {
		const struct object_host *host = &virtual->hosts[i];
		struct object_service *service = service_of(objects, host);

		ret = may_tie(ties, &virtual->object, host, service,
			      service && service->virtual ? &service->virtual->object : NULL);
		if (ret > 0)
			service->virtual = virtual;
	}
	return ret < 0 ? ret : 0;
}

static void forget_ties(struct objects *objects)
{
	static const enum object_kind tying[] = {OBJECT_SLICE, OBJECT_RULE, OBJECT_VIRTUAL};
	size_t n;
	struct object *const *list = objects_of(objects, OBJECT_SERVICE, &n);

	for (size_t i = 0; i < n; i++) {
		struct object_service *service = (struct object_service *)list[i];

		service->slices = NULL;
		service->rule = NULL;
		service->virtual = NULL;
	}
	for (size_t kind = 0; kind < sizeof(tying) / sizeof(tying[0]); kind++) {
		list = objects_of(objects, tying[kind], &n);
		for (size_t i = 0; i < n; i++)
			list[i]->ties = NULL;
	}
}

int objects_tie(struct objects *objects, struct texts *ties)
{
	struct object *const *list;
	size_t n;
	int err = 0;

	forget_ties(objects);
	list = objects_of(objects, OBJECT_SLICE, &n);
	while (n && !err) /* backwards, since each goes to the front of its Service's list */
		err = tie_slice(objects, ties, (struct object_slice *)list[--n]);
	list = objects_of(objects, OBJECT_RULE, &n);
	for (size_t i = 0; i < n && !err; i++)
		err = tie_rule(objects, ties, (struct object_rule *)list[i]);
	list = objects_of(objects, OBJECT_VIRTUAL, &n);
	for (size_t i = 0; i < n && !err; i++)
		err = tie_virtual(objects, ties, (struct object_virtual *)list[i]);
	return err;
}
