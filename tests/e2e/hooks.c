// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tcx hooks of this network namespace, for tests: bpftool of Debian 12 does
 * not know tcx. `ingress` or `egress` is meant by DIRECTION.
 *
 *	hooks                             "INTERFACE DIRECTION COUNT" of each that has programs, one
 *	                                  a line; nothing on a kernel without tcx
 *	hooks order INTERFACE DIRECTION   names of the programs there, in running order
 *	hooks attach INTERFACE DIRECTION first|last PROGRAM LINK
 *	                                  attaches a pinned program and pins the link
 */
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "net.h"

#define TCX_INGRESS 46
#define TCX_EGRESS 47
#define F_BEFORE (1u << 3)
#define F_AFTER (1u << 4)
#define MAX_PROGRAMS 64

/* What older headers lack of union bpf_attr: BPF_LINK_CREATE at tcx. */
struct link_create_tcx {
	uint32_t prog_fd, target_fd, attach_type, flags;
	uint32_t relative_fd;
	uint32_t pad;
	uint64_t expected_revision;
};

static long bpf(int command, void *attr, size_t size)
{
	return syscall(SYS_bpf, command, attr, size);
}

static unsigned hook_of(const char *direction)
{
	return strcmp(direction, "egress") ? TCX_INGRESS : TCX_EGRESS;
}

/* How many programs are there; their ids, at most MAX_PROGRAMS. */
static unsigned programs_at(unsigned ifindex, unsigned hook, uint32_t *ids)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.query.target_fd = ifindex;
	attr.query.attach_type = hook;
	attr.query.prog_ids = (uintptr_t)ids;
	attr.query.prog_cnt = ids ? MAX_PROGRAMS : 0;
	if (bpf(BPF_PROG_QUERY, &attr, sizeof(attr)))
		return 0;
	return attr.query.prog_cnt;
}

static int list(void)
{
	struct if_nameindex *links = if_nameindex();

	for (struct if_nameindex *link = links; link && link->if_index; link++) {
		unsigned in = programs_at(link->if_index, TCX_INGRESS, NULL);
		unsigned out = programs_at(link->if_index, TCX_EGRESS, NULL);

		if (in)
			printf("%s ingress %u\n", link->if_name, in);
		if (out)
			printf("%s egress %u\n", link->if_name, out);
	}
	if_freenameindex(links);
	return 0;
}

static int print_name(uint32_t id)
{
	struct bpf_prog_info info = {0};
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_id = id;
	fd = bpf(BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));
	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uintptr_t)&info;
	if (fd < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)))
		return 1;
	puts(info.name);
	close(fd);
	return 0;
}

static int order(unsigned ifindex, unsigned hook)
{
	uint32_t ids[MAX_PROGRAMS];
	unsigned n = programs_at(ifindex, hook, ids);
	int status = 0;

	for (unsigned i = 0; i < n; i++)
		status |= print_name(ids[i]);
	return status;
}

static int attach(unsigned ifindex, unsigned hook, bool first, const char *program,
		  const char *pin)
{
	struct link_create_tcx create = {.target_fd = ifindex, .attach_type = hook,
					 .flags = first ? F_BEFORE : F_AFTER};
	union bpf_attr attr;
	int link;

	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uintptr_t)program;
	create.prog_fd = bpf(BPF_OBJ_GET, &attr, sizeof(attr));
	link = bpf(BPF_LINK_CREATE, &create, sizeof(create));
	if (link < 0) {
		perror("hooks: attach");
		return 1;
	}
	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uintptr_t)pin;
	attr.bpf_fd = link;
	if (bpf(BPF_OBJ_PIN, &attr, sizeof(attr))) {
		perror("hooks: pin");
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned ifindex = argc > 3 ? if_nametoindex(argv[2]) : 0;

	if (argc == 1)
		return list();
	if (argc == 4 && ifindex && !strcmp(argv[1], "order"))
		return order(ifindex, hook_of(argv[3]));
	if (argc == 7 && ifindex && !strcmp(argv[1], "attach"))
		return attach(ifindex, hook_of(argv[3]), !strcmp(argv[4], "first"), argv[5],
			      argv[6]);
	fprintf(stderr, "hooks: see the head of tests/e2e/hooks.c\n");
	return 2;
}
