// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether this kernel can run Sluice: asked by loading small programs, not read
 * off the version. Nothing is attached. Called by `sluice doctor`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/magic.h>

#include "doctor.h"
#include "pin_dir.h"
#include "strbuf.h"
#include "tc_hooks.h"

#define VERSION(major, minor) ((major) * 1000 + (minor))
#define KERNEL_MIN            VERSION(5, 15)
#define KERNEL_TESTED         VERSION(6, 1) /* the oldest one: docs/KERNELS.md */
#define MEMLOCK_NEEDED   (128ull << 20) /* bytes: the maps, and room for a second set of programs */

static const char newer_kernel[] = "run a newer kernel: 6.1 or later, 6.6 or later for tcx";

/* ---- version ------------------------------------------------------------------ */

static void check_version(struct doctor *doctor)
{
	unsigned major = 0, minor = 0;
	struct utsname name;

	uname(&name);
	sscanf(name.release, "%u.%u", &major, &minor);
	if (VERSION(major, minor) >= KERNEL_TESTED)
		doctor_row(doctor, "kernel", DOCTOR_OK, NULL, "%s %s", name.release, name.machine);
	else if (VERSION(major, minor) >= KERNEL_MIN)
		doctor_row(doctor, "kernel", DOCTOR_WARN, newer_kernel,
			   "%s %s: untried; 6.1 is the oldest tested", name.release, name.machine);
	else
		doctor_row(doctor, "kernel", DOCTOR_FAIL, newer_kernel, "%s %s: older than 5.15",
			   name.release, name.machine);
}

/* ---- what its BPF can do --------------------------------------------------------- */

/* The helpers that our programs call: all of them, and no others (tests/floor compares). */
static const struct {
	enum bpf_func_id id;
	const char *name;
} helpers[] = {
#define HELPER(name)                                                                               \
	{                                                                                          \
		BPF_FUNC_##name, #name                                                             \
	}
	HELPER(map_lookup_elem),    HELPER(map_update_elem),    HELPER(map_delete_elem),
	HELPER(map_push_elem),      HELPER(map_pop_elem),       HELPER(ktime_get_ns),
	HELPER(jiffies64),          HELPER(get_prandom_u32),    HELPER(skb_load_bytes),
	HELPER(skb_store_bytes),    HELPER(skb_pull_data),      HELPER(skb_change_tail),
	HELPER(skb_change_head),    HELPER(skb_change_type),    HELPER(skb_adjust_room),
	HELPER(csum_diff),          HELPER(csum_update),        HELPER(l4_csum_replace),
	HELPER(redirect),           HELPER(redirect_neigh),     HELPER(redirect_peer),
	HELPER(clone_redirect),     HELPER(fib_lookup),         HELPER(check_mtu),
	HELPER(spin_lock),          HELPER(spin_unlock),        HELPER(timer_init),
	HELPER(timer_start),        HELPER(timer_set_callback), HELPER(timer_cancel),
	HELPER(ringbuf_output),     HELPER(snprintf),
#undef HELPER
};

static void check_helpers(struct doctor *doctor)
{
	struct strbuf missing = {};
	int answer;

	if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SCHED_CLS, NULL) != 1) {
		doctor_row(doctor, "bpf_helpers", DOCTOR_FAIL,
			   "run a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF",
			   "the kernel loads no TC programs");
		return;
	}
	for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++) {
		answer = libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS, helpers[i].id, NULL);
		if (answer != 1)
			strbuf_addf(&missing, "%sbpf_%s", missing.len ? ", " : "", helpers[i].name);
	}
	if (missing.len)
		doctor_row(doctor, "bpf_helpers", DOCTOR_FAIL, newer_kernel, "missing: %s",
			   missing.data);
	else
		doctor_row(doctor, "bpf_helpers", DOCTOR_OK, NULL, "all %zu that are needed",
			   sizeof(helpers) / sizeof(helpers[0]));
	strbuf_done(&missing);
}

/* Loads "return 0" with a 32-bit atomic that fetches, on a word of the stack. A descriptor, or
 * -errno. */
static int load_atomic_program(void)
{
	const struct bpf_insn program[] = {
		{.code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .off = -8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1, .imm = 1},
		{.code = BPF_STX | BPF_ATOMIC | BPF_W,
		 .dst_reg = BPF_REG_10,
		 .src_reg = BPF_REG_1,
		 .off = -8,
		 .imm = BPF_ADD | BPF_FETCH},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "sluice_doctor", "Dual BSD/GPL", program,
			     sizeof(program) / sizeof(program[0]), NULL);
}

static bool is_jited(int program)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return !bpf_obj_get_info_by_fd(program, &info, &len) && info.jited_prog_len;
}

static void check_atomics_and_jit(struct doctor *doctor)
{
	int program = load_atomic_program();

	if (program < 0) {
		doctor_row(doctor, "bpf_atomics", DOCTOR_FAIL,
			   "run a newer kernel: 5.15 on x86-64, 5.18 on arm64",
			   "a program with fetching atomics does not load: %s", strerror(-program));
		return;
	}
	doctor_row(doctor, "bpf_atomics", DOCTOR_OK, NULL, "fetching atomics load");
	if (is_jited(program))
		doctor_row(doctor, "jit", DOCTOR_OK, NULL, "programs are compiled");
	else
		doctor_row(doctor, "jit", DOCTOR_FAIL, "sysctl -w net.core.bpf_jit_enable=1",
			   "programs are interpreted: several times slower, bpf_timer may fail");
	close(program);
}

static void check_tcx(struct doctor *doctor)
{
	int have = tc_hooks_have_tcx();

	if (have > 0)
		doctor_row(doctor, "tcx", DOCTOR_OK, NULL, "tcx links are used");
	else if (!have)
		doctor_row(doctor, "tcx", DOCTOR_INFO, NULL,
			   "none (it came with 6.6): clsact filters are used");
	else
		doctor_row(doctor, "tcx", DOCTOR_WARN, NULL, "cannot ask: %s", strerror(-have));
}

/* Since 5.11 BPF memory counts against the cgroup, before against RLIMIT_MEMLOCK. */
static void check_memlock(struct doctor *doctor)
{
	struct rlimit limit;

	if (libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_ktime_get_coarse_ns, NULL) ==
	    1) {
		doctor_row(doctor, "memlock", DOCTOR_OK, NULL,
			   "BPF memory counts against the cgroup, no limit to raise");
		return;
	}
	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= MEMLOCK_NEEDED)
		doctor_row(doctor, "memlock", DOCTOR_OK, NULL, "the limit is high enough");
	else
		doctor_row(doctor, "memlock", DOCTOR_FAIL,
			   "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited",
			   "RLIMIT_MEMLOCK is %llu KiB", (unsigned long long)limit.rlim_cur >> 10);
}

void doctor_check_kernel(struct doctor *doctor)
{
	static const char *const probed[] = {"bpf_helpers", "bpf_atomics", "jit", "tcx", "memlock"};

	check_version(doctor);
	if (!doctor->may_probe) {
		for (size_t i = 0; i < sizeof(probed) / sizeof(probed[0]); i++)
			doctor_row_needs_root(doctor, probed[i]);
		return;
	}
	libbpf_set_print(NULL); /* refused probes are answers, not errors */
	check_helpers(doctor);
	check_atomics_and_jit(doctor);
	check_tcx(doctor);
	check_memlock(doctor);
}

/* ---- what the node gives to it ------------------------------------------------------ */

static void check_privileges(struct doctor *doctor)
{
	if (doctor->may_probe)
		doctor_row(doctor, "privileges", DOCTOR_OK, NULL, "what sluiced needs");
	else
		doctor_row(doctor, "privileges", DOCTOR_WARN,
			   "run `sluice doctor` as root; sluiced needs " RIGHTS_NEEDED,
			   "this process lacks %s", doctor->missing_rights);
}

/* The file system that `path`, or its nearest directory that exists, lies on. */
static bool is_on_bpffs(const char *path)
{
	char dir[4096];
	struct statfs fs;
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	while (statfs(dir, &fs)) {
		slash = strrchr(dir, '/');
		if (!slash || errno == EACCES)
			return errno == EACCES; /* bpffs is closed to all but root */
		slash[slash == dir] = '\0';
	}
	return fs.f_type == BPF_FS_MAGIC;
}

static void check_files(struct doctor *doctor)
{
	if (is_on_bpffs(doctor->cli->bpffs))
		doctor_row(doctor, "bpffs", DOCTOR_OK, NULL, "%s", doctor->cli->bpffs);
	else
		doctor_row(doctor, "bpffs", DOCTOR_FAIL, PIN_DIR_MOUNT,
			   "%s is on no BPF file system: nothing can be pinned",
			   doctor->cli->bpffs);
	if (!access("/sys/kernel/btf/vmlinux", R_OK))
		doctor_row(doctor, "btf", DOCTOR_OK, NULL, "/sys/kernel/btf/vmlinux");
	else
		doctor_row(doctor, "btf", DOCTOR_WARN,
			   "a kernel with CONFIG_DEBUG_INFO_BTF lets bpftool show more",
			   "no /sys/kernel/btf/vmlinux; Sluice's own maps carry their types");
}

/* Where others may make directories, one of them can have ours before sluiced starts. */
static void check_pin_parent(struct doctor *doctor)
{
	struct strbuf advice = {};
	char parent[4096];
	struct stat st;
	char *slash;

	snprintf(parent, sizeof(parent), "%s", doctor->cli->bpffs);
	slash = strrchr(parent, '/');
	if (slash)
		slash[slash == parent] = '\0';
	if (!slash || stat(parent, &st)) {
		doctor_row(doctor, "pin_directory", DOCTOR_WARN, NULL, "cannot look at %s: %s",
			   parent, slash ? strerror(errno) : "not an absolute path");
	} else if (st.st_uid || (st.st_mode & (S_IWGRP | S_IWOTH))) {
		strbuf_addf(&advice, "chown root %s; chmod 700 %s; and mount it with -o mode=700",
			    parent, parent);
		doctor_row(doctor, "pin_directory", DOCTOR_WARN, advice.data,
			   "%s belongs to user %u and has mode %04o: others may make directories "
			   "there",
			   parent, st.st_uid, st.st_mode & 07777);
	} else {
		doctor_row(doctor, "pin_directory", DOCTOR_OK, NULL,
			   "nobody but root can change it");
	}
	strbuf_done(&advice);
}

static void check_pin_directory(struct doctor *doctor)
{
	char error[1024];
	int err;

	if (!doctor->may_probe) {
		doctor_row_needs_root(doctor, "pin_directory");
		return;
	}
	err = pin_dir_check(doctor->cli->bpffs, error, sizeof(error));
	if (!err || err == -ENOENT) /* or not made yet */
		check_pin_parent(doctor);
	else
		doctor_row(doctor, "pin_directory", DOCTOR_FAIL,
			   "stop sluiced, remove the directory with what is in it, start sluiced",
			   "%s", error);
}

void doctor_check_node(struct doctor *doctor)
{
	check_privileges(doctor);
	check_files(doctor);
	check_pin_directory(doctor);
}
