// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the attachments at TC hooks and XDP and their pins: BPFFS/links/NAME-ingress,
 * NAME-egress and NAME-xdp (see pins.h). Never touches anybody else's program; leaves a qdisc that others
 * still use. Called by datapath alone.
 */
#include "attach.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netlink/socket.h>

#include "pins.h"
#include "route_query.h"
#include "tc_hooks.h"

/* Of linux/bpf.h as of 6.6; libbpf 1.1 passes them on unseen. */
#define F_BEFORE (1u << 3)
#define F_AFTER (1u << 4)

/* Ours among clsact filters: first at ingress, behind everybody at egress. */
#define CLSACT_HANDLE 0x51
#define CLSACT_PRIORITY_FIRST 1
#define CLSACT_PRIORITY_LAST 0xbfff

const char *const attach_role_names[ATTACH_ROLES] = {
	[ATTACH_NONE] = "none",
	[ATTACH_POD] = "pod",
	[ATTACH_UPLINK] = "uplink",
	[ATTACH_FABRIC] = "fabric",
	[ATTACH_FABRIC_L3] = "fabric without Ethernet",
	[ATTACH_NODE] = "node",
};

static void pin_path(const struct attach *attach, const char *name, const char *hook,
		     char path[PATH_MAX])
{
	char pin[PINS_LINK_NAME_LEN];

	pins_link_name(name, hook, pin);
	snprintf(path, PATH_MAX, "%s/%s", attach->links_dir, pin);
}

/* Unpinning alone would detach some time later: a new attachment would meet the old one. */
static int link_remove(const char *path)
{
	int fd = bpf_obj_get(path);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	bpf_link_detach(fd);
	close(fd);
	return unlink(path) ? -errno : 0;
}

/* The pinned link if it hangs on this interface; -ENOENT: none does. One that leads nowhere, or to
 * an interface that had the name before, goes. */
static int link_open(const char *path, int ifindex)
{
	struct pin pin = {};
	int fd = bpf_obj_get(path);

	if (fd < 0)
		return -errno;
	if (!pins_read_link(fd, &pin) && pin.ifindex == ifindex)
		return fd;
	close(fd);
	return link_remove(path) ?: -ENOENT;
}

/* Makes a link of program `fd`, and returns its descriptor, or -errno. */
typedef int link_create_fn(int ifindex, int fd);

static int tcx_create(int ifindex, bool egress, int prog_fd)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = egress ? F_AFTER : F_BEFORE);
	int fd = bpf_link_create(prog_fd, ifindex, egress ? TC_HOOKS_TCX_EGRESS : TC_HOOKS_TCX_INGRESS,
				 &opts);

	return fd < 0 ? -errno : fd;
}

static int tcx_ingress_create(int ifindex, int fd)
{
	return tcx_create(ifindex, false, fd);
}

static int tcx_egress_create(int ifindex, int fd)
{
	return tcx_create(ifindex, true, fd);
}

/* Native mode alone: generic XDP would copy packets, and cost more than it spares. */
static int xdp_create(int ifindex, int prog_fd)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	int fd = bpf_link_create(prog_fd, ifindex, BPF_XDP, &opts);

	return fd < 0 ? -errno : fd;
}

/* The link pinned at `path` gets this program, in place; without one, a new link is pinned there. */
static int link_attach(const char *path, int ifindex, int prog_fd, link_create_fn *create)
{
	int fd = link_open(path, ifindex), error = 0;

	if (fd >= 0) {
		error = bpf_link_update(fd, prog_fd, NULL) ? -errno : 0;
		close(fd);
		if (error != -ENOLINK)
			return error;
		unlink(path); /* its interface was deleted and came back as another */
	}
	fd = create(ifindex, prog_fd);
	if (fd < 0)
		return fd;
	if (bpf_obj_pin(fd, path)) {
		error = -errno;
		bpf_link_detach(fd);
	}
	close(fd);
	return error;
}

static void clsact_hook(int ifindex, bool egress, struct bpf_tc_hook *hook,
			struct bpf_tc_opts *opts)
{
	*hook = (struct bpf_tc_hook){.sz = sizeof(*hook), .ifindex = ifindex,
				     .attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS};
	*opts = (struct bpf_tc_opts){.sz = sizeof(*opts), .handle = CLSACT_HANDLE,
				     .priority = egress ? CLSACT_PRIORITY_LAST :
							  CLSACT_PRIORITY_FIRST};
}

static int clsact_attach(int ifindex, bool egress, int prog_fd)
{
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;
	int error;

	clsact_hook(ifindex, egress, &hook, &opts);
	error = bpf_tc_hook_create(&hook);
	if (error && error != -EEXIST)
		return error;
	opts.prog_fd = prog_fd;
	opts.flags = BPF_TC_F_REPLACE;
	return bpf_tc_attach(&hook, &opts);
}

/* The id of the program in our place at a hook; 0: none. */
static __u32 clsact_query(int ifindex, bool egress)
{
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;

	clsact_hook(ifindex, egress, &hook, &opts);
	return bpf_tc_query(&hook, &opts) ? 0 : opts.prog_id;
}

static int clsact_detach(int ifindex, bool egress)
{
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;
	int error;

	clsact_hook(ifindex, egress, &hook, &opts);
	error = bpf_tc_detach(&hook, &opts);
	return error == -ENOENT || error == -EINVAL || error == -ENODEV ? 0 : error;
}

int attach_hook(const struct attach *attach, int ifindex, const char *name, bool egress, int fd)
{
	char path[PATH_MAX];

	if (!attach->tcx)
		return clsact_attach(ifindex, egress, fd);
	pin_path(attach, name, egress ? "egress" : "ingress", path);
	return link_attach(path, ifindex, fd, egress ? tcx_egress_create : tcx_ingress_create);
}

int attach_xdp(const struct attach *attach, int ifindex, const char *name, int fd)
{
	char path[PATH_MAX];

	pin_path(attach, name, "xdp", path);
	return link_attach(path, ifindex, fd, xdp_create);
}

int detach_xdp(const struct attach *attach, const char *name)
{
	char path[PATH_MAX];

	pin_path(attach, name, "xdp", path);
	return link_remove(path);
}

int detach_hook(const struct attach *attach, int ifindex, const char *name, bool egress)
{
	char path[PATH_MAX];

	if (!attach->tcx)
		return clsact_detach(ifindex, egress);
	pin_path(attach, name, egress ? "egress" : "ingress", path);
	return link_remove(path);
}

static bool is_our_name(const char *name)
{
	static const char *const names[] = {"from_pod", "to_pod", "from_uplink", "to_uplink",
					    "from_fabric", "from_fabric_l3", "from_node"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* Whether program `id` is one of ours, of whatever agent's life: by its name. 1, 0, or -errno. */
static int is_our_program(__u32 id)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id), ours = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len))
		ours = is_our_name(info.name);
	close(fd);
	return ours;
}

static void count_clsact(void *context, const struct tc_hook *hook)
{
	*(unsigned *)context += !hook->tcx;
}

/* 1: ours was there, and is gone; 0: none, or another agent's; -errno. */
static int clsact_clear_hook(int ifindex, bool egress, const struct others *others)
{
	__u32 id = clsact_query(ifindex, egress);
	int ours = id && !others_directory(others, id) ? is_our_program(id) : 0;

	if (ours <= 0)
		return ours;
	return clsact_detach(ifindex, egress) ?: 1;
}

/* Our filters on one interface, then its clsact if nobody else uses it. */
static int clsact_clear(struct nl_sock *sock, int ifindex, const struct others *others,
			unsigned *removed)
{
	unsigned n = 0, strangers = 0;
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;
	int error, first = 0;

	for (int egress = 0; egress < 2; egress++) {
		error = clsact_clear_hook(ifindex, egress, others);
		if (error < 0)
			first = first ?: error;
		else
			n += error;
	}
	*removed += n;
	if (!n || tc_hooks_list(sock, ifindex, false, count_clsact, &strangers) ||
	    tc_hooks_list(sock, ifindex, true, count_clsact, &strangers) || strangers)
		return first;
	clsact_hook(ifindex, false, &hook, &opts);
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	error = bpf_tc_hook_destroy(&hook);
	error = error == -ENOENT || error == -EINVAL ? 0 : error;
	return first ?: error;
}

struct hidden {
	const struct others *others;
	unsigned n;
};

static void count_hidden(void *context, const struct tc_hook *hook)
{
	struct hidden *hidden = context;

	hidden->n += hook->tcx && is_our_name(hook->name) &&
		     !others_directory(hidden->others, hook->program);
}

/* Ours at tcx of one interface, once all that we know is gone: by links whose pins are out of sight. */
static int find_hidden(struct nl_sock *sock, int ifindex, const struct others *others)
{
	struct hidden hidden = {.others = others};
	int error = tc_hooks_list(sock, ifindex, false, count_hidden, &hidden);

	error = error ?: tc_hooks_list(sock, ifindex, true, count_hidden, &hidden);
	if (error)
		return error == -ENODEV ? 0 : error;
	return hidden.n ? -EOWNERDEAD : 0;
}

int attach_prune(const struct attach *attach, attach_wanted_fn *wanted, void *context)
{
	char path[PATH_MAX], name[IF_NAMESIZE];
	struct dirent *entry;
	DIR *links = opendir(attach->links_dir);
	int error, first = 0;

	if (!links)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(links))) {
		if (entry->d_name[0] == '.' || !pins_link_interface(entry->d_name, name) ||
		    wanted(context, name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", attach->links_dir, entry->d_name);
		error = link_remove(path);
		first = first ?: error;
	}
	closedir(links);
	return first;
}

static bool nobody_wants(void *context, const char *name)
{
	return false;
}

int detach_all(const struct attach *attach, const struct others *others, unsigned *removed)
{
	struct if_nameindex *links;
	struct nl_sock *sock;
	int first = attach_prune(attach, nobody_wants, NULL), error = route_query_open(&sock);

	if (error)
		return first ?: error;
	links = if_nameindex();
	for (struct if_nameindex *link = links; link && link->if_index; link++) {
		error = clsact_clear(sock, link->if_index, others, removed);
		first = first ?: error;
		error = find_hidden(sock, link->if_index, others);
		first = first ?: error;
	}
	if_freenameindex(links);
	nl_socket_free(sock);
	return first;
}

bool attach_has_tcx(void)
{
	const char *forced = getenv("SLUICE_FORCE_CLSACT");

	return !(forced && !strcmp(forced, "1")) && tc_hooks_have_tcx() == 1;
}
