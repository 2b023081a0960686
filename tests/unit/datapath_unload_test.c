// SPDX-License-Identifier: GPL-2.0-only
/* What --unload keeps from others while it removes, in namespaces of the test's own. Needs root. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "datapath.h"
#include "pin_dir.h"

static char mount_point[] = "/tmp/sluice-unload-XXXXXX";
static char bpffs[64];
static int lock_at_rmdir; /* what another agent's lock would have got */
static unsigned rmdirs;

/* In libc's place: the last thing that --unload does. */
int rmdir(const char *path)
{
	if (!strncmp(path, bpffs, strlen(bpffs))) {
		lock_at_rmdir = pin_dir_lock(bpffs);
		if (lock_at_rmdir >= 0)
			close(lock_at_rmdir);
		rmdirs++;
	}
	return syscall(SYS_rmdir, path);
}

TEST(no_agent_starts_while_it_removes)
{
	char error[1024] = "";
	unsigned removed = 0;

	if (unshare(CLONE_NEWNS | CLONE_NEWNET) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || !mkdtemp(mount_point) ||
	    mount("bpf", mount_point, "bpf", 0, NULL))
		SKIP("needs root for namespaces and a bpf file system");
	snprintf(bpffs, sizeof(bpffs), "%s/sluice", mount_point);
	CHECK_INT(pin_dir_make(bpffs, error, sizeof(error)), 0);
	CHECK_INT(datapath_unload(bpffs, &removed, error, sizeof(error)), 0);
	CHECK_STR(error, "");
	CHECK_INT(rmdirs, 3); /* progs, links and the directory */
	CHECK_INT(lock_at_rmdir, -EBUSY);
	CHECK(access(bpffs, F_OK));
	umount(mount_point);
	rmdir(mount_point);
}
