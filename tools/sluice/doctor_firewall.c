// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether the node's packet filter would drop steered packets between pods of
 * one bridge. Reads the rules as their own tools print them. Called by
 * `sluice doctor`.
 */
#include <stdio.h>
#include <string.h>

#include "doctor.h"

static const struct route_link *find_bridge(const struct doctor *doctor)
{
	for (size_t i = 0; i < doctor->n_links; i++)
		if (!strcmp(doctor->links[i].kind, "bridge"))
			return &doctor->links[i];
	return NULL;
}

/* Whether some rule drops packets that conntrack calls invalid, as kube-proxy installs one. */
static bool drops_invalid(void)
{
	/* Both back ends of iptables, and rules made with nft itself. */
	FILE *rules = popen("PATH=$PATH:/usr/sbin:/sbin; exec 2>/dev/null; iptables-save; "
			    "iptables-legacy-save; ip6tables-save; nft list ruleset",
			    "re");
	char line[1024];
	bool found = false;

	while (rules && fgets(line, sizeof(line), rules))
		if (strcasestr(line, "invalid") && strcasestr(line, "drop"))
			found = true;
	if (rules)
		pclose(rules);
	return found;
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

	if (!bridge) {
		doctor_row(doctor, "bridge_nf", DOCTOR_OK, NULL, "no bridge on this node");
		return;
	}
	doctor_sysctl("net/bridge/bridge-nf-call-iptables", &called);
	if (called)
		doctor_row(doctor, "bridge_nf", DOCTOR_OK, NULL,
			   "%s: bridged packets pass netfilter", bridge->name);
	else if (!doctor->may_probe)
		doctor_row_needs_root(doctor, "bridge_nf");
	else if (drops_invalid())
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
