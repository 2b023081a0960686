// SPDX-License-Identifier: GPL-2.0-only
/*
 * The agent's answers over HTTP: health, readiness, metrics and one JSON object
 * that says how the node stands. Keys of a replica are those of `sluice replica
 * show -j`. Reads facts and maps, changes nothing. Called by http for the agent.
 */
#include "status.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "inventory.h"
#include "metrics.h"
#include "utf8.h"

static const char *const state_names[] = {SL_REPLICA_STATES(SL_NAME_ROW)};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- a JSON object, member by member; jansson takes NULL for a value or an object it had no
 * memory for, and leaves that member out ------------------------------------------------------ */

static void set_u64(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer(value));
}

static void set_bool(json_t *object, const char *key, bool value)
{
	json_object_set_new(object, key, json_boolean(value));
}

/* Text may hold anything, since names come from outside; NULL becomes null. */
static void set_text(json_t *object, const char *key, const char *text)
{
	struct strbuf clean = {0};
	json_t *value = json_null();

	if (text) {
		utf8_add_text(&clean, text);
		value = json_string(clean.data ? clean.data : "");
	}
	json_object_set_new(object, key, value);
	strbuf_done(&clean);
}

/* RFC 3339, UTC, to the second. */
static void set_time(json_t *object, const char *key, uint64_t realtime_ns)
{
	time_t seconds = realtime_ns / 1000000000;
	char text[32];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	set_text(object, key, text);
}

/* ---- the parts of /status ------------------------------------------------------------------ */

static json_t *last_refused_of(const struct facts *facts)
{
	const struct diag *diag = facts->last_refused;
	json_t *refused = diag ? json_object() : json_null();

	if (!diag)
		return refused;
	set_time(refused, "time", facts->last_refused_ns);
	set_text(refused, "file", diag->file);
	set_u64(refused, "line", diag->line);
	set_text(refused, "field", diag->field);
	set_text(refused, "reason", diag->reason);
	return refused;
}

static json_t *config_of(const struct facts *facts)
{
	json_t *config = json_object(), *fields = json_object();

	for (int kind = 0; kind < VERDICT_KINDS; kind++)
		set_u64(fields, verdict_kind_names[kind], facts->verdicts[kind]);
	set_u64(config, "applied", facts->applied);
	set_u64(config, "refused", facts->refused);
	json_object_set_new(config, "fields", fields);
	json_object_set_new(config, "last_refused", last_refused_of(facts));
	return config;
}

static json_t *flow_table_of(const struct maps *maps)
{
	const struct sl_kernel *kernel = maps->kernel;
	json_t *table = json_object();

	set_u64(table, "size", (uint64_t)maps->n_flow_sets * SL_FLOW_WAYS);
	set_u64(table, "live", kernel->live);
	set_u64(table, "lingering", kernel->lingering);
	set_u64(table, "half_open", kernel->half_open);
	set_u64(table, "spilled", kernel->spilled);
	return table;
}

static json_t *replica_of(const struct inventory_replica *replica)
{
	const struct sl_replica_state_row *state = &replica->copy.state;
	const struct sl_replica_config *config = &replica->copy.config;
	json_t *load = replica->has_load ? json_real(config->load / 256.0) : json_null();
	json_t *json = json_object();

	set_text(json, "address", replica->address);
	set_u64(json, "port", ntohs(config->port));
	set_text(json, "pod", replica->pod);
	set_text(json, "state", state_names[replica->state]);
	set_bool(json, "held", config->flags & SL_REPLICA_HELD);
	set_u64(json, "weight", config->weight);
	set_u64(json, "inflight", state->inflight);
	set_u64(json, "owned", state->owned);
	json_object_set_new(json, "load", load);
	set_u64(json, "picks", state->picks);
	set_u64(json, "connect_failures", state->connect_failures);
	set_u64(json, "ejections", state->ejections);
	set_u64(json, "retries", state->retries);
	return json;
}

/* A service with its replicas, the first of which is number *at. */
static json_t *service_of(const struct inventory *inventory, size_t i, size_t *at)
{
	const struct inventory_service *service = &inventory->services[i];
	json_t *json = json_object(), *replicas = json_array();

	for (; *at < inventory->n_replicas && inventory->replicas[*at].service == i; ++*at)
		json_array_append_new(replicas, replica_of(&inventory->replicas[*at]));
	set_text(json, "service", service->name);
	set_text(json, "service_port", service->port);
	set_text(json, "mode", service->replace ? "replace" : "overlay");
	set_u64(json, "inflight", service->inflight);
	set_u64(json, "parked", service->parked);
	set_bool(json, "panic", service->panic);
	json_object_set_new(json, "replicas", replicas);
	return json;
}

static json_t *services_of(const struct inventory *inventory)
{
	json_t *services = json_array();
	size_t at = 0;

	for (size_t i = 0; i < inventory->n_services; i++)
		json_array_append_new(services, service_of(inventory, i, &at));
	return services;
}

/* What only the maps know. */
static int maps_add(json_t *status, const struct maps *maps)
{
	uint64_t now_ns = clock_ns(CLOCK_REALTIME);
	uint64_t started_ns = maps->control->started_ns;
	struct inventory *inventory;
	int error;

	error = inventory_new(maps, clock_ns(CLOCK_MONOTONIC), &inventory);
	if (error)
		return error;
	set_u64(status, "uptime_seconds",
		now_ns > started_ns ? (now_ns - started_ns) / 1000000000 : 0);
	json_object_set_new(status, "flow_table", flow_table_of(maps));
	json_object_set_new(status, "services", services_of(inventory));
	inventory_free(inventory);
	return 0;
}

int status_render(const struct facts *facts, struct strbuf *out)
{
	json_t *status = json_object();
	char *text = NULL;
	int error = 0;

	set_text(status, "node", facts->node_name);
	set_text(status, "version", facts->version);
	set_bool(status, "ready", !facts->unready);
	set_text(status, "unready", facts->unready);
	json_object_set_new(status, "config", config_of(facts));
	if (facts->maps)
		error = maps_add(status, facts->maps);
	if (!error)
		text = json_dumps(status, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	json_decref(status);
	if (!text)
		return error ? error : -ENOMEM;
	strbuf_add(out, text);
	strbuf_add(out, "\n");
	free(text);
	return strbuf_failed(out) ? -ENOMEM : 0;
}

/* ---- the table for http ----------------------------------------------------------------- */

/* 200, or 500 with a line that says why; half an answer is never sent. */
static int answer(int error, const char *what, struct strbuf *out)
{
	if (!error)
		return 200;
	strbuf_done(out);
	strbuf_addf(out, "%s cannot be shown: %s\n", what, strerror(-error));
	return 500;
}

static int answer_metrics(void *context, struct strbuf *out)
{
	return answer(metrics_render(context, out), "metrics", out);
}

static int answer_status(void *context, struct strbuf *out)
{
	return answer(status_render(context, out), "status", out);
}

static int answer_healthz(void *context, struct strbuf *out)
{
	strbuf_add(out, "ok\n");
	return 200;
}

static int answer_readyz(void *context, struct strbuf *out)
{
	const struct facts *facts = context;

	if (!facts->unready) {
		strbuf_add(out, "ready\n");
		return 200;
	}
	strbuf_addf(out, "not ready: %s\n", facts->unready);
	return 503;
}

const struct http_handler status_handlers[STATUS_HANDLERS] = {
	{"/metrics", METRICS_CONTENT_TYPE, answer_metrics},
	{"/healthz", "text/plain; charset=utf-8", answer_healthz},
	{"/readyz", "text/plain; charset=utf-8", answer_readyz},
	{"/status", "application/json", answer_status},
};
