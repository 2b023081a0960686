// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a command is found, explained and how it fails: walks the tables of
 * struct cmd as bpftool does, accepts unambiguous prefixes as ip does, and
 * generates every usage text from the tables. Called by main and the commands.
 */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "maps.h"

#define HELP_COLUMN 38

/* ---- usage -----------------------------------------------------------------------*/

static void print_indented(FILE *file, const char *lines)
{
	const char *end;

	for (; *lines; lines = end + 1) {
		end = strchr(lines, '\n');
		fprintf(file, "  %.*s\n", (int)(end - lines), lines);
	}
}

/* "  replica drain ADDR:PORT   give it no new flows" */
static void print_command(FILE *file, const char *path, const struct cmd *cmd)
{
	int width;

	width = fprintf(file, "  %s%s%s%s%s", path, *path ? " " : "", cmd->name,
			*cmd->args ? " " : "", cmd->args);
	if (width >= HELP_COLUMN) {
		fputc('\n', file);
		width = 0;
	}
	fprintf(file, "%*s%s\n", HELP_COLUMN - width, "", cmd->help);
}

static void print_commands(FILE *file, const char *path, const struct cmd *table)
{
	for (; table->name; table++) {
		if (table->sub)
			print_commands(file, table->name, table->sub);
		else
			print_command(file, path, table);
	}
}

static void print_examples(FILE *file, const struct cmd *table)
{
	for (; table->name; table++) {
		if (table->sub)
			print_examples(file, table->sub);
		else if (table->examples)
			print_indented(file, table->examples);
	}
}

static void print_options(FILE *file)
{
	fputs("\nOptions, anywhere on the line:\n"
	      "  -j, --json     a JSON array of objects instead of a table\n"
	      "  --bpffs DIR    where Sluice's maps are pinned (default " MAPS_DEFAULT_BPFFS ")\n"
	      "  -h, --help     explain the command instead of running it\n",
	      file);
}

/* All of `table`: the whole of sluice, or the commands of one object. */
static void print_table_usage(FILE *file, const char *path, const struct cmd *table)
{
	if (*path)
		fprintf(file, "Usage: sluice [OPTIONS] %s COMMAND\n\n", path);
	else
		fputs("Usage: sluice [OPTIONS] OBJECT COMMAND\n"
		      "       sluice help [OBJECT [COMMAND]]\n\n"
		      "Shows what Sluice's programs in this node's kernel hold. It reads the pinned\n"
		      "maps itself, so it works with the agent dead. Words may be abbreviated.\n\n",
		      file);
	print_commands(file, path, table);
	print_options(file);
	fputs("\nExamples:\n", file);
	print_examples(file, table);
	fputs("\nExit status: 0 done, 1 failed, 2 wrong usage.\n", file);
}

static void print_usage_line(FILE *file, const struct cli *cli)
{
	fprintf(file, "Usage: sluice [OPTIONS] %s%s%s\n", cli->path, *cli->cmd->args ? " " : "",
		cli->cmd->args);
}

static void print_command_usage(FILE *file, const struct cli *cli)
{
	print_usage_line(file, cli);
	fprintf(file, "\n%s\n", cli->cmd->help);
	if (cli->cmd->more)
		fprintf(file, "%s\n", cli->cmd->more);
	print_options(file);
	if (cli->cmd->examples) {
		fputs("\nExamples:\n", file);
		print_indented(file, cli->cmd->examples);
	}
}

/* ---- selection ---------------------------------------------------------------------*/

/* The row whose name is `word`, or the only one that begins with it. NULL: none or several. */
static const struct cmd *find(const struct cmd *table, const char *word, int *ret_matches)
{
	const struct cmd *found = NULL;

	*ret_matches = 0;
	for (const struct cmd *cmd = table; cmd->name; cmd++) {
		if (!strcmp(cmd->name, word)) {
			*ret_matches = 1;
			return cmd;
		}
		if (!strncmp(cmd->name, word, strlen(word))) {
			found = cmd;
			(*ret_matches)++;
		}
	}
	return *ret_matches == 1 ? found : NULL;
}

static int refuse_word(const struct cli *cli, const struct cmd *table, const char *word,
		       int matches)
{
	fprintf(stderr, "sluice: %s%s%s: %s; one of:", cli->path, *cli->path ? " " : "", word,
		matches ? "ambiguous" : *word == '-' ? "no such option" : "no such command");
	for (; table->name; table++)
		if (!matches || !strncmp(table->name, word, strlen(word)))
			fprintf(stderr, " %s", table->name);
	fprintf(stderr, "\nTry: sluice help%s%s\n", *cli->path ? " " : "", cli->path);
	return CLI_USAGE;
}

static int run(struct cli *cli, const struct cmd *cmd, int argc, char **argv)
{
	cli->cmd = cmd;
	if (!cli->help)
		return cmd->fn(cli, argc, argv);
	print_command_usage(stdout, cli);
	return CLI_OK;
}

int cli_select(struct cli *cli, const struct cmd *table, int argc, char **argv)
{
	char *defaults[] = {(char *)table->name, NULL};
	bool top = !*cli->path;
	const struct cmd *cmd;
	size_t len;
	int matches;

	if (argc > 0 && !strcmp(argv[0], "help")) {
		cli->help = true;
		argc--;
		argv++;
	}
	if (argc == 0 && (cli->help || top)) {
		print_table_usage(cli->help ? stdout : stderr, cli->path, table);
		return cli->help ? CLI_OK : CLI_USAGE;
	}
	if (argc == 0) {
		argc = 1;
		argv = defaults;
	}
	cmd = find(table, argv[0], &matches);
	if (!cmd)
		return refuse_word(cli, table, argv[0], matches);
	len = strlen(cli->path);
	snprintf(cli->path + len, sizeof(cli->path) - len, "%s%s", len ? " " : "", cmd->name);
	if (cmd->sub)
		return cli_select(cli, cmd->sub, argc - 1, argv + 1);
	return run(cli, cmd, argc, argv);
}

/* ---- what goes wrong ------------------------------------------------------------------*/

static void print_error(const char *format, va_list args)
{
	fflush(stdout); /* rows printed so far come first */
	fputs("sluice: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

int cli_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_error(format, args);
	va_end(args);
	return CLI_FAILED;
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_error(format, args);
	va_end(args);
	print_usage_line(stderr, cli);
	fprintf(stderr, "Try: sluice help %s\n", cli->path);
	return CLI_USAGE;
}

int cli_args(const struct cli *cli, int argc, char **argv, int min, int max)
{
	for (int i = 1; i < argc; i++)
		if (argv[i][0] == '-')
			return cli_usage(cli, "%s: no such option: %s", cli->path, argv[i]);
	if (argc - 1 < min)
		return cli_usage(cli, "%s: something is missing", cli->path);
	if (argc - 1 > max)
		return cli_usage(cli, "%s: too many words, from \"%s\" on", cli->path,
				 argv[max + 1]);
	return CLI_OK;
}

int cli_open_maps(const struct cli *cli, struct maps *ret)
{
	int err = maps_open(cli->bpffs, ret);

	switch (err) {
	case 0:
		return CLI_OK;
	case -ENOENT:
		return cli_error("nothing of Sluice is pinned below %s: is sluiced running? Start it "
				 "with: sluiced --manifests DIR. If it uses another directory, name "
				 "it with --bpffs DIR", cli->bpffs);
	case -EAGAIN:
		return cli_error("only some of Sluice's maps are pinned below %s: sluiced is starting, "
				 "or was stopped while it did; try again, or restart sluiced",
				 cli->bpffs);
	case -EPROTO:
		return cli_error("the maps below %s were made by another version of Sluice than this "
				 "%s: use the sluice that came with the running sluiced", cli->bpffs,
				 SLUICE_VERSION);
	case -EPERM:
	case -EACCES:
		return cli_error("no permission to read the maps below %s: run sluice as root",
				 cli->bpffs);
	default:
		return cli_error("cannot read the maps below %s: %s", cli->bpffs, strerror(-err));
	}
}

int cli_catch_stop(void)
{
	sigset_t signals;
	int fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (fd < 0)
		cli_error("cannot catch signals: %s", strerror(errno));
	return fd;
}

int cli_finish(struct cli *cli)
{
	int err = out_end(cli->out);

	return err ? cli_error("cannot write the output: %s", strerror(-err)) : CLI_OK;
}
