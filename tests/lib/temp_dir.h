/* SPDX-License-Identifier: GPL-2.0-only */
/* For tests: a directory of our own, gone when the test is over. */
#ifndef SLUICE_TEST_TEMP_DIR_H
#define SLUICE_TEST_TEMP_DIR_H

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct temp_dir {
	char path[64];
	char cwd[384]; /* where the test was started */
};

static inline struct temp_dir temp_dir_new(void)
{
	struct temp_dir dir = {.path = "/tmp/sluice-test-XXXXXX"};

	if (!mkdtemp(dir.path) || !getcwd(dir.cwd, sizeof(dir.cwd)))
		perror("temp_dir_new"), exit(1);
	return dir;
}

static inline int temp_dir_remove_one(const char *path, const struct stat *st, int type,
				      struct FTW *walk)
{
	return remove(path);
}

static inline void temp_dir_done(struct temp_dir *dir)
{
	nftw(dir->path, temp_dir_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline const char *temp_dir_path(const struct temp_dir *dir, const char *name,
					char path[768])
{
	snprintf(path, 768, "%s/%s", dir->path, name);
	return path;
}

static inline void temp_dir_write(const struct temp_dir *dir, const char *name, const char *text)
{
	char path[768];
	FILE *file = fopen(temp_dir_path(dir, name, path), "w");

	if (!file || fputs(text, file) < 0 || fclose(file))
		perror(path), exit(1);
}

#endif
