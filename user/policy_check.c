// SPDX-License-Identifier: GPL-2.0-only
/*
 * What Services share: a VIP belongs to one of them; a replica may stand
 * behind a few, and has one weight, one cap and one probe interval whoever leads to it.
 * Refuses clashes, and more than the datapath's tables hold; of service-ports that lead to one
 * replica, those over the limit are left out. Called by policy.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/hash.h>

#include "policy_parts.h"

static int compare_places(const union sl_addr *a, __be16 port_a, __u8 proto_a,
			  const union sl_addr *b, __be16 port_b, __u8 proto_b)
{
	int order = memcmp(a, b, sizeof(*a));

	order = order ? order : (int)ntohs(port_a) - (int)ntohs(port_b);
	return order ? order : (int)proto_a - (int)proto_b;
}

static int compare_vips(const void *a, const void *b)
{
	const struct model_vip *x = &((const struct policy_vip *)a)->vip;
	const struct model_vip *y = &((const struct policy_vip *)b)->vip;

	return compare_places(&x->addr, x->port, x->proto, &y->addr, y->port, y->proto);
}

int policy_check_vips(const struct policy *policy)
{
	char text[ADDR_PORT_STR_LEN];

	if (policy->n_vips > SL_MAX_VIPS)
		return diag_set(policy->diag, NULL, 0, NULL,
				"%zu VIPs are to be steered, more than %u; steer fewer Services",
				policy->n_vips, SL_MAX_VIPS);
	if (policy->n_vips)
		qsort(policy->vips, policy->n_vips, sizeof(*policy->vips), compare_vips);
	for (size_t i = 1; i < policy->n_vips; i++) {
		const struct policy_vip *a = &policy->vips[i - 1], *b = &policy->vips[i];

		if (compare_vips(a, b))
			continue;
		return diag_set(policy->diag, b->service->object.file, b->line, b->field,
				"%s %s of %s is a VIP of %s too; give each its own",
				b->vip.kind == MODEL_VIP_NODE_PORT ? "node port" : "VIP",
				addr_format_port(&b->vip.addr, b->vip.port, text),
				b->service->object.title, a->service->object.title);
	}
	return 0;
}

/* One appearance of a replica in the model. */
struct place {
	struct model_replica *replica;
	const struct object_service *service;
	size_t row; /* of the model: the service-port */
};

static int compare_replicas(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	const struct model_replica *r = x->replica, *s = y->replica;
	int order = compare_places(&r->addr, r->port, r->proto, &s->addr, s->port, s->proto);

	if (order)
		return order;
	order = (x->service->object.index > y->service->object.index) -
		(x->service->object.index < y->service->object.index);
	return order ? order : (x->row > y->row) - (x->row < y->row);
}

/* How many of the first places are the first one's replica. */
static size_t run_length(const struct place *places, size_t n)
{
	const struct model_replica *replica = places[0].replica;
	size_t run = 1;

	for (; run < n; run++) {
		const struct model_replica *next = places[run].replica;

		if (compare_places(&replica->addr, replica->port, replica->proto, &next->addr,
				   next->port, next->proto))
			break;
	}
	return run;
}

static int say_weight(struct policy *policy, const struct place *place, const struct place *first)
{
	char text[ADDR_PORT_STR_LEN];

	return policy_say(
		policy, &place->service->object, VERDICT_UNSUPPORTED, place->service->object.line,
		"metadata.annotations[sluice.dev/weight]",
		"replica %s has weight %u already, by way of %s; annotate the Pod instead",
		addr_format_port(&place->replica->addr, place->replica->port, text),
		first->replica->weight, first->service->object.title);
}

static int say_interval(struct policy *policy, const struct place *place, const struct place *first)
{
	char text[ADDR_PORT_STR_LEN];

	return policy_say(
		policy, &place->service->object, VERDICT_UNSUPPORTED, place->service->object.line,
		"metadata.annotations[sluice.dev/probe-interval]",
		"replica %s is probed every %u ms already, by way of %s; annotate the Pod instead",
		addr_format_port(&place->replica->addr, place->replica->port, text),
		first->replica->probe.interval_ms, first->service->object.title);
}

static int say_cap(struct policy *policy, const struct place *place, const struct place *first)
{
	char text[ADDR_PORT_STR_LEN];

	return policy_say(
		policy, &place->service->object, VERDICT_UNSUPPORTED, place->service->object.line,
		"metadata.annotations[sluice.dev/max-connections-per-replica]",
		"replica %s takes %u connections already (0: any number), by way of %s; annotate "
		"the Pod instead",
		addr_format_port(&place->replica->addr, place->replica->port, text),
		first->replica->max_connections, first->service->object.title);
}

/* One replica, `n` times: the first Service by name decides. A verdict names the first replica
 * that this concerns, not each of thousands. */
static int unite(struct policy *policy, const struct place *places, size_t n, bool *said)
{
	const struct place *first = &places[0];
	int err = 0;

	for (size_t i = 1; i < n && !err; i++) {
		struct model_replica *replica = places[i].replica;
		bool weight = replica->weight != first->replica->weight;
		bool interval = replica->probe.interval_ms != first->replica->probe.interval_ms;
		bool cap = replica->max_connections != first->replica->max_connections;
		bool *once = &said[places[i].service->object.index];

		if (weight && !*once)
			err = say_weight(policy, &places[i], first);
		if (interval && !*once && !err)
			err = say_interval(policy, &places[i], first);
		if (cap && !*once && !err)
			err = say_cap(policy, &places[i], first);
		*once |= weight || interval || cap;
		replica->weight = first->replica->weight;
		replica->max_connections = first->replica->max_connections;
		replica->probe.interval_ms = first->replica->probe.interval_ms;
	}
	return err;
}

static int check_distinct(const struct policy *policy, size_t n)
{
	if (n <= SL_MAX_REPLICAS)
		return 0;
	return diag_set(policy->diag, NULL, 0, NULL,
			"%zu replicas are to be steered to, more than %u; steer fewer Services", n,
			SL_MAX_REPLICAS);
}

static int unite_all(struct policy *policy, const struct place *places, size_t n, bool *said)
{
	size_t distinct = 0, run;
	int err = 0;

	for (size_t i = 0; i < n && !err; i += run) {
		run = run_length(&places[i], n - i);
		distinct++;
		err = unite(policy, &places[i], run, said);
	}
	return err ? err : check_distinct(policy, distinct);
}

/* ---- more service-ports than may lead to one replica ---------------------------------*/

static int say_surplus(struct policy *policy, const struct place *place)
{
	const struct model_service *row = &policy->model->services[place->row];
	const struct object *object = &place->service->object;
	char text[ADDR_PORT_STR_LEN];

	return policy_say(
		policy, object, VERDICT_UNSUPPORTED, object->line, "spec.ports",
		"port %u%s is not steered: replica %s stands behind %u service-ports already; let "
		"fewer lead to it", ntohs(row->port), row->external ? " for outside clients" : "",
		addr_format_port(&place->replica->addr, place->replica->port, text), SL_MAX_SHARED);
}

/* Finds the rows of the model that lead to a replica to which enough lead already. Not one replica
 * of it is left out but the service-port whole: the others would get more than their share. */
static int find_surplus(struct policy *policy, const struct place *places, size_t n, bool *out)
{
	size_t run;
	int err = 0;

	for (size_t i = 0; i < n && !err; i += run) {
		unsigned kept = 0;

		run = run_length(&places[i], n - i);
		for (size_t k = i; k < i + run && !err; k++) {
			if (out[places[k].row] || ++kept <= SL_MAX_SHARED)
				continue;
			out[places[k].row] = true;
			err = say_surplus(policy, &places[k]);
		}
	}
	return err;
}

static void drop_rows(struct policy *policy, const bool *out)
{
	struct model *model = policy->model;
	size_t kept = 0;

	for (size_t i = 0; i < model->n_services; i++) {
		if (out[i]) {
			model_service_done(&model->services[i]);
			continue;
		}
		policy->origins[kept] = policy->origins[i];
		model->services[kept++] = model->services[i];
	}
	model->n_services = kept;
}

/* One bad Service must not keep all others from changing. The rows of the places that stay are
 * not those of the model any more. */
static int leave_out_surplus(struct policy *policy, struct place *places, size_t *n)
{
	bool *out = calloc(policy->model->n_services, sizeof(*out));
	size_t kept = 0;
	int err = out ? find_surplus(policy, places, *n, out) : -ENOMEM;

	for (size_t i = 0; i < *n && !err; i++)
		if (!out[places[i].row])
			places[kept++] = places[i];
	if (!err) {
		*n = kept;
		drop_rows(policy, out);
	}
	free(out);
	return err;
}

/* ---- the whole ------------------------------------------------------------------------*/

/* Adds a replica to a table of `size`, a power of two, more than it ever holds. Whether it is there
 * already. */
static bool meet(const struct model_replica **met, size_t size, const struct model_replica *replica)
{
	size_t i = sl_hash_addr(&replica->addr, replica->port, replica->proto, 0) & (size - 1);

	for (; met[i]; i = (i + 1) & (size - 1))
		if (!compare_places(&met[i]->addr, met[i]->port, met[i]->proto, &replica->addr,
				    replica->port, replica->proto))
			return true;
	met[i] = replica;
	return false;
}

/* Whether any of `n` replicas stands behind several service-ports: in most inputs none does, and
 * finding that out is cheaper than sorting them. 0, or -ENOMEM. */
static int find_shared(const struct model *model, size_t n, bool *ret)
{
	const struct model_replica **met;
	size_t size = 64;
	bool shared = false;

	while (size < 2 * n)
		size *= 2;
	met = calloc(size, sizeof(struct model_replica *));
	if (!met)
		return -ENOMEM;
	for (size_t i = 0; i < model->n_services && !shared; i++)
		for (size_t j = 0; j < model->services[i].n_replicas && !shared; j++)
			shared = meet(met, size, &model->services[i].replicas[j]);
	free(met);
	*ret = shared;
	return 0;
}

static int unite_shared(struct policy *policy, size_t n)
{
	const struct model *model = policy->model;
	struct place *places = calloc(n, sizeof(*places));
	bool *said = calloc(objects_count(policy->objects), sizeof(*said));
	int err;

	n = 0;
	for (size_t i = 0; places && i < model->n_services; i++)
		for (size_t j = 0; j < model->services[i].n_replicas; j++)
			places[n++] = (struct place){&model->services[i].replicas[j],
						     policy->origins[i], i};
	if (places)
		qsort(places, n, sizeof(*places), compare_replicas);
	err = places && said ? leave_out_surplus(policy, places, &n) : -ENOMEM;
	if (!err)
		err = unite_all(policy, places, n, said);
	free(places);
	free(said);
	return err;
}

int policy_unite_replicas(struct policy *policy)
{
	size_t n = 0;
	bool shared;
	int err;

	for (size_t i = 0; i < policy->model->n_services; i++)
		n += policy->model->services[i].n_replicas;
	err = find_shared(policy->model, n, &shared);
	if (!err && shared)
		return unite_shared(policy, n);
	return err ? err : check_distinct(policy, n);
}
