// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decides which replicas stay although their list lacks them, and for how long; see hold.h. Changes
 * the model that it is given and nothing else. Called by agent_hold.c and agent_input.c.
 */
#include "hold.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int change_add(struct hold_changes *changes, const struct hold_change *change)
{
	struct hold_change *list =
		reallocarray(changes->list, changes->n + 1, sizeof(*changes->list));

	if (!list)
		return -ENOMEM;
	changes->list = list;
	list[changes->n++] = *change;
	return 0;
}

void hold_changes_done(struct hold_changes *changes)
{
	free(changes->list);
	*changes = (struct hold_changes){};
}

/* ---- who is named anywhere -----------------------------------------------------------------*/

/* A replica as the new input has it, whichever service-ports lead to it. */
struct named {
	union sl_addr addr;
	__be16 port;
	__u8 proto;
	bool ends; /* some list says that it does not serve, or terminates */
	__u16 weight;
	unsigned max_connections;
	unsigned interval_ms;
};

struct names {
	struct named *list;
	size_t n;
};

static int compare_named(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = memcmp(&x->addr, &y->addr, sizeof(x->addr));

	order = order ? order : (int)x->port - (int)y->port;
	return order ? order : (int)x->proto - (int)y->proto;
}

static int names_new(const struct model *model, struct names *ret)
{
	size_t total = 0, kept = 0;

	for (size_t i = 0; i < model->n_services; i++)
		total += model->services[i].n_replicas;
	ret->list = calloc(total + 1, sizeof(*ret->list));
	if (!ret->list)
		return -ENOMEM;
	ret->n = 0;
	for (size_t i = 0; i < model->n_services; i++)
		for (size_t j = 0; j < model->services[i].n_replicas; j++) {
			const struct model_replica *replica = &model->services[i].replicas[j];

			ret->list[ret->n++] = (struct named){
				.addr = replica->addr,
				.port = replica->port,
				.proto = replica->proto,
				.ends = !replica->serving || replica->terminating,
				.weight = replica->weight,
				.max_connections = replica->max_connections,
				.interval_ms = replica->probe.interval_ms,
			};
		}
	qsort(ret->list, ret->n, sizeof(*ret->list), compare_named);
	for (size_t i = 0; i < ret->n; i++)
		if (kept && !compare_named(&ret->list[kept - 1], &ret->list[i]))
			ret->list[kept - 1].ends |= ret->list[i].ends;
		else
			ret->list[kept++] = ret->list[i];
	ret->n = kept;
	return 0;
}

static const struct named *names_find(const struct names *names, const struct model_replica *replica)
{
	struct named key = {.addr = replica->addr, .port = replica->port, .proto = replica->proto};

	return bsearch(&key, names->list, names->n, sizeof(key), compare_named);
}

/* ---- one service-port of a new model ---------------------------------------------------------*/

static bool is_member(const struct model_replica *replica)
{
	return replica->serving && !replica->terminating && !replica->held_until_ns;
}

static const struct model_service *find_before(const struct model *before,
					       const struct model_service *service)
{
	const struct model_service *found =
		bsearch(service, before->services, before->n_services, sizeof(*service),
			model_service_compare);
	/* Another choice among the same endpoints is no loss of any. */
	bool same = found && found->port == service->port && found->proto == service->proto &&
		    found->local == service->local;

	return same ? found : NULL;
}

static bool is_named(const struct model_service *service, const struct model_replica *replica)
{
	return service->n_replicas &&
	       bsearch(replica, service->replicas, service->n_replicas, sizeof(*replica),
		       model_replica_compare);
}

/* Whether what the list lost is to be doubted; counts it into `ret`. */
static bool is_doubted(const struct model_service *before, const struct model_service *fresh,
		       struct hold_change *ret)
{
	size_t left = 0;

	for (size_t i = 0; i < before->n_replicas; i++) {
		const struct model_replica *replica = &before->replicas[i];

		if (!is_member(replica))
			continue;
		ret->members++;
		ret->missing += !is_named(fresh, replica);
	}
	for (size_t i = 0; i < fresh->n_replicas; i++)
		left += is_member(&fresh->replicas[i]);
	if (!left)
		return ret->missing;
	/* One that has others instead is no shorter: who wrote it knew what for. */
	return ret->members >= HOLD_MIN_MEMBERS && ret->missing * 2 >= ret->members &&
	       left * 2 <= ret->members;
}

/* Until when this one of before, whom the new list does not name, stays; 0: it leaves. */
static uint64_t stays_until(const struct model_replica *replica, bool doubted,
			    const struct names *names, const struct hold_rules *rules,
			    uint64_t now_ns, struct hold_change *ret)
{
	const struct named *named = names_find(names, replica);
	uint64_t until_ns = replica->held_until_ns;

	if (!until_ns && !(doubted && is_member(replica)))
		return 0;
	if (!rules->is_fit(rules->context, replica)) {
		ret->unfit += until_ns != 0;
		return 0;
	}
	if ((until_ns && until_ns <= now_ns) || (named && named->ends)) {
		ret->believed += until_ns != 0;
		return 0;
	}
	ret->begun += !until_ns;
	ret->held++;
	return until_ns ? until_ns : now_ns + rules->hold_ns;
}

static int hold_one(const struct model_replica *replica, uint64_t until_ns,
		    const struct names *names, struct texts *texts, struct model_service *fresh)
{
	const struct named *named = names_find(names, replica);
	struct model_replica *held = &fresh->replicas[fresh->n_replicas];
	int error = model_replica_copy(texts, replica, held);

	fresh->n_replicas++;
	held->held_until_ns = until_ns;
	if (named) {
		held->weight = named->weight;
		held->max_connections = named->max_connections;
		held->probe.interval_ms = named->interval_ms;
	}
	return error;
}

static int carry_service(const struct model_service *before, struct model_service *fresh,
			 struct texts *texts, const struct names *names, const struct hold_rules *rules,
			 uint64_t now_ns, struct hold_changes *changes)
{
	struct hold_change change = {.service = fresh};
	bool doubted = is_doubted(before, fresh, &change);
	size_t n_named = fresh->n_replicas;
	struct model_service named = *fresh; /* as long as `fresh` grows */
	struct model_replica *grown =
		reallocarray(fresh->replicas, n_named + before->n_replicas + 1, sizeof(*grown));
	int error = 0;

	if (!grown)
		return -ENOMEM;
	fresh->replicas = named.replicas = grown;
	for (size_t i = 0; i < before->n_replicas && !error; i++) {
		const struct model_replica *replica = &before->replicas[i];
		uint64_t until_ns;

		if (is_named(&named, replica)) {
			change.back += replica->held_until_ns != 0;
			continue;
		}
		until_ns = stays_until(replica, doubted, names, rules, now_ns, &change);
		if (until_ns)
			error = hold_one(replica, until_ns, names, texts, fresh);
	}
	if (!error && (change.begun || change.back || change.unfit || change.believed))
		error = change_add(changes, &change);
	if (fresh->n_replicas > n_named)
		qsort(fresh->replicas, fresh->n_replicas, sizeof(*grown), model_replica_compare);
	return error;
}

/* Whether all of it is named: most service-ports of most inputs. */
static bool is_whole(const struct model_service *before, const struct model_service *fresh)
{
	size_t k = 0;

	for (size_t i = 0; i < before->n_replicas; i++) { /* both are in order */
		const struct model_replica *replica = &before->replicas[i];

		while (k < fresh->n_replicas &&
		       model_replica_compare(&fresh->replicas[k], replica) < 0)
			k++;
		if (replica->held_until_ns || k == fresh->n_replicas ||
		    model_replica_compare(&fresh->replicas[k], replica))
			return false;
	}
	return true;
}

int hold_carry(const struct model *before, struct model *fresh, const struct hold_rules *rules,
	       uint64_t now_ns, struct hold_changes *ret)
{
	struct names names = {};
	int error = 0;

	if (!rules->hold_ns || !before->n_services)
		return 0;
	for (size_t i = 0; i < fresh->n_services && !error; i++) {
		const struct model_service *was = find_before(before, &fresh->services[i]);

		if (!was || is_whole(was, &fresh->services[i]))
			continue;
		if (!names.list) /* before anybody is held in `fresh` */
			error = names_new(fresh, &names);
		error = error ?: carry_service(was, &fresh->services[i], &fresh->texts, &names,
					       rules, now_ns, ret);
	}
	free(names.list);
	return error;
}

/* ---- the end of a hold -------------------------------------------------------------------------*/

static bool stays(const struct model_replica *replica, const struct hold_rules *rules,
		  uint64_t now_ns, struct hold_change *ret)
{
	if (!replica->held_until_ns)
		return true;
	if (!rules->is_fit(rules->context, replica)) {
		ret->unfit++;
		return false;
	}
	if (replica->held_until_ns <= now_ns) {
		ret->believed++;
		return false;
	}
	ret->held++;
	return true;
}

static int end_service(struct model_service *service, const struct hold_rules *rules,
		       uint64_t now_ns, struct hold_changes *changes)
{
	struct hold_change change = {.service = service}, again = {};
	size_t kept = 0;
	int error;

	for (size_t i = 0; i < service->n_replicas; i++)
		stays(&service->replicas[i], rules, now_ns, &change);
	if (!change.unfit && !change.believed)
		return 0;
	error = change_add(changes, &change);
	if (error)
		return error;
	for (size_t i = 0; i < service->n_replicas; i++)
		if (stays(&service->replicas[i], rules, now_ns, &again))
			service->replicas[kept++] = service->replicas[i];
	service->n_replicas = kept;
	return 0;
}

int hold_end(struct model *model, const struct hold_rules *rules, uint64_t now_ns,
	     struct hold_changes *ret)
{
	int error = 0;

	for (size_t i = 0; i < model->n_services && !error; i++)
		error = end_service(&model->services[i], rules, now_ns, ret);
	return error;
}

size_t hold_drop(struct model *model)
{
	size_t dropped = 0;

	for (size_t i = 0; i < model->n_services; i++) {
		struct model_service *service = &model->services[i];
		size_t kept = 0;

		for (size_t j = 0; j < service->n_replicas; j++)
			if (!service->replicas[j].held_until_ns)
				service->replicas[kept++] = service->replicas[j];
		dropped += service->n_replicas - kept;
		service->n_replicas = kept;
	}
	return dropped;
}

size_t hold_count(const struct model *model)
{
	size_t held = 0;

	for (size_t i = 0; i < model->n_services; i++)
		for (size_t j = 0; j < model->services[i].n_replicas; j++)
			held += model->services[i].replicas[j].held_until_ns != 0;
	return held;
}
