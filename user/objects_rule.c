// SPDX-License-Identifier: GPL-2.0-only
/*
 * DestinationRule (networking.istio.io): whose it is, and its traffic policies
 * for the whole Service and for single ports; what is in those is for
 * objects_traffic.c and objects_outlier.c. Hosts that are no Service of the
 * cluster get a verdict. Called by objects.c.
 */
#include <errno.h>
#include <string.h>

#include "decode.h"

#define NO_TLS "Sluice balances connections and leaves TLS to client and replica"

static int decode_port_number(struct decode *decode, const struct yaml_node *map, void *into)
{
	static const struct field fields[] = {
		FIELD_GET("number", FIELD_INT, HONOURED, decode_port, struct object_traffic, port),
		{},
	};
	const struct yaml_node *number;
	int err = decode_require(decode, map, "number", &number);

	return err ? err : decode_fields(decode, map, fields, into);
}

#define POLICY_FIELDS                                                                              \
	FIELD_PART("loadBalancer", FIELD_MAP, SILENT, decode_balancer),                            \
		FIELD_PART("connectionPool", FIELD_MAP, SILENT, decode_pool),                      \
		FIELD_PART("outlierDetection", FIELD_MAP, SILENT, decode_outlier),                 \
		FIELD_SAY("tls", FIELD_MAP, UNSUPPORTED, NO_TLS)

static const struct field port_fields[] = {
	FIELD_PART("port", FIELD_MAP, SILENT, decode_port_number),
	POLICY_FIELDS,
	{},
};

static int decode_port_settings(struct decode *decode, const struct yaml_node *list, void *into)
{
	struct object_rule *rule = (struct object_rule *)decode->object;
	const struct yaml_node *port;
	int err;

	rule->ports = decode_array(decode, list, sizeof(*rule->ports));
	err = rule->ports ? 0 : -ENOMEM;
	for (const struct yaml_node *child = list->first; child && !err; child = child->next) {
		struct object_traffic *traffic = &rule->ports[rule->n_ports++];

		err = decode_require(decode, child, "port", &port);
		if (err)
			return err;
		traffic->line = port->line;
		traffic->field = decode_path(decode, port);
		err = traffic->field ? decode_fields(decode, child, port_fields, traffic) : -ENOMEM;
	}
	return err;
}

static const struct field traffic_fields[] = {
	POLICY_FIELDS,
	FIELD_PART("portLevelSettings", FIELD_LIST, SILENT, decode_port_settings),
	FIELD_SAY("tunnel", FIELD_MAP, UNSUPPORTED, "Sluice opens no connections of its own"),
	FIELD_SAY("proxyProtocol", FIELD_MAP, UNSUPPORTED, "Sluice adds nothing to a connection"),
	FIELD_SAY("retryBudget", FIELD_MAP, UNSUPPORTED, SAY_REQUESTS),
	{},
};

static int decode_traffic(struct decode *decode, const struct yaml_node *map, void *into)
{
	return decode_fields(decode, map, traffic_fields, into);
}

/* A rule that ends up governing nobody says so in any case. */
static int note_always(struct decode *decode, const struct yaml_node *node, const char *reason)
{
	int err;

	decode->always = true;
	err = decode_note(decode, node, VERDICT_UNSUPPORTED, "%s", reason);
	decode->always = false;
	return err;
}

static int decode_rule_host(struct decode *decode, const struct yaml_node *value, void *into)
{
	struct object_rule *rule = into;
	int err = decode_service_host(decode, value, &rule->host);

	if (err)
		return err;
	if (!rule->host.name)
		return note_always(decode, value,
				   "is not one Service of a cluster, so the rule is left out; "
				   "write NAME.NAMESPACE.svc.cluster.local");
	return decode_honour(decode, value);
}

static int decode_selector(struct decode *decode, const struct yaml_node *map, void *into)
{
	((struct object_rule *)into)->selective = true;
	return note_always(decode, map,
			   "Sluice has one policy for all clients: the whole rule is left out");
}

static const struct field spec_fields[] = {
	FIELD_PART("host", FIELD_STRING, SILENT, decode_rule_host),
	FIELD_GET("trafficPolicy", FIELD_MAP, SILENT, decode_traffic, struct object_rule, traffic),
	FIELD_SAY("subsets", FIELD_LIST, UNSUPPORTED, SAY_LATER),
	FIELD_SAY("exportTo", FIELD_LIST, UNSUPPORTED, "the rule counts for every client"),
	FIELD_PART("workloadSelector", FIELD_MAP, SILENT, decode_selector),
	{},
};

int object_decode_rule(struct decode *decode, const struct yaml_node *root,
		       struct object_rule *rule)
{
	const struct yaml_node *spec, *host;
	int err = decode_require(decode, root, "spec", &spec);

	if (!err)
		err = decode_require(decode, spec, "host", &host);
	return err ? err : decode_fields(decode, spec, spec_fields, rule);
}
