/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every command of `sluice` sees. A command is a row in a table; usage is
 * generated from the tables. Add a command: write it in cmd_<noun>.c, declare
 * it at the end of this file, add its row in main.c.
 */
#ifndef SLUICE_CLI_H
#define SLUICE_CLI_H

#include <stdbool.h>

#include "out.h"

/* Exit status, and what a command returns. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct maps;

struct cli {
	const char *bpffs; /* --bpffs, default /sys/fs/bpf/sluice */
	bool json;         /* -j; only to choose what is said, or for what bpftool prints */
	bool color;
	bool help;         /* -h was given: usage is printed instead of running a command */
	struct out *out;
	const struct cmd *cmd; /* the command that runs, for cli_usage() */
	char path[64];         /* its words: "replica drain" */
};

struct cmd {
	const char *name;
	/* argv[0] is the command's own name, so that getopt_long() works on it as it is; global
	 * options (-j, --bpffs, -h) are already taken out. Returns CLI_*; the command says itself
	 * on stderr what went wrong. */
	int (*fn)(struct cli *cli, int argc, char **argv);
	const char *args;     /* "[NAME]", "ADDR:PORT"; "" for none */
	const char *help;     /* one line */
	const char *more;     /* a line of its own usage alone; NULL: none */
	const char *examples; /* lines as typed, each ended by a newline; NULL: none */
	const struct cmd *sub;/* an object: its commands instead of fn, the first is the default */
};

/* Finds argv[0] in `table` (ended by an empty row), whole or by an unambiguous prefix, and runs
 * it. Returns CLI_*. */
int cli_select(struct cli *cli, const struct cmd *table, int argc, char **argv);

/* "sluice: ..." on stderr; returns CLI_FAILED. Say what to do next. */
int cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, followed by the usage of the command that runs; returns CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Refuses options and any number of words besides argv[0] but min to max. CLI_OK or CLI_USAGE,
 * after the usage. For commands without options of their own. */
int cli_args(const struct cli *cli, int argc, char **argv, int min, int max);

/* maps_open() of --bpffs; says on stderr what failed and what to do. CLI_OK or CLI_FAILED. */
int cli_open_maps(const struct cli *cli, struct maps *ret);

/* From now on SIGINT and SIGTERM do not kill but make the returned descriptor readable, so that
 * what runs until stopped ends its output properly. -1 after a message on stderr. */
int cli_catch_stop(void);

/* out_end(), and says on stderr when the output could not be written. Returns CLI_*. */
int cli_finish(struct cli *cli);

extern const struct cmd service_commands[];
extern const struct cmd replica_commands[];
extern const struct cmd flow_commands[];
extern const struct cmd event_commands[];
extern const struct cmd bpf_commands[];
int cmd_status(struct cli *cli, int argc, char **argv);
int cmd_top(struct cli *cli, int argc, char **argv);
int cmd_check(struct cli *cli, int argc, char **argv);
int cmd_doctor(struct cli *cli, int argc, char **argv);
int cmd_hand_back(struct cli *cli, int argc, char **argv);
int cmd_freeze(struct cli *cli, int argc, char **argv);
int cmd_unfreeze(struct cli *cli, int argc, char **argv);
int cmd_version(struct cli *cli, int argc, char **argv);

#endif
