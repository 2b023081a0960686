// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns what comes in: models from discovery, links, addresses and routes from
 * the kernel. Bad input changes nothing: it is said, counted and remembered.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>

#include "agent_state.h"
#include "log.h"
#include "port_range.h"

/* ---- models ------------------------------------------------------------------------------*/

static uint64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* The directory is known; an event has few bytes, and field and reason matter more. */
static const char *format_short(const struct diag *diag, char *buf, size_t len)
{
	struct diag shorter = *diag;
	const char *slash = strrchr(diag->file, '/');

	if (slash && slash[1])
		snprintf(shorter.file, sizeof(shorter.file), "%s", slash + 1);
	return diag_format(&shorter, buf, len);
}

static void refuse(struct agent *agent, const struct diag *diag)
{
	struct sl_event event = {.kind = SL_EVENT_CONFIG_REFUSED};
	char text[2048];

	agent->last_refused = *diag;
	agent->facts.last_refused = &agent->last_refused;
	agent->facts.last_refused_ns = realtime_ns();
	agent->facts.refused++;
	if (!agent->model)
		agent->facts.unready = "the input was refused";
	events_add(&agent->events, &event, "%s", format_short(diag, text, sizeof(text)));
}

/* Fields that have no effect are named at each change of input, never silently dropped. */
static void keep_verdicts(struct agent *agent, const struct verdicts *verdicts)
{
	verdicts_done(&agent->ignored);
	memset(agent->facts.verdicts, 0, sizeof(agent->facts.verdicts));
	for (size_t i = 0; i < verdicts->n; i++) {
		const struct verdict *verdict = &verdicts->list[i];

		agent->facts.verdicts[verdict->kind]++;
		if (verdict->kind != VERDICT_UNSUPPORTED && verdict->kind != VERDICT_UNKNOWN)
			continue;
		verdicts_add(&agent->ignored, verdict->kind, verdict->file, verdict->line,
			     verdict->object, verdict->field, verdict->reason);
		log_warn("%s:%u: %s: %s is %s: %s", verdict->file ? verdict->file : "?",
			 verdict->line, verdict->object, verdict->field,
			 verdict_kind_names[verdict->kind], verdict->reason);
	}
}

/* Once for each change: who takes the node's stack although the fast path is wanted. */
static void say_fast_path(struct agent *agent)
{
	struct tables *tables = datapath_tables(agent->datapath);
	struct fast_tally tally;
	char text[256];

	if (!fast_is_on(tables->control))
		return;
	tally = fast_tally(tables->replicas, SL_MAX_REPLICAS);
	if (memcmp(&tally, &agent->fast, sizeof(tally)))
		log_info("fast path: %s", fast_format(&tally, text, sizeof(text)));
	agent->fast = tally;
}

/* Once for each change: which of the node's own ports source NAT may take for itself. */
static void say_port_clash(struct agent *agent)
{
	const struct tables *tables = datapath_tables(agent->datapath);
	struct port_range range = {tables->control->snat_port_min, tables->control->snat_port_max};
	struct strbuf names = {};
	const union sl_addr *own;
	size_t n;

	own = route_addresses(agent->route, &n);
	port_range_name_vips(range, tables->vips, SL_MAX_VIPS, own, n, &names);
	if (strbuf_failed(&names) || !strcmp(names.data ?: "", agent->port_clash ?: "")) {
		strbuf_done(&names);
		return;
	}
	if (names.data)
		log_warn("node ports %s lie among the source ports of Sluice (--snat-ports %u-%u): "
			 "answers of replicas on other nodes to such a port are taken for calls of its "
			 "Service, and lost; give sluiced another range, or the Services other "
			 "nodePorts", names.data, range.min, range.max);
	free(agent->port_clash);
	agent->port_clash = names.data;
}

int agent_apply(struct agent *agent, struct diag *diag)
{
	const union sl_addr *addresses;
	size_t n;
	int error;

	agent_attach_uplink(agent);
	addresses = route_addresses(agent->route, &n);
	error = reconcile_apply(agent->reconcile, agent->model, addresses, n, diag->reason,
				sizeof(diag->reason));
	if (error)
		return error;
	if (agent->behind)
		log_info("the desired state is applied, at all addresses of this node");
	agent->behind = false;
	say_fast_path(agent);
	say_port_clash(agent);
	node_sync(agent->node);
	if (agent_sync_probes(agent))
		log_error("out of memory: some replicas are not probed; restart sluiced");
	agent_check_panic(agent);
	if (reconcile_has_retired(agent->reconcile) && !uv_is_active((uv_handle_t *)&agent->reclaim))
		uv_timer_again(&agent->reclaim);
	if (!uv_is_active((uv_handle_t *)&agent->warmup))
		uv_timer_again(&agent->warmup);
	return 0;
}

void agent_apply_again(struct agent *agent, const char *after)
{
	struct diag diag = {};

	if (!agent_apply(agent, &diag))
		return;
	if (!agent->behind)
		log_error("after %s the desired state cannot be applied: %s; it is tried again until it "
			  "can", after, diag.reason);
	agent->behind = true;
}

/* A model that comes into force, with who is held in it; without them if there is no room for both.
 * 0, or -errno: said why. */
static int apply_held(struct agent *agent, struct model *model)
{
	struct sl_event event = {.kind = SL_EVENT_ENDPOINTS_SETTLED};
	struct hold_changes changes = {};
	struct diag diag = {};
	size_t dropped = 0;
	int error = agent_hold_carry(agent, model, &changes);

	agent->model = model;
	if (error)
		snprintf(diag.reason, sizeof(diag.reason), "out of memory");
	error = error ?: agent_apply(agent, &diag);
	if (error == -ENOSPC)
		dropped = hold_drop(model);
	if (dropped) {
		hold_changes_done(&changes);
		diag = (struct diag){};
		error = agent_apply(agent, &diag);
	}
	if (error) {
		hold_changes_done(&changes);
		refuse(agent, &diag);
		return error;
	}
	if (dropped)
		events_add(&agent->events, &event,
			   "%zu endpoints left their lists: no room to keep them", dropped);
	agent_hold_begin(agent, &changes);
	return 0;
}

/* A new model. One that fails half-way (no memory) is taken back: the one before is applied again.
 * 0, or -errno: said why. */
static int apply_input(struct agent *agent, struct model *model)
{
	struct sl_event event = {.kind = SL_EVENT_CONFIG_APPLIED};
	struct model *before = agent->model;
	size_t replicas = 0;
	int error;

	error = apply_held(agent, model);
	if (error) {
		agent->model = before;
		model_free(model);
		if (before)
			agent_apply_again(agent, "a refused input");
		else
			agent->facts.unready = "the input was refused";
		return error;
	}
	model_free(before);
	for (size_t i = 0; i < agent->model->n_services; i++)
		replicas += agent->model->services[i].n_replicas;
	agent->facts.applied++;
	agent->facts.last_refused = NULL;
	agent->facts.unready = NULL;
	events_add(&agent->events, &event, "%zu service ports, %zu replicas",
		   agent->model->n_services, replicas);
	return 0;
}

void agent_on_model(void *context, struct model *model, const struct verdicts *verdicts,
		    const struct diag *diag)
{
	struct agent *agent = context;

	agent->facts.decoded = discover_file_decoded(agent->discover);
	if (diag) {
		refuse(agent, diag);
		return;
	}
	agent->facts.ignored = &agent->ignored;
	if (!apply_input(agent, model)) /* what is said of fields is said of the input in force */
		keep_verdicts(agent, verdicts);
	malloc_trim(0); /* what parsing and applying needed for a moment */
}

/* Every change is seen all the same, up to a second later. */
void agent_on_watch(void *context, const char *dir, int error)
{
	const char *advice = error == -EMFILE ? "; raise fs.inotify.max_user_instances" :
			     error == -ENOSPC ? "; raise fs.inotify.max_user_watches" : "";

	if (error)
		log_warn("cannot watch %s: %s; looking every second instead%s", dir, strerror(-error),
			 advice);
	else
		log_info("watching %s again: changes are seen at once", dir);
}

/* ---- links and routes -----------------------------------------------------------------------*/

/* The pod interface behind which an address is that is reached over `link`; NULL: none that packets
 * can be redirected to. */
static const struct route_link *pod_of(struct agent *agent, const struct route_link *link,
				       const union sl_addr *addr)
{
	size_t n;
	const struct route_link *links = route_links(agent->route, &n);

	if (!strcmp(link->kind, "bridge"))
		link = route_link_find(agent->route, peers_find(agent->peers, links, n, link->ifindex, addr,
						       uv_now(&agent->loop)));
	return link && route_link_has_peer(link) &&
	       interfaces_role(agent->interfaces, link->ifindex) == ATTACH_POD ? link : NULL;
}

/* Whether packets to a replica can bypass the node's stack, and answers be met where they arrive. */
static void find_fast_path(struct agent *agent, const union sl_addr *to, struct reconcile_path *path)
{
	const struct route_link *link = route_link_find(agent->route, path->ifindex), *pod;
	enum attach_role role;

	if (!link)
		return;
	if (path->local) {
		pod = pod_of(agent, link, to);
		path->peer_ifindex = pod ? pod->ifindex : 0;
		path->fast = pod;
		return;
	}
	role = interfaces_role(agent->interfaces, path->ifindex);
	path->fast = role == ATTACH_UPLINK || role == ATTACH_FABRIC;
}

/* Whether pods of this node are behind a device: a pod's own, or a bridge that one is a port of. */
static bool leads_to_pods(const struct agent *agent, __u32 ifindex)
{
	size_t n;
	const struct route_link *links = route_links(agent->route, &n);

	if (interfaces_role(agent->interfaces, ifindex) == ATTACH_POD)
		return true;
	for (size_t i = 0; ifindex && i < n; i++)
		if (links[i].master == (int)ifindex &&
		    interfaces_role(agent->interfaces, links[i].ifindex) == ATTACH_POD)
			return true;
	return false;
}

/* The programs are at the device before anything is sent to it: a reply that met none would go up to
 * the node's own stack, which refuses it. */
void agent_path(void *context, const union sl_addr *to, struct reconcile_path *ret)
{
	struct agent *agent = context;
	struct route_path path = {};

	if (route_lookup(agent->route, to, &path))
		return;
	ret->ifindex = path.ifindex;
	ret->source = path.source;
	ret->local = path.local || leads_to_pods(agent, path.ifindex);
	if (!ret->local && path.ifindex &&
	    interfaces_role(agent->interfaces, path.ifindex) == ATTACH_NONE)
		agent_attach(agent, path.ifindex, interfaces_fabric);
	if (agent->peers && !path.local)
		find_fast_path(agent, to, ret);
}

static bool is_listed(const struct route_mtu *mtus, size_t n, __u32 ifindex)
{
	size_t i = 0;

	while (i < n && mtus[i].ifindex != ifindex)
		i++;
	return i < n;
}

void agent_write_mtus(struct agent *agent)
{
	int fd = datapath_tables(agent->datapath)->route_mtus_fd, error = 0;
	size_t n;
	const struct route_mtu *mtus = route_mtus(agent->route, &n);
	__u32 key, *last = NULL, previous, gone;

	for (size_t i = 0; i < n && !error; i++)
		error = bpf_map_update_elem(fd, &mtus[i].ifindex, &mtus[i].mtu, BPF_ANY);
	while (!bpf_map_get_next_key(fd, last, &key)) {
		gone = key;
		if (is_listed(mtus, n, gone)) {
			previous = key;
			last = &previous;
		} else if (bpf_map_delete_elem(fd, &gone)) {
			break;
		}
	}
	if (error)
		log_error("more than %u devices have routes with an MTU of their own: packets of some are "
			  "measured by the MTU of the device alone (%s)", SL_MAX_ROUTE_MTUS,
			  strerror(-error));
}

void agent_on_route(void *context, enum route_change change, const struct route_link *link)
{
	struct agent *agent = context;

	switch (change) {
	case ROUTE_LINK_NEW:
		peers_forget(agent->peers);
		agent_attach_named(agent, link);
		if (!link->up || !link->carrier)
			failures_link_gone(agent->failures, link, "is down");
		break;
	case ROUTE_LINK_GONE:
		peers_forget(agent->peers);
		interfaces_link_gone(agent->interfaces, link);
		agent_attach_forget(agent, link->ifindex);
		failures_link_gone(agent->failures, link, "is gone");
		break;
	case ROUTE_ADDRESSES:
		if (agent->model && agent->route)
			/* node ports are served on all of them */
			agent_apply_again(agent, "a change of this node's addresses");
		break;
	case ROUTE_ROUTES:
		if (!agent->route)
			break;
		agent_write_mtus(agent);
		agent_attach_uplink(agent);
		reconcile_paths(agent->reconcile);
		say_fast_path(agent);
		node_sync(agent->node);
		break;
	}
}
