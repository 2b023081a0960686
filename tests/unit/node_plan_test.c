// SPDX-License-Identifier: GPL-2.0-only
/* Which routes the node's own clients get, and what is to be done about those that are there. */
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "check.h"
#include "node_plan.h"

struct fixture {
	struct tables tables;
	__u32 n_vips, n_services, n_replicas, n_members, n_sources;
	struct node_route *routes;
	size_t n_routes;
};

static union sl_addr address(const char *text)
{
	union sl_addr addr = {};

	if (text)
		CHECK_INT(addr_parse(text, &addr), 0);
	return addr;
}

static struct fixture begin(void)
{
	struct fixture f = {};

	f.tables.vips = calloc(SL_MAX_VIPS, sizeof(*f.tables.vips));
	f.tables.services = calloc(SL_MAX_SERVICES, sizeof(*f.tables.services));
	f.tables.members = calloc(SL_MAX_MEMBERS, sizeof(*f.tables.members));
	f.tables.replicas = calloc(SL_MAX_REPLICAS, sizeof(*f.tables.replicas));
	f.tables.sources = calloc(SL_MAX_SOURCES, sizeof(*f.tables.sources));
	return f;
}

static void end(struct fixture *f)
{
	free(f->tables.vips);
	free(f->tables.services);
	free(f->tables.members);
	free(f->tables.replicas);
	free(f->tables.sources);
	free(f->routes);
}

static __u32 add_service(struct fixture *f, __u32 flags)
{
	f->tables.services[f->n_services].flags = SL_SERVICE_USED | flags;
	return f->n_services++;
}

static struct sl_vip *add_vip(struct fixture *f, __u32 service, const char *addr)
{
	struct sl_vip *vip = &f->tables.vips[f->n_vips++];

	*vip = (struct sl_vip){.addr = address(addr), .service = service, .flags = SL_VIP_USED};
	return vip;
}

static __u16 source_row(struct fixture *f, const char *source)
{
	union sl_addr addr = address(source);
	__u32 row = 0;

	if (!source)
		return 0;
	while (row < f->n_sources && !addr_equal(&f->tables.sources[row].addr, &addr))
		row++;
	f->tables.sources[row].addr = addr;
	if (row == f->n_sources)
		f->n_sources++;
	return row + 1;
}

/* The members of a service must be added one after the other. `source`: of a remote one. */
static void add_replica(struct fixture *f, __u32 service, const char *addr, const char *source,
			__u32 ifindex)
{
	__u64 *list = &f->tables.services[service].members;
	__u32 n = SL_MEMBERS_LENGTH(*list);

	f->tables.replicas[f->n_replicas].config = (struct sl_replica_config){
		.addr = address(addr), .out_ifindex = ifindex, .source = source_row(f, source),
		.flags = SL_REPLICA_USED | (source ? 0 : SL_REPLICA_LOCAL)};
	*list = SL_MEMBERS(n ? SL_MEMBERS_OFFSET(*list) : f->n_members, n + 1, 1);
	f->tables.members[f->n_members++].replica = f->n_replicas++;
}

/* Device n has an MTU of 1000 * n. */
static __u32 mtu(void *context, __u32 ifindex)
{
	return 1000 * ifindex;
}

static void source(void *context, const union sl_addr *to, union sl_addr *ret)
{
	*ret = address(addr_is_v4(to) ? "192.168.0.2" : "fd00::2");
}

/* This node holds 192.168.0.1, .2, fd00::1, ::2. */
static void plan(struct fixture *f)
{
	const union sl_addr own[] = {address("192.168.0.1"), address("192.168.0.2"),
				     address("fd00::1"), address("fd00::2")};
	const struct node_ways ways = {.own = own, .n_own = 4, .mtu = mtu, .source = source};

	free(f->routes);
	CHECK_INT(node_plan_routes(&f->tables, &ways, &f->routes, &f->n_routes), 0);
}

static bool is(const struct node_route *route, const char *to, const char *source, __u32 mtu)
{
	union sl_addr from = address(source), dst = address(to);
	char text[ADDR_STR_LEN];

	if (addr_equal(&route->to, &dst) && addr_equal(&route->source, &from) && route->mtu == mtu)
		return true;
	printf("  %s", addr_format(&route->to, text));
	printf(" from %s, mtu %u\n", addr_format(&route->source, text), route->mtu);
	return false;
}

TEST(a_route_for_each_address_of_replace_mode)
{
	struct fixture f = begin();
	__u32 ours = add_service(&f, SL_SERVICE_REPLACE), overlay = add_service(&f, 0);

	add_vip(&f, ours, "fd96::1");
	add_vip(&f, ours, "10.96.0.2");
	add_vip(&f, ours, "10.96.0.1");
	add_vip(&f, ours, "10.96.0.1"); /* another port */
	add_vip(&f, overlay, "10.96.0.3");
	add_vip(&f, overlay, "10.96.0.2");
	add_vip(&f, ours, "10.96.0.4")->flags |= SL_VIP_NO_NEW;
	add_vip(&f, ours, "10.96.0.5")->flags = 0;
	add_vip(&f, ours, "192.168.0.1"); /* a nodePort */
	plan(&f);
	CHECK_INT(f.n_routes, 3);
	CHECK(f.n_routes == 3 && is(&f.routes[0], "10.96.0.1", NULL, 0));
	CHECK(f.n_routes == 3 && is(&f.routes[1], "10.96.0.2", NULL, 0));
	CHECK(f.n_routes == 3 && is(&f.routes[2], "fd96::1", NULL, 0));
	end(&f);
}

TEST(the_source_is_that_of_most_remote_replicas)
{
	struct fixture f = begin();
	__u32 service = add_service(&f, SL_SERVICE_REPLACE);

	add_vip(&f, service, "10.96.0.1");
	add_replica(&f, service, "10.1.0.1", NULL, 4);
	add_replica(&f, service, "10.2.0.1", "192.168.0.2", 2);
	add_replica(&f, service, "10.3.0.1", "192.168.0.1", 3);
	add_replica(&f, service, "10.3.0.2", "192.168.0.1", 3);
	plan(&f);
	CHECK(f.n_routes == 1 && is(&f.routes[0], "10.96.0.1", "192.168.0.1", 2000));
	end(&f);
}

TEST(local_replicas_are_asked_for)
{
	struct fixture f = begin();
	__u32 service = add_service(&f, SL_SERVICE_REPLACE);

	add_vip(&f, service, "fd96::1");
	add_replica(&f, service, "fd10::1", NULL, 1);
	plan(&f);
	CHECK(f.n_routes == 1 && is(&f.routes[0], "fd96::1", "fd00::2", 1000));
	end(&f);
}

TEST(a_replica_in_the_nodes_own_network_wants_its_own_address)
{
	struct fixture f = begin();
	__u32 service = add_service(&f, SL_SERVICE_REPLACE);

	add_vip(&f, service, "10.96.0.1");
	add_replica(&f, service, "10.2.0.1", "192.168.0.1", 0);
	add_replica(&f, service, "192.168.0.2", NULL, 66);
	plan(&f);
	CHECK(f.n_routes == 1 && is(&f.routes[0], "10.96.0.1", "192.168.0.2", 0));
	end(&f);
}

/* The kernel takes no route with a source that the node does not hold. */
TEST(a_source_that_is_gone_is_left_out)
{
	struct fixture f = begin();
	__u32 service = add_service(&f, SL_SERVICE_REPLACE);

	add_vip(&f, service, "10.96.0.1");
	add_replica(&f, service, "10.2.0.1", "192.168.0.3", 2);
	plan(&f);
	CHECK(f.n_routes == 1 && is(&f.routes[0], "10.96.0.1", NULL, 2000));
	end(&f);
}

TEST(services_of_one_address_agree)
{
	struct fixture f = begin();
	__u32 empty = add_service(&f, SL_SERVICE_REPLACE), wide = add_service(&f, SL_SERVICE_REPLACE),
	      narrow = add_service(&f, SL_SERVICE_REPLACE);

	add_vip(&f, wide, "10.96.0.1");
	add_vip(&f, empty, "10.96.0.1");
	add_vip(&f, narrow, "10.96.0.1");
	add_replica(&f, wide, "10.2.0.1", "192.168.0.2", 9);
	add_replica(&f, narrow, "10.2.0.2", "192.168.0.2", 2);
	plan(&f);
	CHECK(f.n_routes == 1 && is(&f.routes[0], "10.96.0.1", "192.168.0.2", 2000));
	end(&f);
}

/* ---- differences ----------------------------------------------------------------------------*/

struct steps {
	char text[256];
};

static void note(void *context, enum node_step step, const struct node_route *route)
{
	static const char *const names[] = {"add", "change", "leave"};
	struct steps *steps = context;
	char addr[ADDR_STR_LEN];
	size_t len = strlen(steps->text);

	snprintf(steps->text + len, sizeof(steps->text) - len, "%s %s mtu %u; ", names[step],
		 addr_format(&route->to, addr), route->mtu);
}

TEST(differences_alone_are_told)
{
	const struct node_route wanted[] = {
		{.to = address("10.96.0.1"), .mtu = 1}, {.to = address("10.96.0.2"), .mtu = 2},
		{.to = address("10.96.0.3"), .source = address("10.0.0.1"), .mtu = 3},
		{.to = address("10.96.0.5"), .mtu = 5}};
	struct node_route present[] = {
		{.to = address("fd96::1"), .mtu = 9}, {.to = address("10.96.0.4"), .mtu = 4},
		{.to = address("10.96.0.3"), .source = address("10.0.0.2"), .mtu = 3},
		{.to = address("10.96.0.2"), .mtu = 1}, {.to = address("10.96.0.1"), .mtu = 1}};
	struct steps steps = {};

	node_plan_compare(wanted, 4, present, 5, note, &steps);
	CHECK_STR(steps.text, "change 10.96.0.2 mtu 2; change 10.96.0.3 mtu 3; leave 10.96.0.4 mtu 4; "
			      "add 10.96.0.5 mtu 5; leave fd96::1 mtu 9; ");
}

TEST(nothing_wanted_and_nothing_there)
{
	struct node_route present[] = {{.to = address("10.96.0.1")}};
	struct steps steps = {};

	node_plan_compare(NULL, 0, NULL, 0, note, &steps);
	CHECK_STR(steps.text, "");
	node_plan_compare(NULL, 0, present, 1, note, &steps);
	CHECK_STR(steps.text, "leave 10.96.0.1 mtu 0; ");
	steps.text[0] = '\0';
	node_plan_compare(present, 1, NULL, 0, note, &steps);
	CHECK_STR(steps.text, "add 10.96.0.1 mtu 0; ");
}
