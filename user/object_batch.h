/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the objects: a batch, for object_batch.c which fills it and objects.c which takes it. */
#ifndef SLUICE_OBJECT_BATCH_H
#define SLUICE_OBJECT_BATCH_H

#include "objects.h"
#include "texts.h"

struct object_batch {
	struct arena arena; /* all but strings */
	struct texts texts;
	const char *file;
	struct object **list; /* in the order of the source, until the objects take them */
	size_t n, capacity;
	bool removed;              /* from the objects, which free it when they are sealed next */
	struct object_batch *next; /* among the objects' */
	/* While it is filled: */
	struct arena scratch;
	struct object_notes last_notes[OBJECT_KINDS]; /* of the last object of each kind */
	const struct object_pod *last_pod;
};

#endif
