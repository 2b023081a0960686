/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tables by which objects are decoded: one row a field, with its type, its
 * verdict and where its value goes. A field without a row is unknown, and its
 * verdict names the nearest row. Shared by objects_*.c; nobody else's business.
 */
#ifndef SLUICE_DECODE_H
#define SLUICE_DECODE_H

#include "objects.h"
#include "texts.h"

struct decode {
	struct arena *arena;
	struct texts *texts;
	struct arena *scratch;        /* of one object: its notes, until all are there */
	const char *file;
	const struct yaml_node *root; /* of the object: where paths begin */
	struct object *object;        /* notes go here; NULL while it has no name yet */
	bool always;                  /* what `always` of new notes is */
	struct diag *diag;
	const struct object_pod *like; /* the Pod before it in the batch; NULL: none */
	struct object_container *container; /* whose probe is decoded: its ports have names */
};

enum field_type {
	FIELD_ANY,
	FIELD_STRING,
	FIELD_INT,
	FIELD_BOOL,
	FIELD_MAP,
	FIELD_LIST,
	FIELD_INT_OR_STRING,
};

/* What is said about a field: a verdict, or nothing here because its own function does, or
 * because it does not concern a balancer. */
enum field_verdict {
	SILENT = -1,
	HONOURED = VERDICT_HONOURED,
	MAPPED = VERDICT_MAPPED,
	UNSUPPORTED = VERDICT_UNSUPPORTED,
};

struct field {
	const char *name; /* NULL ends the table */
	enum field_type type;
	enum field_verdict verdict;
	const char *reason; /* NULL: "" */
	/* Stores the value at `into`, the object plus `offset`; NULL: the value is not kept. */
	int (*decode)(struct decode *decode, const struct yaml_node *value, void *into);
	size_t offset;
	const struct field *fields; /* the table of what is in a map; read into the same object */
};

/* Rows: a verdict and no value; a value of one member; a part whose function reads it into the
 * whole object; a map with a table of its own. */
#define FIELD_SAY(name, type, verdict, reason) {name, type, verdict, reason, NULL, 0, NULL}
#define FIELD_GET(name, type, verdict, decode, holder, member)                                     \
	{name, type, verdict, NULL, decode, offsetof(holder, member), NULL}
#define FIELD_PART(name, type, verdict, decode) {name, type, verdict, NULL, decode, 0, NULL}
#define FIELD_TABLE(name, fields) {name, FIELD_MAP, SILENT, NULL, NULL, 0, fields}

/* All that return int: 0, -EINVAL with the diag filled, or -ENOMEM. */

/* Each child of `map` by its row of `fields`; null values count as absent. */
int decode_fields(struct decode *decode, const struct yaml_node *map, const struct field *fields,
		  void *into);
/* Those children of `map` that have a row, in the order of the rows; the others are left alone. */
int decode_listed(struct decode *decode, const struct yaml_node *map, const struct field *fields,
		  void *into);
/* One child of a map, by the row of its key. */
int decode_child(struct decode *decode, const struct yaml_node *child, const struct field *fields,
		 void *into);
/* Refuses the object because of this node. Says where; `format` says why and what to do. */
int decode_refuse(const struct decode *decode, const struct yaml_node *node, const char *format,
		  ...) __attribute__((format(printf, 3, 4)));
/* A verdict on this node; the same verdict on the same field name counts once an object. */
int decode_note(struct decode *decode, const struct yaml_node *node, enum verdict_kind kind,
		const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The verdict that it is honoured. */
int decode_honour(struct decode *decode, const struct yaml_node *node);

int decode_check_type(const struct decode *decode, const struct yaml_node *node,
		      enum field_type type);
/* A whole number of these bounds. */
int decode_range(const struct decode *decode, const struct yaml_node *node, int64_t min,
		 int64_t max, int64_t *ret);
/* The child `key` of a map, which must be there. */
int decode_require(const struct decode *decode, const struct yaml_node *map, const char *key,
		   const struct yaml_node **ret);
/* An IP address that can be told from others: not unspecified, loopback or multicast. */
int decode_ip(const struct decode *decode, const struct yaml_node *node, union sl_addr *ret);
/* A duration of at least `min_ns`. */
int decode_duration(const struct decode *decode, const struct yaml_node *node, uint64_t min_ns,
		    uint64_t *ret_ns);
/* A duration of at least a millisecond, and the verdict: what is longer than a week is taken as a
 * week. Row of a table; `into`: unsigned, milliseconds. */
int decode_span(struct decode *decode, const struct yaml_node *value, void *into);
/* A count as the API takes it, 0 to 2^32 - 1, and the verdict: more than `most` is `most`. */
int decode_count(struct decode *decode, const struct yaml_node *value, unsigned most,
		 unsigned *ret);
/* A whole or decimal number of these bounds. */
int decode_number(const struct decode *decode, const struct yaml_node *node, double min, double max,
		  double *ret);
/* A host as rules name it: "llm", "llm.team", "llm.team.svc.cluster.local". One that is no Service of
 * a cluster leaves ret->name NULL; nothing is said of it. */
int decode_service_host(struct decode *decode, const struct yaml_node *value, struct object_host *ret);
/* Which of `choices` (ended by NULL) a string is. */
int decode_choice(const struct decode *decode, const struct yaml_node *node,
		  const char *const *choices, unsigned *ret);
/* Room for the children of a list, `size` bytes each; NULL: out of memory. */
void *decode_array(const struct decode *decode, const struct yaml_node *list, size_t size);
/* The path of a node within its object, kept. NULL: out of memory. */
const char *decode_path(const struct decode *decode, const struct yaml_node *node);

/* For rows of tables. `into`: const char *, bool, __u16 (1-65535), __u8 (IPPROTO_*); and a port's
 * name, const char *. */
int decode_string(struct decode *decode, const struct yaml_node *value, void *into);
int decode_bool(struct decode *decode, const struct yaml_node *value, void *into);
int decode_port(struct decode *decode, const struct yaml_node *value, void *into);
int decode_proto(struct decode *decode, const struct yaml_node *value, void *into);
int decode_port_name(struct decode *decode, const struct yaml_node *value, void *into);

/* A list of ports by a table for struct object_port, whose protocol is TCP unless said. */
int decode_ports(struct decode *decode, const struct yaml_node *list, const struct field *fields,
		 struct object_port **ret, size_t *ret_n);

/* Appends a copy of `note`, strings included; once for each kind, field (whatever the index) and
 * reason. 0, -ENOMEM, or -E2BIG when there are too many. */
int object_add_note(struct arena *arena, struct texts *texts, struct object_notes *notes,
		    const struct object_note *note);

/* The kinds, each in its file. `object` is what decode->object points to. */
int object_decode_meta(struct decode *decode, const struct yaml_node *metadata,
		       struct object *object);
int object_decode_service(struct decode *decode, const struct yaml_node *root,
			  struct object_service *service);
int object_decode_slice(struct decode *decode, const struct yaml_node *root,
			struct object_slice *slice);
int object_decode_pod(struct decode *decode, const struct yaml_node *root,
		      struct object_pod *pod);
int object_decode_rule(struct decode *decode, const struct yaml_node *root,
		       struct object_rule *rule);
int object_decode_virtual(struct decode *decode, const struct yaml_node *root,
			  struct object_virtual *virtual);

/* Parts of a traffic policy, for rows of tables; `into`: struct object_traffic. */
int decode_balancer(struct decode *decode, const struct yaml_node *map, void *into);
int decode_pool(struct decode *decode, const struct yaml_node *map, void *into);
int decode_outlier(struct decode *decode, const struct yaml_node *map, void *into);

/* Why a field of the Istio API is not acted upon. */
#define SAY_LATER    "valid, but not acted upon by this version"
#define SAY_REQUESTS "Sluice balances connections and does not see requests inside them"

/* Ties slices, rules and Pods of sorted objects to the objects that they name; `ties` keeps what is
 * said of it. 0, or -ENOMEM. */
int objects_tie(struct objects *objects, struct texts *ties);

/* Names as Kubernetes limits them (RFC 1123). */
bool name_is_label(const char *name);     /* at most 63 of a-z 0-9 - */
bool name_is_subdomain(const char *name); /* the same with dots between, at most 253 */
bool label_is_valid(const char *value);   /* at most 63 of A-Z a-z 0-9 - _ . */

#endif
