/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside reconcile: its state, and what its files share. reconcile.c applies a
 * model that reconcile_check.c found to fit, reconcile_replica.c keeps replica
 * rows, reconcile_warmup.c their slow start, reconcile_reclaim.c frees what nobody refers to any more,
 * reconcile_caps.c says where caps are and whom they spare,
 * reconcile_handback.c which services were given back,
 * reconcile_rows.c knows which rows are taken.
 */
#ifndef SLUICE_RECONCILE_STATE_H
#define SLUICE_RECONCILE_STATE_H

#include "index.h"
#include "ranges.h"
#include "reconcile.h"

/* What the agent knows of one row besides the row itself. */
struct row {
	bool used;
	bool seen;    /* the model being applied has it */
	bool retired; /* it had it once; flows may still refer to it */
	bool met;     /* by the pass of reclaim under way */
	bool doomed;  /* was retired before that pass began */
	uint64_t name; /* hash of the names written; 0: none */
	const struct model_service *wanted; /* a service's, while a model is applied; NULL: gone */
};

/* Slow start of a replica; all zero: none. */
struct warm {
	struct model_warmup rules;
	bool known;        /* the rules: a model was applied since this agent began */
	uint64_t begun_ns; /* 0: it is out, or an earlier agent began it */
	bool armed;        /* it is out, and begins when it is back */
};

/* What a replica comes back from; ejections are the kernel's. */
#define RECONCILE_OUT (SL_REPLICA_NOT_SERVING | SL_REPLICA_NO_ROUTE | SL_REPLICA_PROBE_DOWN)

struct rows {
	struct row *row;
	__u32 n;       /* size of the table */
	__u32 retired; /* how many are */
};

#define NO_ROW UINT32_MAX

struct reconcile {
	struct tables *tables;
	struct events *events;
	reconcile_path_fn *path;
	void *context;
	struct index index;
	struct ranges ranges;
	struct rows services, vips, replicas;
	struct warm *warm; /* by row of the replica */
	__u32 *hints;    /* of each replica of the model applied last, in its order: most likely its row */
	size_t n_hints;
	__u32 n_sources;
	union sl_addr *locals; /* addresses of this node that are in the index */
	size_t n_locals;
	uint64_t *handed_back; /* hashes of services, while a model is applied */
	size_t n_handed_back;
	__u32 reclaim_slice;  /* next slice of the flow table to look at */
	__u32 reclaim_slices; /* 0: no pass under way */
};

uint64_t reconcile_now_ns(void);
uint64_t reconcile_hash(const char *a, const char *b);

/* Room for what is known of `n` rows; free(rows->row) ends it. 0, or -ENOMEM. */
int rows_init(struct rows *rows, __u32 n);
void rows_unsee(struct rows *rows);
/* First unused row, marked used and seen; -ENOSPC. */
int64_t rows_take(struct rows *rows);
void rows_retire(struct rows *rows, __u32 row, bool retired);
void rows_release(struct rows *rows, __u32 row);

struct index_key reconcile_key(const union sl_addr *addr, __be16 port, __u8 proto, __u8 kind);

/* What tells one service-port from another: its names, and their hash. */
uint64_t reconcile_name_hash(const struct sl_service_name *name);
uint64_t reconcile_name(const struct model_service *service, struct sl_service_name *ret);
/* Row of the service-port whose names have this hash, or -ENOENT. */
int64_t reconcile_find_service(const struct reconcile *r, uint64_t hash);

/* Whether all of the model finds a place; notes which service each row is to be. Stores nothing in
 * the tables. 0; -ENOSPC and -ENOMEM with `error` set. */
int reconcile_check(struct reconcile *r, const struct model *model, const union sl_addr *addresses,
		    size_t n_addresses, char *error, size_t error_len);

/* Whether a row (NO_ROW too) is this replica's. */
bool reconcile_row_is(const struct reconcile *r, __u32 row, const struct model_replica *replica);

/* Row for a replica of the model, made or brought up to date; -ENOSPC, -errno. */
int64_t reconcile_replica(struct reconcile *r, const struct model_replica *replica, __u32 hint,
			  __u32 service);
void reconcile_retire_replica(struct reconcile *r, __u32 row);

/* Stores new flags; says so, with the evidence, when the state that people see changed. */
void reconcile_set_flags(struct reconcile *r, __u32 row, __u16 flags, const char *evidence);
/* The same for flags that may take the replica out or bring it back: slow start goes with them. */
void reconcile_turn_flags(struct reconcile *r, __u32 row, __u16 flags, const char *evidence);
/* SL_EVENT_REPLICA_STATE of the state that it is in. */
void reconcile_state_event(struct reconcile *r, __u32 row, const char *text);

/* reconcile_path.c. Asks for the way to a replica, and stores it. */
void reconcile_route(struct reconcile *r, __u32 row);

/* reconcile_warmup.c. The rules of a replica, `first` in this model or of one more service that has
 * it: the longest counts. */
void reconcile_warm_rules(struct reconcile *r, __u32 row, const struct model_warmup *rules,
			  bool first);
/* The flags of a row that is made; `joins`: its service had others already. */
__u16 reconcile_warm_new(struct reconcile *r, __u32 row, __u16 flags, bool joins);
/* The flags that a row is to have, with slow start as a change of flags begins or ends it; stores
 * the share that goes with them. */
__u16 reconcile_warm_flags(struct reconcile *r, __u32 row, __u16 flags, bool *ret_begins);
/* "slow start of 60 s", into buf. */
const char *reconcile_warm_text(const struct reconcile *r, __u32 row, char *buf, size_t len);

/* reconcile_caps.c. Finds the addresses of this node that an earlier agent left in the index; -ENOMEM. */
int reconcile_adopt_locals(struct reconcile *r);
/* Makes them these; 0; -ENOMEM, -ENOSPC with `error` set. */
int reconcile_locals(struct reconcile *r, const union sl_addr *addresses, size_t n, char *error,
		     size_t error_len);
/* Says to the programs whether any replica has a cap. */
void reconcile_caps(struct reconcile *r);

/* reconcile_handback.c. Notes which services `sluice hand-back` gave back, before the rows change. 0;
 * -ENOMEM. */
int reconcile_note_handed_back(struct reconcile *r);
/* `admin` of a VIP that joins the service: as those that it has. */
__u32 reconcile_vip_admin(const struct reconcile *r, const struct model_service *service);
/* The mode of a service-port changes: what was given back was so in the other one. */
void reconcile_end_hand_back(struct reconcile *r, __u32 service);

/* Takes a service-port out of the list of every replica. */
void reconcile_forget_service(struct reconcile *r, __u32 service);

#endif
