// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether the node's network settings let steered packets through: forwarding,
 * source checks, redirects, MTU, port ranges. Called by `sluice doctor`.
 */
#include <stdio.h>
#include <string.h>

#include "doctor.h"
#include "port_range.h"
#include "strbuf.h"

/* net.ipv4.conf.INTERFACE.NAME */
static long conf(const char *interface, const char *name)
{
	char path[128];
	long value = 0;

	snprintf(path, sizeof(path), "net/ipv4/conf/%s/%s", interface, name);
	doctor_sysctl(path, &value);
	return value;
}

static void check_forwarding(struct doctor *doctor)
{
	long v4 = 0, v6 = 0;

	doctor_sysctl("net/ipv4/ip_forward", &v4);
	doctor_row(doctor, "ip_forward", v4 ? DOCTOR_OK : DOCTOR_FAIL,
		   v4 ? NULL : "sysctl -w net.ipv4.ip_forward=1", v4 ? "on" : "off");
	if (!doctor_sysctl("net/ipv6/conf/all/forwarding", &v6))
		doctor_row(doctor, "ip6_forward", DOCTOR_OK, NULL, "the node has no IPv6");
	else if (v6)
		doctor_row(doctor, "ip6_forward", DOCTOR_OK, NULL, "on");
	else
		doctor_row(
			doctor, "ip6_forward", DOCTOR_WARN,
			"sysctl -w net.ipv6.conf.all.forwarding=1, if Services have IPv6 addresses",
			"off: only IPv4 is forwarded");
}

/* Any mode is right: replies are translated at the one hook where their source address is the
 * one that the route back agrees with. */
static void check_rp_filter(struct doctor *doctor)
{
	unsigned modes[3] = {};
	long all = conf("all", "rp_filter"), own;

	for (size_t i = 0; i < doctor->n_links; i++) {
		own = conf(doctor->links[i].name, "rp_filter");
		own = own > all ? own : all;
		modes[own < 0 || own > 2 ? 0 : own]++;
	}
	doctor_row(doctor, "rp_filter", DOCTOR_OK, NULL,
		   "interfaces: %u strict, %u loose, %u off; Sluice works in each mode", modes[1],
		   modes[2], modes[0]);
}

/* A redirect goes out where a packet leaves by the interface it came by: on bridges between pods,
 * and on the uplink. It would lead clients around the node that translates for them. */
static void check_send_redirects(struct doctor *doctor)
{
	bool all = conf("all", "send_redirects");
	struct strbuf names = {}, advice = {};
	const struct route_link *link;

	strbuf_add(&advice, "sysctl -w net.ipv4.conf.all.send_redirects=0");
	for (size_t i = 0; i < doctor->n_links; i++) {
		link = &doctor->links[i];
		if (!doctor_is_link(doctor, link, DOCTOR_UPLINK) && strcmp(link->kind, "bridge"))
			continue;
		if (!all && !conf(link->name, "send_redirects"))
			continue;
		strbuf_addf(&names, "%s%s", names.len ? ", " : "", link->name);
		strbuf_addf(&advice, " net.ipv4.conf.%s.send_redirects=0", link->name);
	}
	if (names.len)
		doctor_row(doctor, "send_redirects", DOCTOR_WARN, advice.data, "on for %s",
			   names.data);
	else
		doctor_row(doctor, "send_redirects", DOCTOR_OK, NULL, "off where it matters");
	strbuf_done(&names);
	strbuf_done(&advice);
}

static void check_mtu(struct doctor *doctor)
{
	unsigned uplink = 0, smallest = 0, largest = 0;
	const struct route_link *link;

	for (size_t i = 0; i < doctor->n_links; i++) {
		link = &doctor->links[i];
		if (doctor_is_link(doctor, link, DOCTOR_UPLINK) && (!uplink || link->mtu < uplink))
			uplink = link->mtu;
		if (!doctor_is_link(doctor, link, DOCTOR_POD))
			continue;
		if (!smallest || link->mtu < smallest)
			smallest = link->mtu;
		if (link->mtu > largest)
			largest = link->mtu;
	}
	if (!uplink || !largest)
		doctor_row(doctor, "mtu", DOCTOR_OK, NULL, "%s",
			   uplink ? "no pod interfaces yet"
				  : "no uplink: neither our programs at one, nor a default route");
	else if (largest > uplink)
		doctor_row(doctor, "mtu", DOCTOR_WARN,
			   "give pods the MTU of the uplink or less, in the CNI's configuration",
			   "uplink %u, pod interfaces up to %u: large packets to other nodes need "
			   "path MTU discovery",
			   uplink, largest);
	else
		doctor_row(doctor, "mtu", DOCTOR_OK, NULL, "uplink %u, pod interfaces %u-%u",
			   uplink, smallest, largest);
}

/* Clients come in with Ethernet headers or not at all; replicas behind a tunnel need none. */
static void check_link_types(struct doctor *doctor)
{
	struct strbuf clients = {}, fabric = {};
	const struct route_link *link;

	for (size_t i = 0; i < doctor->n_links; i++) {
		link = &doctor->links[i];
		if (route_link_has_ethernet(link))
			continue;
		if (doctor_is_link(doctor, link, DOCTOR_UPLINK) ||
		    doctor_is_link(doctor, link, DOCTOR_POD))
			strbuf_addf(&clients, "%s%s", clients.len ? ", " : "", link->name);
		else if (doctor_is_link(doctor, link, DOCTOR_FABRIC))
			strbuf_addf(&fabric, "%s%s", fabric.len ? ", " : "", link->name);
	}
	if (clients.len)
		doctor_row(doctor, "link_types", DOCTOR_WARN,
			   "let clients come in by an interface with Ethernet headers, and name it "
			   "with --uplinks or --pod-interfaces",
			   "%s: no Ethernet headers, so clients behind it are not steered",
			   clients.data);
	else
		doctor_row(doctor, "link_types", DOCTOR_OK, NULL, "%s%s",
			   fabric.len ? "replicas are served behind " :
					"clients come in by interfaces with Ethernet headers",
			   fabric.len ? fabric.data : "");
	strbuf_done(&clients);
	strbuf_done(&fabric);
}

/* Of what is loaded, or would be. */
static struct port_range snat_ports(const struct doctor *doctor)
{
	const struct sl_control *control = doctor->maps_err ? NULL : doctor->maps.control;

	if (!control || !control->snat_port_max)
		return PORT_RANGE_SNAT;
	return (struct port_range){control->snat_port_min, control->snat_port_max};
}

/* Node ports that Services have, whatever the range of the cluster. */
static void check_node_ports(struct doctor *doctor, struct port_range snat,
			     struct port_range local)
{
	const struct port_range usual = PORT_RANGE_NODE_PORTS;
	struct strbuf names = {};
	const union sl_addr *own;
	size_t n;

	own = route_addresses(doctor->route, &n);
	if (!doctor->maps_err)
		port_range_name_vips(snat, doctor->maps.vips, doctor->maps.n_vips, own, n, &names);
	if (names.len)
		doctor_row(doctor, "ports", DOCTOR_WARN,
			   "start sluiced with another range (--snat-ports), or give these Services "
			   "other nodePorts",
			   "source NAT uses %u-%u, and there lie the node ports %s: answers of "
			   "replicas on other nodes to them are lost", snat.min, snat.max,
			   names.data);
	else
		doctor_row(doctor, "ports", DOCTOR_OK, NULL,
			   "source NAT %u-%u, the node's own clients %u-%u, nodePorts %u-%u",
			   snat.min, snat.max, local.min, local.max, usual.min, usual.max);
	strbuf_done(&names);
}

static void check_ports(struct doctor *doctor)
{
	const struct port_range snat = snat_ports(doctor), local = port_range_local();
	const struct port_range node = PORT_RANGE_NODE_PORTS;

	if (port_range_overlap(snat, local))
		doctor_row(doctor, "ports", DOCTOR_FAIL,
			   "sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"",
			   "source NAT uses %u-%u, and so do the node's own clients (%u-%u)",
			   snat.min, snat.max, local.min, local.max);
	else if (port_range_overlap(snat, node))
		doctor_row(doctor, "ports", DOCTOR_FAIL,
			   "give source NAT a range outside the nodePort range",
			   "source NAT uses %u-%u, nodePorts %u-%u", snat.min, snat.max, node.min,
			   node.max);
	else
		check_node_ports(doctor, snat, local);
}

void doctor_check_network(struct doctor *doctor)
{
	check_forwarding(doctor);
	check_rp_filter(doctor);
	check_send_redirects(doctor);
	check_mtu(doctor);
	check_link_types(doctor);
	check_ports(doctor);
}
