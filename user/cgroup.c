// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds a pod's control group by its uid and reads its CPU time. Looks at nothing but directories
 * that can lead to pods, and writes nothing. Called by agent_failure.c, when a replica of this node
 * is down.
 */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 4 /* kubelet.slice / kubepods.slice / kubepods-burstable.slice / pod */

const char *const cgroup_roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified",
				    "/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct", NULL};

/* A uid is a path's part: nothing but letters, digits and dashes. */
static bool uid_is_plain(const char *uid)
{
	size_t len = strlen(uid);

	return len >= 8 && len <= 64 &&
	       strspn(uid, "0123456789-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == len;
}

/* Whether a directory's name ends with pod<uid>, perhaps as systemd writes it. */
static bool is_pod(const char *name, const char *uid)
{
	size_t len = strlen(name), uid_len = strlen(uid);

	if (len > 6 && !strcmp(name + len - 6, ".slice"))
		len -= 6;
	if (len < uid_len + 3 || strncmp(name + len - uid_len - 3, "pod", 3))
		return false;
	for (size_t i = 0; i < uid_len; i++) {
		char c = name[len - uid_len + i];

		if (c != uid[i] && !(c == '_' && uid[i] == '-'))
			return false;
	}
	return true;
}

static bool leads_to_pods(const char *name)
{
	return strstr(name, "kube") || strstr(name, "burstable") || strstr(name, "besteffort");
}

static int find_below(const char *dir, const char *uid, int depth, char *ret, size_t len)
{
	DIR *list = opendir(dir);
	const struct dirent *entry;
	int err = -ENOENT;
	char path[PATH_MAX];

	if (!list)
		return -ENOENT;
	while (err == -ENOENT && (entry = readdir(list))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.' ||
		    (size_t)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) >= sizeof(path))
			continue;
		if (is_pod(entry->d_name, uid))
			err = (size_t)snprintf(ret, len, "%s", path) < len ? 0 : -ENAMETOOLONG;
		else if (depth < DEPTH_MAX && leads_to_pods(entry->d_name))
			err = find_below(path, uid, depth + 1, ret, len);
	}
	closedir(list);
	return err;
}

int cgroup_find_pod(const char *const *roots, const char *uid, char *ret, size_t len)
{
	uint64_t ignored;
	int err;

	if (!uid || !uid_is_plain(uid))
		return -ENOENT;
	for (; *roots; roots++) {
		err = find_below(*roots, uid, 1, ret, len);
		if (!err && !cgroup_cpu_us(ret, &ignored)) /* one without a counter is no help */
			return 0;
		if (err && err != -ENOENT)
			return err;
	}
	return -ENOENT;
}

/* The number behind `word` (""; at the start) of a file. */
static int read_number(const char *path, const char *file, const char *word, uint64_t *ret)
{
	unsigned long long value;
	char name[PATH_MAX], line[256];
	size_t skip = strlen(word);
	int err = -ENODATA;
	FILE *stream;

	if ((size_t)snprintf(name, sizeof(name), "%s/%s", path, file) >= sizeof(name))
		return -ENAMETOOLONG;
	stream = fopen(name, "re");
	if (!stream)
		return -errno;
	while (err && fgets(line, sizeof(line), stream)) {
		if (strncmp(line, word, skip) || sscanf(line + skip, "%llu", &value) != 1)
			continue;
		*ret = value;
		err = 0;
	}
	fclose(stream);
	return err;
}

int cgroup_cpu_us(const char *path, uint64_t *ret)
{
	uint64_t value;
	int err = read_number(path, "cpu.stat", "usage_usec ", &value);

	if (!err) {
		*ret = value;
		return 0;
	}
	err = read_number(path, "cpuacct.usage", "", &value);
	if (!err)
		*ret = value / 1000;
	return err;
}
