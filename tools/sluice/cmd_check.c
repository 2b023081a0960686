// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice check`: reads a directory of manifests as the agent would and says
 * what it makes of every field. Touches neither kernel nor agent.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "discover_file.h"

struct check {
	const char *dir;
	bool strict;
	bool all; /* honoured fields as well */
	char node_name[HOST_NAME_MAX + 1];
	struct addr_cidr *cidrs; /* of options */
	struct policy_options options;
};

static const struct out_column columns[] = {
	{"verdict", "VERDICT", OUT_STATE},
	{"object", "OBJECT", OUT_STRING},
	{"field", "FIELD", OUT_STRING},
	{"file", "FILE", OUT_STRING},
	{"line", "LINE", OUT_UINT},
	{"reason", "REASON", OUT_STRING},
	{},
};

/* Adds the ranges of "CIDR[,CIDR...]". */
static int add_cidrs(struct check *check, char *text)
{
	struct addr_cidr *grown;
	char *next;

	for (; text; text = next) {
		next = strchr(text, ',');
		if (next)
			*next++ = '\0';
		grown = reallocarray(check->cidrs, check->options.n_external_cidrs + 1,
				     sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		check->cidrs = grown;
		if (addr_parse_cidr(text, &grown[check->options.n_external_cidrs]))
			return -EINVAL;
		check->options.n_external_cidrs++;
	}
	return 0;
}

static int parse_args(struct cli *cli, int argc, char **argv, struct check *check)
{
	static const struct option options[] = {
		{"strict", no_argument, NULL, 's'},
		{"all", no_argument, NULL, 'a'},
		{"node-name", required_argument, NULL, 'n'},
		{"allow-external-ips", required_argument, NULL, 'e'},
		{},
	};
	int option;

	gethostname(check->node_name, sizeof(check->node_name) - 1);
	check->options.node_name = check->node_name;
	optind = 0;
	while ((option = getopt_long(argc, argv, "af:", options, NULL)) != -1) {
		if (option == 'f')
			check->dir = optarg;
		else if (option == 's')
			check->strict = true;
		else if (option == 'a')
			check->all = true;
		else if (option == 'n')
			check->options.node_name = optarg;
		else if (option == 'e' && add_cidrs(check, optarg))
			return cli_usage(cli,
					 "--allow-external-ips takes ranges such as 192.0.2.0/24");
		else if (option == '?')
			return CLI_USAGE;
	}
	check->options.external_cidrs = check->cidrs;
	if (optind != argc || !check->dir)
		return cli_usage(cli, "say which directory: -f DIR");
	return CLI_OK;
}

static void add_row(struct out *out, const char *verdict, const char *object, const char *field,
		    const char *file, unsigned line, const char *reason)
{
	out_string(out, verdict);
	out_string(out, object);
	out_string(out, field && *field ? field : NULL);
	out_string(out, file && *file ? file : NULL);
	if (line)
		out_uint(out, line);
	else
		out_null(out);
	out_string(out, reason);
	out_row(out);
}

/* What is not acted upon first; what is honoured only for those who want all of it. */
static void print_verdicts(struct out *out, const struct verdicts *verdicts, bool all,
			   unsigned counts[VERDICT_KINDS])
{
	static const enum verdict_kind order[] = {VERDICT_UNKNOWN, VERDICT_UNSUPPORTED,
						  VERDICT_MAPPED, VERDICT_HONOURED};

	for (size_t o = 0; o < sizeof(order) / sizeof(order[0]); o++) {
		for (size_t i = 0; i < verdicts->n; i++) {
			const struct verdict *verdict = &verdicts->list[i];

			if (verdict->kind != order[o])
				continue;
			counts[verdict->kind]++;
			if (all || verdict->kind != VERDICT_HONOURED)
				add_row(out, verdict_kind_names[verdict->kind], verdict->object,
					verdict->field, verdict->file, verdict->line,
					verdict->reason);
		}
	}
}

static void note_model(struct out *out, const struct model *model, bool all,
		       const unsigned counts[VERDICT_KINDS])
{
	size_t replicas = 0;

	for (size_t i = 0; i < model->n_services; i++)
		replicas += model->services[i].n_replicas;
	out_note(out,
		 "%zu service-ports would be steered, with %zu replicas; fields: %u honoured%s, "
		 "%u mapped, %u unsupported, %u unknown",
		 model->n_services, replicas, counts[VERDICT_HONOURED],
		 all || !counts[VERDICT_HONOURED] ? "" : " (-a shows them)", counts[VERDICT_MAPPED],
		 counts[VERDICT_UNSUPPORTED], counts[VERDICT_UNKNOWN]);
}

static int run_check(struct cli *cli, const struct check *check)
{
	unsigned counts[VERDICT_KINDS] = {0};
	struct verdicts verdicts = {0};
	struct model *model = NULL;
	struct diag diag = {0};
	struct manifest_dir *dir = NULL;
	int err = manifest_dir_new(check->dir, &dir);
	int status;

	if (!err)
		err = discover_file_load(dir, &check->options, &verdicts, &model, &diag);
	manifest_dir_free(dir);
	if (err && err != -EINVAL) {
		verdicts_done(&verdicts);
		return cli_error("%s: %s", check->dir, strerror(-err));
	}
	out_begin(cli->out, columns);
	if (err) {
		add_row(cli->out, "refused", NULL, diag.field, diag.file, diag.line, diag.reason);
	} else {
		print_verdicts(cli->out, &verdicts, check->all || cli->json, counts);
		note_model(cli->out, model, check->all, counts);
	}
	status = cli_finish(cli);
	if (err)
		status = cli_error("%s is refused: sluiced would keep what it has", check->dir);
	else if (check->strict && (counts[VERDICT_UNSUPPORTED] || counts[VERDICT_UNKNOWN]))
		status = cli_error("%u fields are unsupported, %u unknown (--strict)",
				   counts[VERDICT_UNSUPPORTED], counts[VERDICT_UNKNOWN]);
	model_free(model);
	verdicts_done(&verdicts);
	return status;
}

int cmd_check(struct cli *cli, int argc, char **argv)
{
	struct check check = {0};
	int status = parse_args(cli, argc, argv, &check);

	if (status == CLI_OK)
		status = run_check(cli, &check);
	free(check.cidrs);
	return status;
}
