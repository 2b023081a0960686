// SPDX-License-Identifier: GPL-2.0-only
/*
 * All objects of the input: tells kinds apart, unpacks Lists, owns the memory,
 * sorts and finds. Refuses documents that are no
 * Kubernetes objects, versions it does not know, and doubles. Called by
 * discovery; read by policy.
 */
#include "objects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "nearest.h"

struct objects {
	struct arena arena;
	struct object **list; /* sorted by objects_seal() */
	size_t n, capacity;
	size_t first[OBJECT_KINDS + 1]; /* where each kind begins, once sealed */
	const char *file;               /* the last one given, kept */
};

#define TOP_FIELDS                                                                                 \
	FIELD_SAY("apiVersion", FIELD_STRING, SILENT, NULL),                                       \
		FIELD_SAY("kind", FIELD_STRING, SILENT, NULL),                                     \
		FIELD_SAY("metadata", FIELD_MAP, SILENT, NULL)

/* A slip in one of these names would hide all that stands below it. */
static const struct field spec_fields[] = {
	TOP_FIELDS,
	FIELD_SAY("spec", FIELD_MAP, SILENT, NULL),
	FIELD_SAY("status", FIELD_MAP, SILENT, NULL),
	{},
};

static const struct field slice_fields[] = {
	TOP_FIELDS,
	FIELD_SAY("addressType", FIELD_STRING, SILENT, NULL),
	FIELD_SAY("endpoints", FIELD_LIST, SILENT, NULL),
	FIELD_SAY("ports", FIELD_LIST, SILENT, NULL),
	{},
};

/* Any other apiVersion of a kind that has a row is refused. */
static const struct kind {
	const char *name, *version;
	enum object_kind kind;
	size_t size;
	const struct field *fields;
} kinds[] = {
#define ISTIO "networking.istio.io/"
	{"Namespace", "v1", OBJECT_NAMESPACE, sizeof(struct object), spec_fields},
	{"Service", "v1", OBJECT_SERVICE, sizeof(struct object_service), spec_fields},
	{"Service", "serving.knative.dev/v1", OBJECT_OTHER, sizeof(struct object), NULL},
	{"EndpointSlice", "discovery.k8s.io/v1", OBJECT_SLICE, sizeof(struct object_slice),
	 slice_fields},
	{"Pod", "v1", OBJECT_POD, sizeof(struct object_pod), spec_fields},
	{"DestinationRule", ISTIO "v1", OBJECT_RULE, sizeof(struct object_rule), spec_fields},
	{"DestinationRule", ISTIO "v1beta1", OBJECT_RULE, sizeof(struct object_rule), spec_fields},
	{"DestinationRule", ISTIO "v1alpha3", OBJECT_RULE, sizeof(struct object_rule), spec_fields},
#define VIRTUAL "VirtualService"
	{VIRTUAL, ISTIO "v1", OBJECT_VIRTUAL, sizeof(struct object_virtual), spec_fields},
	{VIRTUAL, ISTIO "v1beta1", OBJECT_VIRTUAL, sizeof(struct object_virtual), spec_fields},
	{VIRTUAL, ISTIO "v1alpha3", OBJECT_VIRTUAL, sizeof(struct object_virtual), spec_fields},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const struct kind other_kind = {"", "", OBJECT_OTHER, sizeof(struct object), NULL};

int objects_new(struct objects **ret)
{
	struct objects *objects = calloc(1, sizeof(*objects));

	if (!objects)
		return -ENOMEM;
	*ret = objects;
	return 0;
}

void objects_free(struct objects *objects)
{
	if (!objects)
		return;
	arena_done(&objects->arena);
	free(objects->list);
	free(objects);
}

static int append(struct objects *objects, struct object *object)
{
	size_t capacity = objects->capacity ? objects->capacity * 2 : 256;
	struct object **list;

	if (objects->n == objects->capacity) {
		list = reallocarray(objects->list, capacity, sizeof(struct object *));
		if (!list)
			return -ENOMEM;
		objects->list = list;
		objects->capacity = capacity;
	}
	object->index = (unsigned)objects->n;
	objects->list[objects->n++] = object;
	return 0;
}

/* The row of this kind and version; other_kind when the kind is not ours. */
static int find_kind(const struct decode *decode, const struct yaml_node *version,
		     const struct yaml_node *name, const struct kind **ret)
{
	const char *known = NULL;

	for (size_t i = 0; i < N_KINDS; i++) {
		if (strcmp(kinds[i].name, name->text))
			continue;
		if (!strcmp(kinds[i].version, version->text)) {
			*ret = &kinds[i];
			return 0;
		}
		known = known ? known : kinds[i].version;
	}
	if (known)
		return decode_refuse(decode, version,
				     "\"%s\" is not an apiVersion of %s that Sluice knows; write "
				     "%s",
				     version->text, name->text, known);
	*ret = &other_kind;
	return 0;
}

/* Kinds of other people's business need no name; one that looks like ours is a slip. */
static int decode_other(struct decode *decode, const struct yaml_node *kind)
{
	const struct yaml_node *metadata = yaml_get(decode->root, "metadata");
	const struct yaml_node *name = yaml_get(metadata, "name");
	struct object *object = decode->object;
	char title[512];

	snprintf(title, sizeof(title), "%s%s%s", kind->text, name && name->text ? " " : "",
		 name && name->text ? name->text : "");
	object->namespace = object->name = "";
	object->title = arena_strdup(decode->arena, title);
	if (!object->title)
		return -ENOMEM;
	decode->always = true;
	for (size_t i = 0; i < N_KINDS; i++)
		if (strcmp(kinds[i].name, kind->text) &&
		    nearest_distance(kinds[i].name, kind->text) <= 1)
			return decode_note(decode, kind, VERDICT_UNKNOWN,
					   "no such kind; did you mean %s?", kinds[i].name);
	return decode_note(decode, kind, VERDICT_UNSUPPORTED, "kind %s is not used by Sluice",
			   kind->text);
}

static int decode_kind(struct decode *decode, const struct kind *kind)
{
	const struct yaml_node *metadata;
	int err = decode_require(decode, decode->root, "metadata", &metadata);

	if (!err)
		err = object_decode_meta(decode, metadata, decode->object);
	if (!err)
		err = decode_fields(decode, decode->root, kind->fields, decode->object);
	if (err)
		return err;
	switch (kind->kind) {
	case OBJECT_SERVICE:
		return object_decode_service(decode, decode->root,
					     (struct object_service *)decode->object);
	case OBJECT_SLICE:
		return object_decode_slice(decode, decode->root,
					   (struct object_slice *)decode->object);
	case OBJECT_POD:
		return object_decode_pod(decode, decode->root, (struct object_pod *)decode->object);
	case OBJECT_RULE:
		return object_decode_rule(decode, decode->root,
					  (struct object_rule *)decode->object);
	case OBJECT_VIRTUAL:
		return object_decode_virtual(decode, decode->root,
					     (struct object_virtual *)decode->object);
	default:
		return 0;
	}
}

static int add_item(struct objects *objects, const struct yaml_node *item, struct diag *diag);

static int add_list(struct objects *objects, const struct decode *decode, struct diag *diag)
{
	const struct yaml_node *items;
	int err = decode_require(decode, decode->root, "items", &items);

	if (!err)
		err = decode_check_type(decode, items, FIELD_LIST);
	if (err)
		return err;
	for (const struct yaml_node *item = items->first; item && !err; item = item->next)
		err = add_item(objects, item, diag);
	return err;
}

static int add_item(struct objects *objects, const struct yaml_node *item, struct diag *diag)
{
	struct decode decode = {
		.arena = &objects->arena, .file = objects->file, .root = item, .diag = diag};
	const struct yaml_node *version, *name;
	const struct kind *kind = NULL;
	int err = decode_require(&decode, item, "apiVersion", &version);

	if (!err)
		err = decode_check_type(&decode, version, FIELD_STRING);
	if (!err)
		err = decode_require(&decode, item, "kind", &name);
	if (!err)
		err = decode_check_type(&decode, name, FIELD_STRING);
	if (err)
		return err;
	if (!strcmp(name->text, "List"))
		return add_list(objects, &decode, diag);
	err = find_kind(&decode, version, name, &kind);
	if (err)
		return err;
	decode.object = arena_alloc(&objects->arena, kind->size);
	if (!decode.object)
		return -ENOMEM;
	decode.object->kind = kind->kind;
	decode.object->file = objects->file;
	decode.object->line = item->line;
	err = kind == &other_kind || !kind->fields ? decode_other(&decode, name)
						   : decode_kind(&decode, kind);
	return err ? err : append(objects, decode.object);
}

int objects_add(struct objects *objects, const struct yaml_node *document, const char *file,
		struct diag *diag)
{
	if (!objects->file || strcmp(objects->file, file)) {
		objects->file = arena_strdup(&objects->arena, file);
		if (!objects->file)
			return -ENOMEM;
	}
	return add_item(objects, document, diag);
}

static int compare_objects(const void *a, const void *b)
{
	const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
	int order = (x->kind > y->kind) - (x->kind < y->kind);

	if (!order)
		order = strcmp(x->namespace, y->namespace);
	if (!order)
		order = strcmp(x->name, y->name);
	return order ? order : (x->index > y->index) - (x->index < y->index);
}

static int check_doubles(const struct objects *objects, struct diag *diag)
{
	for (size_t i = 1; i < objects->first[OBJECT_OTHER]; i++) {
		const struct object *a = objects->list[i - 1], *b = objects->list[i];

		if (a->kind == b->kind && !strcmp(a->name, b->name) &&
		    !strcmp(a->namespace, b->namespace))
			return diag_set(diag, b->file, b->line, "metadata.name",
					"%s is here a second time, the first is at %s:%u; take one "
					"of them out",
					b->title, a->file, a->line);
	}
	return 0;
}

int objects_seal(struct objects *objects, struct diag *diag)
{
	int err;

	if (objects->n)
		qsort(objects->list, objects->n, sizeof(struct object *), compare_objects);
	memset(objects->first, 0, sizeof(objects->first));
	for (size_t i = 0; i < objects->n; i++)
		objects->first[objects->list[i]->kind + 1] = i + 1;
	for (size_t kind = 1; kind <= OBJECT_KINDS; kind++)
		if (objects->first[kind] < objects->first[kind - 1])
			objects->first[kind] = objects->first[kind - 1];
	err = check_doubles(objects, diag);
	if (err)
		return err;
	for (size_t i = 0; i < objects->n; i++)
		objects->list[i]->index = (unsigned)i;
	return objects_tie(objects, &objects->arena);
}

struct object *const *objects_of(const struct objects *objects, enum object_kind kind,
				 size_t *ret_n)
{
	*ret_n = objects->first[kind + 1] - objects->first[kind];
	return *ret_n ? objects->list + objects->first[kind] : NULL;
}

size_t objects_count(const struct objects *objects)
{
	return objects->n;
}

struct object *objects_find(const struct objects *objects, enum object_kind kind,
			    const char *namespace, const char *name)
{
	size_t low = objects->first[kind], high = objects->first[kind + 1];

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct object *object = objects->list[middle];
		int order = strcmp(namespace, object->namespace);

		order = order ? order : strcmp(name, object->name);
		if (!order)
			return object;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}
