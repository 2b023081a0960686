// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice service`: one row per service-port, with its VIPs, the sums over its
 * replicas and the policy in force. Says which clients Sluice does not steer.
 * Reads only.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "addr.h"
#include "fast.h"
#include "node_clients.h"
#include "view.h"

static const struct out_column columns[] = {
	VIEW_SERVICE_COLUMNS,
	{"port", NULL, OUT_UINT},
	{"protocol", "PROTOCOL", OUT_STRING},
	{"mode", "MODE", OUT_STRING},
	{"handed_back", NULL, OUT_BOOL},
	{NULL, "READY", OUT_STRING},
	{"replicas", NULL, OUT_UINT},
	{"ready", NULL, OUT_UINT},
	{"inflight", "INFLIGHT", OUT_UINT},
	{"picks", "PICKS", OUT_UINT},
	{"parked", "PARKED", OUT_UINT},
	{"idle_timeout_s", "IDLE-S", OUT_UINT},
	{"node_clients_steered", "NODE", OUT_BOOL},
	{"fast_path_replicas", NULL, OUT_UINT},
	{"retry_attempts", NULL, OUT_UINT},
	{"retry_budget", NULL, OUT_UINT},
	{"syn_deadline_ms", NULL, OUT_UINT},
	{"consecutive_5xx_errors", NULL, OUT_UINT},
	{"consecutive_gateway_errors", NULL, OUT_UINT},
	{"consecutive_local_origin_failures", NULL, OUT_UINT},
	{"split_local_origin_errors", NULL, OUT_BOOL},
	{"base_ejection_s", NULL, OUT_REAL},
	{"max_ejection_s", NULL, OUT_REAL},
	{"max_ejection_percent", NULL, OUT_UINT},
	{"min_health_percent", NULL, OUT_UINT},
	{"latency_outlier_factor", NULL, OUT_REAL},
	{"max_parked", NULL, OUT_UINT},
	{"when_full", NULL, OUT_STRING},
	{"when_none", NULL, OUT_STRING},
	{"on_eject", NULL, OUT_STRING},
	{"reset_after_s", NULL, OUT_REAL},
	{"vips", "VIPS", OUT_LIST},
	{},
};

/* Over the replicas of one service-port; one that is shared counts in each of its services. */
struct sums {
	uint64_t inflight, picks;
	unsigned ready, fast;
};

static struct sums sum_replicas(const struct view *view, const struct view_pair *pairs, size_t n)
{
	struct sums sums = {0};
	enum sl_replica_state state;

	for (size_t i = 0; i < n; i++) {
		const struct sl_replica *replica = &view->maps.replicas[pairs[i].row];

		state = maps_replica_state(replica, view->maps.kernel->now);
		sums.ready += state == SL_STATE_READY || state == SL_STATE_WARMING;
		sums.fast += fast_is_on(view->maps.control) &&
			     fast_replica(&replica->config) == FAST_YES;
		sums.inflight += replica->state.inflight;
		sums.picks += replica->state.picks;
	}
	return sums;
}

/* SYNs that wait, of all rows that are shown as this one. */
static uint64_t sum_parked(const struct view *view, __u32 row)
{
	uint64_t sum = 0;

	for (__u32 i = 0; i < view->maps.n_services; i++) {
		__s32 parked = view->maps.service_states[i].parked;

		if (parked > 0 && view_service_row(view, i) == row)
			sum += parked;
	}
	return sum;
}

static void put_vips(const struct view *view, struct out *out, const struct view_pair *pairs,
		     size_t n)
{
	char text[ADDR_PORT_STR_LEN];

	for (size_t i = 0; i < n; i++) {
		const struct sl_vip *vip = &view->maps.vips[pairs[i].row];

		out_item(out, addr_format_port(&vip->addr, vip->port, text));
	}
	out_close(out);
}

/* Seconds in jiffies; null while the agent has not said how long those are. */
static void put_seconds(struct out *out, __u32 ticks, __u32 hz)
{
	if (hz)
		out_real(out, (double)ticks / hz);
	else
		out_null(out);
}

static const char *refuse_or_wait(const struct sl_service *service, __u32 flag)
{
	return service->flags & flag ? "wait" : "refuse";
}

/* 0: not even a connect that is refused. */
static unsigned retry_attempts(const struct sl_service *service)
{
	return service->flags & SL_SERVICE_NO_RETRY ? 0 : service->retry_attempts;
}

static void put_policy(struct out *out, const struct sl_service *service, __u32 hz)
{
	out_uint(out, retry_attempts(service));
	out_uint(out, service->retry_budget);
	if (hz && service->syn_deadline_ticks)
		out_uint(out, service->syn_deadline_ticks * 1000ull / hz);
	else
		out_null(out); /* by the round trips alone */
	out_uint(out, service->eject_5xx);
	out_uint(out, service->eject_gateway);
	out_uint(out, service->eject_local);
	out_bool(out, service->flags & SL_SERVICE_SPLIT);
	put_seconds(out, service->base_ejection_ticks, hz);
	put_seconds(out, service->max_ejection_ticks, hz);
	out_uint(out, service->max_ejection_percent);
	out_uint(out, service->min_health_percent);
	if (service->latency_factor)
		out_real(out, service->latency_factor / 100.0);
	else
		out_null(out);
	out_uint(out, service->max_parked);
	out_string(out, refuse_or_wait(service, SL_SERVICE_WAIT_FULL));
	out_string(out, refuse_or_wait(service, SL_SERVICE_WAIT_NONE));
	out_string(out, service->flags & SL_SERVICE_KEEP ? "keep" : "reset");
	out_real(out, service->reset_after_ds / 10.0);
}

/* The same for people who ask for one service. */
static void note_policy(struct out *out, const struct sl_service *service,
			const struct sl_service_name *name, __u32 hz)
{
	char ejects[128] = "nothing is ejected by count", slow[64] = "";

	if (name->proto != IPPROTO_TCP || !hz)
		return;
	if (service->eject_5xx || service->eject_gateway || service->eject_local)
		snprintf(ejects, sizeof(ejects),
			 "ejects after %u 5xx, %u gateway, %u connect failures in a row (0: off), "
			 "for %u s, at most %u %%",
			 service->eject_5xx, service->eject_gateway, service->eject_local,
			 service->base_ejection_ticks / hz, service->max_ejection_percent);
	if (service->latency_factor)
		snprintf(slow, sizeof(slow), "; slow beyond %.2f times the median",
			 service->latency_factor / 100.0);
	out_note(out, "port %u: %u retries; %s%s; when full: %s, when none: %s; on eject: %s",
		 ntohs(name->port), retry_attempts(service), ejects, slow,
		 refuse_or_wait(service, SL_SERVICE_WAIT_FULL),
		 refuse_or_wait(service, SL_SERVICE_WAIT_NONE),
		 service->flags & SL_SERVICE_KEEP ? "keep" : "reset");
}

static bool is_handed_back(const struct view *view, const struct view_pair *vips, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (maps_is_handed_back(&view->maps.vips[vips[i].row]))
			return true;
	return false;
}

/* Whether the node's own clients are steered to all VIPs but those that the node itself holds. */
static bool steers_node_clients(const struct view *view, const struct node_clients *clients,
				const struct view_pair *vips, size_t n)
{
	unsigned ours = 0;

	for (size_t i = 0; i < n; i++) {
		const struct sl_vip *vip = &view->maps.vips[vips[i].row];
		enum node_way way = node_clients_way(clients, &vip->addr);

		if (way == NODE_WAY_LOCAL)
			continue;
		if (way == NODE_WAY_OTHER || !node_clients_want(&view->maps, vip))
			return false;
		ours++;
	}
	return ours;
}

static void put_service(const struct view *view, struct out *out, __u32 row,
			const struct view_pairs *replicas, const struct view_pairs *vips,
			const struct node_clients *clients)
{
	const struct sl_service_name *name = view_service_name(view, row);
	const struct sl_service *service = &view->maps.services[row];
	__u32 hz = view->maps.control->hz;
	size_t n_replicas, n_vips;
	const struct view_pair *of = view_pairs_of(view, replicas, row, &n_replicas);
	struct sums sums = sum_replicas(view, of, n_replicas);

	view_put_service(view, out, row);
	out_uint(out, ntohs(name->port));
	out_string(out, view_protocol(name->proto));
	out_string(out, service->flags & SL_SERVICE_REPLACE ? "replace" : "overlay");
	of = view_pairs_of(view, vips, row, &n_vips);
	out_bool(out, is_handed_back(view, of, n_vips));
	out_stringf(out, "%u/%zu", sums.ready, n_replicas);
	out_uint(out, n_replicas);
	out_uint(out, sums.ready);
	out_uint(out, sums.inflight);
	out_uint(out, sums.picks);
	out_uint(out, sum_parked(view, row));
	if (hz)
		out_uint(out, service->idle_ticks / hz);
	else
		out_null(out);
	out_bool(out, steers_node_clients(view, clients, of, n_vips));
	out_uint(out, sums.fast);
	put_policy(out, service, hz);
	put_vips(view, out, of, n_vips);
	out_row(out);
}

static void note_handed_back(const struct view *view, struct out *out, __u32 row,
			     const struct view_pairs *vips)
{
	size_t n;
	const struct view_pair *of = view_pairs_of(view, vips, row, &n);
	const struct sl_service_name *name = view_service_name(view, row);

	if (is_handed_back(view, of, n))
		out_note(out, "%s, port %u, is handed back: its new connections are %s; undo: sluice "
			      "hand-back --undo %s", name->service, ntohs(name->port),
			 view->maps.services[row].flags & SL_SERVICE_REPLACE ? "refused" :
									       "kube-proxy's",
			 name->service);
}

static void note_node_clients(struct out *out, bool overlay, bool replace)
{
	if (overlay)
		out_note(out, "overlay: the node's own clients (NODE: hostNetwork pods, processes on "
			      "the node) are not steered, kube-proxy serves them");
	if (replace)
		out_note(out, "replace: the node's own clients (NODE: hostNetwork pods, processes on "
			      "the node) are steered, but where `sluice doctor` says otherwise, and not "
			      "to addresses of the node itself");
}

static int service_show(struct cli *cli, int argc, char **argv)
{
	struct view_pairs replicas = {0}, vips = {0};
	const char *name = argc > 1 ? argv[1] : NULL;
	bool overlay = false, replace = false;
	struct node_clients clients;
	struct view view;
	int status = cli_args(cli, argc, argv, 0, 1);

	if (status)
		return status;
	status = view_open(cli, &view);
	if (status)
		return status;
	status = view_expect_service(&view, name);
	if (!status)
		status = view_replicas(&view, &replicas);
	if (!status)
		status = view_vips(&view, &vips);
	if (!status) {
		node_clients_open(&clients);
		out_begin(cli->out, columns);
		for (size_t i = 0; i < view.n_order; i++) {
			__u32 row = view.order[i];

			if (!view_service_matches(&view, row, name))
				continue;
			put_service(&view, cli->out, row, &replicas, &vips, &clients);
			note_handed_back(&view, cli->out, row, &vips);
			if (name)
				note_policy(cli->out, &view.maps.services[row],
					    view_service_name(&view, row),
					    view.maps.control->hz);
			if (view.maps.services[row].flags & SL_SERVICE_REPLACE)
				replace = true;
			else
				overlay = true;
		}
		note_node_clients(cli->out, overlay, replace);
		node_clients_close(&clients);
		status = cli_finish(cli);
	}
	free(replicas.list);
	free(vips.list);
	view_close(&view);
	return status;
}

const struct cmd service_commands[] = {
	{.name = "show", .fn = service_show, .args = "[NAME]",
	 .help = "services, their VIPs and how busy they are",
	 .examples = "sluice service show\nsluice service show default/llm\n"},
	{},
};
