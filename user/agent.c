// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the life of the agent: what is started in which order, the heartbeat,
 * and an end that leaves the kernel's side as it is. Called by main.
 */
#include "agent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "agent_state.h"
#include "log.h"
#include "node_device.h"
#include "status.h"

#define HEARTBEAT_MS 500
#define RECLAIM_MS 100
#define WARMUP_MS 100
#define FOLLOW_MS 100 /* what programs and CLI wrote into the event ring becomes lines of the log */
#define JUDGE_MS 1000
#define HOLD_MS 100

static void on_signal(uv_signal_t *handle, int number)
{
	struct agent *agent = handle->data;

	log_info("%s: leaving; programs and flows stay in the kernel (remove them with "
		 "`sluiced --unload`)", strsignal(number));
	uv_stop(&agent->loop);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* The CLI freezes and thaws; the log of the agent is where people look for it. */
static void note_freeze(struct agent *agent, const struct tables *tables)
{
	bool frozen = maps_freeze_left(tables->control, tables->kernel->now) > 0;

	if (frozen != agent->frozen)
		log_warn(frozen ? "frozen: no ejections and no resets (sluice unfreeze ends it)" :
				  "not frozen any more: ejections and resets are on");
	agent->frozen = frozen;
}

static void on_heartbeat(uv_timer_t *handle)
{
	struct agent *agent = handle->data;
	struct tables *tables = datapath_tables(agent->datapath);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	/* What turns the programs' clock into the time of an event. */
	__atomic_store_n(&tables->control->realtime_offset_ns, clock_ns(CLOCK_REALTIME) - now_ns,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&tables->control->doubt, agent->facts.in_doubt, __ATOMIC_RELAXED);
	__atomic_store_n(&tables->control->heartbeat_ns, now_ns, __ATOMIC_RELEASE);
	note_freeze(agent, tables);
	if (agent->behind)
		agent_apply_again(agent, "a failure");
	if (agent_attach_again(agent)) /* what is routed there may go another way now */
		agent_on_route(agent, ROUTE_ROUTES, NULL);
}

static void on_follow(uv_timer_t *handle)
{
	struct agent *agent = handle->data;

	if (events_follow(&agent->events)) /* an ejection, or its end, may be one */
		agent_check_panic(agent);
}

static void on_judge(uv_timer_t *handle)
{
	struct agent *agent = handle->data;

	outlier_tick(agent->outlier);
}

static void on_reclaim(uv_timer_t *handle)
{
	struct agent *agent = handle->data;

	reconcile_reclaim(agent->reconcile);
	if (!reconcile_has_retired(agent->reconcile))
		uv_timer_stop(handle);
}

static void on_warmup(uv_timer_t *handle)
{
	struct agent *agent = handle->data;

	if (!reconcile_warm(agent->reconcile))
		uv_timer_stop(handle);
}

/* Each probe holds a socket. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void start_clocks(struct agent *agent)
{
	uv_signal_init(&agent->loop, &agent->sigterm);
	uv_signal_init(&agent->loop, &agent->sigint);
	uv_timer_init(&agent->loop, &agent->heartbeat);
	uv_timer_init(&agent->loop, &agent->reclaim);
	uv_timer_init(&agent->loop, &agent->warmup);
	uv_timer_init(&agent->loop, &agent->panic_check);
	uv_timer_init(&agent->loop, &agent->follow);
	uv_timer_init(&agent->loop, &agent->judge);
	uv_timer_init(&agent->loop, &agent->hold);
	agent->sigterm.data = agent->sigint.data = agent;
	agent->heartbeat.data = agent->reclaim.data = agent->panic_check.data = agent;
	agent->warmup.data = agent->hold.data = agent;
	agent->follow.data = agent->judge.data = agent;
	uv_signal_start(&agent->sigterm, on_signal, SIGTERM);
	uv_signal_start(&agent->sigint, on_signal, SIGINT);
	uv_timer_start(&agent->heartbeat, on_heartbeat, 0, HEARTBEAT_MS);
	uv_timer_start(&agent->reclaim, on_reclaim, RECLAIM_MS, RECLAIM_MS);
	uv_timer_start(&agent->warmup, on_warmup, WARMUP_MS, WARMUP_MS);
	uv_timer_start(&agent->follow, on_follow, FOLLOW_MS, FOLLOW_MS);
	uv_timer_start(&agent->judge, on_judge, JUDGE_MS, JUDGE_MS);
	uv_timer_start(&agent->hold, agent_on_hold, HOLD_MS, HOLD_MS);
}

/* The device for the node's own clients before the programs, which know it by its number. */
static int start_datapath(struct agent *agent)
{
	struct sl_event event = {.kind = SL_EVENT_AGENT_START};
	struct datapath_options options = agent->options->datapath;
	char reason[1024] = "";
	int error = node_device_ensure(0, &agent->node_ifindex, &agent->node_made, reason,
				       sizeof(reason));

	options.node_ifindex = agent->node_ifindex;
	error = error ?: datapath_open(&options, &agent->datapath, reason, sizeof(reason));
	if (error) {
		log_error("%s", reason);
		return error;
	}
	agent->events.ring_fd = datapath_tables(agent->datapath)->events_fd;
	agent->events.head = datapath_tables(agent->datapath)->event_head;
	events_add(&agent->events, &event, "%s",
		   datapath_is_adopted(agent->datapath) ? "adopted flows and rows of an earlier agent" :
							  "fresh");
	error = facts_open_maps(datapath_tables(agent->datapath), agent->options->datapath.bpffs,
				&agent->maps);
	if (error)
		log_error("cannot read the maps below %s: %s", agent->options->datapath.bpffs,
			  strerror(-error));
	if (error)
		return error;
	agent->facts.maps = agent->events.maps = &agent->maps;
	return 0;
}

/* First of all: a wrong directory or a port in use must not leave a half-started agent behind. */
static int check_manifests(const char *dir)
{
	int error = discover_file_check(dir);

	if (error)
		log_error("--manifests %s: %s: name a directory that is there and readable", dir,
			  strerror(-error));
	return error;
}

static int start_http(struct agent *agent)
{
	char reason[512] = "";
	int error = http_new(&agent->loop, agent->options->listen, status_handlers,
			     STATUS_HANDLERS, &agent->facts, &agent->http, reason, sizeof(reason));

	if (error)
		log_error("%s", reason);
	return error;
}

static const struct discover_ops discovery = {.on_input = agent_on_model,
					      .on_watch = agent_on_watch};

/* Interfaces before routes (their roles say which replicas are local), both before the model. */
static int start_modules(struct agent *agent)
{
	const struct agent_options *options = agent->options;
	int error;

	error = interfaces_new(agent->datapath, &agent->events, &options->interfaces,
			       &agent->interfaces);
	error = error ?: reconcile_new(datapath_tables(agent->datapath), &agent->events, agent_path,
				       agent, &agent->reconcile);
	error = error ?: inject_new(&agent->loop, datapath_tables(agent->datapath), &agent->inject);
	error = error ?: outlier_new(datapath_tables(agent->datapath), &agent->outlier);
	if (!error && datapath_has_fast_path(agent->datapath))
		error = peers_new(&agent->peers);
	error = error ?: probe_set_new(&agent->loop, agent_on_health, agent, &agent->probes);
	error = error ?: failures_new(agent, &agent->failures);
	error = error ?: route_new(&agent->loop, agent_on_route, agent, &agent->route);
	error = error ?: node_new(agent, agent->node_ifindex, &agent->node);
	if (error) {
		log_error("cannot start: %s", strerror(-error));
		return error;
	}
	probe_set_on_good(agent->probes, agent_on_good_probe);
	probe_set_ask_full(agent->probes, agent_full_so_far);
	agent->facts.probes = agent->probes;
	agent_write_mtus(agent);
	agent_attach_uplink(agent);
	reconcile_paths(agent->reconcile); /* of what is adopted: routes, or options, may be others now */
	interfaces_prune(agent->interfaces);
	error = discover_file_new(&agent->loop, options->manifests, &agent->policy, &discovery, agent,
				  &agent->discover);
	if (error)
		log_error("--manifests %s: %s", options->manifests, strerror(-error));
	return error;
}

/* Outside clients come in there and nowhere else; it may appear later, and is then attached. */
static void warn_of_uplinks(struct agent *agent)
{
	char name[64];

	for (const char *at = NULL;
	     interfaces_missing_uplink(agent->interfaces, &at, name, sizeof(name));)
		log_warn("--uplinks %s: there is no such interface; outside clients that come in "
			 "there are not steered until there is", name);
	if (!agent->options->interfaces.uplinks && !route_default_ifindex(agent->route))
		log_warn("no uplink: this node has no default route; outside clients are not steered "
			 "until it has one, or name the interface with --uplinks");
}

static void close_handle(uv_handle_t *handle, void *context)
{
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

/* Takes away what a start that failed has made. */
static void unmake(const char *bpffs)
{
	char reason[1024] = "";
	unsigned removed;

	if (datapath_unload(bpffs, &removed, reason, sizeof(reason)))
		log_error("%s", reason);
	else
		log_info("nothing of this start is left below %s", bpffs);
}

/* `failed`: the start has. What it made goes again; what an earlier agent made goes on. */
static void stop(struct agent *agent, bool failed)
{
	bool made = failed && agent->datapath && !datapath_is_adopted(agent->datapath);
	bool made_device = failed && agent->node_made && (made || !agent->datapath);
	struct sl_event event = {.kind = SL_EVENT_AGENT_STOP};

	discover_file_free(agent->discover);
	http_free(agent->http);
	route_free(agent->route);
	peers_free(agent->peers);
	failures_free(agent->failures);
	probe_set_free(agent->probes);
	inject_free(agent->inject);
	uv_walk(&agent->loop, close_handle, NULL);
	uv_run(&agent->loop, UV_RUN_DEFAULT);
	uv_loop_close(&agent->loop);
	reconcile_free(agent->reconcile);
	outlier_free(agent->outlier);
	interfaces_free(agent->interfaces);
	node_free(agent->node);
	if (agent->datapath && !made)
		events_add(&agent->events, &event, "the programs go on");
	events_done(&agent->events);
	if (agent->facts.maps)
		facts_close_maps(&agent->maps);
	datapath_close(agent->datapath);
	if (made)
		unmake(agent->options->datapath.bpffs);
	if (made_device)
		node_device_remove();
	free(agent->port_clash);
	free(agent->unattached);
	model_free(agent->model);
	verdicts_done(&agent->ignored);
}

int agent_run(const struct agent_options *options)
{
	struct agent agent = {
		.options = options,
		.policy = {.node_name = options->node_name,
			   .external_cidrs = options->external_cidrs,
			   .n_external_cidrs = options->n_external_cidrs},
		.facts = {.version = SLUICE_VERSION,
			  .node_name = options->node_name,
			  .bpffs = options->datapath.bpffs,
			  .unready = "no input has been applied yet"},
	};
	int error;

	signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	uv_loop_init(&agent.loop);
	start_clocks(&agent);
	error = check_manifests(options->manifests);
	error = error ?: start_http(&agent);
	error = error ?: start_datapath(&agent);
	error = error ?: start_modules(&agent);
	if (!error) {
		log_info("sluiced %s on %s: %u pod interfaces, %u uplinks, metrics on %s",
			 SLUICE_VERSION, options->node_name,
			 interfaces_count(agent.interfaces, ATTACH_POD),
			 interfaces_count(agent.interfaces, ATTACH_UPLINK), options->listen);
		warn_of_uplinks(&agent);
		uv_run(&agent.loop, UV_RUN_DEFAULT);
	}
	stop(&agent, error);
	return error;
}
