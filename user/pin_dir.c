// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the directories of the pins. Refuses one that another user owns or may
 * write to: whoever can rename or unlink a pin decides where packets go.
 * Called by datapath.
 */
#include "pin_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char *const parts[] = {"", "/progs", "/links"};

#define PARTS (sizeof(parts) / sizeof(parts[0]))

int pin_dir_check(const char *path, char *error, size_t error_len)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), code;
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		code = -errno;
		snprintf(error, error_len, "cannot open the directory %s: %s%s", path,
			 strerror(-code), pin_dir_hint(code));
		if (fd >= 0)
			close(fd);
		return code;
	}
	close(fd);
	if (st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH)))
		return 0;
	snprintf(error, error_len,
		 "%s belongs to user %u and has mode %04o: others could change what is pinned there. "
		 "Remove it (rm -r %s), or name another directory with --bpffs", path, st.st_uid,
		 st.st_mode & 07777, path);
	return -EPERM;
}

const char *pin_dir_hint(int code)
{
	return code == -EPERM || code == -EACCES ? " (root is needed)" : "";
}

static int refuse_mkdir(const char *path, int code, char *error, size_t error_len)
{
	const char *slash = strrchr(path, '/');
	int parent = slash ? slash - path : 0;

	if (code == -ENOENT && parent)
		snprintf(error, error_len, "cannot make %s: %.*s is missing: make it first, or name "
			 "another directory with --bpffs", path, parent, path);
	else if (code == -EPERM && strchr(slash ? slash : path, '.'))
		snprintf(error, error_len, "cannot make %s: a bpf file system takes no dots in names: "
			 "name another directory with --bpffs", path);
	else if (code == -EACCES)
		snprintf(error, error_len, "cannot make %s: %s%s", path, strerror(-code),
			 pin_dir_hint(code));
	else
		snprintf(error, error_len, "cannot make %s: %s (is a bpffs mounted there? "
			 PIN_DIR_MOUNT ")", path, strerror(-code));
	return code;
}

static int refuse_file_system(const char *path, char *error, size_t error_len)
{
	snprintf(error, error_len, "%s is not in a bpf file system: mount one (" PIN_DIR_MOUNT
		 ") or name another with --bpffs", path);
	return -ENOTSUP;
}

static int make_part(const char *path, bool *ret_made, char *error, size_t error_len)
{
	struct statfs fs;

	*ret_made = !mkdir(path, 0700);
	if (!*ret_made && errno != EEXIST)
		return refuse_mkdir(path, -errno, error, error_len);
	if (!statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC)
		return pin_dir_check(path, error, error_len);
	return refuse_file_system(path, error, error_len);
}

int pin_dir_make(const char *path, char *error, size_t error_len)
{
	char part[PATH_MAX];
	bool made[PARTS] = {};
	unsigned n = 0;
	int code = 0;

	for (; n < PARTS && !code; n++) {
		snprintf(part, sizeof(part), "%s%s", path, parts[n]);
		code = make_part(part, &made[n], error, error_len);
	}
	while (code && n--) {
		snprintf(part, sizeof(part), "%s%s", path, parts[n]);
		if (made[n])
			rmdir(part);
	}
	return code;
}

int pin_dir_find(const char *path, char *error, size_t error_len)
{
	struct statfs fs;
	int code = statfs(path, &fs) ? -errno : 0;

	if (code == -ENOENT)
		return 0;
	if (code)
		snprintf(error, error_len, "cannot look at %s: %s%s", path, strerror(-code),
			 pin_dir_hint(code));
	else if (fs.f_type != BPF_FS_MAGIC)
		code = refuse_file_system(path, error, error_len);
	return code ?: 1;
}

int pin_dir_lock(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), code;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	code = errno == EWOULDBLOCK ? -EBUSY : -errno;
	close(fd);
	return code;
}

int pin_dir_remove(const char *path)
{
	char part[PATH_MAX];

	for (unsigned n = PARTS; n--;) {
		snprintf(part, sizeof(part), "%s%s", path, parts[n]);
		if (rmdir(part) && errno != ENOENT)
			return -errno;
	}
	return 0;
}
