// SPDX-License-Identifier: GPL-2.0-only
/* A pod's control group, found among directories as the kubelet makes them, and its counter. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "check.h"

#define UID "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
#define UID_SYSTEMD "0b1c2d3e_4f50_6172_8394_a5b6c7d8e9f0"

static const char *const layouts[] = {
	"kubepods/pod" UID,
	"kubepods/burstable/pod" UID,
	"kubepods.slice/kubepods-pod" UID_SYSTEMD ".slice",
	"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_SYSTEMD ".slice",
	"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
	"kubelet-kubepods-burstable-pod" UID_SYSTEMD ".slice",
};

static void make_dirs(const char *root, const char *path)
{
	char whole[PATH_MAX];

	snprintf(whole, sizeof(whole), "%s/%s", root, path);
	for (char *at = whole + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(whole, 0755);
		*at = '/';
	}
	CHECK_INT(mkdir(whole, 0755), 0);
}

static void write_file(const char *dir, const char *path, const char *name, const char *text)
{
	char whole[PATH_MAX];
	FILE *file;

	snprintf(whole, sizeof(whole), "%s/%s/%s", dir, path, name);
	file = fopen(whole, "w");
	CHECK(file);
	if (!file)
		return;
	fputs(text, file);
	fclose(file);
}

TEST(every_layout_of_the_kubelets)
{
	for (unsigned i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		char root[] = "/tmp/sluice-cgroup-XXXXXX", found[PATH_MAX], wanted[PATH_MAX];
		char command[PATH_MAX];
		const char *roots[] = {"/nowhere", root, NULL};
		uint64_t cpu_us;

		CHECK(mkdtemp(root));
		make_dirs(root, "system.slice/pod" UID); /* no place for pods */
		make_dirs(root, layouts[i]);
		CHECK_INT(cgroup_find_pod(roots, UID, found, sizeof(found)), -ENOENT);
		write_file(root, layouts[i], "cpu.stat",
			   "usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\n");
		CHECK_INT(cgroup_find_pod(roots, UID, found, sizeof(found)), 0);
		snprintf(wanted, sizeof(wanted), "%s/%s", root, layouts[i]);
		CHECK_STR(found, wanted);
		CHECK_INT(cgroup_cpu_us(found, &cpu_us), 0);
		CHECK_INT(cpu_us, 123456);
		CHECK_INT(cgroup_find_pod(roots, UID, found, 8), -ENAMETOOLONG);
		snprintf(command, sizeof(command), "rm -r %s", root);
		CHECK_INT(system(command), 0);
	}
}

TEST(version_1_counts_nanoseconds)
{
	char root[] = "/tmp/sluice-cgroup-XXXXXX", command[PATH_MAX];
	uint64_t cpu_us;

	CHECK(mkdtemp(root));
	CHECK_INT(cgroup_cpu_us(root, &cpu_us), -ENOENT);
	write_file(root, "", "cpu.stat", "nr_periods 0\nnr_throttled 0\n");
	CHECK(cgroup_cpu_us(root, &cpu_us) < 0);
	write_file(root, "", "cpuacct.usage", "7654321\n");
	CHECK_INT(cgroup_cpu_us(root, &cpu_us), 0);
	CHECK_INT(cpu_us, 7654);
	snprintf(command, sizeof(command), "rm -r %s", root);
	CHECK_INT(system(command), 0);
}

TEST(what_is_no_uid)
{
	static const char *const bad[] = {"", "..", "../../../etc", "abc", "0b1c2d3e/4f50-6172",
					  "0b1c2d3e 4f50-6172"};
	const char *roots[] = {"/tmp", NULL};
	char found[PATH_MAX];

	CHECK_INT(cgroup_find_pod(roots, NULL, found, sizeof(found)), -ENOENT);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_INT(cgroup_find_pod(roots, bad[i], found, sizeof(found)), -ENOENT);
}
