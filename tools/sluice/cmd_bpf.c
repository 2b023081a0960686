// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice bpf`: what of Sluice is in the kernel, and where it sits. Contents are
 * bpftool's to show: `dump` hands over to it. Needs root, changes nothing.
 */
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "pins.h"
#include "route_query.h"
#include "tc_hooks.h"
#include "xdp.h"

static const struct out_column columns[] = {
	{"kind", "KIND", OUT_STRING},
	{"id", "ID", OUT_UINT},
	{"name", "NAME", OUT_STRING},
	{"memory_bytes", "MEMORY", OUT_UINT},
	{"program_id", "PROGRAM", OUT_UINT},
	{"interface", "INTERFACE", OUT_STRING},
	{"hook", "HOOK", OUT_STRING},
	{"pin", "PIN", OUT_STRING},
	{},
};

struct show {
	struct out *out;
	__u32 *programs; /* ids of our own, to know our filters by */
	size_t n_programs, capacity;
	bool failed;           /* out of memory */
	const char *interface; /* whose filters are listed */
	const char *hook;
};

static bool is_ours(const struct show *show, __u32 program)
{
	for (size_t i = 0; i < show->n_programs; i++)
		if (show->programs[i] == program)
			return true;
	return false;
}

static void remember_program(struct show *show, __u32 id)
{
	__u32 *grown = reallocarray(show->programs, show->n_programs + 1, sizeof(*grown));

	if (!grown) {
		show->failed = true;
		return;
	}
	show->programs = grown;
	show->programs[show->n_programs++] = id;
}

static void show_link(struct out *out, const struct pin *pin)
{
	char interface[IF_NAMESIZE];
	const char *hook = pin->attach_type == BPF_XDP            ? "xdp" :
			   pin->attach_type == TC_HOOKS_TCX_EGRESS ? "tcx egress" :
								     "tcx ingress";

	out_uint(out, pin->program);
	out_string(out, pin->ifindex ? if_indextoname(pin->ifindex, interface) : "gone");
	out_string(out, hook);
}

static void show_pin(void *context, const struct pin *pin)
{
	static const char *const kinds[] = {"map", "program", "link"};
	struct show *show = context;
	struct out *out = show->out;

	out_string(out, kinds[pin->kind]);
	out_uint(out, pin->id);
	out_string(out, pin->name);
	if (pin->kind == PIN_LINK)
		out_null(out);
	else
		out_uint(out, pin->memory_bytes);
	if (pin->kind == PIN_PROGRAM)
		remember_program(show, pin->id);
	if (pin->kind == PIN_LINK) {
		show_link(out, pin);
	} else {
		out_null(out);
		out_null(out);
		out_null(out);
	}
	out_string(out, pin->path);
	out_row(out);
}

static void show_filter(void *context, const struct tc_hook *hook)
{
	struct show *show = context;
	struct out *out = show->out;

	if (hook->tcx || !is_ours(show, hook->program))
		return;
	out_string(out, "filter");
	out_null(out);
	out_string(out, hook->name);
	out_null(out);
	out_uint(out, hook->program);
	out_string(out, show->interface);
	out_string(out, show->hook);
	out_null(out);
	out_row(out);
}

/* Only one program can be at XDP of an interface: somebody else's keeps ours away. */
static int show_foreign_xdp(struct show *show, int ifindex)
{
	struct xdp_place place;
	struct out *out = show->out;
	int err = xdp_query(ifindex, &place);

	if (err || !place.program || is_ours(show, place.program))
		return err;
	out_string(out, "other");
	out_null(out);
	out_string(out, place.name);
	out_null(out);
	out_uint(out, place.program);
	out_string(out, show->interface);
	out_string(out, place.native ? "xdp" : "xdp generic");
	out_null(out);
	out_row(out);
	return 0;
}

/* Where the kernel has no tcx our programs are filters, which no pin holds. And others at XDP. */
static int show_interfaces(struct show *show)
{
	struct if_nameindex *interfaces = if_nameindex();
	struct nl_sock *sock;
	int err = interfaces ? route_query_open(&sock) : -errno;

	if (err) {
		if_freenameindex(interfaces);
		return err;
	}
	for (struct if_nameindex *i = interfaces; !err && i->if_index; i++) {
		show->interface = i->if_name;
		show->hook = "clsact ingress";
		err = tc_hooks_list(sock, i->if_index, false, show_filter, show);
		show->hook = "clsact egress";
		if (!err)
			err = tc_hooks_list(sock, i->if_index, true, show_filter, show);
		if (!err)
			err = show_foreign_xdp(show, i->if_index);
		if (err == -ENODEV) /* it went while we looked */
			err = 0;
	}
	nl_socket_free(sock);
	if_freenameindex(interfaces);
	return err;
}

static int bpf_failed(const struct cli *cli, int err)
{
	if (err == -ENOENT)
		return cli_error("nothing of Sluice is pinned below %s: is sluiced running there? "
				 "see --bpffs",
				 cli->bpffs);
	if (err == -EPERM || err == -EACCES)
		return cli_error("the kernel lets only root look at %s: run as root", cli->bpffs);
	return cli_error("cannot read %s: %s", cli->bpffs, strerror(-err));
}

static int bpf_show(struct cli *cli, int argc, char **argv)
{
	struct show show = {.out = cli->out};
	int err = cli_args(cli, argc, argv, 0, 0);

	if (err)
		return err;
	if (access(cli->bpffs, R_OK | X_OK))
		return bpf_failed(cli, -errno);
	out_begin(cli->out, columns);
	err = pins_list(cli->bpffs, show_pin, &show);
	if (!err)
		err = show_interfaces(&show);
	if (!err && show.failed)
		err = -ENOMEM;
	free(show.programs);
	if (err)
		return bpf_failed(cli, err);
	return cli_finish(cli);
}

/* Becomes bpftool; returns only if there is none. */
static int become_bpftool(struct cli *cli, bool program, char *path)
{
	char *words[8] = {"bpftool"};
	size_t n = 1;

	if (cli->json)
		words[n++] = "-j";
	words[n++] = program ? "prog" : "map";
	words[n++] = "dump";
	if (program)
		words[n++] = "xlated";
	words[n++] = "pinned";
	words[n] = path;
	execvp("bpftool", words);
	execv("/usr/sbin/bpftool", words); /* not everyone's PATH has sbin */
	return cli_error("cannot run bpftool: %s; install the package bpftool", strerror(errno));
}

static int bpf_dump(struct cli *cli, int argc, char **argv)
{
	char path[PATH_MAX];
	int err = cli_args(cli, argc, argv, 1, 1);

	if (err)
		return err;
	if (strchr(argv[1], '/') || argv[1][0] == '.')
		return cli_usage(cli, "\"%s\" is not the name of a map or program", argv[1]);
	snprintf(path, sizeof(path), "%s/progs/%s", cli->bpffs, argv[1]);
	if (!access(path, F_OK))
		return become_bpftool(cli, true, path);
	snprintf(path, sizeof(path), "%s/%s", cli->bpffs, argv[1]);
	if (!access(path, F_OK))
		return become_bpftool(cli, false, path);
	return cli_error("%s: %s; `sluice bpf show` lists what there is", path, strerror(errno));
}

const struct cmd bpf_commands[] = {
	{.name = "show",
	 .fn = bpf_show,
	 .args = "",
	 .help = "our maps, programs and links in the kernel, and where they sit; others at XDP",
	 .examples = "sluice bpf show\nsluice bpf show -j | jq 'map(.memory_bytes) | add'\n"},
	{.name = "dump",
	 .fn = bpf_dump,
	 .args = "NAME",
	 .help = "the contents of a map or the instructions of a program, by bpftool",
	 .examples = "sluice bpf dump services\nsluice bpf dump control -j | jq\n"},
	{},
};
