// SPDX-License-Identifier: GPL-2.0-only
/*
 * loadBalancer and connectionPool of a traffic policy (networking.istio.io): of
 * these, what a balancer of connections can act upon. Every other known field
 * gets its verdict. Called through rows of objects_rule.c.
 */
#include <errno.h>
#include <string.h>

#include "decode.h"

#define WEEK_NS (7 * 86400 * 1000000000ull)

/* ---- loadBalancer ------------------------------------------------------------------------*/

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
	FIELD_SAY("useSourceIp", FIELD_BOOL, UNSUPPORTED, SAY_LATER),
	FIELD_SAY("httpHeaderName", FIELD_STRING, UNSUPPORTED, SAY_REQUESTS),
	FIELD_SAY("httpCookie", FIELD_MAP, UNSUPPORTED, SAY_REQUESTS),
	FIELD_SAY("httpQueryParameterName", FIELD_STRING, UNSUPPORTED, SAY_REQUESTS),
	FIELD_SAY("ringHash", FIELD_MAP, UNSUPPORTED, SAY_LATER),
	FIELD_SAY("maglev", FIELD_MAP, UNSUPPORTED, SAY_LATER),
	FIELD_SAY("minimumRingSize", FIELD_INT, UNSUPPORTED, SAY_LATER),
	{},
};

/* Whole percents will do; a share of nothing would never begin. */
static int decode_minimum(struct decode *decode, const struct yaml_node *value, void *into)
{
	unsigned *percent = into;
	double number;
	int err = decode_number(decode, value, 0, 100, &number);

	if (err)
		return err;
	*percent = number < 1 ? 1 : (unsigned)(number + 0.5);
	if (*percent != number)
		return decode_note(decode, value, VERDICT_MAPPED, "taken as %u", *percent);
	return decode_honour(decode, value);
}

static int decode_aggression(struct decode *decode, const struct yaml_node *value, void *into)
{
	double number;
	int err = decode_number(decode, value, 1, 1000, &number);

	if (err)
		return err;
	*(unsigned *)into = (unsigned)(number * 100 + 0.5);
	return decode_honour(decode, value);
}

#define TRAFFIC struct object_traffic
static const struct field warmup_fields[] = {
	FIELD_GET("duration", FIELD_STRING, SILENT, decode_span, TRAFFIC, warmup.duration_ms),
	FIELD_GET("minimumPercent", FIELD_ANY, SILENT, decode_minimum, TRAFFIC,
		  warmup.minimum_percent),
	FIELD_GET("aggression", FIELD_ANY, SILENT, decode_aggression, TRAFFIC,
		  warmup.aggression_percent),
	{},
};

/* Envoy's defaults. */
static const struct model_warmup warmup_defaults = {.minimum_percent = 10,
						    .aggression_percent = 100};

static int decode_warmup(struct decode *decode, const struct yaml_node *map, void *into)
{
	const struct yaml_node *duration;
	struct object_traffic *traffic = into;
	int err = decode_require(decode, map, "duration", &duration);

	traffic->warmup = warmup_defaults;
	return err ? err : decode_fields(decode, map, warmup_fields, traffic);
}

static int decode_old_warmup(struct decode *decode, const struct yaml_node *value, void *into)
{
	struct object_traffic *traffic = into;
	uint64_t ns;
	int err = decode_duration(decode, value, 1000000, &ns);

	if (err)
		return err;
	if (yaml_get(value->parent, "warmup"))
		return decode_refuse(decode, value,
				     "is the old form of warmup, which is there too; take one of "
				     "them out");
	traffic->warmup = warmup_defaults;
	traffic->warmup.duration_ms = (unsigned)((ns < WEEK_NS ? ns : WEEK_NS) / 1000000);
	return decode_note(decode, value, VERDICT_MAPPED, "the old name of warmup.duration");
}

static const struct field balancer_fields[] = {
	FIELD_PART("simple", FIELD_STRING, SILENT, decode_simple),
	FIELD_TABLE("consistentHash", hash_fields),
	FIELD_PART("warmup", FIELD_MAP, SILENT, decode_warmup),
	FIELD_PART("warmupDurationSecs", FIELD_STRING, SILENT, decode_old_warmup),
	FIELD_SAY("localityLbSetting", FIELD_MAP, UNSUPPORTED, SAY_LATER),
	{},
};

int decode_balancer(struct decode *decode, const struct yaml_node *map, void *into)
{
	return decode_fields(decode, map, balancer_fields, into);
}

/* ---- connectionPool ----------------------------------------------------------------------*/

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
		(unsigned)((ns && ns < WEEK_NS ? ns : WEEK_NS) / 1000000);
	if (!ns || ns > WEEK_NS)
		return decode_note(decode, value, VERDICT_MAPPED,
				   "taken as 7 days, the longest there is");
	return decode_honour(decode, value);
}

/* Istio's cap is one client's, over all replicas. 0 is how it writes "none". */
static int decode_connections(struct decode *decode, const struct yaml_node *value, void *into)
{
	int64_t count;
	int err = decode_range(decode, value, 0, INT32_MAX, &count);

	if (err)
		return err;
	*(unsigned *)into = (unsigned)count;
	if (!count)
		return decode_honour(decode, value);
	return decode_note(decode, value, VERDICT_MAPPED,
			   "taken as the cap of each replica, over all clients");
}

static int decode_parked(struct decode *decode, const struct yaml_node *value, void *into)
{
	int64_t count;
	int err = decode_range(decode, value, 0, INT32_MAX, &count);

	if (err)
		return err;
	*(unsigned *)into = count > SL_PENDING ? SL_PENDING : (unsigned)count;
	return decode_note(decode, value, VERDICT_MAPPED,
			   "taken as how many connects may wait on a node where "
			   "sluice.dev/when-full or when-none is wait");
}

static const struct field tcp_fields[] = {
	FIELD_PART("idleTimeout", FIELD_STRING, SILENT, decode_idle),
	FIELD_GET("maxConnections", FIELD_INT, SILENT, decode_connections, TRAFFIC,
		  max_connections),
	FIELD_GET("connectTimeout", FIELD_STRING, SILENT, decode_span, TRAFFIC,
		  connect_timeout_ms),
	FIELD_SAY("maxConnectionDuration", FIELD_STRING, UNSUPPORTED, SAY_LATER),
	FIELD_SAY("tcpKeepalive", FIELD_MAP, UNSUPPORTED,
		  "client and replica set keepalives on their own sockets"),
	{},
};

static const struct field http_fields[] = {
	FIELD_GET("http1MaxPendingRequests", FIELD_INT, SILENT, decode_parked, TRAFFIC,
		  max_parked),
	FIELD_SAY("http2MaxRequests", FIELD_INT, UNSUPPORTED, SAY_REQUESTS),
	FIELD_SAY("maxRequestsPerConnection", FIELD_INT, UNSUPPORTED, SAY_REQUESTS),
	FIELD_SAY("maxRetries", FIELD_INT, UNSUPPORTED, SAY_REQUESTS),
	FIELD_SAY("idleTimeout", FIELD_STRING, UNSUPPORTED,
		  SAY_REQUESTS "; connectionPool.tcp.idleTimeout is honoured"),
	FIELD_SAY("h2UpgradePolicy", FIELD_STRING, UNSUPPORTED, SAY_REQUESTS),
	FIELD_SAY("useClientProtocol", FIELD_BOOL, UNSUPPORTED, SAY_REQUESTS),
	FIELD_SAY("maxConcurrentStreams", FIELD_INT, UNSUPPORTED, SAY_REQUESTS),
	{},
};

int decode_pool(struct decode *decode, const struct yaml_node *map, void *into)
{
	static const struct field fields[] = {
		FIELD_TABLE("tcp", tcp_fields),
		FIELD_TABLE("http", http_fields),
		{},
	};

	return decode_fields(decode, map, fields, into);
}
