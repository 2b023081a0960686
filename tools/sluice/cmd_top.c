// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice top`: how load lies on the replicas, again and again. Each round is
 * one row for a service-port as a whole and one for each of its replicas. On a
 * terminal the rounds replace each other; elsewhere, or with -n, they follow
 * each other. Reads only.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "screen.h"
#include "view.h"

#define BAR_WIDTH 20

static const struct out_column columns[] = {
	{"time", NULL, OUT_UINT}, /* seconds since 1970 */
	VIEW_SERVICE_COLUMNS,
	{NULL, "REPLICA", OUT_STRING},
	{"address", NULL, OUT_STRING},
	{"port", NULL, OUT_UINT},
	{"state", "STATE", OUT_STATE},
	{"weight", "WEIGHT", OUT_UINT},
	{"load", "LOAD", OUT_REAL},
	{"picks_per_s", "PICKS/S", OUT_REAL},
	{"inflight", "INFLIGHT", OUT_UINT},
	{NULL, "", OUT_STRING},
	{},
};

struct top {
	struct view view;
	uint64_t *picks;     /* of each replica row, at the last round */
	uint64_t sampled_ns; /* CLOCK_MONOTONIC of the last round; 0: this is the first */
	double elapsed_s;    /* since then; 0: no rates yet */
};

struct options {
	uint64_t count; /* of rounds; 0: until stopped */
	int delay_ms;
};

static double picks_per_s(const struct top *top, __u32 row)
{
	uint64_t picks = top->view.maps.replicas[row].state.picks;

	/* A row given to another replica starts anew. */
	if (picks < top->picks[row] || top->elapsed_s <= 0)
		return 0;
	return (picks - top->picks[row]) / top->elapsed_s;
}

static void put_rate(const struct top *top, struct out *out, double rate)
{
	if (top->elapsed_s > 0)
		out_real(out, rate);
	else
		out_null(out);
}

static void put_service(const struct top *top, struct out *out, const struct view_pair *pairs,
			size_t n)
{
	uint64_t inflight = 0;
	unsigned ready = 0;
	double rate = 0;

	for (size_t i = 0; i < n; i++) {
		const struct sl_replica *replica = &top->view.maps.replicas[pairs[i].row];

		ready += maps_replica_state(replica, top->view.maps.kernel->now) <= SL_STATE_WARMING;
		inflight += replica->state.inflight;
		rate += picks_per_s(top, pairs[i].row);
	}
	out_uint(out, time(NULL));
	view_put_service(&top->view, out, pairs->service);
	out_stringf(out, "%u of %zu ready", ready, n);
	out_null(out);
	out_null(out);
	out_null(out);
	out_null(out);
	out_null(out);
	put_rate(top, out, rate);
	out_uint(out, inflight);
	out_string(out, "");
	out_row(out);
}

static void put_replica(const struct top *top, struct out *out, const struct view_pair *pair,
			uint32_t most)
{
	static const char bar[BAR_WIDTH + 1] = "####################";
	const struct sl_replica *replica = &top->view.maps.replicas[pair->row];
	uint32_t inflight = replica->state.inflight;
	uint64_t now_ns = view_now_ns(), length = 0;

	if (most)
		length = ((uint64_t)inflight * BAR_WIDTH + most - 1) / most;
	out_uint(out, time(NULL));
	view_put_service(&top->view, out, pair->service);
	view_put_endpoint(out, &replica->config.addr, replica->config.port);
	out_string(out, view_state(maps_replica_state(replica, top->view.maps.kernel->now)));
	out_uint(out, replica->config.weight);
	view_put_load(&top->view, out, pair, now_ns);
	put_rate(top, out, picks_per_s(top, pair->row));
	out_uint(out, inflight);
	out_string(out, bar + BAR_WIDTH - (length < BAR_WIDTH ? length : BAR_WIDTH));
	out_row(out);
}

/* One service-port: bars are relative to the busiest replica. */
static void put_group(const struct top *top, struct out *out, const struct view_pair *pairs,
		      size_t n)
{
	uint32_t most = 0, inflight;

	for (size_t i = 0; i < n; i++) {
		inflight = top->view.maps.replicas[pairs[i].row].state.inflight;
		most = inflight > most ? inflight : most;
	}
	put_service(top, out, pairs, n);
	for (size_t i = 0; i < n; i++)
		put_replica(top, out, &pairs[i], most);
}

/* The rows of one round; then the rates count from here. */
static int put_round(struct top *top, struct out *out)
{
	struct view_pairs pairs = {0};
	uint64_t now_ns = view_now_ns();
	size_t n;
	int status;

	if (top->sampled_ns)
		top->elapsed_s = (now_ns - top->sampled_ns) / 1e9;
	view_refresh(&top->view);
	status = view_replicas(&top->view, &pairs);
	if (status)
		return status;
	for (size_t i = 0; i < pairs.n; i += n) {
		for (n = 1; i + n < pairs.n; n++)
			if (pairs.list[i + n].service != pairs.list[i].service)
				break;
		put_group(top, out, &pairs.list[i], n);
	}
	for (__u32 row = 0; row < top->view.maps.n_replicas; row++)
		top->picks[row] = top->view.maps.replicas[row].state.picks;
	top->sampled_ns = now_ns;
	free(pairs.list);
	return CLI_OK;
}

/* ---- one after another -------------------------------------------------------------*/

/* Whether the delay passed without Ctrl-C. */
static bool wait_round(int stop, const struct options *options)
{
	struct pollfd fd = {.fd = stop, .events = POLLIN};

	return poll(&fd, 1, options->delay_ms) == 0;
}

static int run_plain(struct cli *cli, struct top *top, const struct options *options, int stop)
{
	int status = CLI_OK;

	/* The first round shows rates too: it comes after one delay. */
	for (__u32 row = 0; row < top->view.maps.n_replicas; row++)
		top->picks[row] = top->view.maps.replicas[row].state.picks;
	top->sampled_ns = view_now_ns();
	out_begin(cli->out, columns);
	for (uint64_t i = 0; !status && (!options->count || i < options->count); i++) {
		if (!wait_round(stop, options))
			break;
		if (i > 0)
			out_again(cli->out);
		status = put_round(top, cli->out);
		if (out_flush(cli->out))
			break;
	}
	return status ? status : cli_finish(cli);
}

/* ---- on a terminal -------------------------------------------------------------------*/

static void print_header(const struct cli *cli, const struct top *top, FILE *file)
{
	const struct maps *maps = &top->view.maps;
	uint64_t age_ms = (view_now_ns() - maps->control->heartbeat_ns) / 1000000;

	fprintf(file, "sluice top   agent's heartbeat %llu ms ago   flows live %u, half-open %u   %s   "
		"q quits\n\n", (unsigned long long)age_ms, maps->kernel->live,
		maps->kernel->half_open, cli->bpffs);
}

/* The picture is made whole before any of it is shown. */
static int draw_round(const struct cli *cli, struct top *top)
{
	struct out *out = NULL;
	char *text = NULL;
	size_t len;
	FILE *file = open_memstream(&text, &len);
	int status = CLI_OK;

	if (!file || out_new(file, false, cli->color, &out))
		status = cli_error("out of memory");
	if (!status) {
		print_header(cli, top, file);
		out_begin(out, columns);
		status = put_round(top, out);
		if (out_end(out))
			status = CLI_FAILED;
	}
	out_free(out);
	if (file)
		fclose(file);
	if (!status)
		screen_draw(text);
	free(text);
	return status;
}

/* Whether to go on after one delay: neither Ctrl-C nor q. */
static bool wait_key(int stop, const struct options *options)
{
	struct pollfd fds[] = {
		{.fd = stop, .events = POLLIN},
		{.fd = STDIN_FILENO, .events = POLLIN},
	};
	char key = 'q'; /* what the end of stdin means */

	if (poll(fds, 2, options->delay_ms) == 0)
		return true;
	if (fds[0].revents)
		return false;
	return read(STDIN_FILENO, &key, 1) == 1 && key != 'q';
}

static int run_screen(const struct cli *cli, struct top *top, const struct options *options,
		      int stop, const struct screen *screen)
{
	int status;

	do {
		status = draw_round(cli, top);
	} while (!status && wait_key(stop, options));
	screen_close(screen);
	return status;
}

/* ---- the command -----------------------------------------------------------------------*/

static int parse_options(const struct cli *cli, int argc, char **argv, struct options *ret)
{
	struct options options = {.delay_ms = 1000};
	double seconds;
	char *end;
	int option;

	opterr = 0;
	while ((option = getopt(argc, argv, "n:d:")) != -1) {
		if (option == 'n') {
			options.count = strtoull(optarg, &end, 10);
			if (*end || !options.count || *optarg == '-')
				return cli_usage(cli, "-n %s: not a number of rounds, from 1", optarg);
		} else if (option == 'd') {
			seconds = strtod(optarg, &end);
			if (*end || !(seconds >= 0.1 && seconds <= 3600))
				return cli_usage(cli, "-d %s: not a number of seconds from 0.1 to "
						 "3600", optarg);
			options.delay_ms = (int)(seconds * 1000);
		} else {
			return cli_usage(cli, "no such option, or its value is missing: %s",
					 argv[optind - 1]);
		}
	}
	if (optind < argc)
		return cli_usage(cli, "%s: not an option", argv[optind]);
	*ret = options;
	return CLI_OK;
}

int cmd_top(struct cli *cli, int argc, char **argv)
{
	struct options options = {0};
	struct screen screen;
	struct top top = {0};
	int stop, status = parse_options(cli, argc, argv, &options);

	if (status)
		return status;
	status = view_open(cli, &top.view);
	if (status)
		return status;
	top.picks = calloc(top.view.maps.n_replicas, sizeof(*top.picks));
	stop = cli_catch_stop();
	if (!top.picks)
		status = cli_error("out of memory");
	else if (stop < 0)
		status = CLI_FAILED;
	else if (!options.count && !cli->json && !screen_open(&screen))
		status = run_screen(cli, &top, &options, stop, &screen);
	else
		status = run_plain(cli, &top, &options, stop);
	if (stop >= 0)
		close(stop);
	free(top.picks);
	view_close(&top.view);
	return status;
}
