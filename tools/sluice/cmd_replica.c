// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice replica`: shows the replicas, and drains one by hand. `drain` stores
 * the single byte that belongs to the CLI (sl_replica_config.admin) through a
 * writable mapping of its own, so it works with the agent dead and cannot race
 * with it. Writes nothing else.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <sluice/pick.h>

#include "addr.h"
#include "fast.h"
#include "store.h"
#include "view.h"

static const struct out_column columns[] = {
	VIEW_SERVICE_COLUMNS,
	VIEW_ENDPOINT_COLUMNS("REPLICA", "address", "port"),
	{"protocol", NULL, OUT_STRING},
	{"state", "STATE", OUT_STATE},
	{"weight", "WEIGHT", OUT_UINT},
	{"inflight", "INFLIGHT", OUT_UINT},
	{"owned", "OWNED", OUT_UINT},
	{"load", "LOAD", OUT_REAL},
	{"picks", "PICKS", OUT_UINT},
	{"connect_failures", "CONNECT-FAILURES", OUT_UINT},
	{"ejections", "EJECTIONS", OUT_UINT},
	{"retries", "RETRIES", OUT_UINT},
	{"max_connections", NULL, OUT_UINT},
	{"full", NULL, OUT_UINT},
	{"ejected_s", NULL, OUT_REAL},
	{"warming_percent", NULL, OUT_REAL},
	{"last_good_probe_s", NULL, OUT_REAL},
	{"drained", NULL, OUT_BOOL},
	{"local", NULL, OUT_BOOL},
	{"held", NULL, OUT_BOOL},
	{"fast_path", NULL, OUT_BOOL},
	{"pod", "POD", OUT_STRING},
	{"node", "NODE", OUT_STRING},
	{},
};

static void put_name(struct out *out, const char *name)
{
	out_string(out, *name ? name : NULL);
}

static void put_uint_or_null(struct out *out, __u32 value)
{
	if (value)
		out_uint(out, value);
	else
		out_null(out);
}

/* What is left of an ejection, how far slow start is, how old the last good probe is. */
static void put_passing(const struct view *view, struct out *out, const struct sl_replica *replica)
{
	__u32 now = view->maps.kernel->now, hz = view->maps.control->hz;
	__u32 until = replica->state.ejected_until;
	__s32 left = until ? until - now : 0;

	if (left > 0 && hz)
		out_real(out, (double)left / hz);
	else
		out_null(out);
	if (maps_replica_state(replica, now) == SL_STATE_WARMING)
		out_real(out, replica->config.warming * 100.0 / SL_WARMING_ALL);
	else
		out_null(out);
	left = now - replica->config.probe_good; /* below 0: since `now` was read */
	if (replica->config.probe_good && hz)
		out_real(out, left > 0 ? (double)left / hz : 0);
	else
		out_null(out);
}

static void put_replica(const struct view *view, struct out *out, const struct view_pair *pair,
			uint64_t now_ns)
{
	const struct sl_replica *replica = &view->maps.replicas[pair->row];
	const struct sl_replica_config *config = &replica->config;
	const struct sl_replica_state_row *state = &replica->state;
	struct sl_replica_name name;

	maps_replica_name(&view->maps, pair->row, &name);
	view_put_service(view, out, pair->service);
	view_put_endpoint(out, &config->addr, config->port);
	out_string(out, view_protocol(config->proto));
	out_string(out, view_state(maps_replica_state(replica, view->maps.kernel->now)));
	out_uint(out, config->weight);
	out_uint(out, state->inflight);
	out_uint(out, state->owned);
	view_put_load(view, out, pair, now_ns);
	out_uint(out, state->picks);
	out_uint(out, state->connect_failures);
	out_uint(out, state->ejections);
	out_uint(out, state->retries);
	put_uint_or_null(out, config->max_connections);
	out_uint(out, state->full);
	put_passing(view, out, replica);
	out_bool(out, config->admin & SL_ADMIN_DRAINED);
	out_bool(out, config->flags & SL_REPLICA_LOCAL);
	out_bool(out, config->flags & SL_REPLICA_HELD);
	out_bool(out, fast_is_on(view->maps.control) && fast_replica(config) == FAST_YES);
	put_name(out, name.pod);
	put_name(out, name.node);
	out_row(out);
}

static int replica_show(struct cli *cli, int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	struct view_pairs pairs = {0};
	struct view view;
	int status = cli_args(cli, argc, argv, 0, 1);

	if (status)
		return status;
	status = view_open(cli, &view);
	if (status)
		return status;
	status = view_expect_service(&view, name);
	if (!status)
		status = view_replicas(&view, &pairs);
	if (!status) {
		out_begin(cli->out, columns);
		for (size_t i = 0; i < pairs.n; i++)
			if (view_service_matches(&view, pairs.list[i].service, name))
				put_replica(&view, cli->out, &pairs.list[i], view_now_ns());
		status = cli_finish(cli);
	}
	free(pairs.list);
	view_close(&view);
	return status;
}

/* ---- drain ----------------------------------------------------------------------------*/

/* A replica at the same address and port, TCP and UDP alike. */
static bool is_replica(const struct sl_replica_config *config, const union sl_addr *addr,
		       __be16 port)
{
	return (config->flags & SL_REPLICA_USED) && config->port == port &&
	       addr_equal(&config->addr, addr);
}

static bool has_other_choice(const struct view *view, const struct view_pairs *pairs, __u32 service)
{
	const struct view_pair *of;
	size_t n;

	of = view_pairs_of(view, pairs, service, &n);
	for (size_t i = 0; i < n; i++)
		if (maps_replica_state(&view->maps.replicas[of[i].row],
				       view->maps.kernel->now) <=
		    SL_STATE_WARMING)
			return true;
	return false;
}

/* Stores the byte; returns in how many rows. */
static unsigned store_admin(struct sl_replica *rows, __u32 n, const union sl_addr *addr,
			    __be16 port, bool drained)
{
	unsigned found = 0;

	for (__u32 row = 0; row < n; row++) {
		__u8 *admin = &rows[row].config.admin;

		if (!is_replica(&rows[row].config, addr, port))
			continue;
		if (drained)
			__atomic_fetch_or(admin, SL_ADMIN_DRAINED, __ATOMIC_RELEASE);
		else
			__atomic_fetch_and(admin, (__u8)~SL_ADMIN_DRAINED, __ATOMIC_RELEASE);
		found++;
	}
	return found;
}

static int show_affected(struct cli *cli, const struct view *view, const union sl_addr *addr,
			 __be16 port, bool drained)
{
	struct view_pairs pairs = {0};
	int status = view_replicas(view, &pairs);

	if (status)
		return status;
	out_begin(cli->out, columns);
	for (size_t i = 0; i < pairs.n; i++) {
		const struct view_pair *pair = &pairs.list[i];
		const struct sl_service_name *name = view_service_name(view, pair->service);

		if (!is_replica(&view->maps.replicas[pair->row].config, addr, port))
			continue;
		put_replica(view, cli->out, pair, view_now_ns());
		if (drained && !has_other_choice(view, &pairs, pair->service))
			out_note(cli->out, "%s has no other replica that takes new flows: its picks "
				 "still go to draining ones", name ? name->service : "a service");
	}
	if (drained)
		out_note(cli->out, "open flows go on; undo with: sluice replica undrain ADDR:PORT");
	status = cli_finish(cli);
	free(pairs.list);
	return status;
}

static int set_drained(struct cli *cli, int argc, char **argv, bool drained)
{
	struct sl_replica *rows = NULL;
	struct view view;
	union sl_addr addr;
	unsigned found;
	size_t size;
	__be16 port;
	int status = cli_args(cli, argc, argv, 1, 1);

	if (status)
		return status;
	if (addr_parse_port(argv[1], &addr, &port))
		return cli_usage(cli, "%s: not an address and port such as 10.0.0.7:8000 or "
				 "[fd00::7]:8000", argv[1]);
	status = view_open(cli, &view);
	if (status)
		return status;
	size = view.maps.n_replicas * sizeof(*rows);
	status = store_map(cli, "replicas", size, &rows);
	if (!status) {
		found = store_admin(rows, view.maps.n_replicas, &addr, port, drained);
		munmap(rows, size);
		status = found ? show_affected(cli, &view, &addr, port, drained)
			       : cli_error("%s is no replica here; see: sluice replica show", argv[1]);
	}
	view_close(&view);
	return status;
}

static int replica_drain(struct cli *cli, int argc, char **argv)
{
	return set_drained(cli, argc, argv, true);
}

static int replica_undrain(struct cli *cli, int argc, char **argv)
{
	return set_drained(cli, argc, argv, false);
}

const struct cmd replica_commands[] = {
	{.name = "show", .fn = replica_show, .args = "[SERVICE]",
	 .help = "replicas, their state and how busy they are",
	 .examples = "sluice replica show\nsluice -j replica show default/llm | jq '.[] | .state'\n"},
	{.name = "drain", .fn = replica_drain, .args = "ADDR:PORT",
	 .help = "give a replica no new flows, unless no fit one is left; open ones go on",
	 .examples = "sluice replica drain 10.244.1.7:8000\n"},
	{.name = "undrain", .fn = replica_undrain, .args = "ADDR:PORT",
	 .help = "let it take new flows again",
	 .examples = "sluice replica undrain [fd00::7]:8000\n"},
	{},
};
