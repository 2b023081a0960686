// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the decision that open flows of a replica are reset, and says so. A link that is gone is
 * enough; everything else needs a second witness, which must be there still when it comes to the
 * reset. Leaves flows alone that their service keeps. Called by agent_failure.c and agent_input.c.
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

/* ---- the second witness ----------------------------------------------------------------------*/

void failures_watch(struct failures *failures, struct failing *failing, uint64_t now_ns)
{
	struct sl_replica *replica = &tables_of(failures)->replicas[failing->row];

	failing->witness.since_ns = now_ns;
	__atomic_store_n(&replica->state.last_payload, 0, __ATOMIC_RELAXED);
}

bool failures_is_own_port(const struct failures *failures, __u32 row)
{
	const struct model_replica *replica = failures->subjects[row].replica;

	return replica && replica->probe.port == replica->port;
}

/* Its port refuses, and not because it was told to leave: such a one closes it and serves on. */
static bool refuses(const struct failures *failures, __u32 row, const struct probe_health *health)
{
	const struct sl_replica_config *config = &tables_of(failures)->replicas[row].config;
	const struct model_replica *replica = failures->subjects[row].replica;

	return health && health->refuses && failures_is_own_port(failures, row) &&
	       !replica->terminating && !replica->held_until_ns &&
	       !(config->admin & SL_ADMIN_DRAINED);
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

static bool is_dead(struct failures *failures, struct failing *failing, uint64_t now_ns,
		    char seen[static 64])
{
	const struct probe_health *health = probe_set_health(failures->agent->probes, failing->row);
	const struct subject *subject = &failures->subjects[failing->row];
	const struct tables *tables = tables_of(failures);
	struct witness *witness = &failing->witness;
	__u32 last = __atomic_load_n(&tables->replicas[failing->row].state.last_payload,
				     __ATOMIC_RELAXED);

	if (!health)
		return false;
	witness->reset_after_ms = subject->reset_after_ms;
	witness->payload_ns = witness_payload_ns(last, tables->kernel->now, tables->control->hz,
						 now_ns);
	witness->answer_ns = health->last_answer_ns;
	witness->refuses = refuses(failures, failing->row, health);
	witness->unreachable = health->unreachable_ns > health->last_answer_ns &&
			       health->unreachable_ns > witness->payload_ns &&
			       now_ns - health->unreachable_ns < UNREACHABLE_NS;
	look_at_cpu(failures, failing, now_ns);
	return witness_is_dead(witness, now_ns, seen, 64);
}

/* Whether a second witness is worth asking. One that we have never seen well may be well: it is
 * then our probes that never got through. */
static bool is_suspect(const struct failures *failures, const struct failing *failing)
{
	const struct probe_health *health = probe_set_health(failures->agent->probes, failing->row);

	return failing->down && !failing->withheld && !failing->spoilt &&
	       (failures->subjects[failing->row].seen || refuses(failures, failing->row, health));
}

/* ---- in the kernel -------------------------------------------------------------------------*/

/* Once: it is asked for again at each probe that needs it. */
static void say_no_raw(struct failures *failures)
{
	if (!failures->run.raw_error || failures->raw_told)
		return;
	log_error("cannot open a raw socket: %s; flows of clients whose MAC address the kernel does not "
		  "know are not reset, their clients wait for timeouts of their own%s",
		  strerror(-failures->run.raw_error),
		  failures->run.raw_error == -EPERM ? ": grant sluiced CAP_NET_RAW" : "");
	failures->raw_told = true;
}

static int on_run(void *context, struct sl_reset *job)
{
	struct failures *failures = context;
	const struct sl_replica_config *config =
		&tables_of(failures)->replicas[job->replica].config;
	int error = reset_run_slice(&failures->run, job, !addr_is_v4(&config->addr));

	say_no_raw(failures);
	return error;
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

static bool on_holds(void *context, const struct reset_request *request, bool first_pass)
{
	struct failures *failures = context;
	const struct sl_replica *replica = &tables_of(failures)->replicas[request->replica];
	struct failing *failing = failures->subjects[request->replica].failing;
	char seen[64];

	if (!addr_equal(&replica->config.addr, &request->addr) ||
	    replica->config.port != request->port)
		return false;
	/* Who was marked is asked to the end. */
	if (!first_pass)
		return true;
	if (!__atomic_load_n(&replica->state.inflight, __ATOMIC_ACQUIRE))
		return false;
	return !request->soft ||
	       (failing && is_suspect(failures, failing) && is_dead(failures, failing, uv_hrtime(), seen));
}

static const struct reset_ops ops = {
	.run = on_run, .is_frozen = on_frozen, .holds = on_holds, .done = on_done};

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
	struct reset_request request = {.replica = row, .soft = soft,
					.addr = tables->replicas[row].config.addr,
					.port = tables->replicas[row].config.port};

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

/* ---- looking ---------------------------------------------------------------------------------*/

/* A port that refused does no longer, and nothing good came of it: a server that was started anew
 * and hangs, say. That is news, whatever was in doubt before. */
static void soften(struct failures *failures, struct failing *failing, uint64_t now_ns)
{
	const struct probe_health *health = probe_set_health(failures->agent->probes, failing->row);

	if (!failing->hard || failing->gone || (health && health->refuses))
		return;
	failing->hard = failing->spoilt = false;
	failures_watch(failures, failing, now_ns);
}

void failures_look(struct failures *failures, uint64_t now_ns)
{
	char seen[64], evidence[128];

	for (struct failing *at = failures->first; at; at = at->next) {
		uint64_t pause_ns = failures->subjects[at->row].reset_after_ms * 1000000ull;

		soften(failures, at, now_ns);
		if (!is_suspect(failures, at) ||
		    !tables_of(failures)->replicas[at->row].state.inflight)
			continue;
		/* Flows that were opened since, in a panic, have as long as the ones before. */
		if ((at->asked_ns && now_ns - at->asked_ns < pause_ns) ||
		    !is_dead(failures, at, now_ns, seen))
			continue;
		at->asked_ns = now_ns;
		snprintf(evidence, sizeof(evidence), "%s; %.60s", seen, at->evidence);
		failures_reset(failures, at->row, true, evidence);
	}
}
