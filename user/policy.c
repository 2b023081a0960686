// SPDX-License-Identifier: GPL-2.0-only
/*
 * From objects to the desired state: decides which Services are steered and
 * builds a model_service for each of their ports, families and traffic
 * policies. Refuses what the datapath could not hold or could not tell apart.
 * Called by discovery.
 */
#include "policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy_parts.h"

int policy_say(struct policy *policy, const struct object *object, enum verdict_kind kind,
	       unsigned line, const char *field, const char *format, ...)
{
	char reason[512];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	return verdicts_add(policy->verdicts, kind, object->file, line, object->title, field,
			    reason);
}

static bool is_replace(const struct object_service *service)
{
	return service->object.proxy_name && !strcmp(service->object.proxy_name, "sluice");
}

static bool is_steered(const struct policy *policy, const struct object_service *service)
{
	const struct object *namespace;

	if (is_replace(service) || service->object.steer != STEER_UNSET)
		return service->object.steer != STEER_DISABLED;
	namespace = objects_find(policy->objects, OBJECT_NAMESPACE, "", service->object.namespace);
	return namespace && namespace->steer == STEER_ENABLED;
}

static int grow_services(struct policy *policy)
{
	struct model *model = policy->model;
	size_t capacity = policy->capacity ? policy->capacity * 2 : 64;
	struct model_service *services;
	const struct object_service **origins;

	if (model->n_services < policy->capacity)
		return 0;
	services = reallocarray(model->services, capacity, sizeof(*services));
	if (!services)
		return -ENOMEM;
	model->services = services;
	origins = reallocarray(policy->origins, capacity, sizeof(struct object_service *));
	if (!origins)
		return -ENOMEM;
	policy->origins = origins;
	policy->capacity = capacity;
	return 0;
}

static int keep_vips(struct policy *policy, const struct policy_vip *vips, size_t n)
{
	size_t capacity = policy->vips_capacity ? policy->vips_capacity * 2 : 64;
	struct policy_vip *grown;

	while (capacity < policy->n_vips + n)
		capacity *= 2;
	if (policy->n_vips + n > policy->vips_capacity) {
		grown = reallocarray(policy->vips, capacity, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		policy->vips = grown;
		policy->vips_capacity = capacity;
	}
	memcpy(policy->vips + policy->n_vips, vips, n * sizeof(*vips));
	policy->n_vips += n;
	return 0;
}

/* Appends a row with everything but replicas. */
static int add_service(struct policy *policy, const struct object_service *service,
		       const struct object_port *port, const struct policy_vip *vips, size_t n,
		       struct model_service **ret)
{
	struct model *model = policy->model;
	const struct object *object = &service->object;
	char name[512]; /* a namespace has 63 characters, a name 253 */
	struct model_service *row;

	if (grow_services(policy) || keep_vips(policy, vips, n))
		return -ENOMEM;
	policy->origins[model->n_services] = service;
	row = &model->services[model->n_services++];
	*row = (struct model_service){
		.port = htons(port->port),
		.proto = port->proto,
		.replace = is_replace(service),
		.vips = calloc(n, sizeof(*row->vips)),
		.port_name = texts_keep(&model->texts, port->name),
	};
	snprintf(name, sizeof(name), "%s/%s", object->namespace, object->name);
	row->name = texts_keep(&model->texts, name);
	if (!row->vips || !row->port_name || !row->name)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		row->vips[row->n_vips++] = vips[i].vip;
	policy_set_traffic(service, port, row);
	*ret = row;
	return 0;
}

static int add_variant(struct policy *policy, const struct object_service *service,
		       const struct object_port *port, const struct policy_vip *vips, size_t n,
		       bool ipv6, bool local)
{
	struct model_service *row;
	int err = add_service(policy, service, port, vips, n, &row);

	if (err)
		return err;
	row->ipv6 = ipv6;
	row->local = local;
	return policy_collect_replicas(policy, service, port, ipv6, local, &row->replicas,
				       &row->n_replicas);
}

/* Makes one of the last two rows when their replicas are the same after all: one list is part of
 * the other, so that equal lengths mean equal lists. */
static int join_variants(struct policy *policy)
{
	struct model_service *rows = &policy->model->services[policy->model->n_services - 2];
	struct model_vip *vips;

	if (rows[0].n_replicas != rows[1].n_replicas) {
		rows[1].external = true;
		return 0;
	}
	vips = reallocarray(rows[0].vips, rows[0].n_vips + rows[1].n_vips, sizeof(*vips));
	if (!vips)
		return -ENOMEM;
	memcpy(vips + rows[0].n_vips, rows[1].vips, rows[1].n_vips * sizeof(*vips));
	rows[0].vips = vips;
	rows[0].n_vips += rows[1].n_vips;
	model_service_done(&rows[1]);
	policy->model->n_services--;
	return 0;
}

static int build_port(struct policy *policy, const struct object_service *service,
		      const struct object_port *port, bool ipv6)
{
	struct policy_vips vips;
	bool inside_local = service->internal_local, outside_local = service->external_local;
	size_t n_outside;
	int err = policy_collect_vips(policy, service, port, ipv6, &vips);

	if (err)
		return err;
	n_outside = vips.n - vips.n_inside;
	if (!vips.n_inside)
		inside_local = outside_local;
	if (inside_local == outside_local || !n_outside) {
		if (vips.n)
			err = add_variant(policy, service, port, vips.list, vips.n, ipv6,
					  inside_local);
	} else {
		err = add_variant(policy, service, port, vips.list, vips.n_inside, ipv6,
				  inside_local);
		if (!err)
			err = add_variant(policy, service, port, vips.list + vips.n_inside,
					  n_outside, ipv6, outside_local);
		if (!err)
			err = join_variants(policy);
	}
	free(vips.list);
	return err;
}

static int build_service(struct policy *policy, const struct object_service *service)
{
	bool ipv4, ipv6;
	int err = 0;

	policy_families(service, &ipv4, &ipv6);
	for (size_t i = 0; i < service->n_ports && !err; i++) {
		const struct object_port *port = &service->ports[i];

		if (port->proto == IPPROTO_SCTP)
			continue;
		if (ipv4)
			err = build_port(policy, service, port, false);
		if (!err && ipv6)
			err = build_port(policy, service, port, true);
	}
	return err;
}

static int build(struct policy *policy)
{
	size_t n;
	struct object *const *list = objects_of(policy->objects, OBJECT_SERVICE, &n);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		const struct object_service *service = (const struct object_service *)list[i];

		if (!is_steered(policy, service))
			continue;
		if (!service->headless && !service->external_name)
			err = build_service(policy, service);
		if (!err)
			err = policy_judge_vips(policy, service);
		if (!err)
			err = policy_say_service(policy, service);
	}
	if (!err && policy->model->n_services > SL_MAX_SERVICES)
		err = diag_set(
			policy->diag, NULL, 0, NULL,
			"%zu service-ports are to be steered, more than %u; steer fewer Services",
			policy->model->n_services, SL_MAX_SERVICES);
	return err;
}

int policy_compile(const struct objects *objects, const struct policy_options *options,
		   struct verdicts *verdicts, struct model **ret, struct diag *diag)
{
	struct policy policy = {.objects = objects,
				.options = options,
				.verdicts = verdicts,
				.diag = diag,
				.model = calloc(1, sizeof(struct model)),
				.said = calloc(objects_count(objects) + 1, sizeof(bool))};
	int err = policy.model && policy.said ? build(&policy) : -ENOMEM;

	if (!err)
		err = policy_check_vips(&policy);
	if (!err)
		err = policy_unite_replicas(&policy);
	if (!err)
		err = policy_say_rest(&policy);
	if (!err) {
		texts_close(&policy.model->texts);
		if (policy.model->n_services)
			qsort(policy.model->services, policy.model->n_services,
			      sizeof(struct model_service), model_service_compare);
		*ret = policy.model;
		policy.model = NULL;
	}
	model_free(policy.model);
	free(policy.origins);
	free(policy.vips);
	free(policy.said);
	return err;
}
