// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether the node's packet filter would drop steered packets between pods of
 * one bridge. Asks the tools of the filter for its rules, rules.c reads them.
 * Called by `sluice doctor`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "rules.h"

/* A bridge with pods on it: no other is our business. */
static const struct route_link *find_bridge(const struct doctor *doctor)
{
	for (size_t i = 0; i < doctor->n_links; i++) {
		const struct route_link *port = &doctor->links[i], *master;

		master = port->master ? route_link_find(doctor->route, port->master) : NULL;
		if (master && !strcmp(master->kind, "bridge") &&
		    doctor_is_link(doctor, port, DOCTOR_POD))
			return master;
	}
	return NULL;
}

static void read_rules(struct rules *rules, const char *program, const char *arguments)
{
	char command[128], *line = NULL;
	size_t capacity = 0;
	FILE *lines;

	snprintf(command, sizeof(command), "PATH=$PATH:/usr/sbin:/sbin; exec %s%s 2>/dev/null", program,
		 arguments);
	lines = popen(command, "re");
	while (lines && getline(&line, &capacity, lines) > 0) {
		if (!strcmp(program, "nft"))
			rules_add_nft(rules, line);
		else
			rules_add_save(rules, program, line);
	}
	free(line);
	if (lines)
		pclose(lines);
}

/* Whether some rule drops forwarded packets that conntrack calls invalid, as kube-proxy installs
 * one: 1, 0, or -1 when there was no memory to find out. */
static int drops_invalid(void)
{
	/* Both back ends of iptables, and rules made with nft itself. */
	static const char *const programs[] = {"iptables", "iptables-legacy", "ip6tables",
					       "ip6tables-legacy"};
	struct rules rules = {};
	int answer;

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		read_rules(&rules, programs[i], "-save");
	read_rules(&rules, "nft", " list ruleset");
	answer = rules_drop_invalid(&rules) ? 1 : rules.failed ? -1 : 0;
	rules_done(&rules);
	return answer;
}

/* Between ports of a bridge packets pass netfilter only with this setting. Without it conntrack
 * sees a steered flow in one direction alone, and calls its data invalid. */
void doctor_check_firewall(struct doctor *doctor)
{
	static const char advice[] = "modprobe br_netfilter; "
				     "sysctl -w net.bridge.bridge-nf-call-iptables=1 "
				     "net.bridge.bridge-nf-call-ip6tables=1";
	const struct route_link *bridge = find_bridge(doctor);
	long called = 0;
	int drops;

	if (!bridge) {
		doctor_row(doctor, "bridge_nf", DOCTOR_OK, NULL, "no pods on a bridge on this node");
		return;
	}
	doctor_sysctl("net/bridge/bridge-nf-call-iptables", &called);
	drops = called || !doctor->may_probe ? 0 : drops_invalid();
	if (called)
		doctor_row(doctor, "bridge_nf", DOCTOR_OK, NULL,
			   "%s: bridged packets pass netfilter", bridge->name);
	else if (!doctor->may_probe)
		doctor_row_needs_root(doctor, "bridge_nf");
	else if (drops < 0)
		doctor_row(doctor, "bridge_nf", DOCTOR_WARN, "run it again",
			   "no memory to read the rules of the packet filter");
	else if (drops)
		doctor_row(doctor, "bridge_nf", DOCTOR_FAIL, advice,
			   "%s: bridged packets bypass netfilter, and a rule drops INVALID ones: "
			   "connections between its pods open, then stall",
			   bridge->name);
	else
		doctor_row(doctor, "bridge_nf", DOCTOR_WARN, advice,
			   "%s: bridged packets bypass netfilter; kube-proxy's rule against "
			   "INVALID packets, once there, would stall connections between its pods",
			   bridge->name);
}
