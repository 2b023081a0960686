// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice service`: one row per service-port, with its VIPs and the sums over
 * its replicas. Says which clients Sluice does not steer. Reads only.
 */
#include <arpa/inet.h>
#include <stdlib.h>

#include "addr.h"
#include "view.h"

static const struct out_column columns[] = {
	VIEW_SERVICE_COLUMNS,
	{"port", NULL, OUT_UINT},
	{"protocol", "PROTOCOL", OUT_STRING},
	{"mode", "MODE", OUT_STRING},
	{NULL, "READY", OUT_STRING},
	{"replicas", NULL, OUT_UINT},
	{"ready", NULL, OUT_UINT},
	{"inflight", "INFLIGHT", OUT_UINT},
	{"picks", "PICKS", OUT_UINT},
	{"idle_timeout_s", "IDLE-S", OUT_UINT},
	{"node_clients_steered", NULL, OUT_BOOL},
	{"vips", "VIPS", OUT_LIST},
	{},
};

/* Over the replicas of one service-port; one that is shared counts in each of its services. */
struct sums {
	uint64_t inflight, picks;
	unsigned ready;
};

static struct sums sum_replicas(const struct view *view, const struct view_pair *pairs, size_t n)
{
	struct sums sums = {0};
	enum sl_replica_state state;

	for (size_t i = 0; i < n; i++) {
		const struct sl_replica *replica = &view->maps.replicas[pairs[i].row];

		state = maps_replica_state(replica, view->maps.kernel->now);
		sums.ready += state == SL_STATE_READY || state == SL_STATE_WARMING;
		sums.inflight += replica->state.inflight;
		sums.picks += replica->state.picks;
	}
	return sums;
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

static void put_service(const struct view *view, struct out *out, __u32 row,
			const struct view_pairs *replicas, const struct view_pairs *vips)
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
	out_stringf(out, "%u/%zu", sums.ready, n_replicas);
	out_uint(out, n_replicas);
	out_uint(out, sums.ready);
	out_uint(out, sums.inflight);
	out_uint(out, sums.picks);
	if (hz)
		out_uint(out, service->idle_ticks / hz);
	else
		out_null(out);
	out_bool(out, false); /* no hook of this version sees the node's own clients */
	of = view_pairs_of(view, vips, row, &n_vips);
	put_vips(view, out, of, n_vips);
	out_row(out);
}

static void note_node_clients(struct out *out, bool overlay, bool replace)
{
	if (overlay)
		out_note(out, "overlay: the node's own clients (hostNetwork pods, processes on the "
			      "node) are not steered, kube-proxy serves them");
	if (replace)
		out_note(out, "replace: the node's own clients (hostNetwork pods, processes on the "
			      "node) are not steered yet, nobody serves them");
}

static int service_show(struct cli *cli, int argc, char **argv)
{
	struct view_pairs replicas = {0}, vips = {0};
	const char *name = argc > 1 ? argv[1] : NULL;
	bool overlay = false, replace = false;
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
		out_begin(cli->out, columns);
		for (size_t i = 0; i < view.n_order; i++) {
			__u32 row = view.order[i];

			if (!view_service_matches(&view, row, name))
				continue;
			put_service(&view, cli->out, row, &replicas, &vips);
			if (view.maps.services[row].flags & SL_SERVICE_REPLACE)
				replace = true;
			else
				overlay = true;
		}
		note_node_clients(cli->out, overlay, replace);
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
