// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice status`: is the agent alive, how full are the tables, what was
 * dropped, how much memory do the maps hold. Reads only; exit status 0 says
 * that it could be read, not that all is well.
 */
#include <string.h>
#include <time.h>

#include "pins.h"
#include "view.h"

#define HEARTBEAT_DEAD_NS 3000000000ull /* older than this, the agent is gone */

static const char *const drop_names[] = {SL_DROP_REASONS(SL_NAME_ROW)};
static const char *const counter_names[] = {SL_COUNTERS(SL_NAME_ROW)};

static const struct out_column columns[] = {
	{"agent", "agent", OUT_STATE},
	{"agent_pid", "agent pid", OUT_UINT},
	{"heartbeat_age_ms", "heartbeat age, ms", OUT_UINT},
	{"agent_uptime_s", "agent uptime, s", OUT_UINT},
	{"doubt", "soft evidence in doubt", OUT_BOOL},
	{"frozen", "ejections and resets frozen", OUT_BOOL},
	{"frozen_s", "frozen for another, s", OUT_UINT},
	{"layout", "map layout", OUT_UINT},
	{"reconciled", "times reconciled", OUT_UINT},
	{"services", "service-ports", OUT_UINT},
	{"vips", "VIPs", OUT_UINT},
	{"replicas", "replicas", OUT_UINT},
	{"flows_live", "flows live", OUT_UINT},
	{"flows_half_open", "flows half-open", OUT_UINT},
	{"flows_lingering", "flows lingering", OUT_UINT},
	{"flow_slots", "flow slots", OUT_UINT},
	{"flow_fill_percent", "flow table fill, %", OUT_REAL},
	{"spilled", "flows ever spilled", OUT_UINT},
	{"sweep_passes", "sweep passes", OUT_UINT},
	{"snat_port_min", "source NAT from port", OUT_UINT},
	{"snat_port_max", "source NAT to port", OUT_UINT},
	{"drops", "drops", OUT_COUNTS},
	{"counters", "counters", OUT_COUNTS},
	{"map_bytes", NULL, OUT_COUNTS},
	{"map_bytes_total", "maps, bytes", OUT_UINT},
	{},
};

static void put_agent(const struct view *view, struct out *out)
{
	const struct sl_control *control = view->maps.control;
	uint64_t heartbeat_ns = __atomic_load_n(&control->heartbeat_ns, __ATOMIC_RELAXED);
	uint64_t now_ns = view_now_ns(), age_ns = now_ns > heartbeat_ns ? now_ns - heartbeat_ns : 0;
	__u32 frozen = maps_freeze_left(control, view->maps.kernel->now);
	bool alive = age_ns <= HEARTBEAT_DEAD_NS;
	uint64_t started_s = control->started_ns / 1000000000, now_s = time(NULL);

	out_string(out, alive ? "alive" : "dead");
	out_uint(out, control->agent_pid);
	out_uint(out, age_ns / 1000000);
	if (alive)
		out_uint(out, now_s > started_s ? now_s - started_s : 0);
	else
		out_null(out);
	out_bool(out, alive && control->doubt);
	out_bool(out, frozen);
	out_uint(out, frozen / control->hz);
	out_uint(out, control->layout);
	out_uint(out, control->applied);
	if (alive && control->doubt)
		out_note(out, "Many replicas fail at once, or the agent ran late: that probes time "
			      "out may be this node's own fault. See sluice event show.");
	if (!alive)
		out_note(out, "The agent is gone: open flows, new picks and the sweep go on, probes "
			      "and changes of manifests do not. Start sluiced again.");
}

static void put_rows(const struct view *view, struct out *out)
{
	const struct maps *maps = &view->maps;
	unsigned vips = 0, replicas = 0;

	for (__u32 i = 0; i < maps->n_vips; i++)
		vips += maps->vips[i].flags & SL_VIP_USED ? 1 : 0;
	for (__u32 i = 0; i < maps->n_replicas; i++)
		replicas += maps->replicas[i].config.flags & SL_REPLICA_USED ? 1 : 0;
	out_uint(out, view->n_order);
	out_uint(out, vips);
	out_uint(out, replicas);
}

static void put_flows(const struct view *view, struct out *out)
{
	const struct sl_kernel *kernel = view->maps.kernel;
	uint64_t slots = (uint64_t)view->maps.n_flow_sets * SL_FLOW_WAYS;

	out_uint(out, kernel->live);
	out_uint(out, kernel->half_open);
	out_uint(out, kernel->lingering);
	out_uint(out, slots);
	out_real(out, 100.0 * kernel->live / slots);
	out_uint(out, kernel->spilled);
	out_uint(out, kernel->sweep_count);
	out_uint(out, view->maps.control->snat_port_min);
	out_uint(out, view->maps.control->snat_port_max);
}

static void put_counts(struct out *out, const char *const *names, const uint64_t *values, int n)
{
	for (int i = 0; i < n; i++)
		out_count(out, names[i], values[i]);
	out_close(out);
}

struct memory {
	struct out *out;
	uint64_t total;
};

static void put_map_bytes(void *context, const struct pin *pin)
{
	struct memory *memory = context;

	if (pin->kind != PIN_MAP)
		return;
	out_count(memory->out, pin->name, pin->memory_bytes);
	memory->total += pin->memory_bytes;
}

static void put_memory(const struct cli *cli, struct out *out)
{
	struct memory memory = {.out = out};

	pins_list(cli->bpffs, put_map_bytes, &memory);
	out_close(out);
	out_uint(out, memory.total);
}

static int show(struct cli *cli, const struct view *view)
{
	uint64_t drops[SL_DROP_MAX], counters[SL_COUNT_MAX];
	int err = maps_read_drops(&view->maps, drops);

	if (!err)
		err = maps_read_counters(&view->maps, counters);
	if (err)
		return cli_error("cannot read the counters: %s", strerror(-err));
	out_begin_record(cli->out, columns);
	put_agent(view, cli->out);
	put_rows(view, cli->out);
	put_flows(view, cli->out);
	put_counts(cli->out, drop_names, drops, SL_DROP_MAX);
	put_counts(cli->out, counter_names, counters, SL_COUNT_MAX);
	put_memory(cli, cli->out);
	out_row(cli->out);
	return cli_finish(cli);
}

int cmd_status(struct cli *cli, int argc, char **argv)
{
	struct view view;
	int status = cli_args(cli, argc, argv, 0, 0);

	if (status)
		return status;
	status = view_open(cli, &view);
	if (status)
		return status;
	status = show(cli, &view);
	view_close(&view);
	return status;
}
