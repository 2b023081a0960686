// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the clock of held replicas (hold.h): carries them from model to model, says when a hold
 * begins and how it ends, and takes out whose time is over or whose probe fails. Resets nothing.
 * Called by agent_input.c and the loop.
 */
#include <errno.h>
#include <string.h>

#include "agent_state.h"
#include "log.h"

#define NS_PER_S 1000000000ull
/* Until its probe is believed, it stays: in doubt of ourselves these bits are withheld. */
#define UNFIT (SL_REPLICA_PROBE_DOWN | SL_REPLICA_SUSPECT | SL_REPLICA_NO_ROUTE)

static bool is_fit(void *context, const struct model_replica *replica)
{
	const struct agent *agent = context;
	int64_t row = reconcile_find_replica(agent->reconcile, &replica->addr, replica->port,
					     replica->proto);
	__u16 flags;

	if (row < 0)
		return false;
	flags = datapath_tables(agent->datapath)->replicas[row].config.flags;
	if (flags & UNFIT)
		return false;
	/* Whose own interface is gone may still have a way: out by the default route. */
	return flags & SL_REPLICA_LOCAL || !replica->node ||
	       strcmp(replica->node, agent->options->node_name);
}

static struct hold_rules rules_of(struct agent *agent)
{
	return (struct hold_rules){.hold_ns = agent->options->hold_s * NS_PER_S,
				   .is_fit = is_fit,
				   .context = agent};
}

/* ---- what is said --------------------------------------------------------------------------*/

static void say_begin(struct agent *agent, const struct hold_change *change, __u32 service)
{
	struct sl_event event = {.kind = SL_EVENT_ENDPOINTS_DOUBTED,
				 .service = service,
				 .value = change->begun};

	if (change->begun == change->missing)
		events_add(&agent->events, &event,
			   "%zu of %zu endpoints left the list at once: they stay for %u s",
			   change->missing, change->members, agent->options->hold_s);
	else
		events_add(&agent->events, &event,
			   "%zu of %zu endpoints left the list at once: %zu, fit, stay for %u s",
			   change->missing, change->members, change->begun,
			   agent->options->hold_s);
}

static void say_end(struct agent *agent, const struct hold_change *change, __u32 service)
{
	struct sl_event event = {.kind = SL_EVENT_ENDPOINTS_SETTLED,
				 .service = service,
				 .value = change->held};
	const struct {
		size_t n;
		const char *what;
	} parts[] = {
		{change->back, "back in the list"},
		{change->unfit, "gone: fails its probe, or no route"},
		{change->believed, "gone: the list lacks it still"},
	};
	char text[160] = "";
	size_t at = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (parts[i].n)
			at += snprintf(text + at, sizeof(text) - at, "%s%zu %s", at ? "; " : "",
				       parts[i].n, parts[i].what);
	if (at)
		events_add(&agent->events, &event, "%s", text);
}

static void say(struct agent *agent, const struct hold_changes *changes)
{
	for (size_t i = 0; i < changes->n; i++) {
		const struct hold_change *change = &changes->list[i];
		int64_t row = reconcile_service(agent->reconcile, change->service);

		say_end(agent, change, row + 1); /* -ENOENT cannot be: its model is in force */
		if (change->begun)
			say_begin(agent, change, row + 1);
	}
}

/* ---- carry and end ---------------------------------------------------------------------------*/

int agent_hold_carry(struct agent *agent, struct model *fresh, struct hold_changes *ret)
{
	const struct hold_rules rules = rules_of(agent);

	return agent->model ? hold_carry(agent->model, fresh, &rules, uv_hrtime(), ret) : 0;
}

void agent_hold_begin(struct agent *agent, struct hold_changes *changes)
{
	say(agent, changes);
	hold_changes_done(changes);
	agent->stale = false;
	if (hold_count(agent->model) && !uv_is_active((uv_handle_t *)&agent->hold))
		uv_timer_again(&agent->hold);
}

/* The model in force lost who was held: so do the maps and the probes. */
static void apply_end(struct agent *agent)
{
	struct diag diag = {};
	int error = agent_apply(agent, &diag);

	if (error && !agent->stale)
		log_error("endpoints that left cannot be taken out yet: %s", diag.reason);
	if (error)
		agent_sync_probes(agent); /* nobody looks at replicas that are freed */
	agent->stale = error;
}

void agent_on_hold(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	const struct hold_rules rules = rules_of(agent);
	struct hold_changes changes = {};
	int error = 0;

	if (agent->model)
		error = hold_end(agent->model, &rules, uv_hrtime(), &changes);
	if (changes.n || agent->stale)
		apply_end(agent);
	say(agent, &changes);
	hold_changes_done(&changes);
	if (!error && !agent->stale && !(agent->model && hold_count(agent->model)))
		uv_timer_stop(timer);
}
