// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fixture of the packet tables: services, VIPs, replicas and sources, put
 * into the maps through the agent's own writers (index, alias, ranges), so that
 * they are tested together; and the names that lines may use for addresses.
 */
#include <errno.h>
#include <sched.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <sluice/hash.h>

#include "addr.h"
#include "alias.h"
#include "bpf_fixture.h"

#define MAX_LIST 4096 /* members of one service */

static const struct name {
	const char *name, *v4, *v6;
} names[] = {
	{"client", "10.9.0.9", "fd09::9"}, {"client2", "10.9.0.10", "fd09::10"},
	{"vip", "10.1.0.1", "fd01::1"},    {"vip2", "10.1.0.2", "fd01::2"},
	{"r1", "10.2.0.1", "fd02::1"},     {"r2", "10.2.0.2", "fd02::2"},
	{"r3", "10.2.0.3", "fd02::3"},     {"r4", "10.2.0.4", "fd02::4"},
	{"node", "10.5.0.1", "fd05::1"},   {"other", "10.7.0.7", "fd07::7"},
};

/* One word: a name, perhaps with a port, becomes an address; anything else stays. */
static void expand_word(const struct fixture *fixture, const char *word, size_t len, FILE *out)
{
	const char *colon = memchr(word, ':', len);
	size_t name_len = colon ? (size_t)(colon - word) : len;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i].name) != name_len || memcmp(names[i].name, word, name_len))
			continue;
		fprintf(out, fixture->v6 && colon ? "[%s]%.*s" : "%s%.*s",
			fixture->v6 ? names[i].v6 : names[i].v4, (int)(len - name_len),
			word + name_len);
		return;
	}
	fprintf(out, "%.*s", (int)len, word);
}

const char *fixture_expand(const struct fixture *fixture, const char *line,
			  char buf[PACKET_TEXT_LEN])
{
	FILE *out = fmemopen(buf, PACKET_TEXT_LEN, "w");

	if (!out)
		fixture_die(line, errno);
	while (*line) {
		size_t len = strcspn(line, " ");

		expand_word(fixture, line, len, out);
		line += len;
		if (*line)
			fputc(*line++, out);
	}
	fclose(out);
	return buf;
}

/* "vip:80", "udp r1:53" */
static struct index_key parse_key(const struct fixture *fixture, const char *text, __u8 kind)
{
	struct index_key key = {.proto = IPPROTO_TCP, .kind = kind};
	char buf[PACKET_TEXT_LEN];

	if (!strncmp(text, "udp ", 4)) {
		key.proto = IPPROTO_UDP;
		text += 4;
	}
	if (addr_parse_port(fixture_expand(fixture, text, buf), &key.addr, &key.port))
		fixture_die(buf, EINVAL);
	return key;
}

static void add_to_index(struct fixture *fixture, const struct index_key *key, __u32 id)
{
	int err = index_add(&fixture->index, key, id, 0);

	if (err)
		fixture_die("index_add", err);
}

__u32 fixture_add_service(struct fixture *fixture, __u32 flags)
{
	__u32 row = fixture->n_services++;

	fixture->services[row].load_ttl_ms = 2000;
	fixture->services[row].flags = flags | SL_SERVICE_USED;
	return row;
}

__u32 fixture_add_vip(struct fixture *fixture, __u32 service, const char *vip)
{
	struct index_key key = parse_key(fixture, vip, SL_INDEX_VIP), address = key;
	__u32 row = fixture->n_vips++, id;

	fixture->vips[row] = (struct sl_vip){
		.addr = key.addr, .port = key.port, .proto = key.proto, .flags = SL_VIP_USED,
		.service = service, .addr_sum = sl_addr_sum(&key.addr)};
	address.port = 0;
	address.proto = 0;
	address.kind = SL_INDEX_ADDRESS;
	if (index_find(&fixture->index, &address, &id))
		add_to_index(fixture, &address, row);
	add_to_index(fixture, &key, row);
	return row;
}

__u32 fixture_add_source(struct fixture *fixture, const char *addr)
{
	struct index_key key = {.kind = SL_INDEX_SOURCE};
	__u32 row = fixture->n_sources++;
	char buf[PACKET_TEXT_LEN];

	if (addr_parse(fixture_expand(fixture, addr, buf), &key.addr))
		fixture_die(buf, EINVAL);
	fixture->sources[row] = (struct sl_source){
		.addr = key.addr, .addr_sum = sl_addr_sum(&key.addr), .used = 1};
	add_to_index(fixture, &key, row);
	return row;
}

void fixture_add_local(struct fixture *fixture, const char *addr)
{
	struct index_key key = {.kind = SL_INDEX_LOCAL};
	char buf[PACKET_TEXT_LEN];

	if (addr_parse(fixture_expand(fixture, addr, buf), &key.addr))
		fixture_die(buf, EINVAL);
	add_to_index(fixture, &key, 0);
}

void fixture_set_cap(struct fixture *fixture, __u32 replica, __u32 cap)
{
	fixture->replicas[replica].config.max_connections = cap;
	fixture->control->caps = true;
}

static __u32 new_replica(struct fixture *fixture, const struct index_key *key, __u16 weight)
{
	__u32 row = fixture->n_replicas++;

	fixture->replicas[row].config = (struct sl_replica_config){
		.addr = key->addr, .port = key->port, .proto = key->proto, .weight = weight,
		.flags = SL_REPLICA_USED | SL_REPLICA_LOCAL, .addr_sum = sl_addr_sum(&key->addr),
		.out_ifindex = 1};
	add_to_index(fixture, key, row);
	return row;
}

__u32 fixture_add_replica(struct fixture *fixture, __u32 service, const char *replica,
			  __u16 weight)
{
	struct index_key key = parse_key(fixture, replica, SL_INDEX_REPLICA);
	struct sl_replica_services *services;
	__u32 row;

	if (index_find(&fixture->index, &key, &row))
		row = new_replica(fixture, &key, weight);
	services = &fixture->replica_services[row];
	services->service[services->n++] = service;
	fixture_publish(fixture, service);
	return row;
}

void fixture_make_remote(struct fixture *fixture, __u32 replica, __u32 source)
{
	fixture->replicas[replica].config.flags &= ~SL_REPLICA_LOCAL;
	fixture->replicas[replica].config.source = source + 1;
}

/* No route of this machine's shall lead to a client of the tables, and replicas need pod interfaces. */
static void leave_routes(const struct fixture *fixture)
{
	static const char *const script =
		"for i in 1002 1003 1004 1005; do "
		"ip link add pod$i index $i type veth peer name far$i || exit; done";
	static bool alone;

	if (!alone && !fixture->ifindex && (unshare(CLONE_NEWNET) || system(script)))
		fixture_die("a network namespace", errno);
	alone = true;
}

void fixture_make_fast(struct fixture *fixture, __u32 replica, __u32 ifindex)
{
	struct sl_replica_config *config = &fixture->replicas[replica].config;

	leave_routes(fixture);
	config->flags |= SL_REPLICA_FAST;
	if (config->flags & SL_REPLICA_LOCAL)
		config->peer_ifindex = ifindex;
}

void fixture_set_fast_client(struct fixture *fixture, __u32 home)
{
	__u32 ifindex = FIXTURE_IFINDEX;
	int fd = bpf_map__fd(fixture->skel->maps.fast_devices);

	leave_routes(fixture);
	if (home ? bpf_map_update_elem(fd, &ifindex, &home, BPF_ANY) :
		   bpf_map_delete_elem(fd, &ifindex))
		fixture_die("fast_devices", errno);
}

void fixture_publish(struct fixture *fixture, __u32 service)
{
	static __u32 replicas[MAX_LIST];
	static __u16 weights[MAX_LIST];
	__u64 old = fixture->services[service].members;
	__u32 offset, n = 0;
	int err;

	for (__u32 row = 0; row < fixture->n_replicas; row++)
		for (__u32 i = 0; i < fixture->replica_services[row].n; i++)
			if (fixture->replica_services[row].service[i] == service) {
				replicas[n] = row;
				weights[n++] = fixture->replicas[row].config.weight;
			}
	fixture->now_ns += 2000000000ull;
	err = ranges_alloc(&fixture->ranges, n, fixture->now_ns, &offset);
	if (!err)
		err = alias_build(replicas, weights, n, &fixture->members[offset]);
	if (err)
		fixture_die("members", err);
	__atomic_store_n(&fixture->services[service].members,
			 SL_MEMBERS(offset, n, SL_MEMBERS_GENERATION(old) + 1), __ATOMIC_RELEASE);
	ranges_free(&fixture->ranges, SL_MEMBERS_OFFSET(old), SL_MEMBERS_LENGTH(old),
		    fixture->now_ns);
}

__u32 fixture_simple(struct fixture *fixture, __u32 flags, unsigned n)
{
	static const char *const replicas[] = {"r1:8000", "r2:8000", "r3:8000", "r4:8000"};
	__u32 service = fixture_add_service(fixture, flags);

	fixture_add_vip(fixture, service, "vip:80");
	for (unsigned i = 0; i < n; i++)
		fixture_add_replica(fixture, service, replicas[i], 100);
	return service;
}

