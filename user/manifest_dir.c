// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lists the files of a directory, and decodes those that are not as they were
 * when they were decoded last. Refuses the directory whole when any of it is bad;
 * what the good files say stays decoded. Called by discovery.
 *
 * A file is as it was if device, inode, size and both times are. Times have a
 * grain: of a file that was young when it was read, a later write may have left
 * the same ones, so it is read again and its bytes are compared, by their hash.
 */
#include "manifest_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fnv.h"
#include "objects.h"

#define GRAIN_S 2 /* FAT's; most file systems have some milliseconds */

struct manifest {
	char *name;
	struct object_batch *batch; /* NULL: not decoded, or bad */
	struct stat stat;           /* when it was read */
	uint64_t hash;              /* of its bytes */
	bool young;                 /* it was, then */
};

struct manifest_dir {
	char *path;
	struct objects *objects;
	struct manifest *files; /* by name */
	size_t n;
	uint64_t decoded, changes;
};

bool manifest_dir_takes(const char *name)
{
	const char *suffix = strrchr(name, '.');

	return *name != '.' && suffix &&
	       (!strcmp(suffix, ".yaml") || !strcmp(suffix, ".yml") || !strcmp(suffix, ".json"));
}

int manifest_dir_new(const char *path, struct manifest_dir **ret)
{
	struct manifest_dir *dir = calloc(1, sizeof(*dir));

	if (!dir)
		return -ENOMEM;
	dir->path = strdup(path);
	if (!dir->path || objects_new(&dir->objects)) {
		manifest_dir_free(dir);
		return -ENOMEM;
	}
	*ret = dir;
	return 0;
}

void manifest_dir_free(struct manifest_dir *dir)
{
	if (!dir)
		return;
	for (size_t i = 0; i < dir->n; i++)
		free(dir->files[i].name);
	free(dir->files);
	free(dir->path);
	objects_free(dir->objects);
	free(dir);
}

uint64_t manifest_dir_decoded(const struct manifest_dir *dir)
{
	return dir->decoded;
}

uint64_t manifest_dir_changes(const struct manifest_dir *dir)
{
	return dir->changes;
}

static int refuse_errno(struct diag *diag, const char *path, const char *what, int err)
{
	return diag_set(diag, path, 0, NULL, "%s: %s; see that it is there and readable", what,
			strerror(err));
}

/* ---- one file ------------------------------------------------------------------------------*/

/* Exactly `size` bytes, or up to the end if the file shrank meanwhile. */
static ssize_t read_all(int fd, char *bytes, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size) {
		n = read(fd, bytes + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

/* Read, not mapped: a mapped file that its editor truncates would end us with SIGBUS. */
static int read_open_file(int fd, const char *path, struct stat *ret_stat, char **ret,
			  size_t *ret_len, struct diag *diag)
{
	char *bytes;
	ssize_t len;

	if (fstat(fd, ret_stat))
		return refuse_errno(diag, path, "cannot be read", errno);
	if (!S_ISREG(ret_stat->st_mode))
		return diag_set(diag, path, 0, NULL,
				"is not a regular file; take it out or rename it");
	if (ret_stat->st_size > YAML_MAX_BYTES)
		return diag_set(diag, path, 0, NULL,
				"is larger than 64 MiB; split it into several files");
	bytes = malloc((size_t)ret_stat->st_size + 1);
	if (!bytes)
		return -ENOMEM;
	len = read_all(fd, bytes, (size_t)ret_stat->st_size);
	if (len < 0) {
		free(bytes);
		return refuse_errno(diag, path, "cannot be read", (int)-len);
	}
	bytes[len] = '\0';
	*ret = bytes;
	*ret_len = (size_t)len;
	return 0;
}

static int read_file(const char *path, struct stat *ret_stat, char **ret, size_t *ret_len,
		     struct diag *diag)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int err;

	if (fd < 0)
		return refuse_errno(diag, path, "cannot be opened", errno);
	err = read_open_file(fd, path, ret_stat, ret, ret_len, diag);
	close(fd);
	return err;
}

static void forget(struct manifest_dir *dir, struct manifest *file)
{
	if (!file->batch)
		return;
	objects_remove(dir->objects, file->batch);
	file->batch = NULL;
	dir->changes++;
}

static void drop(struct manifest_dir *dir, struct manifest *file)
{
	forget(dir, file);
	free(file->name);
}

/* What the file says takes the place of what it said. */
static int decode(struct manifest_dir *dir, struct manifest *file, const char *path,
		  const char *bytes, size_t len, struct diag *diag)
{
	struct object_batch *batch;
	int err;

	forget(dir, file);
	err = object_batch_new(path, &batch);
	if (err)
		return err;
	dir->decoded++;
	err = object_batch_read(batch, bytes, len, diag);
	if (!err)
		err = objects_put(dir->objects, batch);
	if (err) {
		object_batch_free(batch);
		return err;
	}
	file->batch = batch;
	dir->changes++;
	return 0;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Whether it must be what was decoded. */
static bool is_unchanged(const struct manifest *file, const char *path)
{
	const struct stat *was = &file->stat;
	struct stat now;

	return file->batch && !file->young && !stat(path, &now) && was->st_dev == now.st_dev &&
	       was->st_ino == now.st_ino && was->st_size == now.st_size &&
	       same_time(&was->st_mtim, &now.st_mtim) && same_time(&was->st_ctim, &now.st_ctim);
}

static int read_again(struct manifest_dir *dir, struct manifest *file, const char *path,
		      struct diag *diag)
{
	time_t since = time(NULL) - GRAIN_S; /* before it is read: what is written meanwhile is younger */
	off_t size = file->stat.st_size;
	char *bytes = NULL;
	size_t len = 0;
	uint64_t hash;
	int err = read_file(path, &file->stat, &bytes, &len, diag);

	if (err) {
		forget(dir, file);
		return err;
	}
	hash = fnv_add(FNV_START, bytes, len);
	if (!file->batch || size != file->stat.st_size || hash != file->hash)
		err = decode(dir, file, path, bytes, len, diag);
	file->hash = hash;
	file->young = file->stat.st_mtim.tv_sec >= since || file->stat.st_ctim.tv_sec >= since;
	free(bytes);
	return err;
}

static int refresh(struct manifest_dir *dir, struct manifest *file, struct diag *diag)
{
	size_t len = strlen(dir->path);
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s%s%s", dir->path,
		     len && dir->path[len - 1] == '/' ? "" : "/", file->name) >= (int)sizeof(path))
		return diag_set(diag, dir->path, 0, NULL, "its path is too long; move it up");
	return is_unchanged(file, path) ? 0 : read_again(dir, file, path, diag);
}

/* ---- all of them ---------------------------------------------------------------------------*/

static int is_manifest(const struct dirent *entry)
{
	return manifest_dir_takes(entry->d_name);
}

/* As the files are sorted, whatever the locale. */
static int compare_entries(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* The file of this name, from `*at` on; those that come before it are gone. */
static struct manifest take_file(struct manifest_dir *dir, const char *name, size_t *at)
{
	while (*at < dir->n && strcmp(dir->files[*at].name, name) < 0)
		drop(dir, &dir->files[(*at)++]);
	if (*at < dir->n && !strcmp(dir->files[*at].name, name))
		return dir->files[(*at)++];
	return (struct manifest){.name = strdup(name)};
}

/* The files become those of the list. */
static int take_list(struct manifest_dir *dir, struct dirent **entries, size_t n)
{
	struct manifest *files = calloc(n + 1, sizeof(*files));
	size_t at = 0, kept = 0;

	if (!files)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		files[kept] = take_file(dir, entries[i]->d_name, &at);
		kept += files[kept].name != NULL;
	}
	while (at < dir->n)
		drop(dir, &dir->files[at++]);
	free(dir->files);
	dir->files = files;
	dir->n = kept;
	return kept == n ? 0 : -ENOMEM;
}

static int list(struct manifest_dir *dir, struct diag *diag)
{
	struct dirent **entries;
	int n = scandir(dir->path, &entries, is_manifest, compare_entries), err;

	if (n < 0)
		return errno == ENOMEM ? -ENOMEM
				       : refuse_errno(diag, dir->path, "cannot be listed", errno);
	err = take_list(dir, entries, (size_t)n);
	for (int i = 0; i < n; i++)
		free(entries[i]);
	free(entries);
	return err;
}

int manifest_dir_read(struct manifest_dir *dir, const struct objects **ret, struct diag *diag)
{
	int err = list(dir, diag);

	for (size_t i = 0; i < dir->n && !err; i++)
		err = refresh(dir, &dir->files[i], diag);
	if (err) {
		objects_flush(dir->objects);
		return err;
	}
	err = objects_seal(dir->objects, diag);
	if (!err)
		*ret = dir->objects;
	return err;
}
