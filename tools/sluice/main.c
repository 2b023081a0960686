// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice`, the command line: takes the global options out, wherever they
 * stand, and hands the rest to the table of objects.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "maps.h"

static const struct cmd objects[] = {
	{.name = "service", .sub = service_commands},
	{.name = "replica", .sub = replica_commands},
	{.name = "flow", .sub = flow_commands},
	{.name = "event", .sub = event_commands},
	{.name = "top", .fn = cmd_top, .args = "[-n COUNT] [-d SECONDS]",
	 .help = "services and replicas, refreshed each second",
	 .examples = "sluice top\nsluice top -n 10 -d 0.5 | tee top.txt\n"},
	{.name = "status", .fn = cmd_status, .args = "",
	 .help = "the agent's pulse, table fill, drops, memory",
	 .more = "sluice(8) explains drops and counters: DROP REASONS, COUNTERS",
	 .examples = "sluice status -j | jq '.[0].drops'\n"},
	{.name = "check", .fn = cmd_check, .args = "[-a|--all] [--strict] [--node-name NAME] [--allow-external-ips CIDR,...] -f DIR",
	 .help = "what Sluice would make of a directory of manifests",
	 .examples = "sluice check --strict -f manifests/\nsluice check -a -f manifests/\n"},
	{.name = "hand-back", .fn = cmd_hand_back,
	 .args = "SERVICE [--timeout DURATION] [--force | --undo]",
	 .help = "leave a service's new flows to kube-proxy, and wait until ours are over",
	 .examples = "sluice hand-back default/llm --timeout 10m\n"
		     "sluice hand-back --undo default/llm\n"},
	{.name = "freeze", .fn = cmd_freeze, .args = "[--for DURATION]",
	 .help = "no ejections and no resets for a while, 10 minutes unless told, 24h at most",
	 .examples = "sluice freeze\nsluice freeze --for 2h\n"},
	{.name = "unfreeze", .fn = cmd_unfreeze, .args = "",
	 .help = "ejections and resets again, at once",
	 .examples = "sluice unfreeze\n"},
	{.name = "bpf", .sub = bpf_commands},
	{.name = "doctor", .fn = cmd_doctor, .args = "",
	 .help = "what this node lacks for Sluice, and how to mend it",
	 .examples = "sluice doctor\n"},
	{.name = "version", .fn = cmd_version, .args = "", .help = "the version of this program"},
	{},
};

int cmd_version(struct cli *cli, int argc, char **argv)
{
	static const struct out_column columns[] = {
		{"version", "sluice", OUT_STRING},
		{"layout", "layout", OUT_UINT},
		{},
	};
	int err = cli_args(cli, argc, argv, 0, 0);

	if (err)
		return err;
	out_begin_record(cli->out, columns);
	out_string(cli->out, SLUICE_VERSION);
	out_uint(cli->out, SL_LAYOUT_VERSION);
	out_row(cli->out);
	return cli_finish(cli);
}

/* Moves the global options from argv into `cli`; returns how many words stay, -1: refused. */
static int take_options(struct cli *cli, int argc, char **argv)
{
	int kept = 0;

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "-j") || !strcmp(argv[i], "--json")) {
			cli->json = true;
		} else if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
			cli->help = true;
		} else if (!strncmp(argv[i], "--bpffs=", strlen("--bpffs="))) {
			cli->bpffs = argv[i] + strlen("--bpffs=");
		} else if (!strcmp(argv[i], "--bpffs")) {
			if (i + 1 == argc)
				return -1;
			cli->bpffs = argv[++i];
		} else {
			argv[kept++] = argv[i];
		}
	}
	argv[kept] = NULL;
	return kept;
}

static bool wants_color(void)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term && strcmp(term, "dumb");
}

int main(int argc, char **argv)
{
	struct cli cli = {.bpffs = MAPS_DEFAULT_BPFFS, .color = wants_color()};
	int status;

	argc = take_options(&cli, argc - 1, argv + 1);
	if (argc < 0) {
		cli_error("--bpffs needs a directory");
		return CLI_USAGE;
	}
	if (out_new(stdout, cli.json, cli.color, &cli.out))
		return cli_error("out of memory");
	status = cli_select(&cli, objects, argc, argv + 1);
	out_free(cli.out);
	return status;
}
