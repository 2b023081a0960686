// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice flow`: walks the mapped flow table and the spill table while packets
 * change them; every row printed was one flow, whole, at some moment. Rows are
 * printed as they are met, so in no order. Reads only.
 */
#include <arpa/inet.h>
#include <getopt.h>

#include <bpf/bpf.h>

#include "addr.h"
#include "view.h"

static const char *const phase_names[] = {SL_FLOW_PHASES(SL_NAME_ROW)};
static const char *const hook_names[] = {SL_HOOKS(SL_NAME_ROW)};

static const struct out_column columns[] = {
	VIEW_SERVICE_COLUMNS,
	{"protocol", "PROTOCOL", OUT_STRING},
	VIEW_ENDPOINT_COLUMNS("CLIENT", "client", "client_port"),
	VIEW_ENDPOINT_COLUMNS("VIP", "vip", "vip_port"),
	VIEW_ENDPOINT_COLUMNS("REPLICA", "replica", "replica_port"),
	{"state", "STATE", OUT_STATE},
	{"age_ms", "AGE-MS", OUT_UINT}, /* of the last packet */
	{"snat_port", "SNAT-PORT", OUT_UINT},
	{"hook", "HOOK", OUT_STRING},
	{"spilled", NULL, OUT_BOOL},
	{"generation", NULL, OUT_UINT},
	{},
};

struct filter {
	const char *service;
	bool all; /* finished ones too */
};

static void put_flow(const struct view *view, struct out *out, const struct sl_flow *flow)
{
	const struct maps *maps = &view->maps;

	view_put_service(view, out, view_service_row(view, flow->key.service));
	out_string(out, view_protocol(flow->key.proto));
	view_put_endpoint(out, &flow->key.client, flow->key.port);
	if (flow->vip < maps->n_vips)
		view_put_endpoint(out, &maps->vips[flow->vip].addr, maps->vips[flow->vip].port);
	else
		view_put_no_endpoint(out);
	if (flow->replica < maps->n_replicas)
		view_put_endpoint(out, &maps->replicas[flow->replica].config.addr,
				  maps->replicas[flow->replica].config.port);
	else
		view_put_no_endpoint(out);
	out_string(out, phase_names[SL_FLOW_PHASE(flow->state)]);
	out_uint(out, view_age_ms(view, flow->last_seen));
	if (flow->hook == SL_HOOK_FABRIC && flow->snat_port)
		out_uint(out, ntohs(flow->snat_port));
	else
		out_null(out);
	out_string(out, flow->hook < SL_HOOK_MAX ? hook_names[flow->hook] : NULL);
	out_bool(out, flow->state & SL_FLOW_SPILLED);
	out_uint(out, SL_FLOW_GENERATION(flow->state));
	out_row(out);
}

static bool is_wanted(const struct view *view, const struct sl_flow *flow,
		      const struct filter *filter)
{
	__u32 phase = SL_FLOW_PHASE(flow->state);

	if (flow->key.flags & SL_FLOW_OWNED) /* a place below a cap: `replica show` counts them */
		return false;
	if (phase == SL_FLOW_DONE ? !filter->all :
				      phase != SL_FLOW_SYN && phase != SL_FLOW_OPEN &&
					      phase != SL_FLOW_PARKED)
		return false;
	return view_service_matches(view, view_service_row(view, flow->key.service),
				    filter->service);
}

static void show_table(const struct view *view, struct out *out, const struct filter *filter)
{
	struct sl_flow flow;

	for (__u32 set = 0; set < view->maps.n_flow_sets; set++)
		for (__u32 way = 0; way < SL_FLOW_WAYS; way++)
			if (maps_read_flow(&view->maps, set, way, &flow) &&
			    is_wanted(view, &flow, filter))
				put_flow(view, out, &flow);
}

/* An LRU hash evicts while it is walked, and then the walk starts over: bounded, so that it ends. */
static void show_spill(const struct view *view, struct out *out, const struct filter *filter)
{
	struct sl_flow_key key, next;
	struct sl_flow flow;
	int fd = view->maps.spill_fd;
	bool more;

	more = !bpf_map_get_next_key(fd, NULL, &next);
	for (__u32 i = 0; more && i < 2 * SL_MAX_SPILL; i++) {
		if (!bpf_map_lookup_elem(fd, &next, &flow) && is_wanted(view, &flow, filter))
			put_flow(view, out, &flow);
		key = next;
		more = !bpf_map_get_next_key(fd, &key, &next);
	}
}

static int flow_show(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {{"all", no_argument, NULL, 'a'}, {}};
	struct filter filter = {0};
	struct view view;
	int option, status;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "a", options, NULL)) != -1) {
		if (option != 'a')
			return cli_usage(cli, "no such option: %s", argv[optind - 1]);
		filter.all = true;
	}
	if (argc - optind > 1)
		return cli_usage(cli, "one service at most");
	filter.service = argv[optind];
	status = view_open(cli, &view);
	if (status)
		return status;
	status = view_expect_service(&view, filter.service);
	if (!status) {
		out_begin(cli->out, columns);
		show_table(&view, cli->out, &filter);
		if (view.maps.kernel->spilled)
			show_spill(&view, cli->out, &filter);
		status = cli_finish(cli);
	}
	view_close(&view);
	return status;
}

const struct cmd flow_commands[] = {
	{.name = "show", .fn = flow_show, .args = "[-a|--all] [SERVICE]",
	 .help = "live flows, and with -a finished ones that linger",
	 .examples = "sluice flow show default/llm\n"
		     "sluice -j flow show -a | jq 'group_by(.state) | map({(.[0].state): length})'\n"},
	{},
};
