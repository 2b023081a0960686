// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which notes become verdicts: all those on a steered Service, its slices, its
 * DestinationRule, its VirtualService and its Pods; of other objects only those that count in any
 * case. Pods of one Service come from one template: what is said of one is not
 * said again of the next. Called by policy.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy_parts.h"

static int say_note(struct policy *policy, const struct object *object,
		    const struct object_note *note)
{
	return policy_say(policy, object, note->kind, object->line + note->line, note->field, "%s",
			  note->reason);
}

/* All that was noted of an object: `i` from 0, NULL at the end. */
static const struct object_note *note_at(const struct object *object, unsigned i)
{
	if (i < object->notes.n)
		return &object->notes.list[i];
	i -= object->notes.n;
	return object->ties && i < object->ties->n ? &object->ties->list[i] : NULL;
}

static int say_notes(struct policy *policy, const struct object *object)
{
	const struct object_note *note;
	int err = 0;

	policy->said[object->index] = true;
	for (unsigned i = 0; !err && (note = note_at(object, i)); i++)
		err = say_note(policy, object, note);
	return err;
}

/* The notes on Pods that were said already, and those of the last Pod: the next has them too. */
struct heard {
	const struct object_note **list;
	size_t n, capacity;
	const struct object_note *last;
};

static bool was_heard(const struct heard *heard, const struct object_note *note)
{
	for (size_t i = 0; i < heard->n; i++)
		if (heard->list[i]->kind == note->kind &&
		    !strcmp(heard->list[i]->field, note->field) &&
		    !strcmp(heard->list[i]->reason, note->reason))
			return true;
	return false;
}

static int hear(struct heard *heard, const struct object_note *note)
{
	size_t capacity = heard->capacity ? heard->capacity * 2 : 32;
	const struct object_note **list;

	if (heard->n == heard->capacity) {
		list = reallocarray(heard->list, capacity, sizeof(struct object_note *));
		if (!list)
			return -ENOMEM;
		heard->list = list;
		heard->capacity = capacity;
	}
	heard->list[heard->n++] = note;
	return 0;
}

static int say_pod(struct policy *policy, const struct object_pod *pod, struct heard *heard)
{
	const struct object_notes *notes = &pod->object.notes;
	int err = 0;

	policy->said[pod->object.index] = true;
	if (notes->list == heard->last)
		return 0;
	heard->last = notes->list;
	for (unsigned i = 0; i < notes->n && !err; i++) {
		if (was_heard(heard, &notes->list[i]))
			continue;
		err = hear(heard, &notes->list[i]);
		if (!err)
			err = say_note(policy, &pod->object, &notes->list[i]);
	}
	return err;
}

static int say_pods(struct policy *policy, const struct object_service *service)
{
	struct heard heard = {0};
	int err = 0;

	for (const struct object_slice *slice = service->slices; slice && !err; slice = slice->next)
		for (size_t i = 0; i < slice->n_endpoints && !err; i++) {
			const struct object_pod *pod = slice->endpoints[i].pod;

			if (pod && !policy->said[pod->object.index])
				err = say_pod(policy, pod, &heard);
		}
	free(heard.list);
	return err;
}

static bool has_port(const struct object_service *service, const char *name, __u8 proto)
{
	for (size_t i = 0; i < service->n_ports; i++)
		if (service->ports[i].proto == proto && !strcmp(service->ports[i].name, name))
			return true;
	return false;
}

/* Endpoints are found by the name of the port: the slip that is made most. */
static int say_loose_ports(struct policy *policy, const struct object_service *service,
			   const struct object_slice *slice)
{
	int err = 0;

	for (size_t i = 0; i < slice->n_ports && !err; i++) {
		const struct object_port *port = &slice->ports[i];

		if (!has_port(service, port->name, port->proto))
			err = policy_say(policy, &slice->object, VERDICT_UNSUPPORTED, port->line,
					 port->field,
					 "%s has no port of the name \"%s\" and this protocol: "
					 "these endpoints are left out",
					 service->object.title, port->name);
		else if (!port->port)
			err = policy_say(policy, &slice->object, VERDICT_UNSUPPORTED, port->line,
					 port->field,
					 "has no port number: these endpoints are left out");
	}
	return err;
}

static int say_rule(struct policy *policy, const struct object_service *service)
{
	const struct object_rule *rule = service->rule;
	int err = say_notes(policy, &rule->object);

	for (size_t i = 0; i < rule->n_ports && !err; i++) {
		bool found = false;

		for (size_t j = 0; j < service->n_ports; j++)
			found |= service->ports[j].port == rule->ports[i].port;
		if (!found)
			err = policy_say(policy, &rule->object, VERDICT_UNSUPPORTED,
					 rule->ports[i].line, rule->ports[i].field,
					 "%s has no port %u", service->object.title,
					 rule->ports[i].port);
	}
	return err;
}

/* It may govern several Services: what is said of its fields is said once. */
static int say_virtual(struct policy *policy, const struct object_service *service)
{
	const struct object_virtual *virtual = service->virtual;
	bool found = !virtual->port;
	int err = 0;

	if (!policy->said[virtual->object.index])
		err = say_notes(policy, &virtual->object);
	for (size_t i = 0; i < service->n_ports; i++)
		found |= service->ports[i].port == virtual->port;
	if (!err && !found)
		err = policy_say(policy, &virtual->object, VERDICT_UNSUPPORTED, virtual->port_line,
				 virtual->port_field, "%s has no port %u", service->object.title,
				 virtual->port);
	return err;
}

/* Its percentages, times and probes of who is back are outlierDetection's. */
static int say_latency(struct policy *policy, const struct object_service *service)
{
	static const char field[] = "metadata.annotations[sluice.dev/latency-outliers]";
	const struct object *object = &service->object;

	if (!object->latency_factor)
		return 0;
	if (policy_has_outlier(service))
		return policy_say(policy, object, VERDICT_HONOURED, object->latency_line, field,
				  "%s", "");
	return policy_say(policy, object, VERDICT_UNSUPPORTED, object->latency_line, field,
			  "has no effect without outlierDetection on a TCP port; write a "
			  "DestinationRule that has it");
}

int policy_say_service(struct policy *policy, const struct object_service *service)
{
	int err = say_notes(policy, &service->object);

	if (!err)
		err = say_latency(policy, service);
	for (const struct object_slice *slice = service->slices; slice && !err;
	     slice = slice->next) {
		err = say_notes(policy, &slice->object);
		if (!err)
			err = say_loose_ports(policy, service, slice);
	}
	if (!err && service->rule)
		err = say_rule(policy, service);
	if (!err && service->virtual)
		err = say_virtual(policy, service);
	return err ? err : say_pods(policy, service);
}

/* What counts of an object that concerns no steered Service. */
static int say_always(struct policy *policy, const struct object *object)
{
	const struct object_note *note;
	int err = 0;

	for (unsigned i = 0; !err && (note = note_at(object, i)); i++)
		if (note->always &&
		    (note->kind != VERDICT_HONOURED || object->kind == OBJECT_NAMESPACE))
			err = say_note(policy, object, note);
	return err;
}

int policy_say_rest(struct policy *policy)
{
	int err = 0;

	for (int kind = 0; kind < OBJECT_KINDS; kind++) {
		size_t n;
		struct object *const *list = objects_of(policy->objects, kind, &n);

		for (size_t i = 0; i < n && !err; i++)
			if (!policy->said[list[i]->index])
				err = say_always(policy, list[i]);
	}
	return err;
}
