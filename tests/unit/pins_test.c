// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is pinned and what sits at a TC hook, against real maps, programs, tcx
 * links and clsact filters in a network and a mount namespace of each test's
 * own, which end with it. Needs root, and tcx (kernel 6.6).
 */
#include <errno.h>
#include <net/if.h>
#include <netlink/socket.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "check.h"
#include "pins.h"
#include "route_query.h"
#include "tc_hooks.h"

#define MAX_SEEN 32

static char bpffs[] = "/tmp/sluice-pins-XXXXXX";

static struct {
	struct pin pins[MAX_SEEN];
	char names[MAX_SEEN][64];
	size_t n_pins;
	struct tc_hook hooks[MAX_SEEN];
	size_t n_hooks;
} seen;

static void see_pin(void *context, const struct pin *pin)
{
	CHECK(context == &seen);
	if (seen.n_pins == MAX_SEEN)
		return;
	snprintf(seen.names[seen.n_pins], sizeof(seen.names[0]), "%s", pin->name);
	CHECK(!strncmp(pin->path, bpffs, strlen(bpffs)));
	seen.pins[seen.n_pins++] = *pin;
}

static int list_pins(void)
{
	seen.n_pins = 0;
	return pins_list(bpffs, see_pin, &seen);
}

static const struct pin *pin_named(const char *name)
{
	static const struct pin none = {.id = 0};

	for (size_t i = 0; i < seen.n_pins; i++)
		if (!strcmp(seen.names[i], name))
			return &seen.pins[i];
	return &none;
}

static void see_hook(void *context, const struct tc_hook *hook)
{
	if (seen.n_hooks < MAX_SEEN)
		seen.hooks[seen.n_hooks++] = *hook;
}

static int list_hooks(int ifindex, bool egress)
{
	struct nl_sock *sock;
	int err = route_query_open(&sock);

	seen.n_hooks = 0;
	if (err)
		return err;
	err = tc_hooks_list(sock, ifindex, egress, see_hook, NULL);
	nl_socket_free(sock);
	return err;
}

__attribute__((format(printf, 1, 2))) static void run(const char *format, ...)
{
	char command[512];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	if (system(command))
		printf("  failed: %s\n", command), check_failed = true;
}

static bool begin(void)
{
	char path[128];

	if (geteuid() || unshare(CLONE_NEWNS | CLONE_NEWNET) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return false;
	strcpy(bpffs + strlen(bpffs) - 6, "XXXXXX");
	if (!mkdtemp(bpffs) || mount("bpf", bpffs, "bpf", 0, NULL))
		return false;
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", bpffs, i ? "progs" : "links");
		CHECK_INT(mkdir(path, 0700), 0);
	}
	run("ip link add p0 type veth peer name p1 && ip link set p0 up");
	return true;
}

static void end(void)
{
	CHECK_INT(umount(bpffs), 0);
	CHECK_INT(rmdir(bpffs), 0);
}

#define BEGIN()                                                                                    \
	do {                                                                                       \
		if (!begin())                                                                      \
			SKIP("needs root for namespaces of its own");                              \
	} while (0)

/* "return -1" (TCX_NEXT), pinned as progs/NAME. Returns its descriptor. */
static int pin_program(const char *name)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", insns, 2, NULL);
	char path[128];

	snprintf(path, sizeof(path), "%s/progs/%s", bpffs, name);
	CHECK(fd >= 0);
	CHECK_INT(bpf_obj_pin(fd, path), 0);
	return fd;
}

/* The program `fd` at a tcx hook of p0, pinned as links/NAME; false where there is no tcx. */
static bool pin_link(int fd, __u32 attach_type, const char *name)
{
	char path[128];
	int link = bpf_link_create(fd, if_nametoindex("p0"), attach_type, NULL);

	if (link < 0)
		return false;
	snprintf(path, sizeof(path), "%s/links/%s", bpffs, name);
	CHECK_INT(bpf_obj_pin(link, path), 0);
	close(link);
	return true;
}

TEST(no_directory)
{
	CHECK_INT(pins_list("/sys/fs/bpf/sluice-that-is-not-there", see_pin, &seen), -ENOENT);
}

TEST(maps_and_programs)
{
	int map, program;
	char path[128];

	BEGIN();
	CHECK_INT(list_pins(), 0);
	CHECK_INT(seen.n_pins, 0);
	map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "cut_short", 4, 4096, 100, NULL);
	snprintf(path, sizeof(path), "%s/%s", bpffs, "a_name_longer_than_the_kernels");
	CHECK_INT(bpf_obj_pin(map, path), 0);
	program = pin_program("looks");
	CHECK_INT(list_pins(), 0);
	CHECK_INT(seen.n_pins, 2);
	CHECK_INT(pin_named("a_name_longer_than_the_kernels")->kind, PIN_MAP);
	CHECK(pin_named("a_name_longer_than_the_kernels")->id > 0);
	CHECK(pin_named("a_name_longer_than_the_kernels")->memory_bytes >= 409600);
	CHECK_INT(pin_named("looks")->kind, PIN_PROGRAM);
	CHECK(pin_named("looks")->id > 0 && pin_named("looks")->memory_bytes >= 4096);
	close(map);
	close(program);
	end();
}

TEST(tcx_links)
{
	int program, p0;

	BEGIN();
	p0 = if_nametoindex("p0");
	program = pin_program("first");
	if (!pin_link(program, TC_HOOKS_TCX_INGRESS, "p0-ingress")) {
		CHECK_INT(tc_hooks_have_tcx(), 0);
		end();
		SKIP("this kernel has no tcx");
	}
	CHECK(pin_link(program, TC_HOOKS_TCX_EGRESS, "p0-egress"));
	CHECK_INT(tc_hooks_have_tcx(), 1);
	CHECK_INT(list_pins(), 0);
	CHECK_INT(seen.n_pins, 3);
	CHECK_INT(pin_named("p0-ingress")->kind, PIN_LINK);
	CHECK_INT(pin_named("p0-ingress")->ifindex, p0);
	CHECK_INT(pin_named("p0-ingress")->attach_type, TC_HOOKS_TCX_INGRESS);
	CHECK_INT(pin_named("p0-egress")->attach_type, TC_HOOKS_TCX_EGRESS);
	CHECK_INT(pin_named("p0-egress")->program, pin_named("first")->id);
	CHECK(pin_named("p0-egress")->id != pin_named("p0-ingress")->id);

	run("ip link del p0");
	CHECK_INT(list_pins(), 0);
	CHECK_INT(seen.n_pins, 3);
	CHECK_INT(pin_named("p0-ingress")->ifindex, 0);
	close(program);
	end();
}

TEST(hooks_in_running_order)
{
	int first, second, p0;

	BEGIN();
	p0 = if_nametoindex("p0");
	CHECK_INT(list_hooks(p0, false), 0);
	CHECK_INT(seen.n_hooks, 0);
	first = pin_program("first");
	second = pin_program("second");
	if (!pin_link(first, TC_HOOKS_TCX_INGRESS, "p0-ingress")) {
		end();
		SKIP("this kernel has no tcx");
	}
	CHECK(pin_link(second, TC_HOOKS_TCX_INGRESS, "p0-ingress-2"));
	run("tc qdisc add dev p0 clsact");
	run("tc filter add dev p0 ingress pref 7 bpf da pinned %s/progs/second", bpffs);
	run("tc filter add dev p0 ingress pref 9 protocol all u32 match u32 0 0");
	run("tc filter add dev p0 egress pref 3 bpf da pinned %s/progs/first", bpffs);
	CHECK_INT(list_pins(), 0);

	CHECK_INT(list_hooks(p0, false), 0);
	CHECK_INT(seen.n_hooks, 4);
	CHECK(seen.hooks[0].tcx && seen.hooks[1].tcx);
	CHECK_STR(seen.hooks[0].name, "first");
	CHECK_STR(seen.hooks[1].name, "second");
	CHECK_INT(seen.hooks[0].program, pin_named("first")->id);
	CHECK(!seen.hooks[2].tcx);
	CHECK_INT(seen.hooks[2].program, pin_named("second")->id);
	CHECK_INT(seen.hooks[2].priority, 7);
	CHECK_INT(seen.hooks[3].program, 0);
	CHECK_STR(seen.hooks[3].name, "u32");

	CHECK_INT(list_hooks(p0, true), 0);
	CHECK_INT(seen.n_hooks, 1);
	CHECK_INT(seen.hooks[0].program, pin_named("first")->id);
	CHECK_INT(list_hooks(if_nametoindex("p1"), false), 0);
	CHECK_INT(seen.n_hooks, 0);
	close(first);
	close(second);
	end();
}

TEST(hooks_of_no_interface)
{
	BEGIN();
	CHECK_INT(list_hooks(4711, false), -ENODEV);
	end();
}
