// SPDX-License-Identifier: GPL-2.0-only
/*
 * Single values of Kubernetes objects: numbers in bounds, addresses, ports,
 * protocols, durations, names. Refuses what the API server would refuse.
 * Called by objects_*.c, directly and through rows of field tables.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "decode.h"
#include "duration.h"

#define MAX_PORTS   1000u
#define MAX_SPAN_MS (7 * 86400 * 1000u)

int decode_range(const struct decode *decode, const struct yaml_node *node, int64_t min,
		 int64_t max, int64_t *ret)
{
	int err = decode_check_type(decode, node, FIELD_INT);

	if (err)
		return err;
	switch (yaml_int(node, min, max, ret)) {
	case 0:
		return 0;
	case -ERANGE:
		return decode_refuse(decode, node, "must be %" PRId64 " to %" PRId64 ", not %s",
				     min, max, node->text);
	default:
		return decode_refuse(decode, node, "must be a plain decimal number, not %s",
				     node->text);
	}
}

int decode_require(const struct decode *decode, const struct yaml_node *map, const char *key,
		   const struct yaml_node **ret)
{
	char path[sizeof(decode->diag->field)];
	const struct yaml_node *node;
	struct yaml_node absent = {.key = key, .parent = (struct yaml_node *)map};
	int err = decode_check_type(decode, map, FIELD_MAP);

	if (err)
		return err;
	node = yaml_get(map, key);
	if (!node)
		return diag_set(decode->diag, decode->file, map->line,
				yaml_path(&absent, decode->root, path, sizeof(path)),
				"is missing; add it");
	*ret = node;
	return 0;
}

static bool addr_is_loopback(const union sl_addr *addr)
{
	static const union sl_addr v6 = {.b = {[15] = 1}};

	return addr_is_v4(addr) ? addr->b[12] == 127 : addr_equal(addr, &v6);
}

static bool addr_is_multicast(const union sl_addr *addr)
{
	return addr_is_v4(addr) ? addr->b[12] >= 224 : addr->b[0] == 0xff;
}

int decode_ip(const struct decode *decode, const struct yaml_node *node, union sl_addr *ret)
{
	const char *why = NULL;
	union sl_addr addr;
	int err = decode_check_type(decode, node, FIELD_STRING);

	if (err)
		return err;
	if (addr_parse(node->text, &addr))
		return decode_refuse(decode, node,
				     "\"%s\" is not an IP address; write one such as 10.0.0.1 or "
				     "fd00::1",
				     node->text);
	if (addr_is_any(&addr))
		why = "the unspecified address";
	else if (addr_is_loopback(&addr))
		why = "a loopback address";
	else if (addr_is_multicast(&addr))
		why = "a multicast or reserved address";
	if (why)
		return decode_refuse(decode, node,
				     "%s is %s, which no connection can go to; write a unicast "
				     "address",
				     node->text, why);
	*ret = addr;
	return 0;
}

int decode_duration(const struct decode *decode, const struct yaml_node *node, uint64_t min_ns,
		    uint64_t *ret_ns)
{
	uint64_t ns;
	int err = decode_check_type(decode, node, FIELD_STRING);

	if (err)
		return err;
	if (duration_parse(node->text, &ns))
		return decode_refuse(decode, node,
				     "\"%s\" is not a duration; write one such as \"100ms\", "
				     "\"1.5s\" or \"1h30m\"",
				     node->text);
	if (ns < min_ns)
		return decode_refuse(decode, node,
				     "\"%s\" is too short; write at least \"%" PRIu64 "ms\"",
				     node->text, (min_ns + 999999) / 1000000);
	*ret_ns = ns;
	return 0;
}

int decode_span(struct decode *decode, const struct yaml_node *value, void *into)
{
	uint64_t ns;
	int err = decode_duration(decode, value, 1000000, &ns);

	if (err)
		return err;
	*(unsigned *)into = MAX_SPAN_MS;
	if (ns / 1000000 > MAX_SPAN_MS)
		return decode_note(decode, value, VERDICT_MAPPED,
				   "taken as 7 days, the longest there is");
	*(unsigned *)into = (unsigned)(ns / 1000000);
	return decode_honour(decode, value);
}

int decode_count(struct decode *decode, const struct yaml_node *value, unsigned most,
		 unsigned *ret)
{
	int64_t count;
	int err = decode_range(decode, value, 0, UINT32_MAX, &count);

	if (err)
		return err;
	*ret = count > most ? most : (unsigned)count;
	if (count > most)
		return decode_note(decode, value, VERDICT_MAPPED, "taken as %u, the most there is",
				   most);
	return decode_honour(decode, value);
}

int decode_number(const struct decode *decode, const struct yaml_node *node, double min, double max,
		  double *ret)
{
	double number;
	char *end;

	if (node->type != YAML_INT && node->type != YAML_FLOAT)
		return decode_refuse(decode, node, "must be a number, not %s; write %g to %g",
				     yaml_type_name(node->type), min, max);
	number = strtod(node->text, &end);
	if (*end || !isfinite(number) || number < min || number > max)
		return decode_refuse(decode, node, "must be %g to %g, not %s", min, max,
				     node->text);
	*ret = number;
	return 0;
}

void *decode_array(const struct decode *decode, const struct yaml_node *list, size_t size)
{
	return arena_alloc(decode->arena, size * (list->n ? list->n : 1));
}

int decode_string(struct decode *decode, const struct yaml_node *value, void *into)
{
	const char *copy;
	int err = decode_check_type(decode, value, FIELD_STRING);

	if (err)
		return err;
	copy = texts_keep(decode->texts, value->text);
	if (!copy)
		return -ENOMEM;
	*(const char **)into = copy;
	return 0;
}

int decode_bool(struct decode *decode, const struct yaml_node *value, void *into)
{
	int err = decode_check_type(decode, value, FIELD_BOOL);

	if (!err)
		*(bool *)into = yaml_bool(value);
	return err;
}

int decode_port(struct decode *decode, const struct yaml_node *value, void *into)
{
	int64_t port;
	int err = decode_range(decode, value, 1, 65535, &port);

	if (!err)
		*(__u16 *)into = (__u16)port;
	return err;
}

int decode_choice(const struct decode *decode, const struct yaml_node *node,
		  const char *const *choices, unsigned *ret)
{
	char list[256] = ""; /* the longest list of choices has 72 characters */
	int err = decode_check_type(decode, node, FIELD_STRING);

	if (err)
		return err;
	for (unsigned i = 0; choices[i]; i++) {
		if (!strcmp(node->text, choices[i])) {
			*ret = i;
			return 0;
		}
		if (i)
			strcat(list, choices[i + 1] ? ", " : " or ");
		strcat(list, choices[i]);
	}
	return decode_refuse(decode, node, "\"%s\" is not one of its values; write %s", node->text,
			     list);
}

int decode_proto(struct decode *decode, const struct yaml_node *value, void *into)
{
	static const char *const names[] = {"TCP", "UDP", "SCTP", NULL};
	static const __u8 protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
	unsigned choice;
	int err = decode_choice(decode, value, names, &choice);

	if (!err)
		*(__u8 *)into = protocols[choice];
	return err;
}

int decode_port_name(struct decode *decode, const struct yaml_node *value, void *into)
{
	if (*value->text && !name_is_label(value->text))
		return decode_refuse(decode, value,
				     "\"%s\" is not a port name; write at most 63 of a-z, 0-9 and "
				     "-",
				     value->text);
	return decode_string(decode, value, into);
}

int decode_ports(struct decode *decode, const struct yaml_node *list, const struct field *fields,
		 struct object_port **ret, size_t *ret_n)
{
	struct object_port *ports;
	size_t n = 0;
	int err;

	if (list->n > MAX_PORTS)
		return decode_refuse(decode, list, "has more than %u ports; split it", MAX_PORTS);
	ports = decode_array(decode, list, sizeof(*ports));
	err = ports ? 0 : -ENOMEM;
	for (const struct yaml_node *child = list->first; child && !err; child = child->next) {
		struct object_port *port = &ports[n++];

		*port = (struct object_port){.name = "", .proto = IPPROTO_TCP, .line = child->line};
		port->field = decode_path(decode, child);
		err = port->field ? decode_fields(decode, child, fields, port) : -ENOMEM;
	}
	if (!err) {
		*ret = ports;
		*ret_n = n;
	}
	return err;
}

int decode_service_host(struct decode *decode, const struct yaml_node *value, struct object_host *ret)
{
	struct object_host host = {.line = value->line, .field = decode_path(decode, value)};
	int err = decode_check_type(decode, value, FIELD_STRING);
	char *name, *space, *rest;

	if (err)
		return err;
	name = arena_strdup(decode->arena, value->text);
	if (!name || !host.field)
		return -ENOMEM;
	space = strchr(name, '.');
	if (space)
		*space++ = '\0';
	rest = space ? strchr(space, '.') : NULL;
	if (rest)
		*rest++ = '\0';
	if (name_is_label(name) && (!space || name_is_label(space)) &&
	    (!rest || !strcmp(rest, "svc") || !strncmp(rest, "svc.", 4))) {
		host.name = name;
		host.namespace = space ? space : decode->object->namespace;
	}
	*ret = host;
	return 0;
}

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* Only `letters`, and at both ends neither - nor _ nor . */
static bool is_name(const char *name, size_t len, const char *letters)
{
	return len && strspn(name, letters) >= len && !strchr("-_.", name[0]) &&
	       !strchr("-_.", name[len - 1]);
}

bool name_is_label(const char *name)
{
	size_t len = strlen(name);

	return len <= 63 && is_name(name, len, LOWER DIGITS "-");
}

bool name_is_subdomain(const char *name)
{
	size_t len;

	if (strlen(name) > 253)
		return false;
	for (;; name += len + 1) {
		len = strcspn(name, ".");
		if (!is_name(name, len, LOWER DIGITS "-"))
			return false;
		if (!name[len])
			return true;
	}
}

bool label_is_valid(const char *value)
{
	size_t len = strlen(value);

	return !len || (len <= 63 && is_name(value, len, LOWER UPPER DIGITS "-_."));
}
