// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the decision that open flows of a replica are reset, and says so. Hard evidence is a port
 * that refuses or a link that is gone; soft evidence needs a second witness. Leaves flows alone that
 * their service keeps. Called by agent_failure.c and agent_input.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "addr.h"
#include "agent_failure.h"
#include "cgroup.h"
#include "log.h"

#define NS_PER_S 1000000000ull
#define CPU_LOOK_NS 500000000ull
#define UNREACHABLE_NS (5 * NS_PER_S) /* ARP and ND say so every three seconds or so */

static struct tables *tables_of(const struct failures *failures)
{
	return datapath_tables(failures->agent->datapath);
}

/* ---- in the kernel -------------------------------------------------------------------------*/

static int on_run(void *context, struct sl_reset *job)
{
	struct failures *failures = context;
	const struct sl_replica_config *config =
		&tables_of(failures)->replicas[job->replica].config;

	return reset_run_slice(&failures->run, job, !addr_is_v4(&config->addr));
}

static bool on_frozen(void *context)
{
	const struct tables *tables = tables_of(context);

	return maps_freeze_left(tables->control, tables->kernel->now) > 0;
}

static void on_done(void *context, const struct reset_request *request, __u32 flows, int error)
{
	struct failures *failures = context;
	const struct sl_replica_config *config =
		&tables_of(failures)->replicas[request->replica].config;
	struct sl_event event = {
		.kind = SL_EVENT_RESET,
		.addr = config->addr,
		.port = config->port,
		.service = request->n_services ? request->services[0] + 1 : 0,
		.value = flows,
	};

	if (error)
		log_error("cannot reset the flows of a replica: %s; its clients wait for timeouts of "
			  "their own", strerror(-error));
	if (flows)
		events_add(&failures->agent->events, &event, "%u flows: %s", flows,
			   request->evidence);
}

static const struct reset_ops ops = {.run = on_run, .is_frozen = on_frozen, .done = on_done};

int failures_open_reset(struct failures *failures)
{
	struct agent *agent = failures->agent;

	failures->run = (struct reset_run){.program_fd = tables_of(failures)->reset_flows_fd,
					   .raw4 = -1, .raw6 = -1};
	return reset_new(&agent->loop, &ops, failures, agent->maps.n_flow_sets * SL_FLOW_WAYS,
			 &failures->reset);
}

void failures_close_reset(struct failures *failures)
{
	reset_free(failures->reset);
	reset_run_done(&failures->run);
}

/* ---- asking ----------------------------------------------------------------------------------*/

void failures_reset(struct failures *failures, __u32 row, bool soft, const char *evidence)
{
	const struct tables *tables = tables_of(failures);
	const struct sl_replica_services *list = &tables->replica_services[row];
	struct reset_request request = {.replica = row, .soft = soft};

	for (__u32 i = 0; i < list->n && i < SL_MAX_SHARED; i++)
		if (!(tables->services[list->service[i]].flags & SL_SERVICE_KEEP))
			request.services[request.n_services++] = list->service[i];
	if (!request.n_services || !tables->replicas[row].state.inflight)
		return;
	snprintf(request.evidence, sizeof(request.evidence), "%s", evidence);
	if (reset_ask(failures->reset, &request))
		log_error("out of memory: flows of a dead replica are not reset");
}

void failures_link_gone(struct failures *failures, const struct route_link *link, const char *what)
{
	const struct tables *tables = tables_of(failures);
	char evidence[64];

	snprintf(evidence, sizeof(evidence), "its link %s %s", link->name, what);
	for (__u32 row = 0; row < SL_MAX_REPLICAS; row++) {
		const struct sl_replica_config *config = &tables->replicas[row].config;

		if (!(config->flags & SL_REPLICA_USED) || !(config->flags & SL_REPLICA_LOCAL) ||
		    config->out_ifindex != (__u32)link->ifindex)
			continue;
		/* Told back through failures_judge(). One that is not probed, or left its
		 * EndpointSlice already, has nothing but its open flows. */
		if (!probe_set_fail(failures->agent->probes, row, evidence))
			failures_reset(failures, row, false, evidence);
	}
}

/* ---- the second witness ----------------------------------------------------------------------*/

/* When its flows last carried a payload byte of its; 0: not since it began to fail. */
static uint64_t payload_ns(const struct failures *failures, __u32 row, uint64_t now_ns)
{
	const struct tables *tables = tables_of(failures);
	__u32 last = __atomic_load_n(&tables->replicas[row].state.last_payload, __ATOMIC_RELAXED);
	__s32 age = tables->kernel->now - last;

	if (!last)
		return 0;
	return now_ns - (age > 0 ? age * NS_PER_S / tables->control->hz : 0);
}

static void look_at_cpu(struct failures *failures, struct failing *failing, uint64_t now_ns)
{
	const struct model_replica *replica = failures->subjects[failing->row].replica;
	uint64_t cpu_us;

	if (!replica || !replica->pod_uid || now_ns - failing->looked_ns < CPU_LOOK_NS ||
	    !(tables_of(failures)->replicas[failing->row].config.flags & SL_REPLICA_LOCAL))
		return;
	failing->looked_ns = now_ns;
	if (!failing->cgroup[0] && cgroup_find_pod(cgroup_roots, replica->pod_uid, failing->cgroup,
						   sizeof(failing->cgroup)))
		failing->cgroup[0] = '\0';
	if (failing->cgroup[0] && !cgroup_cpu_us(failing->cgroup, &cpu_us))
		witness_cpu(&failing->witness, cpu_us, now_ns);
}

static void look_at(struct failures *failures, struct failing *failing, uint64_t now_ns)
{
	const struct probe_health *health = probe_set_health(failures->agent->probes, failing->row);
	const struct subject *subject = &failures->subjects[failing->row];
	struct witness *witness = &failing->witness;
	char seen[64], evidence[128];

	if (!health)
		return;
	witness->reset_after_ms = subject->reset_after_ms;
	witness->payload_ns = payload_ns(failures, failing->row, now_ns);
	witness->answer_ns = health->last_answer_ns;
	witness->unreachable = health->unreachable_ns > health->last_answer_ns &&
			       health->unreachable_ns > witness->payload_ns &&
			       now_ns - health->unreachable_ns < UNREACHABLE_NS;
	look_at_cpu(failures, failing, now_ns);
	if (!witness_is_dead(witness, now_ns, seen, sizeof(seen)))
		return;
	failing->asked_ns = now_ns;
	snprintf(evidence, sizeof(evidence), "%s; %.60s", seen, failing->evidence);
	failures_reset(failures, failing->row, true, evidence);
}

void failures_look(struct failures *failures, uint64_t now_ns)
{
	for (struct failing *at = failures->first; at; at = at->next) {
		uint64_t pause_ns = failures->subjects[at->row].reset_after_ms * 1000000ull;

		if (at->hard || !at->down || at->withheld || at->spoilt ||
		    !tables_of(failures)->replicas[at->row].state.inflight)
			continue;
		/* Flows that were opened since, in a panic, have as long as the ones before. */
		if (!at->asked_ns || now_ns - at->asked_ns >= pause_ns)
			look_at(failures, at, now_ns);
	}
}
