// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walks a map by a table of fields: checks types, notes the verdicts, hands
 * values to the functions of the rows. Refuses wrong types; a name without a
 * row is noted as unknown, with the nearest row. Called by objects_*.c.
 */
#include "decode.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "nearest.h"

#define MAX_NOTES 1000u

const char *decode_path(const struct decode *decode, const struct yaml_node *node)
{
	char path[256];

	return texts_keep(decode->texts, yaml_path(node, decode->root, path, sizeof(path)));
}

int decode_refuse(const struct decode *decode, const struct yaml_node *node, const char *format,
		  ...)
{
	char path[sizeof(decode->diag->field)], reason[sizeof(decode->diag->reason)];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	return diag_set(decode->diag, decode->file, node->line,
			yaml_path(node, decode->root, path, sizeof(path)), "%s", reason);
}

/* Whether a note says the same of a field of the same name at the same depth: ports[0].name
 * and ports[1].name, say. */
static bool same_but_index(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		if (*a == '[') {
			a += 1 + strspn(a + 1, "0123456789");
			b += 1 + strspn(b + 1, "0123456789");
			if (*a != *b)
				return false;
		}
	return *a == *b;
}

static bool has_note(const struct object_notes *notes, const struct object_note *same)
{
	for (const struct object_note *note = notes->list; note < notes->list + notes->n; note++)
		if (note->kind == same->kind && same_but_index(note->field, same->field) &&
		    !strcmp(note->reason, same->reason))
			return true;
	return false;
}

/* Room for one more: whenever their number is a power of two, for twice as many. */
static int grow_notes(struct arena *arena, struct object_notes *notes)
{
	struct object_note *list;

	if (notes->n & (notes->n - 1))
		return 0;
	list = arena_alloc(arena, (notes->n ? 2 * notes->n : 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	if (notes->n)
		memcpy(list, notes->list, notes->n * sizeof(*list));
	notes->list = list;
	return 0;
}

int object_add_note(struct arena *arena, struct texts *texts, struct object_notes *notes,
		    const struct object_note *note)
{
	struct object_note *copy;

	if (has_note(notes, note))
		return 0;
	if (notes->n >= MAX_NOTES)
		return -E2BIG;
	if (grow_notes(arena, notes))
		return -ENOMEM;
	copy = &notes->list[notes->n];
	*copy = *note;
	copy->field = texts_keep(texts, note->field);
	copy->reason = *note->reason ? texts_keep(texts, note->reason) : "";
	if (!copy->field || !copy->reason)
		return -ENOMEM;
	notes->n++;
	return 0;
}

static int add_note(struct decode *decode, const struct yaml_node *node, enum verdict_kind kind,
		    const char *reason)
{
	char path[256];
	struct object_note note = {
		.kind = kind,
		.always = decode->always,
		.line = node->line - decode->object->line,
		.reason = reason,
		.field = yaml_path(node, decode->root, path, sizeof(path)),
	};
	int err = object_add_note(decode->scratch, decode->texts, &decode->object->notes, &note);

	if (err == -E2BIG)
		return decode_refuse(decode, node,
				     "is one of more than %u fields to judge in this object; is it "
				     "meant for Sluice?",
				     MAX_NOTES);
	return err;
}

int decode_note(struct decode *decode, const struct yaml_node *node, enum verdict_kind kind,
		const char *format, ...)
{
	char reason[512];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	return add_note(decode, node, kind, reason);
}

int decode_honour(struct decode *decode, const struct yaml_node *node)
{
	return add_note(decode, node, VERDICT_HONOURED, "");
}

/* Names the nearest row. */
static int note_unknown(struct decode *decode, const struct yaml_node *node,
			const struct field *fields)
{
	unsigned best_distance = ~0u;
	const char *best = "";

	for (; fields->name; fields++) {
		unsigned distance = nearest_distance(node->key, fields->name);

		if (distance < best_distance) {
			best_distance = distance;
			best = fields->name;
		}
	}
	if (nearest_is_near(node->key, best_distance))
		return decode_note(decode, node, VERDICT_UNKNOWN, "no such field; did you mean %s?",
				   best);
	return decode_note(decode, node, VERDICT_UNKNOWN, "no such field; the nearest is %s", best);
}

static bool type_fits(enum yaml_type have, enum field_type want)
{
	switch (want) {
	case FIELD_STRING:
		return have == YAML_STRING;
	case FIELD_INT:
		return have == YAML_INT;
	case FIELD_BOOL:
		return have == YAML_BOOL;
	case FIELD_MAP:
		return have == YAML_MAP;
	case FIELD_LIST:
		return have == YAML_LIST;
	case FIELD_INT_OR_STRING:
		return have == YAML_INT || have == YAML_STRING;
	case FIELD_ANY:
		break;
	}
	return true;
}

int decode_check_type(const struct decode *decode, const struct yaml_node *node,
		      enum field_type type)
{
	static const char *const names[] = {
		[FIELD_STRING] = "a string",
		[FIELD_INT] = "a whole number",
		[FIELD_BOOL] = "true or false",
		[FIELD_MAP] = "a map",
		[FIELD_LIST] = "a list",
		[FIELD_INT_OR_STRING] = "a whole number or a string",
	};

	if (type_fits(node->type, type))
		return 0;
	if (type == FIELD_STRING && node->text)
		return decode_refuse(decode, node,
				     "must be a string, but %s without quotes is %s; write \"%s\"",
				     node->text, yaml_type_name(node->type), node->text);
	if (type != FIELD_STRING && node->type == YAML_STRING)
		return decode_refuse(decode, node, "must be %s, not the string \"%s\"; write %s",
				     names[type], node->text, names[type]);
	return decode_refuse(decode, node, "must be %s, not %s; write %s", names[type],
			     yaml_type_name(node->type), names[type]);
}

static const struct field *find_field(const struct field *fields, const char *name)
{
	for (; fields->name; fields++)
		if (!strcmp(fields->name, name))
			return fields;
	return NULL;
}

int decode_child(struct decode *decode, const struct yaml_node *child, const struct field *fields,
		 void *into)
{
	const struct field *field = find_field(fields, child->key);
	int err;

	if (child->type == YAML_NULL)
		return 0;
	if (!field)
		return note_unknown(decode, child, fields);
	err = decode_check_type(decode, child, field->type);
	if (!err && field->verdict != SILENT)
		err = add_note(decode, child, (enum verdict_kind)field->verdict,
			       field->reason ? field->reason : "");
	if (!err && field->decode)
		err = field->decode(decode, child, (char *)into + field->offset);
	if (!err && field->fields)
		err = decode_fields(decode, child, field->fields, into);
	return err;
}

int decode_fields(struct decode *decode, const struct yaml_node *map, const struct field *fields,
		  void *into)
{
	int err = decode_check_type(decode, map, FIELD_MAP);

	for (const struct yaml_node *child = map->first; child && !err; child = child->next)
		err = decode_child(decode, child, fields, into);
	return err;
}

int decode_listed(struct decode *decode, const struct yaml_node *map, const struct field *fields,
		  void *into)
{
	int err = decode_check_type(decode, map, FIELD_MAP);

	for (const struct field *field = fields; field->name && !err; field++) {
		const struct yaml_node *child = yaml_get(map, field->name);

		if (child)
			err = decode_child(decode, child, fields, into);
	}
	return err;
}
