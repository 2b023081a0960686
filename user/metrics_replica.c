// SPDX-License-Identifier: GPL-2.0-only
/*
 * Metrics of services and replicas. A family's samples must stand together, so
 * each family is one pass over all rows; the labels of a row are written once,
 * before the first. Called by metrics.
 */
#include "metrics_replica.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "exposition.h"
#include "inventory.h"

/* A service or a replica about to be printed. */
struct row {
	char *labels;
	const struct inventory_service *service;
	const struct inventory_replica *replica;
	const struct probe_health *health;       /* NULL: not probed by this node */
	const struct probe_histogram *histogram; /* NULL: the same */
};

struct family {
	const char *name;
	const char *type;
	const char *help;
	uint64_t (*value)(const struct row *row);
};

static const char *const state_names[] = {SL_REPLICA_STATES(SL_NAME_ROW)};

/* ---- rows ------------------------------------------------------------------------- */

static void rows_free(struct row *rows, size_t n)
{
	for (size_t i = 0; rows && i < n; i++)
		free(rows[i].labels);
	free(rows);
}

static void labels_add_service(struct strbuf *labels, const struct inventory_service *service)
{
	exposition_label(labels, "service", service->name);
	exposition_label(labels, "port", service->port);
}

static int service_rows_new(const struct inventory *inventory, struct row **ret)
{
	struct row *rows = calloc(inventory->n_services + 1, sizeof(*rows));

	if (!rows)
		return -ENOMEM;
	for (size_t i = 0; i < inventory->n_services; i++) {
		struct strbuf labels = {0};

		rows[i].service = &inventory->services[i];
		labels_add_service(&labels, rows[i].service);
		rows[i].labels = strbuf_take(&labels);
		if (!rows[i].labels) {
			rows_free(rows, i);
			return -ENOMEM;
		}
	}
	*ret = rows;
	return 0;
}

static int replica_rows_new(const struct inventory *inventory, const struct probe_set *probes,
			    struct row **ret)
{
	struct row *rows = calloc(inventory->n_replicas + 1, sizeof(*rows));

	if (!rows)
		return -ENOMEM;
	for (size_t i = 0; i < inventory->n_replicas; i++) {
		const struct inventory_replica *replica = &inventory->replicas[i];
		struct strbuf labels = {0};

		rows[i].replica = replica;
		rows[i].service = &inventory->services[replica->service];
		if (probes) {
			rows[i].health = probe_set_health(probes, replica->row);
			rows[i].histogram = probe_set_histogram(probes, replica->row);
		}
		labels_add_service(&labels, rows[i].service);
		exposition_label(&labels, "replica", replica->address_port);
		exposition_label(&labels, "pod", replica->pod);
		rows[i].labels = strbuf_take(&labels);
		if (!rows[i].labels) {
			rows_free(rows, i);
			return -ENOMEM;
		}
	}
	*ret = rows;
	return 0;
}

/* ---- families of one number a row --------------------------------------------------- */

#define STATE_VALUE(field)                                                                         \
	static uint64_t replica_##field(const struct row *row)                                     \
	{                                                                                          \
		return row->replica->copy.state.field;                                             \
	}
STATE_VALUE(inflight)
STATE_VALUE(owned)
STATE_VALUE(picks)
STATE_VALUE(connect_failures)
STATE_VALUE(ejections)
STATE_VALUE(retries)
STATE_VALUE(full)
#undef STATE_VALUE

static uint64_t replica_weight(const struct row *row)
{
	return row->replica->copy.config.weight;
}

static uint64_t replica_max_connections(const struct row *row)
{
	return row->replica->copy.config.max_connections;
}

static uint64_t service_inflight(const struct row *row)
{
	return row->service->inflight;
}

static uint64_t service_panic(const struct row *row)
{
	return row->service->panic;
}

static uint64_t service_parked(const struct row *row)
{
	return row->service->parked;
}

static uint64_t service_parked_total(const struct row *row)
{
	return row->service->parked_total;
}

static uint64_t service_held(const struct row *row)
{
	return row->service->held;
}

static uint64_t service_handed_back(const struct row *row)
{
	return row->service->handed_back;
}

static uint64_t service_resets(const struct row *row)
{
	return row->service->resets;
}

static uint64_t probe_sent(const struct row *row)
{
	return row->health->sent;
}

static uint64_t probe_failed(const struct row *row)
{
	return row->health->failed;
}

static uint64_t probe_voided(const struct row *row)
{
	return row->health->voided;
}

static const struct family service_families[] = {
	{"sluice_service_inflight", "gauge",
	 "Flows in flight to the replicas of the service, by whichever service they came.",
	 service_inflight},
	{"sluice_service_panic", "gauge",
	 "1 while no replica is healthy and picks go to all that serve.", service_panic},
	{"sluice_parked_connections", "gauge",
	 "Connects that wait on this node for a replica with room, or for any: for an autoscaler.",
	 service_parked},
	{"sluice_parked_syns_total", "counter", "Connects that ever waited.",
	 service_parked_total},
	{"sluice_replicas_held", "gauge",
	 "Replicas that stay for a while although a list lacks them: so many left it at once.",
	 service_held},
	{"sluice_service_handed_back", "gauge",
	 "1 while new flows are left to kube-proxy, by `sluice hand-back`.", service_handed_back},
	{"sluice_resets_total", "counter", "open flows of dead replicas reset", service_resets},
};

static const struct family replica_families[] = {
	{"sluice_replica_inflight", "gauge", "Flows that this node steers to the replica.",
	 replica_inflight},
	{"sluice_replica_owned_flows", "gauge",
	 "Flows at the replica's own interface, whoever steers them; 0 where it is not local.",
	 replica_owned},
	{"sluice_replica_weight", "gauge", "Capacity relative to its peers.", replica_weight},
	{"sluice_replica_max_connections", "gauge",
	 "Cap on the connections to the replica; 0: none.", replica_max_connections},
	{"sluice_replica_full_total", "counter",
	 "SYNs refused since the replica was at its cap, as seen from this node.", replica_full},
	{"sluice_replica_picks_total", "counter", "New flows given to the replica.", replica_picks},
	{"sluice_replica_connect_failures_total", "counter", "Connects that the replica refused.",
	 replica_connect_failures},
	{"sluice_replica_ejections_total", "counter", "Times that the replica was ejected.",
	 replica_ejections},
	{"sluice_replica_retries_total", "counter",
	 "Flows moved away from the replica before it accepted them.", replica_retries},
};

static const struct family probe_families[] = {
	{"sluice_replica_probes_total", "counter", "Probes sent to the replica.", probe_sent},
	{"sluice_replica_probe_failures_total", "counter", "Probes that failed.", probe_failed},
	{"sluice_replica_probes_void_total", "counter",
	 "Probes that ended by a fault of our own and say nothing about the replica.",
	 probe_voided},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void family_render(const struct family *family, const struct row *rows, size_t n,
			  struct strbuf *out)
{
	exposition_family(out, family->name, family->type, family->help);
	for (size_t i = 0; i < n; i++)
		exposition_u64(out, family->name, rows[i].labels, family->value(&rows[i]));
}

/* ---- families of another shape --------------------------------------------------------- */

/* One sample with a label more than its row has. */
static void sample_with(struct strbuf *out, const char *name, const char *labels, const char *key,
			const char *value, uint64_t number)
{
	exposition_open(out, name);
	strbuf_add(out, labels);
	exposition_label(out, key, value);
	exposition_close(out, number);
}

static void service_states_render(const struct row *rows, size_t n, struct strbuf *out)
{
	static const char name[] = "sluice_service_replicas";

	exposition_family(out, name, "gauge", "Replicas of the service by state.");
	for (size_t i = 0; i < n; i++)
		for (int state = 0; state < SL_STATE_MAX; state++)
			sample_with(out, name, rows[i].labels, "state", state_names[state],
				    rows[i].service->states[state]);
}

static void replica_states_render(const struct row *rows, size_t n, struct strbuf *out)
{
	static const char name[] = "sluice_replica_state";

	exposition_family(out, name, "gauge", "1 for the state that the replica is in.");
	for (size_t i = 0; i < n; i++)
		for (enum sl_replica_state state = 0; state < SL_STATE_MAX; state++)
			sample_with(out, name, rows[i].labels, "state", state_names[state],
				    rows[i].replica->state == state);
}

static void load_render(const struct row *rows, size_t n, struct strbuf *out)
{
	static const char name[] = "sluice_replica_load";

	exposition_family(
		out, name, "gauge",
		"Requests that the replica says it holds; absent without a fresh report.");
	for (size_t i = 0; i < n; i++)
		if (rows[i].replica->has_load)
			exposition_double(out, name, rows[i].labels,
					  rows[i].replica->copy.config.load / 256.0);
}

static void latency_render(const struct row *rows, size_t n, struct strbuf *out)
{
#define NAME "sluice_replica_probe_latency_seconds"
	char bounds[PROBE_LATENCY_BUCKETS][32];

	for (int i = 0; i < PROBE_LATENCY_BUCKETS; i++)
		snprintf(bounds[i], sizeof(bounds[i]), "%g", probe_latency_bounds_us[i] / 1e6);
	exposition_family(out, NAME, "histogram", "Time until a probe was answered well.");
	for (size_t i = 0; i < n; i++) {
		const struct probe_histogram *histogram = rows[i].histogram;

		if (!histogram)
			continue;
		for (int k = 0; k < PROBE_LATENCY_BUCKETS; k++)
			sample_with(out, NAME "_bucket", rows[i].labels, "le", bounds[k],
				    histogram->count[k]);
		sample_with(out, NAME "_bucket", rows[i].labels, "le", "+Inf", histogram->total);
		exposition_double(out, NAME "_sum", rows[i].labels, histogram->sum_us / 1e6);
		exposition_u64(out, NAME "_count", rows[i].labels, histogram->total);
	}
#undef NAME
}

/* Bucket i holds times below 2^i jiffies (sl_first_byte). */
static void first_byte_render(const struct row *rows, size_t n, unsigned hz, struct strbuf *out)
{
#define NAME "sluice_first_byte_seconds"
	exposition_family(out, NAME, "histogram",
			  "From a request to the first byte of its HTTP/1.x answer.");
	for (size_t i = 0; i < n; i++) {
		const struct sl_first_byte *times = &rows[i].service->first_byte;
		uint64_t total = 0;
		char bound[32];

		if (!rows[i].service->sniffed || !hz)
			continue;
		for (int k = 0; k < SL_FIRST_BYTE_BUCKETS - 1; k++) {
			total += times->bucket[k];
			snprintf(bound, sizeof(bound), "%g", (double)(1u << k) / hz);
			sample_with(out, NAME "_bucket", rows[i].labels, "le", bound, total);
		}
		total += times->bucket[SL_FIRST_BYTE_BUCKETS - 1];
		sample_with(out, NAME "_bucket", rows[i].labels, "le", "+Inf", total);
		exposition_double(out, NAME "_sum", rows[i].labels, (double)times->ticks / hz);
		exposition_u64(out, NAME "_count", rows[i].labels, total);
	}
#undef NAME
}

static void probe_families_render(const struct row *rows, size_t n, struct strbuf *out)
{
	for (size_t k = 0; k < COUNT(probe_families); k++) {
		const struct family *family = &probe_families[k];

		exposition_family(out, family->name, family->type, family->help);
		for (size_t i = 0; i < n; i++)
			if (rows[i].health)
				exposition_u64(out, family->name, rows[i].labels,
					       family->value(&rows[i]));
	}
	latency_render(rows, n, out);
}

/* ---- the whole ------------------------------------------------------------------------- */

static void rows_render(const struct inventory *inventory, const struct row *services,
			const struct row *replicas, unsigned hz, struct strbuf *out)
{
	for (size_t i = 0; i < COUNT(service_families); i++)
		family_render(&service_families[i], services, inventory->n_services, out);
	service_states_render(services, inventory->n_services, out);
	first_byte_render(services, inventory->n_services, hz, out);
	for (size_t i = 0; i < COUNT(replica_families); i++)
		family_render(&replica_families[i], replicas, inventory->n_replicas, out);
	replica_states_render(replicas, inventory->n_replicas, out);
	load_render(replicas, inventory->n_replicas, out);
	probe_families_render(replicas, inventory->n_replicas, out);
}

int metrics_replica_render(const struct facts *facts, uint64_t now_ns, struct strbuf *out)
{
	struct row *services = NULL, *replicas = NULL;
	struct inventory *inventory;
	int error;

	error = inventory_new(facts->maps, now_ns, &inventory);
	if (error)
		return error;
	error = service_rows_new(inventory, &services);
	if (!error)
		error = replica_rows_new(inventory, facts->probes, &replicas);
	if (!error)
		rows_render(inventory, services, replicas, facts->maps->control->hz, out);
	rows_free(services, inventory->n_services);
	rows_free(replicas, inventory->n_replicas);
	inventory_free(inventory);
	return error ? error : strbuf_failed(out) ? -ENOMEM : 0;
}
