// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice freeze` and `unfreeze`: ejections and resets off for a while, or on again. Stores one
 * word of the pinned map `control`, which kernel programs and agent obey at once, and an event that
 * says so; works with the agent dead. Writes nothing else.
 */
#include <getopt.h>
#include <sys/mman.h>
#include <unistd.h>

#include "duration.h"
#include "store.h"
#include "view.h"

#define DEFAULT_S 600ull
#define NS_PER_S 1000000000ull

static const struct out_column columns[] = {
	{"frozen", "frozen", OUT_BOOL},
	{"seconds_left", "seconds left", OUT_UINT},
	{},
};

/* Notes in the event ring who did what. CLI_OK or CLI_FAILED. */
static int write_event(struct cli *cli, const struct maps *maps, uint64_t seconds)
{
	struct sl_event event = {.kind = SL_EVENT_FREEZE, .value = seconds};

	if (!seconds)
		return store_event(cli, maps, &event, "ejections and resets are on again");
	return store_event(cli, maps, &event, "no ejections and no resets for %llu s",
			   (unsigned long long)seconds);
}

static int set_freeze(struct cli *cli, uint64_t seconds)
{
	struct sl_control *control;
	struct view view;
	__u32 until = 0;
	int status = view_open(cli, &view);

	if (status)
		return status;
	status = store_map(cli, "control", sysconf(_SC_PAGESIZE), &control);
	if (!status) {
		if (seconds)
			until = view.maps.kernel->now + (__u32)(seconds * control->hz);
		/* 0 means "not frozen": a tick more does no harm. */
		__atomic_store_n(&control->frozen_until, seconds && !until ? 1 : until,
				 __ATOMIC_RELEASE);
		munmap(control, sysconf(_SC_PAGESIZE));
		status = write_event(cli, &view.maps, seconds);
	}
	if (!status) {
		out_begin_record(cli->out, columns);
		out_bool(cli->out, seconds);
		out_uint(cli->out, seconds);
		out_row(cli->out);
		if (seconds)
			out_note(cli->out, "No replica is ejected and no flow reset until then, or: "
					   "sluice unfreeze. Probes, picks and connect retries go "
					   "on. What is ejected now stays so for its time.");
		status = cli_finish(cli);
	}
	view_close(&view);
	return status;
}

int cmd_freeze(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {{"for", required_argument, NULL, 'f'}, {}};
	uint64_t ns = DEFAULT_S * NS_PER_S;
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'f')
			return cli_usage(cli, "%s: no such option, or it lacks its value",
					 argv[optind - 1]);
		if (duration_parse(optarg, &ns))
			return cli_usage(cli, "%s: not a duration such as 30s, 10m or 2h", optarg);
	}
	if (optind != argc)
		return cli_usage(cli, "too many words");
	if (ns < NS_PER_S || ns > MAPS_FREEZE_MAX_S * NS_PER_S)
		return cli_usage(cli, "a freeze lasts from 1s to 24h");
	return set_freeze(cli, ns / NS_PER_S);
}

int cmd_unfreeze(struct cli *cli, int argc, char **argv)
{
	int status = cli_args(cli, argc, argv, 0, 0);

	return status ? status : set_freeze(cli, 0);
}
