/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * YAML 1.2 and JSON text as small trees, one document at a time, each node
 * with its line and its path. Aliases are expanded (within limits); tags but
 * !!str, merge keys, doubled keys and keys that are no scalars are refused.
 */
#ifndef SLUICE_YAML_H
#define SLUICE_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "verdict.h"

#define YAML_MAX_BYTES (64u << 20) /* of one input */
#define YAML_MAX_ALIASED 10000u    /* nodes that the aliases of one document may expand to */

enum yaml_type { YAML_NULL, YAML_BOOL, YAML_INT, YAML_FLOAT, YAML_STRING, YAML_MAP, YAML_LIST };

struct yaml_node {
	enum yaml_type type;
	unsigned line;      /* from 1 */
	const char *key;    /* of the map that holds it; NULL in a list and at the root */
	const char *text;   /* of a scalar, as written; else NULL */
	unsigned index;     /* among its siblings, from 0 */
	unsigned n;         /* children */
	struct yaml_node *parent, *first, *last, *next;
};

struct yaml;

/* Reads `len` bytes, followed by a NUL; they must outlive the reader. `file` is for messages, and
 * where it ends in .json the text must be JSON. 0, -EINVAL with *diag, or -ENOMEM. */
int yaml_open(const char *bytes, size_t len, const char *file, struct yaml **ret,
	      struct diag *diag);
void yaml_close(struct yaml *yaml);

/* The next document that is not empty, NULL after the last. It lives until the next call. 0,
 * -EINVAL with *diag, or -ENOMEM. */
int yaml_next(struct yaml *yaml, const struct yaml_node **ret, struct diag *diag);

/* The child with this key; NULL when there is none, when it is null, or when `map` is no map. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/* The later of two children with the same key; NULL when no two are. 0, or -ENOMEM. */
int yaml_find_doubled(const struct yaml_node *map, const struct yaml_node **ret);

/* "a string", "a number", ... */
const char *yaml_type_name(enum yaml_type type);

/* What a plain scalar means: null, a bool (those of YAML 1.1 too, as kubectl reads them), a number
 * or a string. */
enum yaml_type yaml_resolve(const char *text);

/* "spec.ports[0].port" from `root` down, keys of other shapes as "labels[a.b/c]"; returns buf. */
const char *yaml_path(const struct yaml_node *node, const struct yaml_node *root, char *buf,
		      size_t len);

/* The value of a decimal YAML_INT within the bounds. 0; -EINVAL: no such form; -ERANGE. */
int yaml_int(const struct yaml_node *node, int64_t min, int64_t max, int64_t *ret);

/* The value of a YAML_BOOL. */
bool yaml_bool(const struct yaml_node *node);

#endif
