// SPDX-License-Identifier: GPL-2.0-only
/*
 * EndpointSlice (discovery.k8s.io/v1): the replicas of a Service and what
 * Kubernetes knows of each. Refuses addresses that no connection can go to,
 * and those of another family than addressType says. Called by objects.c.
 */
#include <errno.h>
#include <string.h>

#include "addr.h"
#include "decode.h"

static const struct field port_fields[] = {
	FIELD_GET("name", FIELD_STRING, HONOURED, decode_port_name, struct object_port, name),
	FIELD_GET("port", FIELD_INT, HONOURED, decode_port, struct object_port, port),
	FIELD_GET("protocol", FIELD_STRING, HONOURED, decode_proto, struct object_port, proto),
	FIELD_SAY("appProtocol", FIELD_STRING, SILENT, NULL), /* the Service's says it */
	{},
};

struct conditions {
	const struct yaml_node *ready, *serving, *terminating;
};

static int keep_node(struct decode *decode, const struct yaml_node *value, void *into)
{
	*(const struct yaml_node **)into = value;
	return 0;
}

static const struct field condition_fields[] = {
	FIELD_GET("ready", FIELD_BOOL, HONOURED, keep_node, struct conditions, ready),
	FIELD_GET("serving", FIELD_BOOL, HONOURED, keep_node, struct conditions, serving),
	FIELD_GET("terminating", FIELD_BOOL, HONOURED, keep_node, struct conditions, terminating),
	{},
};

/* Absent: ready is true, serving is as ready, terminating is false. */
static int decode_conditions(struct decode *decode, const struct yaml_node *map, void *into)
{
	struct object_endpoint *endpoint = into;
	struct conditions conditions = {0};
	int err = decode_fields(decode, map, condition_fields, &conditions);

	if (err)
		return err;
	endpoint->ready = !conditions.ready || yaml_bool(conditions.ready);
	endpoint->serving = conditions.serving ? yaml_bool(conditions.serving) : endpoint->ready;
	endpoint->terminating = conditions.terminating && yaml_bool(conditions.terminating);
	return 0;
}

struct target {
	const char *kind, *name, *namespace, *uid;
};

static const struct field target_fields[] = {
	FIELD_GET("kind", FIELD_STRING, SILENT, decode_string, struct target, kind),
	FIELD_GET("name", FIELD_STRING, HONOURED, decode_string, struct target, name),
	FIELD_GET("namespace", FIELD_STRING, SILENT, decode_string, struct target, namespace),
	FIELD_SAY("apiVersion", FIELD_STRING, SILENT, NULL),
	FIELD_SAY("fieldPath", FIELD_STRING, SILENT, NULL),
	FIELD_SAY("resourceVersion", FIELD_STRING, SILENT, NULL),
	FIELD_GET("uid", FIELD_STRING, SILENT, decode_string, struct target, uid),
	{},
};

static int decode_target(struct decode *decode, const struct yaml_node *map, void *into)
{
	struct object_endpoint *endpoint = into;
	struct target target = {.namespace = decode->object->namespace};
	int err = decode_fields(decode, map, target_fields, &target);

	if (err || !target.kind || strcmp(target.kind, "Pod"))
		return err;
	if (!target.name)
		return decode_refuse(decode, map, "names no Pod; add name");
	if (!name_is_subdomain(target.name) || !name_is_label(target.namespace))
		return decode_refuse(decode, map,
				     "%s/%s is not the name of a Pod; write its metadata.name and "
				     "metadata.namespace",
				     target.namespace, target.name);
	endpoint->pod_namespace = target.namespace;
	endpoint->pod_name = target.name;
	endpoint->pod_uid = target.uid;
	return 0;
}

static int decode_node_name(struct decode *decode, const struct yaml_node *value, void *into)
{
	if (!name_is_subdomain(value->text))
		return decode_refuse(decode, value,
				     "\"%s\" is not the name of a Node; write its metadata.name",
				     value->text);
	return decode_string(decode, value, into);
}

static bool addr_is_link_local(const union sl_addr *addr)
{
	if (addr_is_v4(addr))
		return addr->b[12] == 169 && addr->b[13] == 254;
	return addr->b[0] == 0xfe && (addr->b[1] & 0xc0) == 0x80;
}

static int decode_address(struct decode *decode, const struct yaml_node *value,
			  struct object_endpoint *endpoint)
{
	const struct object_slice *slice = (const struct object_slice *)decode->object;
	int err = decode_ip(decode, value, &endpoint->addr);

	if (err)
		return err;
	if (addr_is_v4(&endpoint->addr) == slice->ipv6)
		return decode_refuse(decode, value,
				     "\"%s\" is not of the slice's addressType %s; move it to a "
				     "slice of its family",
				     value->text, slice->ipv6 ? "IPv6" : "IPv4");
	if (addr_is_link_local(&endpoint->addr))
		return decode_refuse(decode, value,
				     "\"%s\" is a link-local address, which says nothing on "
				     "another link; write a routable one",
				     value->text);
	return 0;
}

/* One endpoint has one address that counts, as for kube-proxy: the first. */
static int decode_addresses(struct decode *decode, const struct yaml_node *list, void *into)
{
	int err = 0;

	if (!list->n)
		return decode_refuse(decode, list, "is empty; add an address");
	if (list->n > 1)
		err = decode_note(decode, list->last, VERDICT_UNSUPPORTED,
				  "only the first address of an endpoint counts; make it several "
				  "endpoints");
	return err ? err : decode_address(decode, list->first, into);
}

#define ENDPOINT struct object_endpoint
static const struct field endpoint_fields[] = {
	FIELD_PART("addresses", FIELD_LIST, HONOURED, decode_addresses),
	FIELD_PART("conditions", FIELD_MAP, SILENT, decode_conditions),
	FIELD_PART("targetRef", FIELD_MAP, SILENT, decode_target),
	FIELD_GET("nodeName", FIELD_STRING, HONOURED, decode_node_name, ENDPOINT, node),
	FIELD_GET("zone", FIELD_STRING, HONOURED, decode_string, ENDPOINT, zone),
	FIELD_SAY("hostname", FIELD_STRING, SILENT, NULL), /* for DNS alone */
	FIELD_SAY("hints", FIELD_MAP, UNSUPPORTED,
		  "this version does not prefer near replicas: each pick goes to the least loaded"),
	FIELD_SAY("deprecatedTopology", FIELD_MAP, UNSUPPORTED, "nodeName and zone are honoured"),
	{},
};

static int decode_endpoints(struct decode *decode, const struct yaml_node *list, void *into)
{
	struct object_slice *slice = into;
	const struct yaml_node *addresses;
	int err;

	slice->endpoints = decode_array(decode, list, sizeof(ENDPOINT));
	err = slice->endpoints ? 0 : -ENOMEM;
	for (const struct yaml_node *child = list->first; child && !err; child = child->next) {
		ENDPOINT *endpoint = &slice->endpoints[slice->n_endpoints++];

		*endpoint = (ENDPOINT){.line = child->line, .ready = true, .serving = true};
		err = decode_require(decode, child, "addresses", &addresses);
		if (!err)
			err = decode_fields(decode, child, endpoint_fields, endpoint);
	}
	return err;
}

static int decode_slice_ports(struct decode *decode, const struct yaml_node *list, void *into)
{
	struct object_slice *slice = into;

	return decode_ports(decode, list, port_fields, &slice->ports, &slice->n_ports);
}

static int decode_address_type(struct decode *decode, const struct yaml_node *root,
			       struct object_slice *slice)
{
	static const char *const names[] = {"IPv4", "IPv6", "FQDN", NULL};
	const struct yaml_node *type;
	unsigned choice;
	int err = decode_require(decode, root, "addressType", &type);

	if (!err)
		err = decode_choice(decode, type, names, &choice);
	if (err)
		return err;
	slice->ipv6 = choice == 1;
	slice->fqdn = choice == 2;
	if (slice->fqdn)
		return decode_note(decode, type, VERDICT_UNSUPPORTED,
				   "replicas are addresses, not names: this slice is left out");
	return decode_honour(decode, type);
}

int object_decode_slice(struct decode *decode, const struct yaml_node *root,
			struct object_slice *slice)
{
	static const struct field fields[] = {
		FIELD_PART("ports", FIELD_LIST, SILENT, decode_slice_ports),
		FIELD_PART("endpoints", FIELD_LIST, SILENT, decode_endpoints),
		{},
	};
	int err = decode_address_type(decode, root, slice);

	return err || slice->fqdn ? err : decode_listed(decode, root, fields, slice);
}
