// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the walk over our bpffs directory. Trusts the kernel, not the file's
 * place, about what kind of object a pin is. Removes nothing. Called by
 * `sluice bpf`, `sluice doctor`, and the agent about its links.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "pins.h"

#define LINK_TYPE_TCX 11 /* BPF_LINK_TYPE_TCX of kernel 6.6 */

/* The part of struct bpf_link_info that follows prog_id, for a tcx link (linux/bpf.h of 6.6). */
struct tcx_link_info {
	__u32 ifindex;
	__u32 attach_type;
};

/* What the kernel calls the descriptor; false when it is no BPF object. */
static bool object_kind(int fd, enum pin_kind *ret)
{
	static const char *const names[] = {
		[PIN_MAP] = "anon_inode:bpf-map",
		[PIN_PROGRAM] = "anon_inode:bpf-prog",
		[PIN_LINK] = "anon_inode:bpf-link",
	};
	char path[64], target[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return false;
	target[len] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(target, names[i])) {
			*ret = i;
			return true;
		}
	}
	return false;
}

/* The line "memlock:" of the descriptor's fdinfo: the only place that says it. */
static __u64 object_memory(int fd)
{
	unsigned long long bytes = 0;
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	if (file)
		fclose(file);
	return bytes;
}

static void replace(char *text, char from, char to)
{
	for (; (text = strchr(text, from)); text++)
		*text = to;
}

void pins_link_name(const char *interface, const char *hook, char ret[PINS_LINK_NAME_LEN])
{
	snprintf(ret, PINS_LINK_NAME_LEN, "%s-%s", interface, hook);
	replace(ret, '.', ':');
}

bool pins_link_interface(const char *name, char ret[IF_NAMESIZE])
{
	const char *suffix = strrchr(name, '-');

	if (!suffix || suffix - name >= IF_NAMESIZE)
		return false;
	snprintf(ret, IF_NAMESIZE, "%.*s", (int)(suffix - name), name);
	replace(ret, ':', '.');
	return true;
}

int pins_read_link(int fd, struct pin *pin)
{
	struct bpf_link_info info = {};
	struct tcx_link_info tcx;
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	pin->id = info.id;
	pin->program = info.prog_id;
	if (info.type == BPF_LINK_TYPE_XDP) {
		pin->ifindex = info.xdp.ifindex;
		pin->attach_type = BPF_XDP;
	}
	if (info.type != LINK_TYPE_TCX)
		return 0;
	memcpy(&tcx, &info.xdp, sizeof(tcx)); /* every kind's own part starts where this does */
	pin->ifindex = tcx.ifindex;
	pin->attach_type = tcx.attach_type;
	return 0;
}

static int read_map_or_program(int fd, struct pin *pin)
{
	union {
		struct bpf_map_info map;
		struct bpf_prog_info program;
	} info = {};
	__u32 len = pin->kind == PIN_MAP ? sizeof(info.map) : sizeof(info.program);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	pin->id = pin->kind == PIN_MAP ? info.map.id : info.program.id;
	pin->memory_bytes = object_memory(fd);
	return 0;
}

/* Tells of the pin at `path`. What vanished meanwhile, or is no BPF object, is passed over. */
static int read_pin(const char *path, pins_fn *fn, void *context)
{
	struct pin pin = {.name = strrchr(path, '/') + 1, .path = path};
	int fd = bpf_obj_get(path), err;

	if (fd < 0)
		return errno == ENOENT || errno == EISDIR ? 0 : -errno;
	if (!object_kind(fd, &pin.kind)) {
		close(fd);
		return 0;
	}
	err = pin.kind == PIN_LINK ? pins_read_link(fd, &pin) : read_map_or_program(fd, &pin);
	close(fd);
	if (!err)
		fn(context, &pin);
	return err;
}

static int is_pin(const struct dirent *entry)
{
	return entry->d_type != DT_DIR && entry->d_name[0] != '.';
}

static int list_directory(const char *directory, pins_fn *fn, void *context)
{
	struct dirent **entries;
	char path[PATH_MAX];
	int n = scandir(directory, &entries, is_pin, alphasort), err = 0;

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
		if (!err)
			err = read_pin(path, fn, context);
		free(entries[i]);
	}
	free(entries);
	return err;
}

int pins_list(const char *bpffs, pins_fn *fn, void *context)
{
	static const char *const parts[] = {"progs", "links"};
	char path[PATH_MAX];
	int err = list_directory(bpffs, fn, context);

	for (size_t i = 0; !err && i < sizeof(parts) / sizeof(parts[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", bpffs, parts[i]);
		err = list_directory(path, fn, context);
		if (err == -ENOENT) /* clsact leaves no links; a half-made directory has nothing */
			err = 0;
	}
	return err;
}
