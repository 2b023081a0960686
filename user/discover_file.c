// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads a directory of manifests into a desired state: lists the files, reads
 * each whole, decodes its documents, compiles the policy. Refuses the directory
 * whole when any of it is bad. Called by the watch (discover_watch.c) and by
 * `sluice check`.
 */
#include "discover_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "objects.h"
#include "yaml.h"

bool discover_file_is_manifest(const char *name)
{
	const char *suffix = strrchr(name, '.');

	return *name != '.' && suffix &&
	       (!strcmp(suffix, ".yaml") || !strcmp(suffix, ".yml") || !strcmp(suffix, ".json"));
}

static int is_manifest(const struct dirent *entry)
{
	return discover_file_is_manifest(entry->d_name);
}

static int refuse_errno(struct diag *diag, const char *path, const char *what, int err)
{
	return diag_set(diag, path, 0, NULL, "%s: %s; see that it is there and readable", what,
			strerror(err));
}

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
static int read_open_file(int fd, const char *path, char **ret, size_t *ret_len, struct diag *diag)
{
	struct stat st;
	char *bytes;
	ssize_t len;

	if (fstat(fd, &st))
		return refuse_errno(diag, path, "cannot be read", errno);
	if (!S_ISREG(st.st_mode))
		return diag_set(diag, path, 0, NULL,
				"is not a regular file; take it out or rename it");
	if (st.st_size > YAML_MAX_BYTES)
		return diag_set(diag, path, 0, NULL,
				"is larger than 64 MiB; split it into several files");
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes)
		return -ENOMEM;
	len = read_all(fd, bytes, (size_t)st.st_size);
	if (len < 0) {
		free(bytes);
		return refuse_errno(diag, path, "cannot be read", (int)-len);
	}
	bytes[len] = '\0';
	*ret = bytes;
	*ret_len = (size_t)len;
	return 0;
}

static int read_file(const char *path, char **ret, size_t *ret_len, struct diag *diag)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int err;

	if (fd < 0)
		return refuse_errno(diag, path, "cannot be opened", errno);
	err = read_open_file(fd, path, ret, ret_len, diag);
	close(fd);
	return err;
}

static int add_documents(struct objects *objects, const char *path, const char *bytes, size_t len,
			 struct diag *diag)
{
	const struct yaml_node *document = NULL;
	struct yaml *yaml;
	int err = yaml_open(bytes, len, path, &yaml, diag);

	if (err)
		return err;
	do {
		err = yaml_next(yaml, &document, diag);
		if (!err && document)
			err = objects_add(objects, document, path, diag);
	} while (!err && document);
	yaml_close(yaml);
	return err;
}

static int add_file(struct objects *objects, const char *dir, const char *name, struct diag *diag)
{
	size_t dir_len = strlen(dir), len = 0;
	char path[PATH_MAX], *bytes = NULL;
	int err;

	if (snprintf(path, sizeof(path), "%s%s%s", dir,
		     dir_len && dir[dir_len - 1] == '/' ? "" : "/", name) >= (int)sizeof(path))
		return diag_set(diag, dir, 0, NULL, "its path is too long; move it up");
	err = read_file(path, &bytes, &len, diag);
	if (!err)
		err = add_documents(objects, path, bytes, len, diag);
	free(bytes);
	return err;
}

static int add_directory(struct objects *objects, const char *dir, struct diag *diag)
{
	struct dirent **entries;
	int n = scandir(dir, &entries, is_manifest, alphasort), err = 0;

	if (n < 0)
		return errno == ENOMEM ? -ENOMEM
				       : refuse_errno(diag, dir, "cannot be listed", errno);
	for (int i = 0; i < n; i++) {
		if (!err)
			err = add_file(objects, dir, entries[i]->d_name, diag);
		free(entries[i]);
	}
	free(entries);
	return err;
}

int discover_file_load(const char *dir, const struct policy_options *options,
		       struct verdicts *verdicts, struct model **ret, struct diag *diag)
{
	struct objects *objects;
	int err = objects_new(&objects);

	if (err)
		return err;
	err = add_directory(objects, dir, diag);
	if (!err)
		err = objects_seal(objects, diag);
	if (!err)
		err = policy_compile(objects, options, verdicts, ret, diag);
	objects_free(objects);
	return err;
}
