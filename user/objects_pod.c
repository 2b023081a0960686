// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pod (v1): of each container its ports and its readinessProbe. Refuses probes
 * that the API server would refuse, named ports that the container does not
 * have, and text that could not stand in an HTTP request. Called by objects.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "decode.h"

#define MAX_SECONDS 86400
#define TOKEN       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

static const struct field port_fields[] = {
	FIELD_GET("name", FIELD_STRING, SILENT, decode_port_name, struct object_port, name),
	FIELD_GET("containerPort", FIELD_INT, SILENT, decode_port, struct object_port, port),
	FIELD_GET("protocol", FIELD_STRING, SILENT, decode_proto, struct object_port, proto),
	FIELD_SAY("hostPort", FIELD_INT, SILENT, NULL),
	FIELD_SAY("hostIP", FIELD_STRING, SILENT, NULL),
	{},
};

/* No control character, so that a request stays what it is; blanks only where allowed. */
static bool is_printable(const char *text, bool blanks)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f || (*text == ' ' && !blanks))
			return false;
	return true;
}

static int decode_path_text(struct decode *decode, const struct yaml_node *value, void *into)
{
	size_t slash = *value->text != '/';
	const char *kept;
	char *path;

	if (!is_printable(value->text, false))
		return decode_refuse(decode, value,
				     "holds a blank or a control character; write %%20 and the "
				     "like");
	path = arena_alloc(decode->scratch, slash + strlen(value->text) + 1);
	if (!path)
		return -ENOMEM;
	path[0] = '/';
	strcpy(path + slash, value->text);
	kept = texts_keep(decode->texts, path);
	*(const char **)into = kept;
	return kept ? 0 : -ENOMEM;
}

static int decode_host(struct decode *decode, const struct yaml_node *value, void *into)
{
	if (!is_printable(value->text, false))
		return decode_refuse(decode, value,
				     "holds a blank or a control character; write the name of a "
				     "host");
	return decode_string(decode, value, into);
}

static int decode_probe_port(struct decode *decode, const struct yaml_node *value, void *into)
{
	__u16 port;
	int err;

	if (value->type == YAML_INT) {
		err = decode_port(decode, value, &port);
		if (!err)
			*(__be16 *)into = htons(port);
		return err;
	}
	for (size_t i = 0; i < decode->container->n_ports; i++)
		if (!strcmp(decode->container->ports[i].name, value->text)) {
			*(__be16 *)into = htons(decode->container->ports[i].port);
			return 0;
		}
	return decode_refuse(decode, value,
			     "the container has no port of the name \"%s\"; add it to its ports or "
			     "write the number",
			     value->text);
}

static int decode_header_value(struct decode *decode, const struct yaml_node *value, void *into)
{
	if (!is_printable(value->text, true))
		return decode_refuse(decode, value, "holds a control character; take it out");
	return decode_string(decode, value, into);
}

static int decode_header_name(struct decode *decode, const struct yaml_node *value, void *into)
{
	if (!*value->text || value->text[strspn(value->text, TOKEN)])
		return decode_refuse(decode, value,
				     "\"%s\" is not the name of a header; write letters, digits "
				     "and -",
				     value->text);
	return decode_string(decode, value, into);
}

static const struct field header_fields[] = {
	FIELD_GET("name", FIELD_STRING, SILENT, decode_header_name, struct model_header, name),
	FIELD_GET("value", FIELD_STRING, SILENT, decode_header_value, struct model_header, value),
	{},
};

static int decode_headers(struct decode *decode, const struct yaml_node *list, void *into)
{
	struct model_probe *probe = into;
	const struct yaml_node *required;
	int err;

	probe->headers = decode_array(decode, list, sizeof(*probe->headers));
	err = probe->headers ? 0 : -ENOMEM;
	for (const struct yaml_node *child = list->first; child && !err; child = child->next) {
		err = decode_require(decode, child, "name", &required);
		if (!err)
			err = decode_require(decode, child, "value", &required);
		if (!err)
			err = decode_fields(decode, child, header_fields,
					    &probe->headers[probe->n_headers]);
		if (!err)
			probe->n_headers++;
	}
	return err;
}

/* A Host among httpHeaders is stronger than httpGet.host, as the kubelet has it. */
static void take_host(struct model_probe *probe)
{
	size_t n = 0;

	for (size_t i = 0; i < probe->n_headers; i++)
		if (!strcasecmp(probe->headers[i].name, "Host"))
			probe->host = probe->headers[i].value;
		else
			probe->headers[n++] = probe->headers[i];
	probe->n_headers = n;
}

static int decode_scheme(struct decode *decode, const struct yaml_node *value, void *into)
{
	static const char *const names[] = {"HTTP", "HTTPS", NULL};
	unsigned choice;
	int err = decode_choice(decode, value, names, &choice);

	if (!err)
		*(enum model_probe_kind *)into = choice ? MODEL_PROBE_HTTPS : MODEL_PROBE_HTTP;
	return err;
}

#define PROBE struct model_probe
static const struct field http_fields[] = {
	{"host", FIELD_STRING, MAPPED,
	 "becomes the Host header; the probe goes to the replica's own address", decode_host,
	 offsetof(PROBE, host), NULL},
	FIELD_GET("path", FIELD_STRING, HONOURED, decode_path_text, PROBE, path),
	FIELD_GET("port", FIELD_INT_OR_STRING, HONOURED, decode_probe_port, PROBE, port),
	FIELD_GET("scheme", FIELD_STRING, HONOURED, decode_scheme, PROBE, kind),
	FIELD_PART("httpHeaders", FIELD_LIST, HONOURED, decode_headers),
	{},
};

static int decode_http(struct decode *decode, const struct yaml_node *map, void *into)
{
	struct model_probe *probe = into;
	const struct yaml_node *port;
	int err = decode_require(decode, map, "port", &port);

	probe->kind = MODEL_PROBE_HTTP;
	probe->path = "/";
	if (!err)
		err = decode_fields(decode, map, http_fields, probe);
	take_host(probe);
	return err;
}

static const struct field tcp_fields[] = {
	FIELD_GET("port", FIELD_INT_OR_STRING, HONOURED, decode_probe_port, PROBE, port),
	FIELD_SAY("host", FIELD_STRING, UNSUPPORTED, "the probe goes to the replica's own address"),
	{},
};

static int decode_tcp(struct decode *decode, const struct yaml_node *map, void *into)
{
	struct model_probe *probe = into;
	const struct yaml_node *port;
	int err = decode_require(decode, map, "port", &port);

	probe->kind = MODEL_PROBE_TCP;
	return err ? err : decode_fields(decode, map, tcp_fields, probe);
}

static const struct field grpc_fields[] = {
	FIELD_GET("port", FIELD_INT, HONOURED, decode_probe_port, PROBE, port),
	FIELD_GET("service", FIELD_STRING, HONOURED, decode_header_value, PROBE, grpc_service),
	{},
};

static int decode_grpc(struct decode *decode, const struct yaml_node *map, void *into)
{
	struct model_probe *probe = into;
	const struct yaml_node *port;
	int err = decode_require(decode, map, "port", &port);

	probe->kind = MODEL_PROBE_GRPC;
	probe->grpc_service = "";
	return err ? err : decode_fields(decode, map, grpc_fields, probe);
}

static int decode_seconds(struct decode *decode, const struct yaml_node *value, void *into)
{
	int64_t seconds;
	int err = decode_range(decode, value, 1, MAX_SECONDS, &seconds);

	if (!err)
		*(unsigned *)into = (unsigned)seconds * 1000;
	return err;
}

static int decode_threshold(struct decode *decode, const struct yaml_node *value, void *into)
{
	int64_t threshold;
	/* probe_judge counts in 16 bits. */
	int err = decode_range(decode, value, 1, UINT16_MAX, &threshold);

	if (!err)
		*(unsigned *)into = (unsigned)threshold;
	return err;
}

static const struct field probe_fields[] = {
	FIELD_PART("httpGet", FIELD_MAP, SILENT, decode_http),
	FIELD_PART("tcpSocket", FIELD_MAP, SILENT, decode_tcp),
	FIELD_PART("grpc", FIELD_MAP, SILENT, decode_grpc),
	FIELD_SAY("exec", FIELD_MAP, UNSUPPORTED,
		  "Sluice does not enter containers: a tcpSocket probe of the target port stands "
		  "in"),
	FIELD_GET("periodSeconds", FIELD_INT, HONOURED, decode_seconds, PROBE, period_ms),
	FIELD_GET("timeoutSeconds", FIELD_INT, HONOURED, decode_seconds, PROBE, timeout_ms),
	FIELD_GET("failureThreshold", FIELD_INT, HONOURED, decode_threshold, PROBE,
		  failure_threshold),
	FIELD_GET("successThreshold", FIELD_INT, HONOURED, decode_threshold, PROBE,
		  success_threshold),
	FIELD_SAY("initialDelaySeconds", FIELD_INT, HONOURED,
		  "readiness in the EndpointSlice waits for it already"),
	FIELD_SAY("terminationGracePeriodSeconds", FIELD_INT, UNSUPPORTED,
		  "belongs to liveness probes"),
	{},
};

static int decode_probe(struct decode *decode, const struct yaml_node *map, void *into)
{
	static const char *const handlers[] = {"httpGet", "tcpSocket", "grpc", "exec"};
	struct object_container *container = into;
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
		n += !!yaml_get(map, handlers[i]);
	if (n != 1)
		return decode_refuse(decode, map,
				     "has %s; write exactly one of httpGet, tcpSocket, grpc and "
				     "exec",
				     n ? "several handlers" : "no handler");
	container->has_probe = true;
	container->probe = (struct model_probe){.timeout_ms = 1000,
						.period_ms = 1000,
						.failure_threshold = 3,
						.success_threshold = 1};
	return decode_fields(decode, map, probe_fields, &container->probe);
}

static int decode_container_ports(struct decode *decode, const struct yaml_node *list, void *into)
{
	struct object_container *container = into;
	int err = decode_ports(decode, list, port_fields, &container->ports, &container->n_ports);

	for (size_t i = 0; i < container->n_ports && !err; i++)
		if (!container->ports[i].port)
			err = diag_set(decode->diag, decode->file, container->ports[i].line,
				       container->ports[i].field,
				       "containerPort is missing; add it");
	return err;
}

/* The ports first: the probe may name one. The rest of a container is no concern of ours. */
static const struct field container_fields[] = {
	FIELD_PART("ports", FIELD_LIST, SILENT, decode_container_ports),
	FIELD_PART("readinessProbe", FIELD_MAP, SILENT, decode_probe),
	{},
};

/* As far as anybody asks once they are decoded: not where they stand. */
static bool same_container(const struct object_container *a, const struct object_container *b)
{
	if (a->has_probe != b->has_probe || !model_probe_equal(&a->probe, &b->probe) ||
	    a->n_ports != b->n_ports)
		return false;
	for (size_t i = 0; i < a->n_ports; i++)
		if (a->ports[i].port != b->ports[i].port || a->ports[i].proto != b->ports[i].proto ||
		    strcmp(a->ports[i].name, b->ports[i].name))
			return false;
	return true;
}

static bool same_containers(const struct object_pod *a, const struct object_pod *b)
{
	if (a->n_containers != b->n_containers)
		return false;
	for (size_t i = 0; i < a->n_containers; i++)
		if (!same_container(&a->containers[i], &b->containers[i]))
			return false;
	return true;
}

static int decode_containers(struct decode *decode, const struct yaml_node *list,
			     struct object_pod *pod)
{
	struct arena_mark mark = arena_mark(decode->arena);
	int err;

	pod->containers = decode_array(decode, list, sizeof(*pod->containers));
	err = pod->containers ? 0 : -ENOMEM;
	for (const struct yaml_node *child = list->first; child && !err; child = child->next) {
		decode->container = &pod->containers[pod->n_containers++];
		err = decode_listed(decode, child, container_fields, decode->container);
	}
	if (!err && decode->like && same_containers(decode->like, pod)) {
		arena_rewind(decode->arena, mark);
		pod->containers = decode->like->containers;
	}
	return err;
}

int object_decode_pod(struct decode *decode, const struct yaml_node *root, struct object_pod *pod)
{
	const struct yaml_node *spec, *containers = NULL;
	int err = decode_require(decode, root, "spec", &spec);

	if (!err)
		err = decode_require(decode, spec, "containers", &containers);
	if (!err)
		err = decode_check_type(decode, containers, FIELD_LIST);
	return err ? err : decode_containers(decode, containers, pod);
}
