// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metrics of a node: what the agent and the datapath as a whole count;
 * services and replicas are metrics_replica's. Reads maps and facts; keeps
 * nothing. Refuses nothing but a map that cannot be read: half an
 * exposition would look like counters that fell to 0. Called by status.
 */
#include "metrics.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "exposition.h"
#include "metrics_pins.h"
#include "metrics_replica.h"

#define IGNORED_MAX 200 /* fields named one by one; the counts hold all */

static const char *const drop_names[] = {SL_DROP_REASONS(SL_NAME_ROW)};
static const char *const counter_names[] = {SL_COUNTERS(SL_NAME_ROW)};
static const char *const event_names[] = {SL_EVENTS(SL_NAME_ROW)};
static const char *const counter_help[] = {SL_COUNTERS(SL_HELP_ROW)};

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A family of one sample without labels. */
static void single(struct strbuf *out, const char *name, const char *type, const char *help,
		   uint64_t value)
{
	exposition_family(out, name, type, help);
	exposition_u64(out, name, NULL, value);
}

/* A sample with one label. */
static void labelled(struct strbuf *out, const char *name, const char *key, const char *label,
		     uint64_t value)
{
	exposition_open(out, name);
	exposition_label(out, key, label);
	exposition_close(out, value);
}

/* ---- the agent ----------------------------------------------------------------------- */

static void build_render(const struct facts *facts, struct strbuf *out)
{
	exposition_family(out, "sluice_build_info", "gauge", "Version and node name; always 1.");
	exposition_open(out, "sluice_build_info");
	exposition_label(out, "version", facts->version);
	exposition_label(out, "node", facts->node_name);
	exposition_close(out, 1);
}

static void ignored_render(const struct verdicts *ignored, struct strbuf *out)
{
	static const char name[] = "sluice_config_ignored_field";

	exposition_family(
		out, name, "gauge",
		"Fields of the input in force that are not acted upon, and why; always 1.");
	for (size_t i = 0; ignored && i < ignored->n && i < IGNORED_MAX; i++) {
		const struct verdict *verdict = &ignored->list[i];

		exposition_open(out, name);
		exposition_label(out, "verdict", verdict_kind_names[verdict->kind]);
		exposition_label(out, "object", verdict->object);
		exposition_label(out, "field", verdict->field);
		exposition_label(out, "reason", verdict->reason);
		exposition_close(out, 1);
	}
}

static void agent_render(const struct facts *facts, struct strbuf *out)
{
	build_render(facts, out);
	single(out, "sluice_ready", "gauge", "1 while /readyz answers 200.", !facts->unready);
	single(out, "sluice_config_applied_total", "counter",
	       "Desired states applied since the agent started.", facts->applied);
	single(out, "sluice_config_refused_total", "counter",
	       "Inputs refused whole since the agent started.", facts->refused);
	single(out, "sluice_config_files_decoded_total", "counter",
	       "Files of the input decoded since the agent started: those that are new or changed.",
	       facts->decoded);
	single(out, "sluice_config_stale", "gauge",
	       "1 while the newest input is refused and an older one stays in force.",
	       facts->last_refused != NULL);
	single(out, "sluice_doubt", "gauge",
	       "1 while soft evidence is void: many replicas fail at once, or the agent ran late.",
	       facts->in_doubt);
	single(out, "sluice_doubts_total", "counter", "Times that soft evidence was void.",
	       facts->doubts);
	exposition_family(out, "sluice_config_fields", "gauge",
			  "Fields of the input in force, by what became of them.");
	for (int kind = 0; kind < VERDICT_KINDS; kind++)
		labelled(out, "sluice_config_fields", "verdict", verdict_kind_names[kind],
			 facts->verdicts[kind]);
	ignored_render(facts->ignored, out);
}

/* ---- the datapath ---------------------------------------------------------------------- */

static int counts_render(const struct maps *maps, struct strbuf *out)
{
	uint64_t drops[SL_DROP_MAX], counters[SL_COUNT_MAX];
	int error = maps_read_drops(maps, drops);

	if (!error)
		error = maps_read_counters(maps, counters);
	if (error)
		return error;
	exposition_family(out, "sluice_drops_total", "counter",
			  "Packets dropped or refused, by reason: sluice(8), DROP REASONS.");
	for (int i = 0; i < SL_DROP_MAX; i++)
		labelled(out, "sluice_drops_total", "reason", drop_names[i], drops[i]);
	for (int i = 0; i < SL_COUNT_MAX; i++) {
		char name[64];

		if (i == SL_COUNT_RESETS)
			continue; /* metrics_replica's, by service */
		snprintf(name, sizeof(name), "sluice_%s_total", counter_names[i]);
		single(out, name, "counter", counter_help[i], counters[i]);
	}
	return 0;
}

static void flow_table_render(const struct maps *maps, struct strbuf *out)
{
	const struct sl_kernel *kernel = maps->kernel;

	single(out, "sluice_flow_table_size", "gauge", "Flows that the table can hold.",
	       (uint64_t)maps->n_flow_sets * SL_FLOW_WAYS);
	single(out, "sluice_flows_live", "gauge",
	       "Half-open and open flows met by the last whole sweep.", kernel->live);
	single(out, "sluice_flows_lingering", "gauge",
	       "Finished flows that wait for late packets, met by the last whole sweep.",
	       kernel->lingering);
	single(out, "sluice_flows_half_open", "gauge", "Flows that no replica has answered yet.",
	       kernel->half_open);
	single(out, "sluice_flow_sweeps_total", "counter", "Whole sweeps over the flow table.",
	       kernel->sweep_count);
}

static void events_render(const struct sl_event_head *head, struct strbuf *out)
{
	static const char name[] = "sluice_events_total";

	exposition_family(out, name, "counter",
			  "Events written to the event ring, by kind: sluice(8), EVENTS.");
	for (int kind = SL_EVENT_NONE + 1; kind < SL_EVENT_MAX; kind++)
		labelled(out, name, "kind", event_names[kind],
			 __atomic_load_n(&head->kinds[kind], __ATOMIC_RELAXED));
}

static int datapath_render(const struct maps *maps, uint64_t now_ns, struct strbuf *out)
{
	int error = counts_render(maps, out);

	if (error)
		return error;
	flow_table_render(maps, out);
	exposition_family(out, "sluice_agent_heartbeat_age_seconds", "gauge",
			  "Age of the agent's last sign of life, as the kernel programs see it.");
	exposition_double(out, "sluice_agent_heartbeat_age_seconds", NULL,
			  (int64_t)(now_ns - maps->control->heartbeat_ns) / 1e9);
	exposition_family(out, "sluice_agent_start_time_seconds", "gauge",
			  "When the agent started, in seconds since the epoch.");
	exposition_double(out, "sluice_agent_start_time_seconds", NULL,
			  maps->control->started_ns / 1e9);
	single(out, "sluice_frozen", "gauge", "1 while ejections and resets are off (sluice freeze).",
	       maps_freeze_left(maps->control, maps->kernel->now) > 0);
	events_render(maps->event_head, out);
	return 0;
}

int metrics_render(const struct facts *facts, struct strbuf *out)
{
	uint64_t now_ns = monotonic_ns();
	int error = 0;

	agent_render(facts, out);
	if (facts->maps) {
		error = datapath_render(facts->maps, now_ns, out);
		if (!error)
			error = metrics_snat_render(facts->bpffs, out);
		if (!error)
			error = metrics_replica_render(facts, now_ns, out);
	}
	metrics_programs_render(facts->bpffs, out);
	return error ? error : strbuf_failed(out) ? -ENOMEM : 0;
}
