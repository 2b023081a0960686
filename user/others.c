// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the walk over the bpf file systems in search of other agents' directories: one has a map
 * `control` and a directory `progs`. Reads only. Called by datapath and by `sluiced --unload`.
 */
#include "others.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <mntent.h>
#include <net/if.h>
#include <netlink/socket.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "pins.h"
#include "route_query.h"
#include "tc_hooks.h"

#define MAX_DEPTH 8

struct others_program {
	__u32 id;
	char directory[PATH_MAX];
};

struct walk {
	struct others *others;
	const char *directory; /* whose pins are listed */
	struct stat own;       /* our directory; st_ino 0: there is none */
	int error;
};

static void note_pin(void *context, const struct pin *pin)
{
	struct walk *walk = context;
	struct others *others = walk->others;
	__u32 id = pin->kind == PIN_PROGRAM ? pin->id : pin->kind == PIN_LINK ? pin->program : 0;
	struct others_program *grown;

	if (!id || walk->error || others_directory(others, id))
		return;
	grown = reallocarray(others->programs, others->n + 1, sizeof(*grown));
	if (!grown) {
		walk->error = -ENOMEM;
		return;
	}
	others->programs = grown;
	grown[others->n].id = id;
	snprintf(grown[others->n++].directory, PATH_MAX, "%s", walk->directory);
}

static bool has(const char *directory, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return access(path, F_OK) == 0;
}

static bool is_own(const struct walk *walk, const char *directory)
{
	struct stat st;

	return walk->own.st_ino && !stat(directory, &st) && st.st_dev == walk->own.st_dev &&
	       st.st_ino == walk->own.st_ino;
}

/* What goes away meanwhile is not there. */
static int visit(struct walk *walk, const char *directory, unsigned depth)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *entries;
	int error = 0;

	if (is_own(walk, directory) || depth > MAX_DEPTH)
		return 0;
	if (has(directory, "control") && has(directory, "progs")) {
		walk->directory = directory;
		error = pins_list(directory, note_pin, walk);
		return error && error != -ENOENT ? error : walk->error;
	}
	entries = opendir(directory);
	if (!entries)
		return errno == ENOENT ? 0 : -errno;
	while (!error && (entry = readdir(entries))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		error = visit(walk, path, depth + 1);
	}
	closedir(entries);
	return error;
}

int others_find(const char *bpffs, struct others *ret)
{
	struct walk walk = {.others = ret};
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	struct statfs fs;
	int error = 0;

	*ret = (struct others){};
	if (!mounts)
		return -errno;
	if (stat(bpffs, &walk.own))
		walk.own.st_ino = 0;
	while (!error && (mount = getmntent(mounts)))
		/* another mount may hide this one */
		if (!strcmp(mount->mnt_type, "bpf") && !statfs(mount->mnt_dir, &fs) &&
		    fs.f_type == BPF_FS_MAGIC)
			error = visit(&walk, mount->mnt_dir, 0);
	endmntent(mounts);
	return error;
}

void others_done(struct others *others)
{
	free(others->programs);
}

const char *others_directory(const struct others *others, __u32 program)
{
	for (size_t i = 0; i < others->n; i++)
		if (others->programs[i].id == program)
			return others->programs[i].directory;
	return NULL;
}

struct search {
	const struct others *others;
	const char *directory;
};

static void note_hook(void *context, const struct tc_hook *hook)
{
	struct search *search = context;

	search->directory = search->directory ?: others_directory(search->others, hook->program);
}

int others_at(const char *bpffs, const char *device, char ret[PATH_MAX])
{
	struct others others = {};
	struct search search = {.others = &others};
	struct nl_sock *sock;
	int ifindex = if_nametoindex(device), error;

	if (!ifindex)
		return 0;
	error = route_query_open(&sock);
	if (error)
		return error;
	error = others_find(bpffs, &others);
	error = error ?: tc_hooks_list(sock, ifindex, true, note_hook, &search);
	if (!error && search.directory)
		error = snprintf(ret, PATH_MAX, "%s", search.directory) > 0;
	others_done(&others);
	nl_socket_free(sock);
	return error == -ENODEV ? 0 : error;
}
