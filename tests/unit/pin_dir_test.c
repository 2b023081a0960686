// SPDX-License-Identifier: GPL-2.0-only
/* Whose directory may hold our pins. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "pin_dir.h"

static char directory[] = "/tmp/pin_dir_test.XXXXXX";

static void begin(void)
{
	strcpy(strrchr(directory, '.'), ".XXXXXX");
	CHECK(mkdtemp(directory));
}

TEST(our_own_is_taken)
{
	char error[1024] = "";

	begin();
	CHECK_INT(pin_dir_check(directory, error, sizeof(error)), 0);
	CHECK_STR(error, "");
	rmdir(directory);
}

TEST(what_others_may_write_is_refused)
{
	static const mode_t modes[] = {0720, 0702, 01777};
	char error[1024];

	begin();
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		chmod(directory, modes[i]);
		CHECK_INT(pin_dir_check(directory, error, sizeof(error)), -EPERM);
		CHECK(strstr(error, directory) && strstr(error, "--bpffs"));
	}
	rmdir(directory);
}

TEST(another_users_is_refused)
{
	char error[1024];

	if (geteuid())
		SKIP("only root can give a directory away");
	begin();
	CHECK_INT(chown(directory, 65534, 65534), 0);
	CHECK_INT(pin_dir_check(directory, error, sizeof(error)), -EPERM);
	CHECK(strstr(error, "user 65534"));
	rmdir(directory);
}

TEST(a_link_to_a_directory_is_refused)
{
	char error[1024], link[64];

	begin();
	snprintf(link, sizeof(link), "%s.link", directory);
	CHECK_INT(symlink(directory, link), 0);
	CHECK(pin_dir_check(link, error, sizeof(error)) < 0);
	unlink(link);
	rmdir(directory);
}

TEST(nothing_is_left_outside_a_bpf_file_system)
{
	char error[1024], path[64];

	begin();
	snprintf(path, sizeof(path), "%s/sluice", directory);
	CHECK_INT(pin_dir_make(path, error, sizeof(error)), -ENOTSUP);
	CHECK(strstr(error, "mount -t bpf -o mode=700 bpf /sys/fs/bpf")); /* as README and SECURITY say */
	CHECK(access(path, F_OK));
	CHECK_INT(rmdir(directory), 0);
}

/* --unload must neither say that all is gone where it never was, nor touch files of others. */
TEST(pins_are_sought_in_a_bpf_file_system_only)
{
	char error[1024] = "", path[64];

	begin();
	snprintf(path, sizeof(path), "%s/sluice", directory);
	CHECK_INT(pin_dir_find(path, error, sizeof(error)), 0);
	CHECK_STR(error, "");
	CHECK_INT(pin_dir_find(directory, error, sizeof(error)), -ENOTSUP);
	CHECK(strstr(error, directory) && strstr(error, "--bpffs"));
	snprintf(path, sizeof(path), "%s/file", directory);
	fclose(fopen(path, "w"));
	strcat(path, "/sluice");
	CHECK_INT(pin_dir_find(path, error, sizeof(error)), -ENOTDIR);
	*strrchr(path, '/') = '\0';
	unlink(path);
	rmdir(directory);
}

TEST(a_missing_parent_is_named)
{
	char error[1024], path[64], expected[64];

	begin();
	snprintf(path, sizeof(path), "%s/a/b", directory);
	snprintf(expected, sizeof(expected), "%s/a is missing", directory);
	CHECK_INT(pin_dir_make(path, error, sizeof(error)), -ENOENT);
	CHECK(strstr(error, expected));
	rmdir(directory);
}
