/* SPDX-License-Identifier: GPL-2.0-only */
/* For tests: manifests written in place, decoded and compiled. */
#ifndef SLUICE_TEST_MANIFESTS_H
#define SLUICE_TEST_MANIFESTS_H

#include <stdlib.h>
#include <string.h>

#include "objects.h"
#include "policy.h"
#include "yaml.h"

struct manifests {
	int err;
	struct objects *objects;
	struct model *model;
	struct verdicts verdicts;
	struct diag diag;
};

/* Up to sealed objects; `model` stays NULL. */
static inline struct manifests manifests_decode(const char *text)
{
	struct object_batch *batch = NULL;
	struct manifests m = {0};

	m.err = objects_new(&m.objects);
	if (!m.err)
		m.err = object_batch_new("test.yaml", &batch);
	if (!m.err)
		m.err = object_batch_read(batch, text, strlen(text), &m.diag);
	if (!m.err)
		m.err = objects_put(m.objects, batch);
	if (m.err)
		object_batch_free(batch);
	else
		m.err = objects_seal(m.objects, &m.diag);
	return m;
}

/* All the way; `options` may be NULL: node "node-1", no external address allowed. */
static inline struct manifests manifests_compile(const char *text,
						 const struct policy_options *options)
{
	static const struct policy_options plain = {.node_name = "node-1"};
	struct manifests m = manifests_decode(text);

	if (!m.err)
		m.err = policy_compile(m.objects, options ? options : &plain, &m.verdicts, &m.model,
				       &m.diag);
	return m;
}

static inline void manifests_done(struct manifests *m)
{
	model_free(m->model);
	objects_free(m->objects);
	verdicts_done(&m->verdicts);
}

/* The first verdict on this field, NULL: none. */
static inline const struct verdict *manifests_verdict(const struct manifests *m, const char *field)
{
	for (size_t i = 0; i < m->verdicts.n; i++)
		if (!strcmp(m->verdicts.list[i].field, field))
			return &m->verdicts.list[i];
	return NULL;
}

/* "unsupported: REASON"; "" when nothing was said of the field. */
static inline const char *manifests_said(const struct manifests *m, const char *field)
{
	static char text[1024];
	const struct verdict *verdict = manifests_verdict(m, field);

	snprintf(text, sizeof(text), "%s%s%s", verdict ? verdict_kind_names[verdict->kind] : "",
		 verdict && *verdict->reason ? ": " : "", verdict ? verdict->reason : "");
	return text;
}

#endif
