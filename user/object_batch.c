// SPDX-License-Identifier: GPL-2.0-only
/*
 * The objects of one source: tells kinds apart, unpacks Lists, owns the memory,
 * and says once what many of them say. Refuses documents that are no Kubernetes
 * objects, and versions it does not know. Called by discovery.
 */
#include "object_batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "nearest.h"
#include "yaml.h"

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

int object_batch_new(const char *file, struct object_batch **ret)
{
	struct object_batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return -ENOMEM;
	batch->file = arena_strdup(&batch->arena, file);
	if (!batch->file) {
		object_batch_free(batch);
		return -ENOMEM;
	}
	*ret = batch;
	return 0;
}

void object_batch_free(struct object_batch *batch)
{
	if (!batch)
		return;
	arena_done(&batch->arena);
	arena_done(&batch->scratch);
	texts_done(&batch->texts);
	free(batch->list);
	free(batch);
}

static int append(struct object_batch *batch, struct object *object)
{
	size_t capacity = batch->capacity ? batch->capacity * 2 : 16;
	struct object **list;

	if (batch->n == batch->capacity) {
		list = reallocarray(batch->list, capacity, sizeof(struct object *));
		if (!list)
			return -ENOMEM;
		batch->list = list;
		batch->capacity = capacity;
	}
	object->order = (unsigned)batch->n;
	batch->list[batch->n++] = object;
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

static int add_item(struct object_batch *batch, const struct yaml_node *item, struct diag *diag);

static int add_list(struct object_batch *batch, const struct decode *decode, struct diag *diag)
{
	const struct yaml_node *items;
	int err = decode_require(decode, decode->root, "items", &items);

	if (!err)
		err = decode_check_type(decode, items, FIELD_LIST);
	if (err)
		return err;
	for (const struct yaml_node *item = items->first; item && !err; item = item->next)
		err = add_item(batch, item, diag);
	return err;
}

/* The notes of an object that is whole: from the scratch to where they stay, unless the one before it
 * of its kind has the same. */
static int keep_notes(struct object_batch *batch, struct object *object)
{
	struct object_notes *notes = &object->notes, *last = &batch->last_notes[object->kind];
	struct object_note *list;
	bool same = notes->n == last->n;

	for (unsigned i = 0; same && i < notes->n; i++)
		same = notes->list[i].kind == last->list[i].kind &&
		       notes->list[i].always == last->list[i].always &&
		       notes->list[i].line == last->list[i].line &&
		       notes->list[i].field == last->list[i].field &&
		       notes->list[i].reason == last->list[i].reason;
	if (!same) {
		list = arena_alloc(&batch->arena, notes->n * sizeof(*list));
		if (!list)
			return -ENOMEM;
		if (notes->n)
			memcpy(list, notes->list, notes->n * sizeof(*list));
		*last = (struct object_notes){list, notes->n};
	}
	*notes = *last;
	return 0;
}

static int add_object(struct object_batch *batch, struct decode *decode, const struct kind *kind,
		      const struct yaml_node *name)
{
	struct object *object = arena_alloc(&batch->arena, kind->size);
	int err;

	if (!object)
		return -ENOMEM;
	object->kind = kind->kind;
	object->batch = batch;
	object->file = batch->file;
	object->line = decode->root->line;
	decode->object = object;
	err = kind == &other_kind || !kind->fields ? decode_other(decode, name)
						   : decode_kind(decode, kind);
	err = err ?: keep_notes(batch, object);
	if (kind->kind == OBJECT_POD)
		batch->last_pod = (struct object_pod *)object;
	arena_done(&batch->scratch);
	return err ?: append(batch, object);
}

static int add_item(struct object_batch *batch, const struct yaml_node *item, struct diag *diag)
{
	struct decode decode = {.arena = &batch->arena,
				.texts = &batch->texts,
				.scratch = &batch->scratch,
				.file = batch->file,
				.root = item,
				.diag = diag,
				.like = batch->last_pod};
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
		return add_list(batch, &decode, diag);
	err = find_kind(&decode, version, name, &kind);
	return err ? err : add_object(batch, &decode, kind, name);
}

int object_batch_add(struct object_batch *batch, const struct yaml_node *document,
		     struct diag *diag)
{
	return add_item(batch, document, diag);
}

int object_batch_read(struct object_batch *batch, const char *bytes, size_t len, struct diag *diag)
{
	const struct yaml_node *document = NULL;
	struct yaml *yaml;
	int err = yaml_open(bytes, len, batch->file, &yaml, diag);

	if (err)
		return err;
	do {
		err = yaml_next(yaml, &document, diag);
		if (!err && document)
			err = object_batch_add(batch, document, diag);
	} while (!err && document);
	yaml_close(yaml);
	return err;
}
