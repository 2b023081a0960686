// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns which row means which service, VIP and replica, the index and the member
 * ranges. Order of stores: replica rows, then the member list, then the VIP, so
 * that a program never meets half a service. Called by the agent.
 */
#include "reconcile.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/hash.h>

#include "addr.h"
#include "alias.h"
#include "reconcile_state.h"

#define LOAD_TTL_MS 3000 /* a report older than this is stale */
#define RETRY_BUDGET 1000 /* a second: what a node spends on a service that answers nobody */
#define MAX_EJECTION_MS 300000 /* Envoy's max_ejection_time, or the base where that is longer */

/* ---- warm start -----------------------------------------------------------------------*/

static int adopt_service(struct reconcile *r, __u32 row)
{
	struct sl_service *service = &r->tables->services[row];
	struct sl_service_name name;

	if (!(service->flags & SL_SERVICE_USED))
		return 0;
	r->services.row[row].used = true;
	if (!bpf_map_lookup_elem(r->tables->service_names_fd, &row, &name))
		r->services.row[row].name = reconcile_name_hash(&name);
	return ranges_reserve(&r->ranges, SL_MEMBERS_OFFSET(service->members),
			      SL_MEMBERS_LENGTH(service->members));
}

static int adopt(struct reconcile *r)
{
	int error = 0;

	for (__u32 row = 0; row < r->services.n && !error; row++)
		error = adopt_service(r, row);
	for (__u32 row = 0; row < r->vips.n; row++)
		r->vips.row[row].used = r->tables->vips[row].flags & SL_VIP_USED;
	for (__u32 row = 0; row < r->replicas.n; row++)
		r->replicas.row[row].used = r->tables->replicas[row].config.flags & SL_REPLICA_USED;
	while (r->n_sources < SL_MAX_SOURCES && r->tables->sources[r->n_sources].used)
		r->n_sources++;
	return error;
}

int reconcile_new(struct tables *tables, struct events *events, reconcile_path_fn *path,
		  void *context, struct reconcile **ret)
{
	struct reconcile *r = calloc(1, sizeof(*r));
	int error;

	if (!r)
		return -ENOMEM;
	r->tables = tables;
	r->events = events;
	r->path = path;
	r->context = context;
	error = rows_init(&r->services, SL_MAX_SERVICES);
	error = error ?: rows_init(&r->vips, SL_MAX_VIPS);
	error = error ?: rows_init(&r->replicas, SL_MAX_REPLICAS);
	r->warm = calloc(SL_MAX_REPLICAS, sizeof(*r->warm));
	error = error ?: r->warm ? 0 : -ENOMEM;
	error = error ?: ranges_init(&r->ranges, SL_MAX_MEMBERS);
	error = error ?: index_init(&r->index, tables->addr_index, tables->filters,
				    tables->control->seed);
	error = error ?: adopt(r) ?: reconcile_adopt_locals(r);
	if (error) {
		reconcile_free(r);
		return error;
	}
	*ret = r;
	return 0;
}

void reconcile_free(struct reconcile *r)
{
	if (!r)
		return;
	index_done(&r->index);
	ranges_done(&r->ranges);
	free(r->services.row);
	free(r->vips.row);
	free(r->replicas.row);
	free(r->locals);
	free(r->hints);
	free(r->handed_back);
	free(r->warm);
	free(r);
}

/* ---- services ---------------------------------------------------------------------------*/

static void service_event(struct reconcile *r, enum sl_event_kind kind, __u32 row)
{
	struct sl_event event = {.kind = kind, .service = row + 1};

	struct sl_service_name name;

	if (!r->events)
		return;
	if (bpf_map_lookup_elem(r->tables->service_names_fd, &row, &name))
		events_add(r->events, &event, "%s", "");
	else if (name.port_name[0])
		events_add(r->events, &event, "%s %s", name.service, name.port_name);
	else
		events_add(r->events, &event, "%s %u", name.service, ntohs(name.port));
}

/* A number that no other life of any row has: that of the event which tells of it. */
static __u32 new_epoch(const struct reconcile *r)
{
	__u32 epoch = r->tables->event_head->last + 1;

	return epoch ? epoch : 1;
}

/* A row begins anew, but for `parked`: tickets that its last service gave may still come back. */
static void service_state_reset(struct sl_service_state *state)
{
	memset(state, 0, offsetof(struct sl_service_state, parked));
	memset(&state->retries, 0, sizeof(*state) - offsetof(struct sl_service_state, retries));
}

static int64_t service_row(struct reconcile *r, const struct model_service *service)
{
	struct sl_service_name name;
	uint64_t hash = reconcile_name(service, &name);
	int64_t row = reconcile_find_service(r, hash);

	if (row >= 0) {
		r->services.row[row].seen = true;
		rows_retire(&r->services, row, false);
		return row;
	}
	row = rows_take(&r->services);
	if (row < 0)
		return row;
	r->tables->services[row] = (struct sl_service){.epoch = new_epoch(r)};
	service_state_reset(&r->tables->service_states[row]);
	if (bpf_map_update_elem(r->tables->service_names_fd, &(__u32){row}, &name, BPF_ANY)) {
		rows_release(&r->services, row);
		return -errno;
	}
	r->services.row[row].name = hash;
	r->services.row[row].wanted = service;
	service_event(r, SL_EVENT_SERVICE_ADD, row);
	return row;
}

/* Publishes a member list; the old one rests a second before its range is given again. */
static int publish_members(struct reconcile *r, __u32 row, const struct sl_member *list, __u32 n)
{
	struct sl_service *service = &r->tables->services[row];
	__u64 old = service->members, now = reconcile_now_ns();
	__u32 offset = 0;
	int error;

	if (SL_MEMBERS_LENGTH(old) == n &&
	    (!n || !memcmp(&r->tables->members[SL_MEMBERS_OFFSET(old)], list, n * sizeof(*list))))
		return 0;
	error = ranges_alloc(&r->ranges, n, now, &offset);
	if (error)
		return error;
	if (n)
		memcpy(&r->tables->members[offset], list, n * sizeof(*list));
	__atomic_store_n(&service->members,
			 SL_MEMBERS(offset, n, SL_MEMBERS_GENERATION(old) + 1), __ATOMIC_RELEASE);
	return ranges_free(&r->ranges, SL_MEMBERS_OFFSET(old), SL_MEMBERS_LENGTH(old), now);
}

static int apply_members(struct reconcile *r, const struct model_service *service, __u32 *hints,
			 __u32 row)
{
	size_t n = service->n_replicas;
	__u32 *replicas = calloc(n + 1, sizeof(*replicas));
	__u16 *weights = calloc(n + 1, sizeof(*weights));
	struct sl_member *list = calloc(n + 1, sizeof(*list));
	int error = replicas && weights && list ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && !error; i++) {
		int64_t replica = reconcile_replica(r, &service->replicas[i], hints[i], row);

		error = replica < 0 ? replica : 0;
		replicas[i] = hints[i] = replica;
		weights[i] = service->replicas[i].weight;
	}
	error = error ?: alias_build(replicas, weights, n, list);
	error = error ?: publish_members(r, row, list, n);
	free(replicas);
	free(weights);
	free(list);
	return error;
}

/* ---- VIPs ----------------------------------------------------------------------------------*/

/* The bare address, so that fragments of its packets are known. Shared by all its VIPs, and names one of
 * them: -EEXIST. */
static int apply_address(struct reconcile *r, const union sl_addr *addr, __u32 vip)
{
	struct index_key key = reconcile_key(addr, 0, 0, SL_INDEX_ADDRESS);
	int error = index_add(&r->index, &key, vip, reconcile_now_ns());

	return error == -EEXIST ? 0 : error;
}

/* The row that an address has already: it may have been withdrawn, or another service's. */
static void keep_vip(struct reconcile *r, __u32 row, __u32 service, __u32 admin)
{
	struct sl_vip *entry = &r->tables->vips[row];
	bool joins = entry->service != service || entry->flags & SL_VIP_NO_NEW;

	if (joins)
		__atomic_store_n(&entry->admin, admin, __ATOMIC_RELEASE);
	__atomic_store_n(&entry->service, service, __ATOMIC_RELEASE);
	__atomic_store_n(&entry->flags, SL_VIP_USED, __ATOMIC_RELEASE);
	rows_retire(&r->vips, row, false);
	r->vips.row[row].seen = true;
}

/* `admin`: of a VIP that joins the service. */
static int apply_vip(struct reconcile *r, const union sl_addr *addr, const struct model_vip *vip,
		     __u32 service, __u32 admin)
{
	struct index_key key = reconcile_key(addr, vip->port, vip->proto, SL_INDEX_VIP);
	struct sl_vip *entry;
	int64_t found;
	__u32 row;
	int error;

	if (index_find(&r->index, &key, &row) == 0) {
		keep_vip(r, row, service, admin);
		return 0;
	}
	found = rows_take(&r->vips);
	if (found < 0)
		return found;
	entry = &r->tables->vips[found];
	*entry = (struct sl_vip){.addr = *addr, .port = vip->port, .proto = vip->proto,
				 .flags = SL_VIP_USED, .service = service,
				 .addr_sum = sl_addr_sum(addr), .admin = admin};
	error = apply_address(r, addr, found);
	error = error ?: index_add(&r->index, &key, found, reconcile_now_ns());
	if (error) {
		entry->flags = 0;
		rows_release(&r->vips, found);
	}
	return error;
}

static int apply_vips(struct reconcile *r, const struct model_service *service, __u32 row,
		      const union sl_addr *addresses, size_t n_addresses)
{
	__u32 admin = reconcile_vip_admin(r, service);
	int error = 0;

	for (size_t i = 0; i < service->n_vips && !error; i++) {
		const struct model_vip *vip = &service->vips[i];

		if (vip->kind != MODEL_VIP_NODE_PORT) {
			error = apply_vip(r, &vip->addr, vip, row, admin);
			continue;
		}
		for (size_t a = 0; a < n_addresses && !error; a++)
			if (addr_is_v4(&addresses[a]) == addr_is_v4(&vip->addr))
				error = apply_vip(r, &addresses[a], vip, row, admin);
	}
	return error;
}

/* ---- the whole -------------------------------------------------------------------------------*/

static __u32 ticks(const struct reconcile *r, uint64_t ms)
{
	uint64_t n = (ms * r->tables->control->hz + 999) / 1000;

	return n < INT32_MAX ? n : INT32_MAX; /* times are compared by the sign of a difference */
}

/* Retries, outlier detection, caps; the programs read each field by itself. */
static void set_policy(const struct reconcile *r, const struct model_service *service,
		       struct sl_service *entry)
{
	const struct model_outlier *outlier = &service->outlier;
	uint64_t most_ms = outlier->base_ejection_ms;

	entry->retry_attempts = service->retry.attempts;
	entry->retry_budget = RETRY_BUDGET;
	entry->max_parked = service->max_parked;
	entry->syn_deadline_ticks = ticks(r, service->retry.deadline_ms);
	entry->eject_5xx = outlier->consecutive_5xx;
	entry->eject_gateway = outlier->consecutive_gateway;
	entry->eject_local = outlier->split ? outlier->consecutive_local : 0;
	entry->latency_factor = outlier->latency_factor;
	entry->max_ejection_percent = outlier->max_ejection_percent;
	entry->min_health_percent = outlier->min_health_percent;
	entry->base_ejection_ticks = ticks(r, outlier->base_ejection_ms);
	if (most_ms < MAX_EJECTION_MS)
		most_ms = outlier->enabled ? MAX_EJECTION_MS : 0;
	entry->max_ejection_ticks = ticks(r, most_ms);
	entry->outlier_interval_ticks = ticks(r, outlier->interval_ms);
	entry->reset_after_ds = service->reset_after_ms < 6553500 ? service->reset_after_ms / 100 :
								    65535;
}

static __u32 policy_flags(const struct model_service *service)
{
	const struct model_outlier *outlier = &service->outlier;
	__u32 flags = SL_SERVICE_USED;

	if (service->replace)
		flags |= SL_SERVICE_REPLACE;
	if (service->retry.off)
		flags |= SL_SERVICE_NO_RETRY;
	if (outlier->consecutive_5xx || outlier->consecutive_gateway || outlier->latency_factor)
		flags |= SL_SERVICE_SNIFF;
	if (outlier->split)
		flags |= SL_SERVICE_SPLIT;
	if (service->wait_full)
		flags |= SL_SERVICE_WAIT_FULL;
	if (service->wait_none)
		flags |= SL_SERVICE_WAIT_NONE;
	if (service->keep_on_eject)
		flags |= SL_SERVICE_KEEP;
	return flags;
}

static int apply_service(struct reconcile *r, const struct model_service *service, __u32 *hints,
			 const union sl_addr *addresses, size_t n_addresses)
{
	int64_t row = service_row(r, service);
	struct sl_service *entry;
	__u32 flags;
	int error;

	if (row < 0)
		return row;
	entry = &r->tables->services[row];
	flags = (entry->flags & SL_SERVICE_LOADS) | policy_flags(service);
	if ((entry->flags ^ flags) & SL_SERVICE_REPLACE)
		reconcile_end_hand_back(r, row);
	set_policy(r, service, entry);
	entry->idle_ticks = (uint64_t)service->idle_timeout_ms * r->tables->control->hz / 1000;
	entry->load_ttl_ms = LOAD_TTL_MS;
	__atomic_store_n(&entry->flags, flags, __ATOMIC_RELEASE);
	error = apply_members(r, service, hints, row);
	return error ?: apply_vips(r, service, row, addresses, n_addresses);
}

/* What the model no longer has takes no new flows from now on. */
static void retire_unseen(struct reconcile *r)
{
	for (__u32 i = 0; i < r->vips.n; i++) {
		if (!r->vips.row[i].used || r->vips.row[i].seen)
			continue;
		__atomic_store_n(&r->tables->vips[i].flags, SL_VIP_USED | SL_VIP_NO_NEW,
				 __ATOMIC_RELEASE);
		__atomic_store_n(&r->tables->vips[i].admin, 0, __ATOMIC_RELEASE);
		rows_retire(&r->vips, i, true);
	}
	for (__u32 i = 0; i < r->services.n; i++) {
		if (!r->services.row[i].used || r->services.row[i].seen ||
		    r->services.row[i].retired)
			continue;
		publish_members(r, i, NULL, 0);
		rows_retire(&r->services, i, true);
		service_event(r, SL_EVENT_SERVICE_DEL, i);
	}
	for (__u32 i = 0; i < r->replicas.n; i++)
		if (r->replicas.row[i].used && !r->replicas.row[i].seen &&
		    !r->replicas.row[i].retired)
			reconcile_retire_replica(r, i);
}

static int apply(struct reconcile *r, const struct model *model, const union sl_addr *addresses,
		 size_t n_addresses, char *error, size_t error_len)
{
	int code = reconcile_locals(r, addresses, n_addresses, error, error_len);
	__u32 *hints = r->hints;

	if (!code && reconcile_note_handed_back(r)) {
		snprintf(error, error_len, "out of memory");
		code = -ENOMEM;
	}
	rows_unsee(&r->services);
	rows_unsee(&r->vips);
	rows_unsee(&r->replicas);
	for (size_t i = 0; i < model->n_services && !code; i++) {
		const struct model_service *service = &model->services[i];

		code = apply_service(r, service, hints, addresses, n_addresses);
		hints += service->n_replicas;
		if (code)
			snprintf(error, error_len, "service %s, port %s: %s", service->name,
				 service->port_name[0] ? service->port_name : "(unnamed)",
				 strerror(-code));
	}
	if (code)
		return code; /* nothing is retired for want of having been looked at */
	retire_unseen(r);
	reconcile_caps(r);
	r->tables->control->applied++;
	return 0;
}

int reconcile_apply(struct reconcile *r, const struct model *model,
		    const union sl_addr *node_addresses, size_t n_node_addresses, char *error,
		    size_t error_len)
{
	int code = reconcile_check(r, model, node_addresses, n_node_addresses, error, error_len);

	code = code ?: apply(r, model, node_addresses, n_node_addresses, error, error_len);
	for (__u32 i = 0; i < r->services.n; i++)
		r->services.row[i].wanted = NULL; /* the model is the caller's */
	return code;
}

bool reconcile_has_retired(const struct reconcile *r)
{
	return r->services.retired || r->vips.retired || r->replicas.retired;
}
