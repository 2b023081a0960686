// SPDX-License-Identifier: GPL-2.0-only
/*
 * Service (v1). Reads VIPs, ports and traffic policies; judges every field of
 * spec. Refuses what the API server would: ports that clash, addresses that
 * are none, contradictions. Called by objects.c.
 */
#include <errno.h>
#include <string.h>

#include "addr.h"
#include "decode.h"

static int decode_target_port(struct decode *decode, const struct yaml_node *value, void *into)
{
	int64_t port;

	if (value->type == YAML_INT)
		return decode_range(decode, value, 1, 65535, &port);
	if (!name_is_label(value->text))
		return decode_refuse(decode, value,
				     "\"%s\" is neither a port nor the name of one; write 1 to "
				     "65535 without quotes, or a name",
				     value->text);
	return 0;
}

static int decode_service_proto(struct decode *decode, const struct yaml_node *value, void *into)
{
	int err = decode_proto(decode, value, into);

	if (err)
		return err;
	if (*(__u8 *)into == IPPROTO_SCTP)
		return decode_note(decode, value, VERDICT_UNSUPPORTED,
				   "Sluice balances TCP and UDP; this port is not steered");
	return decode_honour(decode, value);
}

static const struct field port_fields[] = {
	FIELD_GET("name", FIELD_STRING, HONOURED, decode_port_name, struct object_port, name),
	FIELD_GET("port", FIELD_INT, HONOURED, decode_port, struct object_port, port),
	FIELD_GET("protocol", FIELD_STRING, SILENT, decode_service_proto, struct object_port,
		  proto),
	FIELD_GET("nodePort", FIELD_INT, HONOURED, decode_port, struct object_port, node_port),
	FIELD_PART("targetPort", FIELD_INT_OR_STRING, HONOURED, decode_target_port),
	FIELD_SAY("appProtocol", FIELD_STRING, UNSUPPORTED,
		  "a balancer of connections does not look at what they carry"),
	{},
};

static int decode_service_ports(struct decode *decode, const struct yaml_node *list, void *into)
{
	struct object_service *service = into;

	return decode_ports(decode, list, port_fields, &service->ports, &service->n_ports);
}

static int add_ip(struct decode *decode, const struct yaml_node *node, struct object_ips *ips)
{
	struct object_ip *ip = &ips->list[ips->n];
	int err = decode_ip(decode, node, &ip->addr);

	if (err)
		return err;
	ip->line = node->line;
	ip->field = decode_path(decode, node);
	ips->n++;
	return ip->field ? 0 : -ENOMEM;
}

static int decode_ips(struct decode *decode, const struct yaml_node *list, void *into)
{
	struct object_ips *ips = into;
	int err;

	ips->list = decode_array(decode, list, sizeof(*ips->list));
	err = ips->list ? 0 : -ENOMEM;
	for (const struct yaml_node *child = list->first; child && !err; child = child->next)
		err = add_ip(decode, child, ips);
	return err;
}

static int decode_cluster_ips(struct decode *decode, const struct yaml_node *list, void *into)
{
	struct object_service *service = into;

	if (list->n == 1 && list->first->text && !strcmp(list->first->text, "None")) {
		service->headless = true;
		return 0;
	}
	return decode_ips(decode, list, &service->cluster_ips);
}

static int decode_families(struct decode *decode, const struct yaml_node *list, void *into)
{
	static const char *const names[] = {"IPv4", "IPv6", NULL};
	struct object_service *service = into;
	unsigned choice;
	int err = 0;

	for (const struct yaml_node *child = list->first; child && !err; child = child->next) {
		err = decode_choice(decode, child, names, &choice);
		if (!err)
			*(choice ? &service->ipv6 : &service->ipv4) = true;
	}
	return err;
}

static int decode_type(struct decode *decode, const struct yaml_node *value, void *into)
{
	static const char *const names[] = {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName",
					    NULL};
	struct object_service *service = into;
	unsigned choice;
	int err = decode_choice(decode, value, names, &choice);

	if (err)
		return err;
	service->takes_node_ports = choice == 1 || choice == 2;
	service->external_name = choice == 3;
	if (service->external_name)
		return decode_note(decode, value, VERDICT_UNSUPPORTED,
				   "a name has no VIP: there is nothing to steer");
	return decode_honour(decode, value);
}

static int decode_policy(struct decode *decode, const struct yaml_node *value, void *into)
{
	static const char *const names[] = {"Cluster", "Local", NULL};
	unsigned choice;
	int err = decode_choice(decode, value, names, &choice);

	if (!err)
		*(bool *)into = choice;
	return err;
}

static int decode_affinity(struct decode *decode, const struct yaml_node *value, void *into)
{
	static const char *const names[] = {"None", "ClientIP", NULL};
	unsigned choice;
	int err = decode_choice(decode, value, names, &choice);

	if (err)
		return err;
	if (choice)
		return decode_note(decode, value, VERDICT_UNSUPPORTED,
				   "this version does not keep a client with one replica: each "
				   "connection is picked anew");
	return decode_honour(decode, value);
}

static int decode_source_ranges(struct decode *decode, const struct yaml_node *list, void *into)
{
	struct addr_cidr cidr;

	for (const struct yaml_node *child = list->first; child; child = child->next) {
		int err = decode_check_type(decode, child, FIELD_STRING);

		if (err)
			return err;
		if (addr_parse_cidr(child->text, &cidr))
			return decode_refuse(decode, child,
					     "\"%s\" is not an address range; write one such as "
					     "10.0.0.0/8",
					     child->text);
	}
	*(bool *)into = list->n > 0;
	if (!list->n)
		return 0;
	return decode_note(decode, list, VERDICT_UNSUPPORTED,
			   "this version does not filter by source; so that nothing is opened, "
			   "load-balancer, external and node-port VIPs of this Service are not "
			   "steered");
}

#define SERVICE struct object_service
static const struct field spec_fields[] = {
	FIELD_PART("ports", FIELD_LIST, SILENT, decode_service_ports),
	FIELD_SAY("selector", FIELD_MAP, HONOURED, NULL),
	FIELD_PART("type", FIELD_STRING, SILENT, decode_type),
	FIELD_SAY("clusterIP", FIELD_STRING, SILENT, NULL),
	FIELD_PART("clusterIPs", FIELD_LIST, SILENT, decode_cluster_ips),
	FIELD_GET("externalIPs", FIELD_LIST, SILENT, decode_ips, SERVICE, external_ips),
	FIELD_PART("ipFamilies", FIELD_LIST, HONOURED, decode_families),
	FIELD_SAY("ipFamilyPolicy", FIELD_STRING, HONOURED, NULL),
	FIELD_GET("externalTrafficPolicy", FIELD_STRING, HONOURED, decode_policy, SERVICE,
		  external_local),
	FIELD_GET("internalTrafficPolicy", FIELD_STRING, HONOURED, decode_policy, SERVICE,
		  internal_local),
	FIELD_GET("publishNotReadyAddresses", FIELD_BOOL, HONOURED, decode_bool, SERVICE,
		  publish_not_ready),
	FIELD_GET("loadBalancerSourceRanges", FIELD_LIST, SILENT, decode_source_ranges, SERVICE,
		  source_ranges),
	FIELD_PART("sessionAffinity", FIELD_STRING, SILENT, decode_affinity),
	FIELD_SAY("sessionAffinityConfig", FIELD_MAP, UNSUPPORTED,
		  "this version does not act on session affinity"),
	FIELD_SAY("trafficDistribution", FIELD_STRING, UNSUPPORTED,
		  "this version does not prefer near replicas: each pick goes to the least loaded"),
	FIELD_SAY("healthCheckNodePort", FIELD_INT, UNSUPPORTED,
		  "Sluice does not serve it: load balancers have to ask kube-proxy"),
	FIELD_SAY("loadBalancerIP", FIELD_STRING, UNSUPPORTED,
		  "a wish to the load balancer's controller; status.loadBalancer is honoured"),
	FIELD_SAY("externalName", FIELD_STRING, UNSUPPORTED, "a name has no VIP"),
	FIELD_SAY("allocateLoadBalancerNodePorts", FIELD_BOOL, HONOURED, NULL),
	FIELD_SAY("loadBalancerClass", FIELD_STRING, HONOURED, NULL),
	{},
};

/* An ingress with ipMode Proxy wants its traffic to go through the load balancer itself. */
static int decode_ingress(struct decode *decode, const struct yaml_node *ingress,
			  struct object_ips *ips)
{
	static const struct field fields[] = {
		FIELD_SAY("ip", FIELD_STRING, SILENT, NULL),
		FIELD_SAY("hostname", FIELD_STRING, UNSUPPORTED, "a name is not a VIP"),
		FIELD_SAY("ipMode", FIELD_STRING, HONOURED, NULL),
		FIELD_SAY("ports", FIELD_LIST, SILENT, NULL),
		{},
	};
	const struct yaml_node *ip, *mode;
	int err = decode_fields(decode, ingress, fields, ips);

	if (err)
		return err;
	ip = yaml_get(ingress, "ip");
	mode = yaml_get(ingress, "ipMode");
	if (!ip || (mode && !strcmp(mode->text, "Proxy")))
		return 0;
	err = add_ip(decode, ip, ips);
	return err ? err : decode_honour(decode, ip);
}

static int decode_status(struct decode *decode, const struct yaml_node *status, void *into)
{
	const struct yaml_node *balancer = yaml_get(status, "loadBalancer");
	const struct yaml_node *list = yaml_get(balancer, "ingress");
	struct object_ips *ips = into;
	int err = list ? decode_check_type(decode, list, FIELD_LIST) : 0;

	if (err || !list)
		return err;
	ips->list = decode_array(decode, list, sizeof(*ips->list));
	err = ips->list ? 0 : -ENOMEM;
	for (const struct yaml_node *child = list->first; child && !err; child = child->next)
		err = decode_ingress(decode, child, ips);
	return err;
}

/* Policy says what becomes of a headless one. */
static int judge_cluster_ips(struct decode *decode, const struct yaml_node *spec)
{
	static const char *const names[] = {"clusterIP", "clusterIPs"};
	int err = 0;

	for (size_t i = 0; i < 2 && !err; i++) {
		const struct yaml_node *node = yaml_get(spec, names[i]);

		if (node)
			err = decode_honour(decode, node);
	}
	return err;
}

/* clusterIP is the old form of clusterIPs[0]; "" and absence mean none yet. */
static int check_cluster_ips(struct decode *decode, const struct yaml_node *spec,
			     struct object_service *service)
{
	const struct yaml_node *single = yaml_get(spec, "clusterIP");
	const struct yaml_node *list = yaml_get(spec, "clusterIPs");
	struct object_ips *ips = &service->cluster_ips;

	if (list && single &&
	    (!list->first || !list->first->text || strcmp(list->first->text, single->text)))
		return decode_refuse(decode, single, "differs from clusterIPs[0]; make them equal");
	if (list && (ips->n > 2 || (ips->n == 2 && addr_is_v4(&ips->list[0].addr) ==
							   addr_is_v4(&ips->list[1].addr))))
		return decode_refuse(decode, list,
				     "has more than one address of a family; keep one IPv4 and one "
				     "IPv6 address at most");
	if (list || !single || !*single->text)
		return 0;
	if (!strcmp(single->text, "None")) {
		service->headless = true;
		return 0;
	}
	ips->list = arena_alloc(decode->arena, sizeof(*ips->list));
	return ips->list ? add_ip(decode, single, ips) : -ENOMEM;
}

static const char *port_clash(const struct object_port *a, const struct object_port *b)
{
	if (!strcmp(a->name, b->name))
		return *a->name ? "has the name of another port; give it its own"
				: "has no name; ports of a Service with several need one each";
	if (a->proto == b->proto && a->port == b->port)
		return "has port and protocol of another; take one of them out";
	if (a->proto == b->proto && a->node_port && a->node_port == b->node_port)
		return "has the nodePort of another port; give it its own";
	return NULL;
}

static int check_ports(struct decode *decode, const struct object_service *service)
{
	for (size_t i = 0; i < service->n_ports; i++) {
		const struct object_port *port = &service->ports[i];

		if (!port->port)
			return diag_set(decode->diag, decode->file, port->line, port->field,
					"port is missing; add it");
		if (port->node_port && !service->takes_node_ports)
			return diag_set(
				decode->diag, decode->file, port->line, port->field,
				"nodePort needs type NodePort or LoadBalancer; set spec.type");
		for (size_t j = 0; j < i; j++) {
			const char *clash = port_clash(&service->ports[j], port);

			if (clash)
				return diag_set(decode->diag, decode->file, port->line, port->field,
						"%s", clash);
		}
	}
	return 0;
}

static int check_labels(struct decode *decode, const struct yaml_node *metadata,
			const struct object *object)
{
	bool replace = object->proxy_name && !strcmp(object->proxy_name, "sluice");

	if (!replace || object->steer != STEER_DISABLED)
		return 0;
	return decode_refuse(
		decode, yaml_get(yaml_get(metadata, "labels"), "sluice.dev/steer"),
		"contradicts service-proxy-name: sluice, since then nobody would serve it; take "
		"one of the labels out");
}

int object_decode_service(struct decode *decode, const struct yaml_node *root,
			  struct object_service *service)
{
	const struct yaml_node *spec, *ports, *status = yaml_get(root, "status");
	int err = decode_require(decode, root, "spec", &spec);

	if (!err)
		err = check_labels(decode, yaml_get(root, "metadata"), &service->object);
	if (!err)
		err = decode_fields(decode, spec, spec_fields, service);
	if (!err)
		err = check_cluster_ips(decode, spec, service);
	if (!err && !service->headless)
		err = judge_cluster_ips(decode, spec);
	if (!err)
		err = check_ports(decode, service);
	if (!err && status)
		err = decode_status(decode, status, &service->load_balancer_ips);
	if (!err && !service->n_ports && !service->headless && !service->external_name) {
		err = decode_require(decode, spec, "ports", &ports);
		if (!err)
			err = decode_refuse(decode, ports, "is empty; add a port");
	}
	if (!err)
		service->spec_line = spec->line;
	return err;
}
