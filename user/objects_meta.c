// SPDX-License-Identifier: GPL-2.0-only
/*
 * metadata: name, namespace, and the labels and annotations that concern
 * Sluice. Refuses bad names and bad values of ours; judges every sluice.dev/
 * name, so that a slip of the fingers does not go unseen. Called by objects.c.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"

#define OURS "sluice.dev/"

static int decode_steer(struct decode *decode, const struct yaml_node *value, void *into)
{
	enum object_steer *steer = into;
	enum object_kind kind = decode->object->kind;

	if (!strcmp(value->text, "enabled"))
		*steer = STEER_ENABLED;
	else if (!strcmp(value->text, "disabled"))
		*steer = STEER_DISABLED;
	else
		return decode_refuse(decode, value,
				     "\"%s\" is not a value of this label; write enabled or "
				     "disabled",
				     value->text);
	if (kind != OBJECT_SERVICE && kind != OBJECT_NAMESPACE)
		return decode_note(decode, value, VERDICT_UNSUPPORTED,
				   "counts only on a Service or a Namespace; move it there");
	return decode_honour(decode, value);
}

static const struct field label_fields[] = {
	FIELD_GET(OURS "steer", FIELD_STRING, SILENT, decode_steer, struct object, steer),
	{},
};

static int decode_weight(struct decode *decode, const struct yaml_node *value, void *into)
{
	unsigned long weight;
	char *end;

	if (!strcmp(value->text, "auto"))
		return decode_note(decode, value, VERDICT_UNSUPPORTED,
				   "this version does not measure weights: taken as %d; a number "
				   "from 1 to 65535 is honoured",
				   MODEL_WEIGHT_DEFAULT);
	errno = 0;
	weight = strtoul(value->text, &end, 10);
	if (value->text[strspn(value->text, "0123456789")] || end == value->text || errno ||
	    weight < 1 || weight > 65535)
		return decode_refuse(decode, value,
				     "\"%s\" is not a weight; write \"1\" to \"65535\"",
				     value->text);
	*(unsigned *)into = (unsigned)weight;
	return decode_honour(decode, value);
}

static int decode_probe_interval(struct decode *decode, const struct yaml_node *value, void *into)
{
	uint64_t ns;
	int err = decode_duration(decode, value, 10000000, &ns);

	if (err)
		return err;
	if (ns > MODEL_PROBE_INTERVAL_MAX_MS * 1000000ull)
		return decode_refuse(decode, value, "\"%s\" is too long; write at most \"1h\"",
				     value->text);
	*(unsigned *)into = (unsigned)(ns / 1000000);
	return 0;
}

static int decode_cap(struct decode *decode, const struct yaml_node *value, void *into)
{
	unsigned long cap;
	char *end;

	errno = 0;
	cap = strtoul(value->text, &end, 10);
	if (value->text[strspn(value->text, "0123456789")] || end == value->text || errno ||
	    cap < 1 || cap > INT32_MAX)
		return decode_refuse(decode, value,
				     "\"%s\" is not a number of connections; write \"1\" to \"%d\", "
				     "or take it out for no cap",
				     value->text, INT32_MAX);
	*(unsigned *)into = (unsigned)cap;
	return decode_honour(decode, value);
}

/* What is the whole Service's business is no single Pod's. */
static int honour_of_service(struct decode *decode, const struct yaml_node *value)
{
	if (decode->object->kind != OBJECT_POD)
		return decode_honour(decode, value);
	return decode_note(decode, value, VERDICT_UNSUPPORTED,
			   "counts only on a Service; move it there");
}

static int decode_wait(struct decode *decode, const struct yaml_node *value, void *into)
{
	static const char *const names[] = {"refuse", "wait", NULL};
	unsigned choice;
	int err = decode_choice(decode, value, names, &choice);

	if (err)
		return err;
	*(bool *)into = choice;
	return honour_of_service(decode, value);
}

static int decode_on_eject(struct decode *decode, const struct yaml_node *value, void *into)
{
	static const char *const names[] = {"reset", "keep", NULL};
	unsigned choice;
	int err = decode_choice(decode, value, names, &choice);

	if (err)
		return err;
	*(bool *)into = choice;
	return honour_of_service(decode, value);
}

static int decode_reset_after(struct decode *decode, const struct yaml_node *value, void *into)
{
	uint64_t ns;
	int err = decode_duration(decode, value, 100000000, &ns);

	if (err)
		return err;
	if (ns > 86400000000000ull)
		return decode_refuse(decode, value, "\"%s\" is too long; write at most \"24h\"",
				     value->text);
	*(unsigned *)into = (unsigned)(ns / 1000000);
	return honour_of_service(decode, value);
}

/* Whether it is honoured depends on a DestinationRule: policy_verdict.c says that. */
static int decode_latency(struct decode *decode, const struct yaml_node *value, void *into)
{
	struct object *object = into;
	double factor;
	char *end;

	factor = strtod(value->text, &end);
	if (value->text[strspn(value->text, "0123456789.")] || end == value->text || *end ||
	    factor < 1.5 || factor > 100)
		return decode_refuse(decode, value,
				     "\"%s\" is not a factor; write \"1.5\" to \"100\", times the "
				     "median, or take it out for none",
				     value->text);
	object->latency_factor = (unsigned)(factor * 100 + 0.5);
	object->latency_line = value->line;
	return object->kind == OBJECT_POD ? honour_of_service(decode, value) : 0;
}

#define OBJECT struct object
static const struct field annotation_fields[] = {
	FIELD_GET(OURS "weight", FIELD_STRING, SILENT, decode_weight, struct object, weight),
	FIELD_GET(OURS "probe-interval", FIELD_STRING, HONOURED, decode_probe_interval,
		  struct object, probe_interval_ms),
	FIELD_SAY(OURS "load", FIELD_STRING, UNSUPPORTED, SAY_LATER),
	FIELD_GET(OURS "max-connections-per-replica", FIELD_STRING, SILENT, decode_cap, OBJECT,
		  max_connections),
	FIELD_GET(OURS "when-full", FIELD_STRING, SILENT, decode_wait, OBJECT, wait_full),
	FIELD_GET(OURS "when-none", FIELD_STRING, SILENT, decode_wait, OBJECT, wait_none),
	FIELD_GET(OURS "reset-after", FIELD_STRING, SILENT, decode_reset_after, OBJECT,
		  reset_after_ms),
	FIELD_PART(OURS "latency-outliers", FIELD_STRING, SILENT, decode_latency),
	FIELD_GET(OURS "on-eject", FIELD_STRING, SILENT, decode_on_eject, OBJECT, keep_on_eject),
	FIELD_SAY(OURS "rebalance", FIELD_STRING, UNSUPPORTED, SAY_LATER),
	FIELD_SAY(OURS "accept-unenforced", FIELD_STRING, UNSUPPORTED, SAY_LATER),
	{},
};

static bool is_ours(const struct yaml_node *node)
{
	return !strncmp(node->key, OURS, strlen(OURS));
}

static bool has_field(const struct field *fields, const char *name)
{
	for (; fields->name; fields++)
		if (!strcmp(fields->name, name))
			return true;
	return false;
}

/* `other`: names that are known, but belong into the other map. */
static int decode_ours(struct decode *decode, const struct yaml_node *child,
		       const struct field *fields, const struct field *other, const char *where)
{
	if (has_field(other, child->key))
		return decode_note(decode, child, VERDICT_UNKNOWN,
				   "belongs into metadata.%s; move it there",
				   where);
	return decode_child(decode, child, fields, decode->object);
}

static int decode_proxy_name(struct decode *decode, const struct yaml_node *value,
			     struct object *object)
{
	int err = decode_string(decode, value, &object->proxy_name);

	if (err || strcmp(value->text, "sluice"))
		return err;
	return decode_honour(decode, value);
}

static int decode_labels(struct decode *decode, const struct yaml_node *labels, void *into)
{
	struct object *object = into;
	int err = 0;

	for (const struct yaml_node *child = labels->first; child && !err; child = child->next) {
		err = decode_check_type(decode, child, FIELD_STRING);
		if (err)
			return err;
		if (!label_is_valid(child->text))
			return decode_refuse(decode, child,
					     "\"%s\" is not a label value; write at most 63 "
					     "letters, digits and -_.",
					     child->text);
		if (is_ours(child))
			err = decode_ours(decode, child, label_fields, annotation_fields,
					  "annotations");
		else if (!strcmp(child->key, "service.kubernetes.io/service-proxy-name"))
			err = decode_proxy_name(decode, child, object);
		else if (!strcmp(child->key, "kubernetes.io/service-name"))
			err = decode_string(decode, child, &object->service_name);
	}
	return err;
}

static int decode_annotations(struct decode *decode, const struct yaml_node *annotations,
			      void *into)
{
	struct object *object = into;
	bool holder = object->kind == OBJECT_SERVICE || object->kind == OBJECT_POD;
	int err = 0;

	for (const struct yaml_node *child = annotations->first; child && !err;
	     child = child->next) {
		err = decode_check_type(decode, child, FIELD_STRING);
		if (err || !is_ours(child))
			continue;
		err = decode_ours(decode, child, annotation_fields, label_fields, "labels");
		if (!err && !holder)
			err = decode_note(decode, child, VERDICT_UNSUPPORTED,
					  "counts only on a Service or a Pod; move it there");
	}
	return err;
}

static const struct field meta_fields[] = {
	FIELD_PART("labels", FIELD_MAP, SILENT, decode_labels),
	FIELD_PART("annotations", FIELD_MAP, SILENT, decode_annotations),
	{},
};

static int decode_names(struct decode *decode, const struct yaml_node *metadata,
			struct object *object)
{
	const struct yaml_node *name, *namespace = yaml_get(metadata, "namespace");
	int err = decode_require(decode, metadata, "name", &name);

	if (!err)
		err = decode_string(decode, name, &object->name);
	if (err)
		return err;
	if (!name_is_subdomain(object->name))
		return decode_refuse(decode, name,
				     "\"%s\" is not a name; write at most 253 of a-z, 0-9, - and .",
				     object->name);
	object->namespace = object->kind == OBJECT_NAMESPACE ? "" : "default";
	if (!namespace || object->kind == OBJECT_NAMESPACE)
		return 0;
	err = decode_string(decode, namespace, &object->namespace);
	if (!err && !name_is_label(object->namespace))
		err = decode_refuse(decode, namespace,
				    "\"%s\" is not a namespace; write at most 63 of a-z, 0-9 and -",
				    object->namespace);
	return err;
}

static int decode_title(struct decode *decode, struct object *object, const char *kind)
{
	char title[512];

	snprintf(title, sizeof(title), "%s %s%s%s", kind, object->namespace,
		 object->namespace[0] ? "/" : "", object->name);
	object->title = arena_strdup(decode->arena, title);
	return object->title ? 0 : -ENOMEM;
}

int object_decode_meta(struct decode *decode, const struct yaml_node *metadata,
		       struct object *object)
{
	const char *kind = yaml_get(decode->root, "kind")->text;
	int err = decode_names(decode, metadata, object);

	if (!err)
		err = decode_title(decode, object, kind);
	decode->always = true;
	if (!err)
		err = decode_listed(decode, metadata, meta_fields, object);
	decode->always = false;
	return err;
}
