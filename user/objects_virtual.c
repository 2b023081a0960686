// SPDX-License-Identifier: GPL-2.0-only
/*
 * VirtualService (networking.istio.io): the retries of its only route, where
 * that is all it asks for. One whose rules look into requests, divert them or
 * split them is left out whole, with the reason on all of it: half of it would
 * be something that nobody wrote. Called by objects.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "decode.h"

#define NO_SPLIT                                                                                   \
	"weighted splits, subsets and other destinations are not acted upon by this version"

/* ---- why it is left out ----------------------------------------------------------------- */

static const struct yaml_node *only_child(const struct yaml_node *list)
{
	return list && list->type == YAML_LIST && list->n == 1 ? list->first : NULL;
}

static bool names_mesh(const struct yaml_node *gateways)
{
	for (const struct yaml_node *child = gateways->first; child; child = child->next)
		if (child->text && !strcmp(child->text, "mesh"))
			return true;
	return !gateways->first;
}

/* Whether `host` names the Service of each of the hosts: else connections to one would go to
 * another. */
static int leads_home(struct decode *decode, const struct object_virtual *virtual,
		      const struct yaml_node *host, bool *ret)
{
	struct object_host to;
	int err = decode_service_host(decode, host, &to);

	if (err)
		return err;
	*ret = to.name != NULL;
	for (size_t i = 0; i < virtual->n_hosts && *ret; i++)
		*ret = !strcmp(virtual->hosts[i].name, to.name) &&
		       !strcmp(virtual->hosts[i].namespace, to.namespace);
	return 0;
}

static int judge_route(struct decode *decode, const struct object_virtual *virtual,
		       const struct yaml_node *rule, const char **ret)
{
	static const char *const others[] = {"redirect",    "directResponse", "delegate", "rewrite",
					     "fault",       "mirror",         "mirrors",  "headers",
					     "corsPolicy",  "mirrorPercent",  "mirror_percent",
					     "mirrorPercentage"};
	const struct yaml_node *route = only_child(yaml_get(rule, "route"));
	const struct yaml_node *to = yaml_get(route, "destination");
	const struct yaml_node *host = yaml_get(to, "host");
	bool home = false;
	int err = host ? leads_home(decode, virtual, host, &home) : 0;

	*ret = NULL;
	if (yaml_get(rule, "match"))
		*ret = "match rules look into requests, which a balancer of connections does not "
		       "see";
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]) && !*ret; i++)
		if (yaml_get(rule, others[i]))
			*ret = "it answers, changes or diverts requests, which a balancer of "
			       "connections does not see";
	if (!*ret && (yaml_get(route, "headers") || !host || yaml_get(to, "subset") || !home))
		*ret = NO_SPLIT;
	return err;
}

/* NULL: its retries can be acted upon. */
static int find_reason(struct decode *decode, const struct object_virtual *virtual,
		       const struct yaml_node *spec, const char **ret)
{
	const struct yaml_node *gateways = yaml_get(spec, "gateways");
	const struct yaml_node *rule = only_child(yaml_get(spec, "http"));

	*ret = NULL;
	if (gateways && !names_mesh(gateways))
		*ret = "it is for gateways alone, and Sluice steers what goes to Services";
	else if (yaml_get(spec, "tcp") || yaml_get(spec, "tls"))
		*ret = "tcp and tls routes are not acted upon by this version";
	else if (!rule)
		*ret = NO_SPLIT;
	else
		return judge_route(decode, virtual, rule, ret);
	return 0;
}

static int leave_out(struct decode *decode, struct object_virtual *virtual,
		     const struct yaml_node *spec)
{
	char text[256];
	const char *reason;
	int err = find_reason(decode, virtual, spec, &reason);

	if (err || !reason)
		return err;
	snprintf(text, sizeof(text), "%s: the whole VirtualService is left out", reason);
	virtual->left_out = texts_keep(decode->texts, text);
	return virtual->left_out ? 0 : -ENOMEM;
}

/* ---- fields -------------------------------------------------------------------------------*/

static struct object_virtual *virtual_of(const struct decode *decode)
{
	return (struct object_virtual *)decode->object;
}

/* What is acted upon unless the whole is left out. */
static int judge(struct decode *decode, const struct yaml_node *value)
{
	const char *left_out = virtual_of(decode)->left_out;

	return left_out ? decode_note(decode, value, VERDICT_UNSUPPORTED, "%s", left_out)
			: decode_honour(decode, value);
}

static int decode_judged(struct decode *decode, const struct yaml_node *value, void *into)
{
	return judge(decode, value);
}

static int decode_attempts(struct decode *decode, const struct yaml_node *value, void *into)
{
	struct model_retry *retry = into;
	int64_t attempts;
	int err = decode_range(decode, value, 0, INT32_MAX, &attempts);

	if (err)
		return err;
	retry->off |= !attempts;
	retry->attempts = attempts < MODEL_ATTEMPTS_MAX ? (unsigned)attempts : MODEL_ATTEMPTS_MAX;
	if (attempts <= MODEL_ATTEMPTS_MAX || virtual_of(decode)->left_out)
		return judge(decode, value);
	return decode_note(decode, value, VERDICT_MAPPED,
			   "taken as %u: a connect is offered to %u replicas at most",
			   MODEL_ATTEMPTS_MAX, SL_TRIED_MAX);
}

static int decode_try_timeout(struct decode *decode, const struct yaml_node *value, void *into)
{
	uint64_t ns;
	int err = decode_duration(decode, value, 1000000, &ns);

	if (err)
		return err;
	if (virtual_of(decode)->left_out)
		return judge(decode, value);
	return decode_span(decode, value, into);
}

/* The conditions of Envoy, and which of them a failed connect meets: its retry_state_impl.cc,
 * wouldRetryFromReset. */
static const struct condition {
	const char *name;
	bool connect;
} conditions[] = {
	{"connect-failure", true},
	{"5xx", true},
	{"gateway-error", true},
	{"reset", true},
	{"reset-before-request", true},
	{"retriable-4xx", false},
	{"refused-stream", false},
	{"retriable-status-codes", false},
	{"retriable-headers", false},
	{"envoy-ratelimited", false},
	{"http3-post-connect-failure", false},
	{"cancelled", false},
	{"deadline-exceeded", false},
	{"internal", false},
	{"resource-exhausted", false},
	{"unavailable", false},
};
#define N_CONDITIONS (sizeof(conditions) / sizeof(conditions[0]))

/* A condition, or a status code: 100 to 599. */
static bool is_condition(const char *name, size_t len, bool *ret_connect)
{
	*ret_connect = false;
	for (size_t i = 0; i < N_CONDITIONS; i++)
		if (strlen(conditions[i].name) == len && !strncmp(conditions[i].name, name, len)) {
			*ret_connect = conditions[i].connect;
			return true;
		}
	return len == 3 && strspn(name, "0123456789") >= 3 && name[0] >= '1' && name[0] <= '5';
}

static int decode_retry_on(struct decode *decode, const struct yaml_node *value, void *into)
{
	struct model_retry *retry = into;
	bool any = false, others = false, connect;
	size_t len;

	for (const char *name = value->text; *name; name += name[len] == ',' ? len + 1 : len) {
		size_t blanks = strspn(name, " "), end;

		len = strcspn(name, ",");
		for (end = len; end > blanks && name[end - 1] == ' '; end--)
			;
		if (blanks >= end || !is_condition(name + blanks, end - blanks, &connect))
			return decode_refuse(decode, value,
					     "\"%.*s\" is not a condition to retry on; write such "
					     "as connect-failure or 5xx",
					     (int)len, name);
		any |= connect;
		others |= !connect || strncmp(name + blanks, "connect", 7);
	}
	if (!*value->text) /* as if it were not there */
		any = true;
	retry->off |= !any;
	if (virtual_of(decode)->left_out || (any && !others))
		return judge(decode, value);
	if (any)
		return decode_note(decode, value, VERDICT_MAPPED,
				   "failed connects are retried; " SAY_REQUESTS
				   ", so nothing else is");
	return decode_note(decode, value, VERDICT_UNSUPPORTED,
			   SAY_REQUESTS ", and no condition here is met by a failed connect: "
					"nothing is retried");
}

static const struct field retry_fields[] = {
	FIELD_GET("attempts", FIELD_INT, SILENT, decode_attempts, struct object_virtual, retry),
	FIELD_GET("perTryTimeout", FIELD_STRING, SILENT, decode_try_timeout, struct object_virtual,
		  retry.deadline_ms),
	FIELD_GET("retryOn", FIELD_STRING, SILENT, decode_retry_on, struct object_virtual, retry),
	FIELD_PART("retryIgnorePreviousHosts", FIELD_BOOL, SILENT, decode_judged),
	FIELD_SAY("retryRemoteLocalities", FIELD_BOOL, UNSUPPORTED,
		  "this version does not prefer near replicas"),
	FIELD_SAY("backoff", FIELD_STRING, UNSUPPORTED, "a connect is retried at once"),
	{},
};

static int decode_retries(struct decode *decode, const struct yaml_node *map, void *into)
{
	const struct yaml_node *attempts;
	int err = decode_require(decode, map, "attempts", &attempts);

	virtual_of(decode)->has_retries = true;
	return err ? err : decode_fields(decode, map, retry_fields, into);
}

static int decode_to_port(struct decode *decode, const struct yaml_node *map, void *into)
{
	struct object_virtual *virtual = into;
	const struct yaml_node *number;
	int err = decode_require(decode, map, "number", &number);

	if (!err)
		err = decode_port(decode, number, &virtual->port);
	if (err)
		return err;
	virtual->port_line = number->line;
	virtual->port_field = decode_path(decode, number);
	if (!virtual->port_field)
		return -ENOMEM;
	if (virtual->left_out)
		return judge(decode, number);
	return decode_note(decode, number, VERDICT_MAPPED,
			   "the retries count for connections to this port alone");
}

static const struct field destination_fields[] = {
	FIELD_PART("host", FIELD_STRING, SILENT, decode_judged),
	FIELD_PART("subset", FIELD_STRING, SILENT, decode_judged),
	FIELD_PART("port", FIELD_MAP, SILENT, decode_to_port),
	{},
};

static const struct field route_fields[] = {
	FIELD_TABLE("destination", destination_fields),
	FIELD_PART("weight", FIELD_INT, SILENT, decode_judged),
	FIELD_PART("headers", FIELD_MAP, SILENT, decode_judged),
	{},
};

static int decode_routes(struct decode *decode, const struct yaml_node *list, void *into)
{
	int err = virtual_of(decode)->left_out ? judge(decode, list) : 0;

	for (const struct yaml_node *child = list->first; child && !err; child = child->next)
		err = decode_fields(decode, child, route_fields, into);
	return err;
}

#define LEFT_OUT(name, type) FIELD_PART(name, type, SILENT, decode_judged)
static const struct field http_fields[] = {
	FIELD_PART("name", FIELD_STRING, SILENT, decode_judged),
	FIELD_PART("route", FIELD_LIST, SILENT, decode_routes),
	FIELD_PART("retries", FIELD_MAP, SILENT, decode_retries),
	FIELD_SAY("timeout", FIELD_STRING, UNSUPPORTED, SAY_REQUESTS),
	LEFT_OUT("match", FIELD_LIST),
	LEFT_OUT("redirect", FIELD_MAP),
	LEFT_OUT("directResponse", FIELD_MAP),
	LEFT_OUT("delegate", FIELD_MAP),
	LEFT_OUT("rewrite", FIELD_MAP),
	LEFT_OUT("fault", FIELD_MAP),
	LEFT_OUT("mirror", FIELD_MAP),
	LEFT_OUT("mirrors", FIELD_LIST),
	LEFT_OUT("mirrorPercentage", FIELD_MAP),
	LEFT_OUT("mirrorPercent", FIELD_INT),
	LEFT_OUT("mirror_percent", FIELD_INT),
	LEFT_OUT("corsPolicy", FIELD_MAP),
	LEFT_OUT("headers", FIELD_MAP),
	{},
};

static int decode_http(struct decode *decode, const struct yaml_node *list, void *into)
{
	int err = virtual_of(decode)->left_out ? judge(decode, list) : 0;

	for (const struct yaml_node *child = list->first; child && !err; child = child->next)
		err = decode_fields(decode, child, http_fields, into);
	return err;
}

static const struct field spec_fields[] = {
	FIELD_SAY("hosts", FIELD_LIST, SILENT, NULL),
	FIELD_PART("http", FIELD_LIST, SILENT, decode_http),
	FIELD_PART("tcp", FIELD_LIST, SILENT, decode_judged),
	FIELD_PART("tls", FIELD_LIST, SILENT, decode_judged),
	FIELD_PART("gateways", FIELD_LIST, SILENT, decode_judged),
	FIELD_SAY("exportTo", FIELD_LIST, UNSUPPORTED, "it counts for every client"),
	{},
};

/* One that ends up governing nobody says so in any case. */
static int decode_hosts(struct decode *decode, const struct yaml_node *list,
			struct object_virtual *virtual)
{
	int err = decode_check_type(decode, list, FIELD_LIST);

	if (err)
		return err;
	virtual->hosts = decode_array(decode, list, sizeof(*virtual->hosts));
	err = virtual->hosts ? 0 : -ENOMEM;
	for (const struct yaml_node *child = list->first; child && !err; child = child->next) {
		struct object_host *host = &virtual->hosts[virtual->n_hosts];

		err = decode_service_host(decode, child, host);
		if (err)
			break;
		decode->always = !host->name;
		err = host->name
			      ? decode_honour(decode, child)
			      : decode_note(decode, child, VERDICT_UNSUPPORTED,
					    "is not one Service of a cluster, so nothing counts "
					    "for it; write NAME.NAMESPACE.svc.cluster.local");
		decode->always = false;
		virtual->n_hosts += host->name != NULL;
	}
	return err;
}

int object_decode_virtual(struct decode *decode, const struct yaml_node *root,
			  struct object_virtual *virtual)
{
	const struct yaml_node *spec, *hosts;
	int err = decode_require(decode, root, "spec", &spec);

	if (!err)
		err = decode_require(decode, spec, "hosts", &hosts);
	if (!err)
		err = decode_hosts(decode, hosts, virtual);
	if (!err)
		err = leave_out(decode, virtual, spec);
	return err ? err : decode_fields(decode, spec, spec_fields, virtual);
}
