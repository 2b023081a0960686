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

/* A JSON string of `text`, which may hold anything: names come from outside. */
static json_t *string_of(const char *text)
{
	struct strbuf clean = {0};
	json_t *string;

	utf8_add_text(&clean, text);
	string = strbuf_failed(&clean) ? NULL : json_string(clean.data ? clean.data : "");
	strbuf_done(&clean);
	return string;
}

/* RFC 3339, UTC, to the second. */
static json_t *time_of(uint64_t realtime_ns)
{
	time_t seconds = realtime_ns / 1000000000;
	char text[32];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

static json_t *last_refused_of(const struct facts *facts)
{
	const struct diag *diag = facts->last_refused;

	if (!diag)
		return json_null();
	return json_pack("{s:o, s:o, s:i, s:o, s:o}", "time", time_of(facts->last_refused_ns),
			 "file", string_of(diag->file), "line", diag->line,
			 "field", string_of(diag->field), "reason", string_of(diag->reason));
}

static json_t *config_of(const struct facts *facts)
{
	json_t *fields = json_object();

	for (int kind = 0; kind < VERDICT_KINDS; kind++)
		json_object_set_new(fields, verdict_kind_names[kind],
				    json_integer(facts->verdicts[kind]));
	return json_pack("{s:I, s:I, s:o, s:o}", "applied", (json_int_t)facts->applied,
			 "refused", (json_int_t)facts->refused, "fields", fields,
			 "last_refused", last_refused_of(facts));
}

static json_t *flow_table_of(const struct maps *maps)
{
	const struct sl_kernel *kernel = maps->kernel;

	return json_pack("{s:I, s:I, s:I, s:I, s:I}",
			 "size", (json_int_t)maps->n_flow_sets * SL_FLOW_WAYS,
			 "live", (json_int_t)kernel->live,
			 "lingering", (json_int_t)kernel->lingering,
			 "half_open", (json_int_t)kernel->half_open,
			 "spilled", (json_int_t)kernel->spilled);
}

static json_t *replica_of(const struct inventory_replica *replica)
{
	const struct sl_replica_state_row *state = &replica->copy.state;
	const struct sl_replica_config *config = &replica->copy.config;
	json_t *load = replica->has_load ? json_real(config->load / 256.0) : json_null();

	return json_pack("{s:s, s:i, s:o, s:s, s:i, s:I, s:I, s:o, s:I, s:I, s:I, s:I}",
			 "address", replica->address, "port", ntohs(config->port),
			 "pod", string_of(replica->pod), "state", state_names[replica->state],
			 "weight", config->weight, "inflight", (json_int_t)state->inflight,
			 "owned", (json_int_t)state->owned, "load", load,
			 "picks", (json_int_t)state->picks,
			 "connect_failures", (json_int_t)state->connect_failures,
			 "ejections", (json_int_t)state->ejections,
			 "retries", (json_int_t)state->retries);
}

/* Services with their replicas, which stand in the order of the services. */
static json_t *services_of(const struct inventory *inventory)
{
	json_t *services = json_array();
	size_t at = 0;

	for (size_t i = 0; i < inventory->n_services; i++) {
		const struct inventory_service *service = &inventory->services[i];
		json_t *replicas = json_array();

		for (; at < inventory->n_replicas && inventory->replicas[at].service == i; at++)
			json_array_append_new(replicas, replica_of(&inventory->replicas[at]));
		json_array_append_new(
			services,
			json_pack("{s:o, s:o, s:s, s:I, s:b, s:o}", "service",
				  string_of(service->name), "service_port",
				  string_of(service->port), "mode",
				  service->replace ? "replace" : "overlay", "inflight",
				  (json_int_t)service->inflight, "panic", service->panic,
				  "replicas", replicas));
	}
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
	json_object_set_new(status, "uptime_seconds",
			    json_integer(now_ns > started_ns ? (now_ns - started_ns) / 1000000000
							     : 0));
	json_object_set_new(status, "flow_table", flow_table_of(maps));
	json_object_set_new(status, "services", services_of(inventory));
	inventory_free(inventory);
	return 0;
}

int status_render(const struct facts *facts, struct strbuf *out)
{
	json_t *unready = facts->unready ? string_of(facts->unready) : json_null();
	json_t *status = json_pack("{s:o, s:s, s:b, s:o, s:o}", "node",
				   string_of(facts->node_name), "version", facts->version,
				   "ready", !facts->unready, "unready", unready, "config",
				   config_of(facts));
	int error = status ? 0 : -ENOMEM;
	char *text = NULL;

	if (!error && facts->maps)
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
