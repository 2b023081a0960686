// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who serves the node's own clients, VIP by VIP. Called by `sluice doctor`.
 */
#include "addr.h"
#include "doctor.h"
#include "node_clients.h"
#include "strbuf.h"

#define NAMED_MAX 8 /* addresses in one row */

struct census {
	unsigned ours, local, other; /* VIPs: addresses with a port */
	struct strbuf names;         /* of the addresses that go another way */
	unsigned named;
	union sl_addr last;
};

static void count_vip(struct census *census, const struct node_clients *clients,
		      const struct sl_vip *vip)
{
	char text[ADDR_STR_LEN];

	switch (node_clients_way(clients, &vip->addr)) {
	case NODE_WAY_OURS:
		census->ours++;
		return;
	case NODE_WAY_LOCAL:
		census->local++;
		return;
	case NODE_WAY_OTHER:
		census->other++;
	}
	if (census->named == NAMED_MAX || addr_equal(&census->last, &vip->addr))
		return;
	strbuf_addf(&census->names, "%s%s", census->named++ ? ", " : "",
		    addr_format(&vip->addr, text));
	census->last = vip->addr;
}

static void put_census(struct doctor *doctor, const struct census *census)
{
	if (census->other)
		doctor_row(doctor, "own_clients", DOCTOR_WARN,
			   "`ip route get ADDRESS` shows the way: somebody else's route is left "
			   "alone, and the log of sluiced says what else it could not do",
			   "%u VIPs in replace mode are not routed to " SL_NODE_DEVICE ", so nobody "
			   "serves the node's own clients (hostNetwork pods, processes on the node) "
			   "there: %s%s", census->other, census->names.data,
			   census->named == NAMED_MAX ? ", ..." : "");
	else if (census->ours)
		doctor_row(doctor, "own_clients", DOCTOR_OK, NULL,
			   "%u VIPs in replace mode are routed to " SL_NODE_DEVICE " for the node's "
			   "own clients (hostNetwork pods, processes on the node); their calls to "
			   "nodePorts and other addresses of this node (%u VIPs), and to overlay "
			   "services, are not steered",
			   census->ours, census->local);
	else
		doctor_row(doctor, "own_clients", DOCTOR_INFO, NULL,
			   "no VIP in replace mode: the node's own clients (hostNetwork pods, "
			   "processes on the node) are not steered, kube-proxy serves them");
}

void doctor_check_node_clients(struct doctor *doctor)
{
	struct census census = {};
	struct node_clients clients;

	node_clients_open(&clients);
	for (__u32 i = 0; !doctor->maps_err && i < doctor->maps.n_vips; i++)
		if (node_clients_want(&doctor->maps, &doctor->maps.vips[i]))
			count_vip(&census, &clients, &doctor->maps.vips[i]);
	put_census(doctor, &census);
	node_clients_close(&clients);
	strbuf_done(&census.names);
}
