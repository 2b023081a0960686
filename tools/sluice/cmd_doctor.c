// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice doctor`: looks at the node once, then lets each field of checks print
 * its rows. Changes nothing; what it cannot see without root it says so of.
 */
#include <errno.h>
#include <fnmatch.h>
#include <netlink/socket.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "pins.h"
#include "rights.h"
#include "route_query.h"
#include "tc_hooks.h"

static const struct out_column columns[] = {
	{"check", "CHECK", OUT_STRING},
	{"status", "STATUS", OUT_STATE},
	{"found", "FOUND", OUT_STRING},
	{"advice", NULL, OUT_STRING}, /* text has it below the table, where lines may be long */
	{},
};

/* ---- rows ------------------------------------------------------------------- */

static void put_row(struct doctor *doctor, const char *check, enum doctor_status status,
		    const char *found, const char *advice)
{
	static const char *const names[] = {"ok", "info", "warn", "fail"};
	struct out *out = doctor->cli->out;

	doctor->failed |= status == DOCTOR_FAIL;
	out_string(out, check);
	out_string(out, names[status]);
	out_string(out, found);
	out_string(out, advice);
	out_row(out);
}

void doctor_row(struct doctor *doctor, const char *check, enum doctor_status status,
		const char *advice, const char *format, ...)
{
	char *found = NULL;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&found, format, args);
	va_end(args);
	put_row(doctor, check, status, len < 0 ? NULL : found, advice);
	if (advice)
		out_note(doctor->cli->out, "%s: %s", check, advice);
	if (len >= 0)
		free(found);
}

/* Without a note: one, of the row `privileges`, is enough for people. */
void doctor_row_needs_root(struct doctor *doctor, const char *check)
{
	put_row(doctor, check, DOCTOR_WARN, "not looked at: it needs root",
		"run `sluice doctor` as root");
}

bool doctor_sysctl(const char *name, long *ret)
{
	char path[256];
	FILE *file;
	bool found;

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	file = fopen(path, "re");
	if (!file)
		return false;
	found = fscanf(file, "%ld", ret) == 1;
	fclose(file);
	return found;
}

/* ---- what there is ------------------------------------------------------------ */

static void ignore_change(void *context, enum route_change change, const struct route_link *link)
{
}

/* Of the name of a program: from_pod, to_uplink, ... */
static enum doctor_role program_role(const char *name)
{
	if (strstr(name, "_pod"))
		return DOCTOR_POD;
	if (strstr(name, "uplink"))
		return DOCTOR_UPLINK;
	if (strstr(name, "_node"))
		return DOCTOR_NODE;
	return DOCTOR_FABRIC;
}

static void remember_program(void *context, const struct pin *pin)
{
	struct doctor *doctor = context;
	struct doctor_program *grown;

	if (pin->kind != PIN_PROGRAM)
		return;
	grown = reallocarray(doctor->programs, doctor->n_programs + 1, sizeof(*grown));
	if (!grown)
		return; /* a program less to know as ours */
	doctor->programs = grown;
	doctor->programs[doctor->n_programs++] =
		(struct doctor_program){.id = pin->id, .role = program_role(pin->name)};
}

static const struct doctor_program *find_program(const struct doctor *doctor, __u32 id)
{
	for (size_t i = 0; id && i < doctor->n_programs; i++)
		if (doctor->programs[i].id == id)
			return &doctor->programs[i];
	return NULL;
}

struct hook_place {
	struct doctor *doctor;
	const struct route_link *link;
	bool egress;
};

static void remember_hook(void *context, const struct tc_hook *hook)
{
	struct hook_place *place = context;
	struct doctor *doctor = place->doctor;
	const struct doctor_program *ours = find_program(doctor, hook->program);
	struct doctor_hook *grown, *added;

	grown = reallocarray(doctor->hooks, doctor->n_hooks + 1, sizeof(*grown));
	if (!grown) {
		doctor->hooks_err = -ENOMEM;
		return;
	}
	doctor->hooks = grown;
	added = &doctor->hooks[doctor->n_hooks++];
	*added = (struct doctor_hook){
		.link = place->link,
		.egress = place->egress,
		.tcx = hook->tcx,
		.ours = ours,
		.role = ours ? ours->role : DOCTOR_NONE,
	};
	memcpy(added->name, hook->name, sizeof(added->name));
}

static void read_hooks(struct doctor *doctor)
{
	struct nl_sock *sock;
	int err = route_query_open(&sock);

	if (err) {
		doctor->hooks_err = err;
		return;
	}
	for (size_t i = 0; !err && i < 2 * doctor->n_links; i++) {
		struct hook_place place = {doctor, &doctor->links[i / 2], i % 2};

		err = tc_hooks_list(sock, place.link->ifindex, place.egress, remember_hook, &place);
		if (err == -ENODEV) /* the interface went while we looked */
			err = 0;
	}
	nl_socket_free(sock);
	if (err)
		doctor->hooks_err = err;
}

static int look(struct doctor *doctor)
{
	int err;

	doctor->may_probe = !rights_missing(rights_effective(), doctor->missing_rights);
	doctor->maps_err = maps_open(doctor->cli->bpffs, &doctor->maps);
	err = route_new(&doctor->loop, ignore_change, NULL, &doctor->route);
	if (err)
		return cli_error("cannot ask the kernel for its interfaces: %s", strerror(-err));
	doctor->links = route_links(doctor->route, &doctor->n_links);
	doctor->default_ifindex = route_default_ifindex(doctor->route);
	pins_list(doctor->cli->bpffs, remember_program, doctor);
	read_hooks(doctor);
	return CLI_OK;
}

static bool is_default_link(const struct doctor *doctor, const struct route_link *link,
			    enum doctor_role role)
{
	static const char *const pods[] = {"veth*", "lxc*", "cali*", "eni*"};

	if (role == DOCTOR_UPLINK || link->ifindex == doctor->default_ifindex)
		return role == DOCTOR_UPLINK && link->ifindex == doctor->default_ifindex;
	for (size_t i = 0; i < sizeof(pods) / sizeof(pods[0]); i++)
		if (!fnmatch(pods[i], link->name, 0))
			return true;
	return false;
}

bool doctor_is_link(const struct doctor *doctor, const struct route_link *link,
		    enum doctor_role role)
{
	bool is_known = false;

	for (size_t i = 0; i < doctor->n_hooks; i++) {
		if (doctor->hooks[i].role != role)
			continue;
		if (doctor->hooks[i].link == link)
			return true;
		is_known = true;
	}
	return !is_known && is_default_link(doctor, link, role);
}

/* ---- the command ---------------------------------------------------------------- */

int cmd_doctor(struct cli *cli, int argc, char **argv)
{
	struct doctor doctor = {.cli = cli};
	int status = cli_args(cli, argc, argv, 0, 0);

	if (status)
		return status;
	uv_loop_init(&doctor.loop);
	status = look(&doctor);
	if (!status) {
		out_begin(cli->out, columns);
		doctor_check_node(&doctor);
		doctor_check_kernel(&doctor);
		doctor_check_network(&doctor);
		doctor_check_firewall(&doctor);
		doctor_check_hooks(&doctor);
		doctor_check_agent(&doctor);
		doctor_check_node_clients(&doctor);
		status = cli_finish(cli);
	}
	if (!doctor.maps_err)
		maps_close(&doctor.maps);
	route_free(doctor.route);
	uv_run(&doctor.loop, UV_RUN_DEFAULT);
	uv_loop_close(&doctor.loop);
	free(doctor.hooks);
	free(doctor.programs);
	return status ? status : doctor.failed ? CLI_FAILED : CLI_OK;
}
