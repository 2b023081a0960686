// SPDX-License-Identifier: GPL-2.0-only
/*
 * Links, addresses and routes, followed in a network namespace of each test's
 * own, which ends with the test. Needs root and iproute2's `ip`.
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "addr.h"
#include "check.h"
#include "route.h"

#define DEADLINE_MS (10000 * check_slow())
#define MAX_CHANGES 16384

static struct {
	uv_loop_t loop;
	uv_timer_t tick;
	struct route *route;
	unsigned counts[ROUTE_ROUTES + 1];
	struct {
		enum route_change change;
		struct route_link link;
	} log[MAX_CHANGES]; /* link changes alone */
	size_t n;
} t;

static void on_change(void *context, enum route_change change, const struct route_link *link)
{
	CHECK(context == &t);
	CHECK((change == ROUTE_ADDRESSES || change == ROUTE_ROUTES) == !link);
	t.counts[change]++;
	if (!link || t.n == MAX_CHANGES)
		return;
	t.log[t.n].change = change;
	t.log[t.n++].link = *link;
}

static void on_tick(uv_timer_t *timer)
{
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

/* Runs the loop until `condition` holds; past the deadline the test has failed and ends. */
#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		uint64_t end = now_ms() + DEADLINE_MS;                                             \
		while (!(condition) && now_ms() < end)                                             \
			uv_run(&t.loop, UV_RUN_ONCE);                                              \
		CHECK(condition);                                                                  \
		if (!(condition))                                                                  \
			return;                                                                    \
	} while (0)

static void run_for(unsigned ms)
{
	uint64_t end = now_ms() + ms;

	while (now_ms() < end)
		uv_run(&t.loop, UV_RUN_ONCE);
}

__attribute__((format(printf, 1, 2))) static void ip(const char *format, ...)
{
	char command[512] = "ip ";
	va_list args;

	va_start(args, format);
	vsnprintf(command + 3, sizeof(command) - 3, format, args);
	va_end(args);
	if (system(command))
		printf("  failed: %s\n", command), check_failed = true;
}

/* A fresh namespace and a loop; false without root. */
static bool begin(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNET))
		return false;
	memset(&t, 0, sizeof(t));
	uv_loop_init(&t.loop);
	uv_timer_init(&t.loop, &t.tick);
	uv_timer_start(&t.tick, on_tick, 5, 5);
	return true;
}

static void follow(void)
{
	CHECK_INT(route_new(&t.loop, on_change, &t, &t.route), 0);
}

static void end(void)
{
	route_free(t.route);
	uv_close((uv_handle_t *)&t.tick, NULL);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	CHECK_INT(uv_loop_close(&t.loop), 0);
}

#define BEGIN()                                                                                    \
	do {                                                                                       \
		if (!begin())                                                                      \
			SKIP("needs root for a network namespace");                                \
	} while (0)

/* How often `change` was told of a link called `name`. */
static unsigned told(enum route_change change, const char *name)
{
	unsigned n = 0;

	for (size_t i = 0; i < t.n; i++)
		n += t.log[i].change == change && !strcmp(t.log[i].link.name, name);
	return n;
}

static const struct route_link *link_named(const char *name)
{
	size_t n;
	const struct route_link *links = route_links(t.route, &n);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(links[i].name, name))
			return &links[i];
	return NULL;
}

static bool has_address(const char *text)
{
	const union sl_addr *list;
	union sl_addr addr;
	size_t n;

	CHECK_INT(addr_parse(text, &addr), 0);
	list = route_addresses(t.route, &n);
	for (size_t i = 0; i < n; i++)
		if (addr_equal(&list[i], &addr))
			return true;
	return false;
}

static size_t count_addresses(void)
{
	size_t n;

	route_addresses(t.route, &n);
	return n;
}

static size_t count_links(void)
{
	size_t n;

	route_links(t.route, &n);
	return n;
}

static struct route_path path_to(const char *text)
{
	struct route_path path = {.ifindex = 12345};
	union sl_addr addr;

	CHECK_INT(addr_parse(text, &addr), 0);
	CHECK_INT(route_lookup(t.route, &addr, &path), 0);
	return path;
}

static const char *source_to(const char *text)
{
	static char buf[ADDR_STR_LEN];
	struct route_path path = path_to(text);

	return addr_format(&path.source, buf);
}

TEST(free_of_nothing)
{
	route_free(NULL);
}

TEST(links_that_are_there)
{
	BEGIN();
	ip("link add p0 type veth peer name p1");
	ip("link set p0 up");
	follow();
	CHECK_INT(told(ROUTE_LINK_NEW, "lo"), 1);
	CHECK_INT(told(ROUTE_LINK_NEW, "p0"), 1);
	CHECK_INT(told(ROUTE_LINK_NEW, "p1"), 1);
	CHECK_INT(count_links(), 3);
	CHECK_STR(link_named("p0")->kind, "veth");
	CHECK_STR(link_named("lo")->kind, "");
	CHECK(link_named("p0")->up && !link_named("p1")->up);
	CHECK_INT(link_named("p0")->mtu, 1500);
	CHECK_INT(link_named("p0")->ifindex, if_nametoindex("p0"));
	end();
}

TEST(link_life)
{
	BEGIN();
	follow();
	ip("link add p0 type veth peer name p1");
	UNTIL(link_named("p0") && link_named("p1"));
	CHECK_INT(told(ROUTE_LINK_NEW, "p0"), 1);

	ip("link set p0 name pod7");
	UNTIL(link_named("pod7"));
	CHECK(!link_named("p0"));
	CHECK_INT(told(ROUTE_LINK_GONE, "p0"), 0); /* the same link under a new name */

	ip("link set pod7 up");
	UNTIL(link_named("pod7")->up);
	ip("link set pod7 mtu 1400");
	UNTIL(link_named("pod7")->mtu == 1400);
	ip("link set pod7 down");
	UNTIL(!link_named("pod7")->up);

	ip("link del pod7");
	UNTIL(!link_named("pod7") && !link_named("p1"));
	CHECK_INT(told(ROUTE_LINK_GONE, "pod7"), 1);
	CHECK_INT(told(ROUTE_LINK_GONE, "p1"), 1);
	CHECK_INT(t.log[t.n - 1].link.mtu | t.log[t.n - 2].link.mtu, 1400 | 1500);
	end();
}

/* Whatever their order of birth, those that come and go among the others too. */
TEST(links_by_number)
{
	static const int numbers[] = {700, 300, 900, 500};
	const struct route_link *links;
	size_t n;

	BEGIN();
	follow();
	for (unsigned i = 0; i < 4; i++)
		ip("link add n%d index %d type veth peer name p%d index %d", numbers[i], numbers[i],
		   numbers[i], numbers[i] + 1);
	UNTIL(count_links() == 9);
	CHECK_STR(route_link_find(t.route, 500)->name, "n500");
	ip("link del n500");
	UNTIL(count_links() == 7);
	CHECK(!route_link_find(t.route, 500) && !route_link_find(t.route, 501));
	CHECK(!route_link_find(t.route, 0) && !route_link_find(t.route, 1000));
	links = route_links(t.route, &n);
	for (size_t i = 0; i < n; i++) {
		CHECK(route_link_find(t.route, links[i].ifindex) == &links[i]);
		CHECK(!i || links[i - 1].ifindex < links[i].ifindex);
	}
	CHECK_STR(route_link_find(t.route, 901)->name, "p900");
	end();
}

TEST(link_moves_to_another_namespace)
{
	BEGIN();
	follow();
	ip("link add p0 type veth peer name p1");
	UNTIL(link_named("p1"));
	ip("netns add sluice-route-test-%d", getpid());
	ip("link set p1 netns sluice-route-test-%d", getpid());
	UNTIL(!link_named("p1"));
	CHECK_INT(told(ROUTE_LINK_GONE, "p1"), 1);
	ip("netns del sluice-route-test-%d", getpid());
	UNTIL(!link_named("p0"));
	end();
}

TEST(bridge_port_that_leaves_is_not_gone)
{
	BEGIN();
	ip("link add br0 type bridge");
	ip("link add p0 type veth peer name p1");
	follow();
	ip("link set p0 master br0");
	ip("link set p0 nomaster");
	ip("link set p1 up"); /* told after the two above */
	UNTIL(link_named("p1")->up);
	CHECK(link_named("p0") != NULL);
	CHECK_INT(told(ROUTE_LINK_GONE, "p0"), 0);
	end();
}

TEST(a_port_names_its_master)
{
	BEGIN();
	ip("link add br0 type bridge");
	ip("link add p0 type veth peer name p1");
	follow();
	CHECK_INT(link_named("p0")->master, 0);
	ip("link set p0 master br0");
	UNTIL(link_named("p0")->master == link_named("br0")->ifindex);
	ip("link set p0 nomaster");
	UNTIL(link_named("p0")->master == 0);
	end();
}

TEST(link_kinds)
{
	BEGIN();
	follow();
	ip("link add br0 type bridge");
	ip("link add vx type vxlan id 7 dstport 4789");
	UNTIL(link_named("br0") && link_named("vx"));
	CHECK_STR(link_named("br0")->kind, "bridge");
	CHECK_STR(link_named("vx")->kind, "vxlan");
	end();
}

TEST(addresses)
{
	BEGIN();
	ip("link set lo up");
	ip("link add p0 type veth peer name p1");
	ip("addr add 10.1.0.1/24 dev p0");
	ip("link set p0 up");
	ip("link set p1 up");
	follow();
	CHECK(has_address("10.1.0.1"));
	CHECK(!has_address("127.0.0.1"));
	CHECK_INT(t.counts[ROUTE_ADDRESSES], 0);

	ip("addr add 10.1.0.2/24 dev p0");
	ip("addr add fd01::2/64 dev p0 nodad");
	UNTIL(has_address("10.1.0.2") && has_address("fd01::2"));
	CHECK(t.counts[ROUTE_ADDRESSES] >= 1);
	CHECK_INT(count_addresses(), 3); /* no link-local one */

	ip("addr add 10.1.0.2/16 dev p0"); /* the same address once more, and no news */
	ip("addr add 10.9.9.9/32 dev lo");
	UNTIL(has_address("10.9.9.9"));
	CHECK_INT(count_addresses(), 4);
	ip("addr del 10.1.0.2/24 dev p0");
	ip("addr del fd01::2/64 dev p0");
	UNTIL(!has_address("fd01::2"));
	CHECK(has_address("10.1.0.2"));
	ip("addr del 10.1.0.2/16 dev p0");
	UNTIL(!has_address("10.1.0.2"));

	ip("link set p0 down");
	UNTIL(!has_address("10.1.0.1"));
	ip("link set p0 up");
	UNTIL(has_address("10.1.0.1"));
	ip("link del p0");
	UNTIL(!has_address("10.1.0.1"));
	CHECK_INT(count_addresses(), 1);
	end();
}

TEST(tentative_address_waits)
{
	BEGIN();
	ip("link add p0 type veth peer name p1");
	follow();
	ip("addr add fd01::1/64 dev p0"); /* tentative as long as the link is down */
	ip("link set p0 up");
	run_for(100);
	CHECK(!has_address("fd01::1"));
	ip("link set p1 up"); /* carrier: duplicate address detection runs and ends */
	UNTIL(has_address("fd01::1"));
	end();
}

TEST(point_to_point_address_is_our_own)
{
	BEGIN();
	ip("link add p0 type veth peer name p1");
	ip("addr add 10.1.0.1 peer 10.1.0.2/32 dev p0");
	ip("link set p0 up");
	follow();
	CHECK(has_address("10.1.0.1"));
	CHECK(!has_address("10.1.0.2"));
	end();
}

TEST(paths)
{
	struct route_path path;

	BEGIN();
	ip("link set lo up");
	ip("link add p0 type veth peer name p1");
	ip("link set p0 up");
	ip("link set p1 up");
	ip("addr add 10.1.0.1/24 dev p0");
	ip("addr add 10.1.0.9/24 dev p0");
	ip("addr add fd01::1/64 dev p0 nodad");
	follow();
	CHECK_INT(path_to("10.7.0.1").ifindex, 0);
	CHECK_INT(path_to("fd07::1").ifindex, 0);

	path = path_to("10.1.0.77");
	CHECK_INT(path.ifindex, if_nametoindex("p0"));
	CHECK(!path.local);
	CHECK_STR(source_to("10.1.0.77"), "10.1.0.1");
	CHECK_INT(path_to("fd01::77").ifindex, if_nametoindex("p0"));
	CHECK_STR(source_to("fd01::77"), "fd01::1");

	path = path_to("10.1.0.1");
	CHECK(path.local);
	CHECK_STR(source_to("10.1.0.1"), "10.1.0.1");
	CHECK(path_to("fd01::1").local);

	ip("route add 10.7.0.0/16 via 10.1.0.2 src 10.1.0.9");
	ip("route add fd07::/16 via fd01::2");
	UNTIL(t.counts[ROUTE_ROUTES] > 0);
	CHECK_STR(source_to("10.7.0.1"), "10.1.0.9");
	CHECK_STR(source_to("fd07::1"), "fd01::1");
	CHECK(!path_to("10.7.0.1").local);

	ip("route add unreachable 10.8.0.0/16");
	ip("route add blackhole 10.9.0.0/16");
	ip("route add prohibit 10.10.0.0/16");
	ip("route add unreachable fd08::/16");
	ip("route add blackhole fd09::/16");
	CHECK_INT(path_to("10.8.0.1").ifindex, 0);
	CHECK_INT(path_to("10.9.0.1").ifindex, 0);
	CHECK_INT(path_to("10.10.0.1").ifindex, 0);
	CHECK_INT(path_to("fd08::1").ifindex, 0);
	CHECK_INT(path_to("fd09::1").ifindex, 0);
	end();
}

/* The least MTU of the routes over a device; 0: none has one of its own. */
static unsigned route_mtu_of(const char *device)
{
	size_t n;
	const struct route_mtu *mtus = route_mtus(t.route, &n);

	for (size_t i = 0; i < n; i++)
		if (mtus[i].ifindex == if_nametoindex(device))
			return mtus[i].mtu;
	return 0;
}

TEST(mtus_of_routes)
{
	BEGIN();
	ip("link add p0 type veth peer name p1");
	ip("link add q0 type veth peer name q1");
	for (const char *const *device = (const char *const[]){"p0", "p1", "q0", "q1", NULL}; *device;
	     device++)
		ip("link set %s up", *device);
	ip("addr add 10.1.0.1/24 dev p0");
	ip("addr add fd01::1/64 dev p0 nodad");
	ip("addr add 10.2.0.1/24 dev q0");
	ip("route add 10.6.0.0/16 via 10.1.0.2");
	follow();
	CHECK_INT(route_mtu_of("p0"), 0);
	CHECK_INT(path_to("10.6.0.1").ifindex, if_nametoindex("p0"));
	ip("route add 10.7.0.0/16 via 10.1.0.2 mtu 1400");
	UNTIL(route_mtu_of("p0") == 1400);
	CHECK_INT(route_mtu_of("q0"), 0);
	ip("route add fd07::/16 via fd01::2 mtu 1380");
	UNTIL(route_mtu_of("p0") == 1380);
	ip("route add default table 77 via 10.1.0.2 mtu lock 1300");
	UNTIL(route_mtu_of("p0") == 1300);
	ip("route flush table 77");
	UNTIL(route_mtu_of("p0") == 1380);
	ip("route replace fd07::/16 via fd01::2");
	UNTIL(route_mtu_of("p0") == 1400);
	ip("route change 10.7.0.0/16 mtu 1350 nexthop via 10.1.0.2 nexthop via 10.2.0.2");
	UNTIL(route_mtu_of("p0") == 1350 && route_mtu_of("q0") == 1350);
	ip("link set p0 down"); /* its routes go without a word */
	UNTIL(route_mtu_of("p0") == 0);
	ip("route flush 10.7.0.0/16");
	UNTIL(route_mtu_of("q0") == 0);
	end();
}

TEST(route_changes_are_told_once_a_burst)
{
	unsigned before;

	BEGIN();
	ip("link add p0 type veth peer name p1");
	ip("link set p0 up");
	ip("link set p1 up");
	ip("addr add 10.1.0.1/24 dev p0");
	follow();
	run_for(300); /* the link-local addresses have settled */
	before = t.counts[ROUTE_ROUTES];
	CHECK(!system("for i in $(seq 200); do echo route add 10.7.$i.0/24 via 10.1.0.2; done | "
		      "ip -batch -"));
	UNTIL(t.counts[ROUTE_ROUTES] > before);
	run_for(300);
	CHECK_INT(t.counts[ROUTE_ROUTES], before + 1);

	before = t.counts[ROUTE_ROUTES]; /* IPv4 routes vanish with their link, unannounced */
	ip("link set p0 down");
	UNTIL(t.counts[ROUTE_ROUTES] > before);
	CHECK_INT(path_to("10.7.1.1").ifindex, 0);
	before = t.counts[ROUTE_ROUTES];
	ip("rule add from 10.1.0.1 table 77");
	UNTIL(t.counts[ROUTE_ROUTES] > before);
	end();
}

TEST(default_route)
{
	BEGIN();
	ip("link add p0 type veth peer name p1");
	ip("link set p0 up");
	ip("link set p1 up");
	ip("addr add 10.1.0.1/24 dev p0");
	ip("addr add 10.2.0.1/24 dev p1");
	ip("addr add fd02::1/64 dev p1 nodad");
	follow();
	CHECK_INT(path_to("10.1.0.77").ifindex, if_nametoindex("p0")); /* lists still work after it */
	CHECK_INT(route_default_ifindex(t.route), 0);
	ip("route add default via fd02::2");
	CHECK_INT(route_default_ifindex(t.route), if_nametoindex("p1"));
	ip("route add default via 10.1.0.2 metric 50");
	CHECK_INT(route_default_ifindex(t.route), if_nametoindex("p0"));
	ip("route add default via 10.2.0.2 metric 20");
	CHECK_INT(route_default_ifindex(t.route), if_nametoindex("p1"));
	ip("route add blackhole default metric 1");
	CHECK_INT(route_default_ifindex(t.route), if_nametoindex("p1"));
	ip("route del default via 10.2.0.2");
	ip("route del default via 10.1.0.2");
	ip("route add default nexthop via 10.1.0.2 nexthop via 10.2.0.2");
	CHECK_INT(route_default_ifindex(t.route), if_nametoindex("p0"));
	end();
}

/* Messages that the kernel could not give to this process, from /proc/net/netlink. */
static unsigned dropped_events(void)
{
	FILE *file = fopen("/proc/net/netlink", "r");
	unsigned portid, drops, sum = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %*u %u %*x %*u %*u %*u %*u %u", &portid, &drops) == 2)
			sum += drops;
	if (file)
		fclose(file);
	return sum;
}

TEST(lost_events_are_mended)
{
	BEGIN();
	ip("link add p0 type veth peer name p1");
	ip("link set p0 up");
	ip("link set p1 up");
	ip("link add old type veth peer name old2");
	follow();
	CHECK_INT(path_to("10.1.0.77").ifindex, 0); /* lists still work after it */
	CHECK_INT(dropped_events(), 0);
	/* All of it while the loop stands still: far more than the socket can hold. */
	CHECK(!system(
		"{ for i in $(seq 8) 9; do for j in $(seq 250); do "
		"echo addr add 10.$i.$j.1/24 dev p0; echo addr add fd00:$i:$j::1/64 dev p0 nodad; "
		"done; done; } | ip -batch -"));
	ip("link del old");
	ip("link add late type veth peer name late2");
	CHECK(dropped_events() > 0);
	UNTIL(link_named("late") && has_address("10.9.250.1"));
	CHECK_INT(count_addresses(), 2 * 9 * 250);
	CHECK(has_address("fd00:1:1::1") && has_address("fd00:9:250::1"));
	CHECK_INT(told(ROUTE_LINK_GONE, "old"), 1);
	CHECK_INT(told(ROUTE_LINK_GONE, "old2"), 1);
	CHECK_INT(told(ROUTE_LINK_NEW, "late"), 1);

	/* And events still come. */
	ip("link add after type veth peer name after2");
	UNTIL(link_named("after"));
	end();
}

TEST(lookups_are_fast)
{
	union sl_addr to;
	struct route_path path;
	uint64_t began, took;

	BEGIN();
	ip("link add p0 type veth peer name p1");
	ip("link set p0 up");
	ip("link set p1 up");
	ip("addr add 10.1.0.1/16 dev p0");
	follow();
	began = now_ms();
	for (int i = 0; i < 5000; i++) {
		CHECK_INT(addr_from_bytes((__u8[]){10, 1, i >> 8, i}, 4, &to), 0);
		CHECK_INT(route_lookup(t.route, &to, &path), 0);
	}
	took = now_ms() - began;
	printf("  5000 look-ups took %llu ms\n", (unsigned long long)took);
	CHECK(took < 1000);
	CHECK_INT(path.ifindex, if_nametoindex("p0"));
	end();
}
