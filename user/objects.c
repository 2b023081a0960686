// SPDX-License-Identifier: GPL-2.0-only
/*
 * All objects of the input, whatever batch they came in: keeps them sorted as
 * batches come and go, and finds them. Refuses doubles. What did not change since
 * it was sealed last costs a look, not a comparison. Called by discovery; read by
 * policy.
 */
#include "objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "object_batch.h"

struct objects {
	struct object **list; /* the first `n_sorted` as sealed last, then what was put since */
	size_t n, n_sorted, capacity;
	size_t first[OBJECT_KINDS + 1]; /* where each kind begins, once sealed */
	struct object_batch *batches;   /* those that were removed too */
	bool removing;                  /* there are such */
	struct texts ties;              /* what is said of whom objects name */
};

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
	struct object_batch *next;

	if (!objects)
		return;
	for (struct object_batch *batch = objects->batches; batch; batch = next) {
		next = batch->next;
		object_batch_free(batch);
	}
	texts_done(&objects->ties);
	free(objects->list);
	free(objects);
}

int objects_put(struct objects *objects, struct object_batch *batch)
{
	size_t n = objects->n + batch->n;
	struct object **list;

	if (n > objects->capacity) {
		n += n / 8; /* few objects come at a time, once all are here */
		list = reallocarray(objects->list, n, sizeof(struct object *));
		if (!list)
			return -ENOMEM;
		objects->list = list;
		objects->capacity = n;
	}
	if (batch->n)
		memcpy(&objects->list[objects->n], batch->list, batch->n * sizeof(struct object *));
	objects->n += batch->n;
	batch->next = objects->batches;
	objects->batches = batch;
	free(batch->list);
	batch->list = NULL;
	texts_close(&batch->texts);
	return 0;
}

void objects_remove(struct objects *objects, struct object_batch *batch)
{
	batch->removed = true;
	objects->removing = true;
}

/* ---- sealing ------------------------------------------------------------------------------*/

/* Doubles in the order of files, and within one of places: the later one is named. */
static int compare_objects(const void *a, const void *b)
{
	const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
	int order = (x->kind > y->kind) - (x->kind < y->kind);

	order = order ? order : strcmp(x->namespace, y->namespace);
	order = order ? order : strcmp(x->name, y->name);
	if (!order && x->file != y->file)
		order = strcmp(x->file, y->file);
	return order ? order : (x->order > y->order) - (x->order < y->order);
}

/* Endpoints must not lead to Pods that are about to be freed. */
static void untie_removed(struct objects *objects)
{
	for (size_t i = 0; i < objects->n; i++) {
		struct object_slice *slice = (struct object_slice *)objects->list[i];

		for (size_t k = 0; slice->object.kind == OBJECT_SLICE && k < slice->n_endpoints; k++) {
			struct object_endpoint *endpoint = &slice->endpoints[k];

			if (endpoint->pod && endpoint->pod->object.batch->removed)
				endpoint->pod = NULL;
		}
	}
}

static void drop_removed(struct objects *objects)
{
	size_t kept = 0, sorted = 0;
	bool pods = false;

	for (size_t i = 0; i < objects->n; i++) {
		struct object *object = objects->list[i];

		if (object->batch->removed) {
			pods |= object->kind == OBJECT_POD;
			continue;
		}
		sorted += i < objects->n_sorted;
		objects->list[kept++] = object;
	}
	objects->n = kept;
	objects->n_sorted = sorted;
	if (pods)
		untie_removed(objects);
}

static void free_removed(struct objects *objects)
{
	struct object_batch **link = &objects->batches, *batch;

	while ((batch = *link)) {
		if (!batch->removed) {
			link = &batch->next;
			continue;
		}
		*link = batch->next;
		object_batch_free(batch);
	}
	objects->removing = false;
}

void objects_flush(struct objects *objects)
{
	if (!objects->removing)
		return;
	drop_removed(objects);
	free_removed(objects);
}

/* How many of the first `n`, sorted, come before the object. */
static size_t find_place(struct object *const *list, size_t n, struct object *object)
{
	size_t low = 0;

	while (low < n) {
		size_t middle = low + (n - low) / 2;

		if (compare_objects(&list[middle], &object) < 0)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

/* Merges what is new, from the end: each finds its place by halves, since it is little. */
static int merge_fresh(struct objects *objects)
{
	size_t n_fresh = objects->n - objects->n_sorted, end = objects->n_sorted;
	struct object **list = objects->list, **fresh;

	if (!n_fresh)
		return 0;
	qsort(list + end, n_fresh, sizeof(struct object *), compare_objects);
	objects->n_sorted = objects->n;
	if (!end)
		return 0;
	fresh = malloc(n_fresh * sizeof(struct object *));
	if (!fresh) {
		objects->n_sorted = 0;
		return -ENOMEM;
	}
	memcpy(fresh, list + end, n_fresh * sizeof(struct object *));
	while (n_fresh) {
		size_t place = find_place(list, end, fresh[n_fresh - 1]);

		memmove(list + place + n_fresh, list + place, (end - place) * sizeof(struct object *));
		end = place;
		n_fresh--;
		list[place + n_fresh] = fresh[n_fresh];
	}
	free(fresh);
	return 0;
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

static void number(struct objects *objects)
{
	memset(objects->first, 0, sizeof(objects->first));
	for (size_t i = 0; i < objects->n; i++) {
		objects->first[objects->list[i]->kind + 1] = i + 1;
		objects->list[i]->index = (unsigned)i;
	}
	for (size_t kind = 1; kind <= OBJECT_KINDS; kind++)
		if (objects->first[kind] < objects->first[kind - 1])
			objects->first[kind] = objects->first[kind - 1];
}

int objects_seal(struct objects *objects, struct diag *diag)
{
	int err;

	objects_flush(objects);
	err = merge_fresh(objects);
	if (err)
		return err;
	number(objects);
	texts_done(&objects->ties);
	err = check_doubles(objects, diag);
	return err ? err : objects_tie(objects, &objects->ties);
}

/* ---- finding ------------------------------------------------------------------------------*/

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
