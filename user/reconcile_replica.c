// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replica rows: what the model and the probes say of each. A row is
 * filled before its index entry appears, and its service-port is listed before
 * any flow can come back through it. Called by reconcile.c and the agent.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <sluice/hash.h>

#include "addr.h"
#include "maps.h"
#include "reconcile_state.h"

#define HEALTH (SL_REPLICA_PROBE_DOWN | SL_REPLICA_SUSPECT)

int64_t reconcile_find_replica(const struct reconcile *r, const union sl_addr *addr, __be16 port,
			       __u8 proto)
{
	struct index_key key = reconcile_key(addr, port, proto, SL_INDEX_REPLICA);
	__u32 row;

	return index_find(&r->index, &key, &row) ? -ENOENT : (int64_t)row;
}

bool reconcile_row_is(const struct reconcile *r, __u32 row, const struct model_replica *replica)
{
	const struct sl_replica_config *config;

	if (row >= r->replicas.n || !r->replicas.row[row].used)
		return false;
	config = &r->tables->replicas[row].config;
	return config->port == replica->port && config->proto == replica->proto &&
	       addr_equal(&config->addr, &replica->addr);
}

static int64_t find_hinted(const struct reconcile *r, const struct model_replica *replica, __u32 hint)
{
	if (reconcile_row_is(r, hint, replica))
		return hint;
	return reconcile_find_replica(r, &replica->addr, replica->port, replica->proto);
}

int64_t reconcile_find_nth(const struct reconcile *r, size_t nth,
			   const struct model_replica *replica)
{
	return find_hinted(r, replica, nth < r->n_hints ? r->hints[nth] : NO_ROW);
}

static void replica_event(struct reconcile *r, enum sl_event_kind kind, __u32 row,
			  const char *text)
{
	const struct sl_replica *replica = &r->tables->replicas[row];
	const struct sl_replica_services *services = &r->tables->replica_services[row];
	struct sl_event event = {
		.kind = kind,
		.addr = replica->config.addr,
		.port = replica->config.port,
		.service = services->n ? services->service[0] + 1 : 0,
		.value = maps_replica_state(replica, r->tables->kernel->now),
	};

	if (r->events)
		events_add(r->events, &event, "%s", text);
}

void reconcile_state_event(struct reconcile *r, __u32 row, const char *text)
{
	replica_event(r, SL_EVENT_REPLICA_STATE, row, text);
}

void reconcile_set_flags(struct reconcile *r, __u32 row, __u16 flags, const char *evidence)
{
	struct sl_replica *replica = &r->tables->replicas[row];
	enum sl_replica_state before = maps_replica_state(replica, r->tables->kernel->now);

	if (replica->config.flags == flags)
		return;
	__atomic_store_n(&replica->config.flags, flags, __ATOMIC_RELEASE);
	if (maps_replica_state(replica, r->tables->kernel->now) != before)
		reconcile_state_event(r, row, evidence);
}

void reconcile_turn_flags(struct reconcile *r, __u32 row, __u16 flags, const char *evidence)
{
	char text[512], slow[64];
	bool begins;

	flags = reconcile_warm_flags(r, row, flags, &begins);
	if (!begins) {
		reconcile_set_flags(r, row, flags, evidence);
		return;
	}
	snprintf(text, sizeof(text), "%s; %s", evidence,
		 reconcile_warm_text(r, row, slow, sizeof(slow)));
	reconcile_set_flags(r, row, flags, text);
}

void reconcile_health(struct reconcile *r, __u32 row, __u16 health, const char *evidence)
{
	__u16 flags;

	if (row >= r->replicas.n || !r->replicas.row[row].used)
		return;
	flags = r->tables->replicas[row].config.flags & ~HEALTH;
	reconcile_turn_flags(r, row, flags | (health & HEALTH), evidence);
}

/* ---- which services it belongs to ----------------------------------------------------*/

static void list_remove(struct sl_replica_services *list, __u32 at)
{
	list->service[at] = list->service[list->n - 1];
	__atomic_store_n(&list->n, list->n - 1, __ATOMIC_RELEASE);
}

/* Whether the service-port is to have the replica in the model that is being applied. */
static bool is_wanted(const struct reconcile *r, __u32 service,
		      const struct sl_replica_config *config)
{
	const struct model_service *wanted = r->services.row[service].wanted;

	for (size_t i = 0; wanted && i < wanted->n_replicas; i++)
		if (wanted->replicas[i].port == config->port &&
		    wanted->replicas[i].proto == config->proto &&
		    addr_equal(&wanted->replicas[i].addr, &config->addr))
			return true;
	return false;
}

/* A service that left, or no longer has the replica, stays listed for its open flows, unless the
 * place is needed: those that left go first. */
static int list_add(struct reconcile *r, __u32 row, __u32 service)
{
	struct sl_replica_services *list = &r->tables->replica_services[row];

	for (__u32 i = 0; i < list->n; i++)
		if (list->service[i] == service)
			return 0;
	for (__u32 i = 0; list->n == SL_MAX_SHARED && i < list->n; i++)
		if (r->services.row[list->service[i]].retired)
			list_remove(list, i);
	for (__u32 i = 0; list->n == SL_MAX_SHARED && i < list->n; i++)
		if (!is_wanted(r, list->service[i], &r->tables->replicas[row].config))
			list_remove(list, i);
	if (list->n == SL_MAX_SHARED)
		return -ENOSPC;
	list->service[list->n] = service;
	__atomic_store_n(&list->n, list->n + 1, __ATOMIC_RELEASE);
	return 0;
}

void reconcile_forget_service(struct reconcile *r, __u32 service)
{
	for (__u32 row = 0; row < r->replicas.n; row++) {
		struct sl_replica_services *list = &r->tables->replica_services[row];

		for (__u32 i = 0; r->replicas.row[row].used && i < list->n; i++)
			if (list->service[i] == service)
				list_remove(list, i);
	}
}

/* ---- the row ----------------------------------------------------------------------------*/

static __u16 model_flags(const struct model_replica *replica)
{
	__u16 flags = SL_REPLICA_USED;

	if (!replica->serving)
		flags |= SL_REPLICA_NOT_SERVING;
	if (replica->terminating)
		flags |= SL_REPLICA_DRAINING;
	if (replica->held_until_ns)
		flags |= SL_REPLICA_HELD;
	return flags;
}

static void write_name(struct reconcile *r, __u32 row, const struct model_replica *replica)
{
	const char *pod = replica->pod ? replica->pod : "", *node = replica->node ? replica->node : "";
	uint64_t hash = reconcile_hash(pod, node);
	struct sl_replica_name name = {};

	if (r->replicas.row[row].name == hash)
		return;
	snprintf(name.pod, sizeof(name.pod), "%s", pod);
	snprintf(name.node, sizeof(name.node), "%s", node);
	if (!bpf_map_update_elem(r->tables->replica_names_fd, &row, &name, BPF_ANY))
		r->replicas.row[row].name = hash;
}

/* Says that a replica joined, and how. */
static void say_new(struct reconcile *r, __u32 row, const char *pod)
{
	char text[64];

	replica_event(r, SL_EVENT_REPLICA_ADD, row, pod ? pod : "");
	if (maps_replica_state(&r->tables->replicas[row], r->tables->kernel->now) ==
	    SL_STATE_WARMING)
		reconcile_state_event(r, row, reconcile_warm_text(r, row, text, sizeof(text)));
}

static int64_t replica_new(struct reconcile *r, const struct model_replica *replica, __u32 service)
{
	struct index_key key =
		reconcile_key(&replica->addr, replica->port, replica->proto, SL_INDEX_REPLICA);
	int64_t row = rows_take(&r->replicas);
	struct sl_replica *entry;
	int error;

	if (row < 0)
		return row;
	entry = &r->tables->replicas[row];
	memset(entry, 0, sizeof(*entry)); /* free: no program reads it, the kernel's line included */
	memset(&r->tables->outliers[row], 0, sizeof(struct sl_outlier));
	entry->config.addr = replica->addr;
	entry->config.port = replica->port;
	entry->config.proto = replica->proto;
	entry->config.addr_sum = sl_addr_sum(&replica->addr);
	entry->config.weight = replica->weight;
	entry->config.max_connections = replica->max_connections;
	reconcile_warm_rules(r, row, &r->services.row[service].wanted->warmup, true);
	entry->config.flags = reconcile_warm_new(r, row, model_flags(replica),
						 SL_MEMBERS_LENGTH(r->tables->services[service].members));
	/* Not where an earlier life began: the replica may still hold those ports in TIME_WAIT. */
	if (getrandom(&entry->state.snat_cursor, sizeof(entry->state.snat_cursor), 0) < 0)
		entry->state.snat_cursor = reconcile_now_ns();
	memset(&r->tables->replica_services[row], 0, sizeof(struct sl_replica_services));
	list_add(r, row, service);
	error = index_add(&r->index, &key, row, reconcile_now_ns());
	if (error) {
		entry->config.flags = 0;
		rows_release(&r->replicas, row);
		return error;
	}
	reconcile_route(r, row);
	say_new(r, row, replica->pod);
	return row;
}

int64_t reconcile_replica(struct reconcile *r, const struct model_replica *replica, __u32 hint,
			  __u32 service)
{
	int64_t row = find_hinted(r, replica, hint);
	struct sl_replica_config *config;
	__u16 held = 0;
	int error;

	if (row < 0) {
		row = replica_new(r, replica, service);
		if (row >= 0)
			write_name(r, row, replica);
		return row;
	}
	config = &r->tables->replicas[row].config;
	error = list_add(r, row, service);
	if (error)
		return error;
	config->weight = replica->weight;
	config->max_connections = replica->max_connections;
	if (r->replicas.row[row].retired) {
		rows_retire(&r->replicas, row, false);
		replica_event(r, SL_EVENT_REPLICA_ADD, row, "came back");
	}
	reconcile_warm_rules(r, row, &r->services.row[service].wanted->warmup,
			     !r->replicas.row[row].seen);
	if (r->replicas.row[row].seen) /* by another service-port that has it */
		held = config->flags & SL_REPLICA_HELD;
	r->replicas.row[row].seen = true;
	reconcile_turn_flags(r, row,
		  (config->flags & (HEALTH | SL_REPLICA_LOCAL | SL_REPLICA_NO_ROUTE | SL_REPLICA_FAST |
				    SL_REPLICA_WARMING | SL_REPLICA_HAS_LOAD)) |
			  model_flags(replica) | held,
		  replica->terminating ? "terminating" : "EndpointSlice");
	write_name(r, row, replica);
	return row;
}

void reconcile_retire_replica(struct reconcile *r, __u32 row)
{
	struct sl_replica_config *config = &r->tables->replicas[row].config;

	rows_retire(&r->replicas, row, true);
	__atomic_store_n(&config->flags, (config->flags & ~SL_REPLICA_HELD) | SL_REPLICA_NOT_SERVING,
			 __ATOMIC_RELEASE);
	replica_event(r, SL_EVENT_REPLICA_DEL, row, "no service has it any more");
}
