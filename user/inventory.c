// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads services and replicas out of the pinned maps for metrics and status.
 * Joins what the datapath keeps apart (the variants of one Service port) and
 * copies each replica once, so that all figures of one answer agree. Owns its
 * copy only. Called by metrics and status.
 */
#include "inventory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_SERVICE UINT32_MAX

/* A used row of the map services, on its way to becoming an inventory_service. */
struct named_row {
	uint32_t row;
	struct inventory_service service;
};

static void service_read(const struct maps *maps, uint32_t row, struct inventory_service *ret)
{
	const struct sl_service *service = &maps->services[row];
	struct sl_service_name name;

	*ret = (struct inventory_service){
		.replace = service->flags & SL_SERVICE_REPLACE,
		.load_ttl_ms = service->load_ttl_ms,
	};
	if (!maps_service_name(maps, row, &name)) {
		snprintf(ret->name, sizeof(ret->name), "row/%u", row);
		return;
	}
	snprintf(ret->name, sizeof(ret->name), "%s", name.service);
	if (name.port_name[0])
		snprintf(ret->port, sizeof(ret->port), "%s", name.port_name);
	else
		snprintf(ret->port, sizeof(ret->port), "%u", ntohs(name.port));
}

static int service_compare(const struct inventory_service *a, const struct inventory_service *b)
{
	int order = strcmp(a->name, b->name);

	return order ? order : strcmp(a->port, b->port);
}

static int named_row_compare(const void *a, const void *b)
{
	return service_compare(&((const struct named_row *)a)->service,
			       &((const struct named_row *)b)->service);
}

static void first_bytes_add(struct inventory_service *service, const struct maps *maps,
			    uint32_t row)
{
	struct sl_first_byte times;

	if (!(maps->services[row].flags & SL_SERVICE_SNIFF) || !maps_first_bytes(maps, row, &times))
		return;
	service->sniffed = true;
	service->first_byte.ticks += times.ticks;
	for (int i = 0; i < SL_FIRST_BYTE_BUCKETS; i++)
		service->first_byte.bucket[i] += times.bucket[i];
}

static void state_add(struct inventory_service *service, const struct maps *maps, uint32_t row)
{
	const struct sl_service_state *state = &maps->service_states[row];

	service->parked += __atomic_load_n(&state->parked, __ATOMIC_RELAXED);
	service->parked_total += state->parked_total;
	service->resets += state->resets;
}

/* Fills services, and for each row of the map the index of its service (or NO_SERVICE). */
static int services_read(struct inventory *inventory, const struct maps *maps,
			 uint32_t *ret_index_of)
{
	struct named_row *rows;
	size_t n = 0;

	for (uint32_t row = 0; row < maps->n_services; row++) {
		ret_index_of[row] = NO_SERVICE;
		n += !!(maps->services[row].flags & SL_SERVICE_USED);
	}
	rows = calloc(n + 1, sizeof(*rows));
	inventory->services = calloc(n + 1, sizeof(*inventory->services));
	if (!rows || !inventory->services) {
		free(rows);
		return -ENOMEM;
	}
	n = 0;
	for (uint32_t row = 0; row < maps->n_services; row++) {
		if (!(maps->services[row].flags & SL_SERVICE_USED))
			continue;
		rows[n].row = row;
		service_read(maps, row, &rows[n++].service);
	}
	qsort(rows, n, sizeof(*rows), named_row_compare);
	for (size_t i = 0; i < n; i++) {
		if (!i || service_compare(&rows[i].service, &rows[i - 1].service))
			inventory->services[inventory->n_services++] = rows[i].service;
		ret_index_of[rows[i].row] = inventory->n_services - 1;
		first_bytes_add(&inventory->services[inventory->n_services - 1], maps,
				rows[i].row);
		state_add(&inventory->services[inventory->n_services - 1], maps, rows[i].row);
	}
	free(rows);
	return 0;
}

static void vips_read(struct inventory *inventory, const struct maps *maps, const uint32_t *index_of)
{
	for (uint32_t row = 0; row < maps->n_vips; row++) {
		const struct sl_vip *vip = &maps->vips[row];

		if (maps_is_handed_back(vip) && vip->service < maps->n_services &&
		    index_of[vip->service] != NO_SERVICE)
			inventory->services[index_of[vip->service]].handed_back = true;
	}
}

/* Services of a replica, each named once though both its variants hold the replica. */
static size_t replica_services(const struct maps *maps, uint32_t row, const uint32_t *index_of,
			       uint32_t ret[SL_MAX_SHARED])
{
	const struct sl_replica_services *list = &maps->replica_services[row];
	uint32_t listed = list->n < SL_MAX_SHARED ? list->n : SL_MAX_SHARED;
	size_t n = 0;

	for (uint32_t i = 0; i < listed; i++) {
		uint32_t service = list->service[i];
		size_t k = 0;

		if (service >= maps->n_services || index_of[service] == NO_SERVICE)
			continue;
		while (k < n && ret[k] != index_of[service])
			k++;
		if (k == n)
			ret[n++] = index_of[service];
	}
	return n;
}

static bool load_is_fresh(const struct sl_replica_config *config, uint32_t ttl_ms, uint64_t now_ns)
{
	return config->flags & SL_REPLICA_HAS_LOAD &&
	       (int64_t)(now_ns - config->report_ns) <= (int64_t)ttl_ms * 1000000;
}

static int replica_add(struct inventory *inventory, const struct maps *maps, uint32_t row,
		       uint32_t service, uint64_t now_ns)
{
	struct inventory_replica *replica = &inventory->replicas[inventory->n_replicas];
	struct inventory_service *of = &inventory->services[service];
	const struct sl_replica_config *config = &replica->copy.config;
	struct sl_replica_name name;

	replica->pod = strdup(maps_replica_name(maps, row, &name) ? name.pod : "");
	if (!replica->pod)
		return -ENOMEM;
	replica->service = service;
	replica->row = row;
	replica->copy = maps->replicas[row];
	replica->state = maps_replica_state(&replica->copy, maps->kernel->now);
	replica->has_load = load_is_fresh(config, of->load_ttl_ms, now_ns);
	addr_format(&config->addr, replica->address);
	addr_format_port(&config->addr, config->port, replica->address_port);
	inventory->n_replicas++;
	of->n_replicas++;
	of->states[replica->state]++;
	of->held += !!(config->flags & SL_REPLICA_HELD);
	of->inflight += replica->copy.state.inflight;
	return 0;
}

static int replica_compare(const void *a, const void *b)
{
	const struct inventory_replica *x = a, *y = b;

	if (x->service != y->service)
		return x->service < y->service ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

static int replicas_read(struct inventory *inventory, const struct maps *maps,
			 const uint32_t *index_of, uint64_t now_ns)
{
	uint32_t services[SL_MAX_SHARED];
	size_t n = 0;

	for (uint32_t row = 0; row < maps->n_replicas; row++)
		if (maps->replicas[row].config.flags & SL_REPLICA_USED)
			n += replica_services(maps, row, index_of, services);
	inventory->replicas = calloc(n + 1, sizeof(*inventory->replicas));
	if (!inventory->replicas)
		return -ENOMEM;
	for (uint32_t row = 0; row < maps->n_replicas; row++) {
		size_t k;

		if (!(maps->replicas[row].config.flags & SL_REPLICA_USED))
			continue;
		k = replica_services(maps, row, index_of, services);
		for (size_t i = 0; i < k && inventory->n_replicas < n; i++)
			if (replica_add(inventory, maps, row, services[i], now_ns))
				return -ENOMEM;
	}
	qsort(inventory->replicas, inventory->n_replicas, sizeof(*inventory->replicas),
	      replica_compare);
	return 0;
}

/* As the pick sees it (bpf/pick.h): in panic is who has replicas that serve and none of them is
 * fit, draining ones included. */
static int panics_read(struct inventory *inventory, const struct maps *maps,
		       const uint32_t *index_of)
{
	struct tally {
		uint32_t serving, fit;
	} *tallies = calloc(maps->n_services + 1, sizeof(*tallies));

	if (!tallies)
		return -ENOMEM;
	for (uint32_t row = 0; row < maps->n_replicas; row++) {
		const struct sl_replica_services *list = &maps->replica_services[row];
		const struct sl_replica *replica = &maps->replicas[row];
		uint32_t flags = replica->config.flags;

		if (!(flags & SL_REPLICA_USED))
			continue;
		for (uint32_t i = 0; i < SL_MAX_SHARED && i < list->n; i++) {
			if (list->service[i] >= maps->n_services)
				continue;
			tallies[list->service[i]].serving += !(flags & SL_REPLICA_NOT_SERVING);
			tallies[list->service[i]].fit +=
				!(flags & SL_REPLICA_UNFIT & ~SL_REPLICA_DRAINING) &&
				!maps_is_ejected(maps, list->service[i], replica);
		}
	}
	for (uint32_t row = 0; row < maps->n_services; row++)
		if (index_of[row] != NO_SERVICE && tallies[row].serving && !tallies[row].fit)
			inventory->services[index_of[row]].panic = true;
	free(tallies);
	return 0;
}

int inventory_new(const struct maps *maps, uint64_t now_ns, struct inventory **ret)
{
	struct inventory *inventory = calloc(1, sizeof(*inventory));
	uint32_t *index_of = calloc(maps->n_services + 1, sizeof(*index_of));
	int error = -ENOMEM;

	if (inventory && index_of)
		error = services_read(inventory, maps, index_of);
	if (!error)
		vips_read(inventory, maps, index_of);
	if (!error)
		error = replicas_read(inventory, maps, index_of, now_ns);
	if (!error)
		error = panics_read(inventory, maps, index_of);
	free(index_of);
	if (error) {
		inventory_free(inventory);
		return error;
	}
	*ret = inventory;
	return 0;
}

void inventory_free(struct inventory *inventory)
{
	if (!inventory)
		return;
	for (size_t i = 0; i < inventory->n_replicas; i++)
		free(inventory->replicas[i].pod);
	free(inventory->replicas);
	free(inventory->services);
	free(inventory);
}
