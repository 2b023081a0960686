/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of `sluice doctor` share: the node as it was found once, and
 * the row that each check prints.
 */
#ifndef SLUICE_DOCTOR_H
#define SLUICE_DOCTOR_H

#include <stdbool.h>
#include <uv.h>

#include "cli.h"
#include "maps.h"
#include "rights.h"
#include "route.h"

enum doctor_status {
	DOCTOR_OK,
	DOCTOR_INFO, /* nothing to mend, but worth knowing */
	DOCTOR_WARN,
	DOCTOR_FAIL, /* Sluice does not work, or harms traffic, until this is mended */
};

/* What an interface is to our program that sits there. */
enum doctor_role {
	DOCTOR_NONE,
	DOCTOR_POD,
	DOCTOR_UPLINK,
	DOCTOR_FABRIC,
	DOCTOR_NODE, /* SL_NODE_DEVICE */
};

/* A pinned program of ours. */
struct doctor_program {
	__u32 id;
	enum doctor_role role;
};

/* A program or filter at one TC hook of one interface. */
struct doctor_hook {
	const struct route_link *link;
	bool egress;
	bool tcx;
	bool ours;
	enum doctor_role role; /* DOCTOR_NONE unless `ours` */
	char name[64];
};

struct doctor {
	struct cli *cli;
	bool failed; /* some row said DOCTOR_FAIL */

	bool may_probe; /* this process has what sluiced needs */
	char missing_rights[RIGHTS_LEN];
	int maps_err;   /* of maps_open(); 0: `maps` is open */
	struct maps maps;

	uv_loop_t loop;
	struct route *route;
	const struct route_link *links;
	size_t n_links;
	int default_ifindex; /* interface of the default route; 0: none */

	struct doctor_program *programs;
	size_t n_programs;
	struct doctor_hook *hooks; /* by interface, ingress first, in running order */
	size_t n_hooks;
	int hooks_err; /* why `hooks` is empty */
};

/* One row; `advice` (NULL: none) says how to mend it, `format` what was found. */
void doctor_row(struct doctor *doctor, const char *check, enum doctor_status status,
		const char *advice, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The row of a check that needs root. */
void doctor_row_needs_root(struct doctor *doctor, const char *check);

/* A number of /proc/sys, "net/ipv4/ip_forward". False when there is none. */
bool doctor_sysctl(const char *name, long *ret);

/* Whether our programs are at `link` for this role. While none of ours has that role anywhere:
 * whether sluiced would take it by default, for the host's end of a pod's veth by its name, for an
 * uplink by the default route. */
bool doctor_is_link(const struct doctor *doctor, const struct route_link *link,
		    enum doctor_role role);

/* Each prints the rows of its field. */
void doctor_check_kernel(struct doctor *doctor);
void doctor_check_node(struct doctor *doctor);
void doctor_check_network(struct doctor *doctor);
void doctor_check_firewall(struct doctor *doctor);
void doctor_check_hooks(struct doctor *doctor);
void doctor_check_agent(struct doctor *doctor);
void doctor_check_node_clients(struct doctor *doctor);

#endif
