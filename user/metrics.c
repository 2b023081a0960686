// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metrics of a node: what the agent and the datapath as a whole count;
 * services and replicas are metrics_replica's. Reads maps, program accounts and
 * facts; keeps nothing. Refuses nothing but a map that cannot be read: half an
 * exposition would look like counters that fell to 0. Called by status.
 */
#include "metrics.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "exposition.h"
#include "metrics_replica.h"

#define IGNORED_MAX  200 /* fields named one by one; the counts hold all */
#define STATS_PATH   "/proc/sys/kernel/bpf_stats_enabled"
#define PROGRAMS_MAX 64

static const char *const drop_names[] = {SL_DROP_REASONS(SL_NAME_ROW)};
static const char *const counter_names[] = {SL_COUNTERS(SL_NAME_ROW)};
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
	single(out, "sluice_config_stale", "gauge",
	       "1 while the newest input is refused and an older one stays in force.",
	       facts->last_refused != NULL);
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
			  "Packets dropped or refused, by reason.");
	for (int i = 0; i < SL_DROP_MAX; i++)
		labelled(out, "sluice_drops_total", "reason", drop_names[i], drops[i]);
	for (int i = 0; i < SL_COUNT_MAX; i++) {
		char name[64];

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

/* 8 MiB are only read where something may have been written to them. */
static void snat_render(const struct maps *maps, struct strbuf *out)
{
	uint64_t phases[SL_SNAT_QUARANTINE + 1] = {0};
	bool used = false;

	for (uint32_t i = 0; i < maps->n_sources; i++)
		used |= maps->sources[i].used;
	for (uint32_t set = 0; used && set < maps->n_snat_sets; set++)
		for (uint32_t way = 0; way < SL_SNAT_WAYS; way++) {
			uint32_t phase = maps->snat[set].way[way].phase;

			if (phase <= SL_SNAT_QUARANTINE)
				phases[phase]++;
		}
	exposition_family(out, "sluice_snat_ports", "gauge",
			  "Source-NAT ports in use, and in quarantine after use.");
	labelled(out, "sluice_snat_ports", "phase", "live", phases[SL_SNAT_LIVE]);
	labelled(out, "sluice_snat_ports", "phase", "quarantine", phases[SL_SNAT_QUARANTINE]);
	single(out, "sluice_snat_table_size", "gauge", "Source-NAT ports that the table can hold.",
	       (uint64_t)maps->n_snat_sets * SL_SNAT_WAYS);
}

static int datapath_render(const struct maps *maps, uint64_t now_ns, struct strbuf *out)
{
	int error = counts_render(maps, out);

	if (error)
		return error;
	flow_table_render(maps, out);
	snat_render(maps, out);
	exposition_family(out, "sluice_agent_heartbeat_age_seconds", "gauge",
			  "Age of the agent's last sign of life, as the kernel programs see it.");
	exposition_double(out, "sluice_agent_heartbeat_age_seconds", NULL,
			  (int64_t)(now_ns - maps->control->heartbeat_ns) / 1e9);
	exposition_family(out, "sluice_agent_start_time_seconds", "gauge",
			  "When the agent started, in seconds since the epoch.");
	exposition_double(out, "sluice_agent_start_time_seconds", NULL,
			  maps->control->started_ns / 1e9);
	single(out, "sluice_events_total", "counter", "Events written to the event ring.",
	       __atomic_load_n(&maps->event_head->last, __ATOMIC_RELAXED));
	return 0;
}

/* ---- programs ------------------------------------------------------------------------------ */

struct program {
	char name[64];
	uint64_t run_ns, runs;
};

static bool program_read(const char *path, struct program *ret)
{
	struct bpf_prog_info info = {0};
	__u32 len = sizeof(info);
	int fd = bpf_obj_get(path), error;

	if (fd < 0)
		return false;
	error = bpf_obj_get_info_by_fd(fd, &info, &len);
	close(fd);
	ret->run_ns = info.run_time_ns;
	ret->runs = info.run_cnt;
	return !error;
}

/* The programs pinned in BPFFS/progs; none where there is no such directory. */
static size_t programs_read(const char *bpffs, struct program ret[PROGRAMS_MAX])
{
	char dir_path[512], path[1024];
	struct dirent *entry;
	size_t n = 0;
	DIR *dir;

	snprintf(dir_path, sizeof(dir_path), "%s/progs", bpffs);
	dir = opendir(dir_path);
	if (!dir)
		return 0;
	while (n < PROGRAMS_MAX && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir_path, entry->d_name);
		snprintf(ret[n].name, sizeof(ret[n].name), "%.63s", entry->d_name);
		n += program_read(path, &ret[n]);
	}
	closedir(dir);
	return n;
}

static bool stats_enabled(void)
{
	FILE *file = fopen(STATS_PATH, "re");
	int value = 0;

	if (!file)
		return false;
	if (fscanf(file, "%d", &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

static void programs_render(const char *bpffs, struct strbuf *out)
{
	static const char seconds[] = "sluice_program_run_seconds_total";
	static const char runs[] = "sluice_program_runs_total";
	struct program programs[PROGRAMS_MAX];
	size_t n = programs_read(bpffs, programs);

	single(out, "sluice_program_stats_enabled", "gauge",
	       "1 while kernel.bpf_stats_enabled=1; without it the run counts and times stand "
	       "still.",
	       stats_enabled());
	exposition_family(out, seconds, "counter", "Time spent in a kernel program.");
	for (size_t i = 0; i < n; i++) {
		exposition_open(out, seconds);
		exposition_label(out, "program", programs[i].name);
		exposition_close_double(out, programs[i].run_ns / 1e9);
	}
	exposition_family(out, runs, "counter", "Runs of a kernel program.");
	for (size_t i = 0; i < n; i++)
		labelled(out, runs, "program", programs[i].name, programs[i].runs);
}

int metrics_render(const struct facts *facts, struct strbuf *out)
{
	uint64_t now_ns = monotonic_ns();
	int error = 0;

	agent_render(facts, out);
	if (facts->maps) {
		error = datapath_render(facts->maps, now_ns, out);
		if (!error)
			error = metrics_replica_render(facts, now_ns, out);
	}
	programs_render(facts->bpffs, out);
	return error ? error : strbuf_failed(out) ? -ENOMEM : 0;
}
