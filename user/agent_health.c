// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns who is probed from here and how often, and what an answer changes: health
 * bits in the replica's row, panic of its services in the event ring.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent_state.h"
#include "log.h"

#define PANIC_CHECK_MS 10
#define MAX_PEERS      256u /* unless --peers says so, a replica is asked once in 256 intervals at least */

void agent_on_health(void *context, __u32 replica, const struct probe_health *health,
		     bool port_refused, const char *evidence)
{
	struct agent *agent = context;
	__u16 bits = 0;

	/* Until a probe has judged, what an earlier agent found out holds. */
	if (health->known ? health->down :
			    agent->maps.replicas[replica].config.flags & SL_REPLICA_PROBE_DOWN)
		bits |= SL_REPLICA_PROBE_DOWN;
	if (health->suspect)
		bits |= SL_REPLICA_SUSPECT;
	bits = failures_judge(agent->failures, replica, health, port_refused, evidence, bits);
	reconcile_health(agent->reconcile, replica, bits, evidence);
	agent_health_changed(agent);
}

void agent_health_changed(struct agent *agent)
{
	if (!uv_is_active((uv_handle_t *)&agent->panic_check)) /* once for a burst of changes */
		uv_timer_start(&agent->panic_check, agent_on_panic_check, PANIC_CHECK_MS, 0);
}

/* 5000 replicas ten times a second: a store each. */
void agent_on_good_probe(void *context, __u32 replica)
{
	struct agent *agent = context;
	const struct tables *tables = datapath_tables(agent->datapath);
	__u32 now = tables->kernel->now;

	__atomic_store_n(&tables->replicas[replica].config.probe_good, now ? now : 1,
			 __ATOMIC_RELAXED);
	outlier_probed(agent->outlier, replica);
}

uint64_t agent_full_so_far(void *context, __u32 replica)
{
	struct agent *agent = context;

	return __atomic_load_n(&datapath_tables(agent->datapath)->replicas[replica].state.full,
			       __ATOMIC_ACQUIRE);
}

void agent_on_panic_check(uv_timer_t *timer)
{
	agent_check_panic(timer->data);
}

/* ---- who is probed ---------------------------------------------------------------------*/

/* Nodes that have replicas, for want of a list of all nodes: each runs an agent that may probe the same
 * replica, and so may nodes without one, which --peers alone can tell of. Out of memory: too few, and so
 * more probes. */
static unsigned count_nodes(const struct model *model)
{
	struct texts nodes = {};
	size_t n;

	for (size_t i = 0; i < model->n_services; i++) {
		const struct model_service *service = &model->services[i];

		for (size_t j = 0; j < service->n_replicas; j++)
			if (service->replicas[j].node)
				texts_keep(&nodes, service->replicas[j].node);
	}
	n = nodes.n;
	texts_done(&nodes);
	return n < 1 ? 1 : n < MAX_PEERS ? (unsigned)n : MAX_PEERS;
}

/* A replica's own node asks at full rate, the others share as many probes among them. */
static unsigned probe_interval_ms(const struct agent *agent, const struct model_replica *replica,
				  unsigned peers)
{
	if (!replica->node || !strcmp(replica->node, agent->options->node_name))
		return replica->probe.interval_ms;
	return probe_shared_interval_ms(replica->probe.interval_ms, peers);
}

/* The longer interval needs a copy of the probe; `spaced` keeps it until the sync is over. */
struct target_list {
	struct probe_target *targets;
	struct model_probe *spaced;
	size_t n;
};

static int compare_targets(const void *a, const void *b)
{
	const struct probe_target *left = a, *right = b;

	if (left->replica != right->replica)
		return left->replica < right->replica ? -1 : 1;
	return left->probe < right->probe ? -1 : left->probe > right->probe; /* as in the model */
}

static void add_target(struct agent *agent, struct target_list *list, int64_t row,
		       const struct model_service *service, const struct model_replica *replica,
		       unsigned peers)
{
	struct model_probe *probe = &list->spaced[list->n];

	if (row < 0)
		return;
	*probe = replica->probe;
	probe->interval_ms = probe_interval_ms(agent, replica, peers);
	failures_sync_add(agent->failures, row, replica, service->reset_after_ms);
	list->targets[list->n++] =
		(struct probe_target){.replica = row, .addr = replica->addr, .probe = probe};
}

/* One target a replica, however many services have it: the first one's probe. */
static void drop_doubles(struct target_list *list)
{
	size_t kept = 0, i = 1;

	while (i < list->n && compare_targets(&list->targets[i - 1], &list->targets[i]) < 0)
		i++;
	if (i < list->n) /* rows are given in the order of the model, at first */
		qsort(list->targets, list->n, sizeof(*list->targets), compare_targets);
	for (size_t i = 0; i < list->n; i++)
		if (!kept || list->targets[kept - 1].replica != list->targets[i].replica)
			list->targets[kept++] = list->targets[i];
	list->n = kept;
}

/* How long a good probe is a witness of each: two intervals. Beyond what the field holds (a minute
 * at 1000 Hz) it is one for that long. */
static void set_stale(struct agent *agent, const struct target_list *list)
{
	const struct tables *tables = datapath_tables(agent->datapath);

	for (size_t i = 0; i < list->n; i++) {
		const struct model_probe *probe = list->targets[i].probe;
		uint64_t ticks = 2ull * probe->interval_ms * tables->control->hz / 1000;

		ticks = probe->kind == MODEL_PROBE_NONE ? 0 : ticks ? ticks : 1;
		tables->replicas[list->targets[i].replica].config.probe_stale_ticks =
			ticks < UINT16_MAX ? ticks : UINT16_MAX;
	}
}

static unsigned longest_interval_ms(const struct target_list *list)
{
	unsigned longest = 0;

	for (size_t i = 0; i < list->n; i++)
		if (list->targets[i].probe->kind != MODEL_PROBE_NONE &&
		    list->targets[i].probe->interval_ms > longest)
			longest = list->targets[i].probe->interval_ms;
	return longest;
}

int agent_sync_probes(struct agent *agent)
{
	unsigned peers = agent->options->peers ? agent->options->peers : count_nodes(agent->model);
	struct target_list list = {};
	size_t total = 0, nth = 0;
	int error;

	for (size_t i = 0; i < agent->model->n_services; i++)
		total += agent->model->services[i].n_replicas;
	list.targets = calloc(total + 1, sizeof(*list.targets));
	list.spaced = calloc(total + 1, sizeof(*list.spaced));
	error = list.targets && list.spaced ? 0 : -ENOMEM;
	failures_sync_begin(agent->failures);
	for (size_t i = 0; !error && i < agent->model->n_services; i++) {
		const struct model_service *service = &agent->model->services[i];

		for (size_t j = 0; j < service->n_replicas; j++, nth++) {
			const struct model_replica *replica = &service->replicas[j];

			add_target(agent, &list,
				   reconcile_find_nth(agent->reconcile, nth, replica), service,
				   replica, peers);
		}
	}
	if (!error) {
		drop_doubles(&list);
		failures_sync_pace(agent->failures, longest_interval_ms(&list));
		set_stale(agent, &list);
		error = probe_set_sync(agent->probes, list.targets, list.n);
	}
	failures_sync_end(agent->failures);
	free(list.targets);
	free(list.spaced);
	return error;
}

/* ---- panic ---------------------------------------------------------------------------------*/

/* Some replica serves, and none of those is fit. Mostly the first one is. */
static bool is_in_panic(const struct agent *agent, __u32 row)
{
	const struct sl_service *service = &agent->maps.services[row];
	bool serving = false;

	for (__u32 i = 0; i < SL_MEMBERS_LENGTH(service->members); i++) {
		const struct sl_member *member =
			&agent->maps.members[SL_MEMBERS_OFFSET(service->members) + i];
		const struct sl_replica *replica = &agent->maps.replicas[member->replica];
		__u16 flags = replica->config.flags;

		serving |= !(flags & SL_REPLICA_NOT_SERVING);
		if (!(flags & SL_REPLICA_UNFIT & ~SL_REPLICA_DRAINING) &&
		    !maps_is_ejected(&agent->maps, row, replica))
			return false;
	}
	return serving;
}

void agent_check_panic(struct agent *agent)
{
	for (__u32 row = 0; row < agent->maps.n_services; row++) {
		const struct sl_service *service = &agent->maps.services[row];
		struct sl_event event = {.service = row + 1};
		bool panic = service->flags & SL_SERVICE_USED && is_in_panic(agent, row);

		if (panic == agent->panic[row])
			continue;
		agent->panic[row] = panic;
		event.kind = panic ? SL_EVENT_PANIC : SL_EVENT_PANIC_END;
		events_add(&agent->events, &event, "%s",
			   panic ? "no replica is healthy: new flows go to all that serve" :
				   "a replica is healthy again");
	}
}
