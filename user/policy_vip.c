// SPDX-License-Identifier: GPL-2.0-only
/*
 * VIPs of a Service: cluster addresses, load-balancer addresses, external
 * addresses where the operator allows them, node ports. Leaves out, with a
 * verdict, what must not or cannot be steered. Called by policy.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "policy_parts.h"

static void families_of(const struct object_ips *ips, bool *ipv4, bool *ipv6)
{
	for (size_t i = 0; i < ips->n; i++)
		*(addr_is_v4(&ips->list[i].addr) ? ipv4 : ipv6) = true;
}

/* What ipFamilies says; else the families of the addresses; else those of the slices;
 * else IPv4. */
void policy_families(const struct object_service *service, bool *ret_ipv4, bool *ret_ipv6)
{
	bool ipv4 = service->ipv4, ipv6 = service->ipv6;

	if (!ipv4 && !ipv6)
		families_of(&service->cluster_ips, &ipv4, &ipv6);
	if (!ipv4 && !ipv6) {
		families_of(&service->load_balancer_ips, &ipv4, &ipv6);
		families_of(&service->external_ips, &ipv4, &ipv6);
	}
	if (!ipv4 && !ipv6)
		for (const struct object_slice *slice = service->slices; slice; slice = slice->next)
			*(slice->ipv6 ? &ipv6 : &ipv4) = true;
	*ret_ipv4 = ipv4 || !ipv6;
	*ret_ipv6 = ipv6;
}

static bool is_allowed(const struct policy_options *options, const union sl_addr *addr)
{
	for (size_t i = 0; i < options->n_external_cidrs; i++)
		if (addr_in_cidr(addr, &options->external_cidrs[i]))
			return true;
	return false;
}

static bool has_addr(const struct policy_vips *vips, const union sl_addr *addr)
{
	for (size_t i = 0; i < vips->n; i++)
		if (addr_equal(&vips->list[i].vip.addr, addr))
			return true;
	return false;
}

/* The same address twice in one Service is one VIP. */
static void add_vips(struct policy_vips *vips, const struct object_ips *ips,
		     const struct policy_vip *like, bool ipv6, const struct policy_options *allowed)
{
	for (size_t i = 0; i < ips->n; i++) {
		const struct object_ip *ip = &ips->list[i];
		struct policy_vip *vip = &vips->list[vips->n];

		if (addr_is_v4(&ip->addr) == ipv6 || has_addr(vips, &ip->addr) ||
		    (allowed && !is_allowed(allowed, &ip->addr)))
			continue;
		*vip = *like;
		vip->vip.addr = ip->addr;
		vip->line = ip->line;
		vip->field = ip->field;
		vips->n++;
	}
}

static void add_node_port(struct policy_vips *vips, const struct object_port *port,
			  const struct policy_vip *like, bool ipv6)
{
	struct policy_vip *vip = &vips->list[vips->n++];

	*vip = *like;
	addr_parse(ipv6 ? "::" : "0.0.0.0", &vip->vip.addr);
	vip->vip.port = htons(port->node_port);
	vip->vip.kind = MODEL_VIP_NODE_PORT;
	vip->line = port->line;
	vip->field = port->field;
}

int policy_collect_vips(const struct policy *policy, const struct object_service *service,
			const struct object_port *port, bool ipv6, struct policy_vips *ret)
{
	size_t most =
		service->cluster_ips.n + service->load_balancer_ips.n + service->external_ips.n + 1;
	struct policy_vips vips = {.list = calloc(most, sizeof(*vips.list))};
	struct policy_vip like = {.service = service,
				  .vip = {.port = htons(port->port), .proto = port->proto}};

	if (!vips.list)
		return -ENOMEM;
	like.vip.kind = MODEL_VIP_CLUSTER;
	add_vips(&vips, &service->cluster_ips, &like, ipv6, NULL);
	vips.n_inside = vips.n;
	if (!service->source_ranges) {
		like.vip.kind = MODEL_VIP_LOAD_BALANCER;
		add_vips(&vips, &service->load_balancer_ips, &like, ipv6, NULL);
		like.vip.kind = MODEL_VIP_EXTERNAL;
		add_vips(&vips, &service->external_ips, &like, ipv6, policy->options);
		if (port->node_port)
			add_node_port(&vips, port, &like, ipv6);
	}
	*ret = vips;
	return 0;
}

static int judge_families(struct policy *policy, const struct object_service *service,
			  const struct object_ips *ips)
{
	bool ipv4, ipv6;
	int err = 0;

	policy_families(service, &ipv4, &ipv6);
	for (size_t i = 0; i < ips->n && !err; i++)
		if (!(addr_is_v4(&ips->list[i].addr) ? ipv4 : ipv6))
			err = policy_say(
				policy, &service->object, VERDICT_UNSUPPORTED, ips->list[i].line,
				ips->list[i].field,
				"its family is not among the Service's: it has no replicas");
	return err;
}

static int judge_external(struct policy *policy, const struct object_service *service,
			  const struct object_ip *ip)
{
	char text[ADDR_STR_LEN];

	if (is_allowed(policy->options, &ip->addr))
		return policy_say(policy, &service->object, VERDICT_HONOURED, ip->line, ip->field,
				  "%s", "");
	return policy_say(
		policy, &service->object, VERDICT_UNSUPPORTED, ip->line, ip->field,
		"not steered, since whoever may write a Service could take any address "
		"(CVE-2020-8554); start sluiced with --allow-external-ips %s/%d to allow it",
		addr_format(&ip->addr, text), addr_is_v4(&ip->addr) ? 32 : 128);
}

static bool has_vip(const struct policy *policy, const struct object_service *service)
{
	bool external = service->load_balancer_ips.n;

	for (size_t i = 0; i < service->external_ips.n; i++)
		external |= is_allowed(policy->options, &service->external_ips.list[i].addr);
	for (size_t i = 0; i < service->n_ports; i++)
		external |= service->ports[i].node_port != 0;
	return service->cluster_ips.n || (external && !service->source_ranges);
}

int policy_judge_vips(struct policy *policy, const struct object_service *service)
{
	int err = 0;

	for (size_t i = 0; i < service->external_ips.n && !err; i++)
		err = judge_external(policy, service, &service->external_ips.list[i]);
	if (!err)
		err = judge_families(policy, service, &service->cluster_ips);
	if (!err)
		err = judge_families(policy, service, &service->load_balancer_ips);
	if (!err)
		err = judge_families(policy, service, &service->external_ips);
	if (err || service->external_name)
		return err;
	if (service->headless)
		return policy_say(policy, &service->object, VERDICT_UNSUPPORTED, service->spec_line,
				  "spec.clusterIP", "None: a headless Service has no VIP to steer");
	if (!has_vip(policy, service))
		return policy_say(policy, &service->object, VERDICT_UNSUPPORTED, service->spec_line,
				  "spec", "has no VIP to steer; write its clusterIP");
	return 0;
}
