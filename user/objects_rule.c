// SPDX-License-Identifier: GPL-2.0-only
/*
 * DestinationRule (networking.istio.io): of its traffic policies, what a
 * balancer of connections can act upon. Every other known field gets its
 * verdict; hosts that are no Service of the cluster too. Called by objects.c.
 */
#include <errno.h>
#include <string.h>

#include "decode.h"

#define LATER       "valid, but not acted upon by this version"
#define NO_OUTLIERS "outlier detection is not acted upon by this version"
#define REQUESTS    "Sluice balances connections and does not see requests inside them"
#define NO_TLS      "Sluice balances connections and leaves TLS to client and replica"
#define MAX_IDLE_NS (7 * 86400 * 1000000000ull)

static int decode_simple(struct decode *decode, const struct yaml_node *value, void *into)
{
	static const char *const names[] = {
		"LEAST_REQUEST", "UNSPECIFIED", "LEAST_CONN", "ROUND_ROBIN",
		"RANDOM",        "PASSTHROUGH", NULL};
	unsigned choice;
	int err = decode_choice(decode, value, names, &choice);

	if (err)
		return err;
	if (choice <= 1)
		return decode_honour(decode, value);
	if (choice == 2)
		return decode_note(decode, value, VERDICT_MAPPED, "the old name of LEAST_REQUEST");
	return decode_note(decode, value, VERDICT_UNSUPPORTED,
			   "this version knows LEAST_REQUEST alone, and does that");
}

static const struct field hash_fields[] = {
	FIELD_SAY("useSourceIp", FIELD_BOOL, UNSUPPORTED, LATER),
	FIELD_SAY("httpHeaderName", FIELD_STRING, UNSUPPORTED, REQUESTS),
	FIELD_SAY("httpCookie", FIELD_MAP, UNSUPPORTED, REQUESTS),
	FIELD_SAY("httpQueryParameterName", FIELD_STRING, UNSUPPORTED, REQUESTS),
	FIELD_SAY("ringHash", FIELD_MAP, UNSUPPORTED, LATER),
	FIELD_SAY("maglev", FIELD_MAP, UNSUPPORTED, LATER),
	FIELD_SAY("minimumRingSize", FIELD_INT, UNSUPPORTED, LATER),
	{},
};

static const struct field warmup_fields[] = {
	FIELD_SAY("duration", FIELD_STRING, UNSUPPORTED, LATER),
	FIELD_SAY("minimumPercent", FIELD_ANY, UNSUPPORTED, LATER),
	FIELD_SAY("aggression", FIELD_ANY, UNSUPPORTED, LATER),
	{},
};

static int decode_idle(struct decode *decode, const struct yaml_node *value, void *into)
{
	struct object_traffic *traffic = into;
	uint64_t ns;
	int err = decode_duration(decode, value, 0, &ns);

	if (err)
		return err;
	if (ns && ns < 1000000)
		return decode_refuse(decode, value, "\"%s\" is too short; write at least \"1ms\"",
				     value->text);
	traffic->has_idle_timeout = true;
	traffic->idle_timeout_ms =
		(unsigned)((ns && ns < MAX_IDLE_NS ? ns : MAX_IDLE_NS) / 1000000);
	traffic->line = value->line;
	traffic->field = decode_path(decode, value);
	if (!traffic->field)
		return -ENOMEM;
	if (!ns || ns > MAX_IDLE_NS)
		return decode_note(decode, value, VERDICT_MAPPED,
				   "taken as 7 days, the longest there is");
	return decode_honour(decode, value);
}

static const struct field tcp_fields[] = {
	FIELD_PART("idleTimeout", FIELD_STRING, SILENT, decode_idle),
	FIELD_SAY("maxConnections", FIELD_INT, UNSUPPORTED, LATER),
	FIELD_SAY("connectTimeout", FIELD_STRING, UNSUPPORTED, LATER),
	FIELD_SAY("maxConnectionDuration", FIELD_STRING, UNSUPPORTED, LATER),
	FIELD_SAY("tcpKeepalive", FIELD_MAP, UNSUPPORTED,
		  "client and replica set keepalives on their own sockets"),
	{},
};

static const struct field http_fields[] = {
	FIELD_SAY("http1MaxPendingRequests", FIELD_INT, UNSUPPORTED, REQUESTS),
	FIELD_SAY("http2MaxRequests", FIELD_INT, UNSUPPORTED, REQUESTS),
	FIELD_SAY("maxRequestsPerConnection", FIELD_INT, UNSUPPORTED, REQUESTS),
	FIELD_SAY("maxRetries", FIELD_INT, UNSUPPORTED, REQUESTS),
	FIELD_SAY("idleTimeout", FIELD_STRING, UNSUPPORTED,
		  REQUESTS "; connectionPool.tcp.idleTimeout is honoured"),
	FIELD_SAY("h2UpgradePolicy", FIELD_STRING, UNSUPPORTED, REQUESTS),
	FIELD_SAY("useClientProtocol", FIELD_BOOL, UNSUPPORTED, REQUESTS),
	FIELD_SAY("maxConcurrentStreams", FIELD_INT, UNSUPPORTED, REQUESTS),
	{},
};

static const struct field outlier_fields[] = {
	FIELD_SAY("consecutiveErrors", FIELD_INT, MAPPED,
		  "the old name of consecutive5xxErrors; " NO_OUTLIERS),
	FIELD_SAY("consecutive5xxErrors", FIELD_INT, UNSUPPORTED, NO_OUTLIERS),
	FIELD_SAY("consecutiveGatewayErrors", FIELD_INT, UNSUPPORTED, NO_OUTLIERS),
	FIELD_SAY("consecutiveLocalOriginFailures", FIELD_INT, UNSUPPORTED, NO_OUTLIERS),
	FIELD_SAY("splitExternalLocalOriginErrors", FIELD_BOOL, UNSUPPORTED, NO_OUTLIERS),
	FIELD_SAY("interval", FIELD_STRING, UNSUPPORTED, NO_OUTLIERS),
	FIELD_SAY("baseEjectionTime", FIELD_STRING, UNSUPPORTED, NO_OUTLIERS),
	FIELD_SAY("maxEjectionPercent", FIELD_INT, UNSUPPORTED, NO_OUTLIERS),
	FIELD_SAY("minHealthPercent", FIELD_INT, UNSUPPORTED, NO_OUTLIERS),
	{},
};

static const struct field balancer_fields[] = {
	FIELD_PART("simple", FIELD_STRING, SILENT, decode_simple),
	FIELD_TABLE("consistentHash", hash_fields),
	FIELD_TABLE("warmup", warmup_fields),
	FIELD_SAY("warmupDurationSecs", FIELD_STRING, UNSUPPORTED,
		  "the old name of warmup.duration; " LATER),
	FIELD_SAY("localityLbSetting", FIELD_MAP, UNSUPPORTED, LATER),
	{},
};

static const struct field pool_fields[] = {
	FIELD_TABLE("tcp", tcp_fields),
	FIELD_TABLE("http", http_fields),
	{},
};

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
	FIELD_TABLE("loadBalancer", balancer_fields), FIELD_TABLE("connectionPool", pool_fields),  \
		FIELD_TABLE("outlierDetection", outlier_fields),                                   \
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
	FIELD_SAY("retryBudget", FIELD_MAP, UNSUPPORTED, REQUESTS),
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

/* "llm", "llm.team", "llm.team.svc" and "llm.team.svc.cluster.local" name Services. */
static int decode_rule_host(struct decode *decode, const struct yaml_node *value, void *into)
{
	struct object_rule *rule = into;
	char *name = arena_strdup(decode->arena, value->text), *space, *rest;

	if (!name)
		return -ENOMEM;
	space = strchr(name, '.');
	if (space)
		*space++ = '\0';
	rest = space ? strchr(space, '.') : NULL;
	if (rest)
		*rest++ = '\0';
	if (!name_is_label(name) || (space && !name_is_label(space)) ||
	    (rest && strcmp(rest, "svc") && strncmp(rest, "svc.", 4)))
		return note_always(decode, value,
				   "is not one Service of a cluster, so the rule is left out; "
				   "write NAME.NAMESPACE.svc.cluster.local");
	rule->host_name = name;
	rule->host_namespace = space ? space : rule->object.namespace;
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
	FIELD_SAY("subsets", FIELD_LIST, UNSUPPORTED, LATER),
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
