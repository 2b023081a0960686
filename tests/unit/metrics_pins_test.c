// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metrics that come through pins, from a program and a table of source-NAT
 * ports that the test pins in a bpffs of its own mount namespace. Needs root.
 */
#include <errno.h>
#include <linux/filter.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "check.h"
#include "facts.h"
#include "metrics_pins.h"
#include "pinned.h"

#define NEEDS_ROOT "needs root for a mount namespace and for BPF objects"

static char mount_point[] = "/tmp/sluice-metrics-XXXXXX";

/* A bpffs that nobody else sees; it goes with this process. */
static bool have_bpffs(void)
{
	static int mounted = -1;

	if (mounted >= 0)
		return mounted;
	mounted = !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		  mkdtemp(mount_point) && !mount("bpf", mount_point, "bpf", 0, NULL);
	return mounted;
}

static __attribute__((destructor)) void leave_no_directory(void)
{
	umount(mount_point);
	rmdir(mount_point);
}

/* MOUNT_POINT/name, a new directory. */
static const char *new_dir(const char *name, char buf[64])
{
	snprintf(buf, 64, "%s/%s", mount_point, name);
	CHECK_INT(mkdir(buf, 0700), 0);
	return buf;
}

TEST(source_nat_ports)
{
	struct sl_snat_set *sets;
	struct strbuf out = {0};
	char dir[64];

	if (!have_bpffs())
		SKIP(NEEDS_ROOT);
	sets = pinned_array(new_dir("snat", dir), "snat", sizeof(*sets), PINNED_SETS);
	CHECK(sets);
	sets[2].way[1].phase = sets[PINNED_SETS - 1].way[SL_SNAT_WAYS - 1].phase = SL_SNAT_LIVE;
	sets[0].way[0].phase = SL_SNAT_QUARANTINE;
	sets[1].way[0].phase = SL_SNAT_CLAIMED;
	CHECK_INT(metrics_snat_render(dir, &out), 0);
	CHECK_STR(out.data, "# HELP sluice_snat_ports "
			    "Source-NAT ports in use, and in quarantine after use.\n"
			    "# TYPE sluice_snat_ports gauge\n"
			    "sluice_snat_ports{phase=\"live\"} 2\n"
			    "sluice_snat_ports{phase=\"quarantine\"} 1\n"
			    "# HELP sluice_snat_table_size "
			    "Source-NAT ports that the table can hold.\n"
			    "# TYPE sluice_snat_table_size gauge\n"
			    "sluice_snat_table_size 128\n");
	strbuf_done(&out);
}

TEST(no_table_and_no_programs)
{
	struct strbuf out = {0};
	char dir[64];

	if (!have_bpffs())
		SKIP(NEEDS_ROOT);
	CHECK_INT(metrics_snat_render(new_dir("empty", dir), &out), 0);
	CHECK_INT(out.len, 0);
	metrics_programs_render(dir, &out);
	CHECK(strstr(out.data, "\nsluice_program_stats_enabled "));
	CHECK(!strstr(out.data, "{"));
	strbuf_done(&out);
}

TEST(table_of_another_layout)
{
	struct strbuf out = {0};
	char dir[64];

	if (!have_bpffs())
		SKIP(NEEDS_ROOT);
	CHECK(pinned_array(new_dir("layout", dir), "snat", 8, 1));
	CHECK_INT(metrics_snat_render(dir, &out), -EPROTO);
	strbuf_done(&out);
}

/* A program that does nothing, pinned as DIR/progs/idle. Its descriptor. */
static int pin_program(const char *dir)
{
	static const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "idle", "GPL", nothing, 2, NULL);
	char path[96];

	snprintf(path, sizeof(path), "%s/progs", dir);
	CHECK_INT(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/progs/idle", dir);
	CHECK_INT(bpf_obj_pin(fd, path), 0);
	return fd;
}

TEST(programs_run)
{
	char frame[64] = {0}, dir[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = 5);
	struct strbuf out = {0};
	int stats, program;
	const char *seconds;

	if (!have_bpffs())
		SKIP(NEEDS_ROOT);
	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	CHECK(stats >= 0);
	program = pin_program(new_dir("programs", dir));
	CHECK_INT(bpf_prog_test_run_opts(program, &opts), 0);
	close(stats);
	metrics_programs_render(dir, &out);
	CHECK(strstr(out.data, "\nsluice_program_runs_total{program=\"idle\"} 5\n"));
	seconds = strstr(out.data, "\nsluice_program_run_seconds_total{program=\"idle\"} ");
	CHECK(seconds && strtod(strchr(seconds, ' ') + 1, NULL) > 0);
	close(program);
	strbuf_done(&out);
}

/* What the agent lends to readers: no array mapped twice, the counters open. */
TEST(maps_of_the_agent)
{
	uint64_t drops[SL_DROP_MAX];
	struct tables tables = {0};
	struct pinned pinned;
	struct maps maps;
	char dir[64], path[96];

	if (!have_bpffs())
		SKIP(NEEDS_ROOT);
	CHECK(pinned_init(new_dir("agent", dir), &pinned));
	pinned_fill(&pinned);
	tables.replicas = pinned.replicas;
	snprintf(path, sizeof(path), "%s/flows", dir);
	tables.flows_fd = bpf_obj_get(path);
	CHECK_INT(facts_open_maps(&tables, dir, &maps), 0);
	CHECK_INT(maps.n_flow_sets, PINNED_SETS);
	CHECK(maps.replicas == pinned.replicas);
	CHECK(!maps.flows && !maps.snat);
	CHECK_INT(maps_read_drops(&maps, drops), 0);
	CHECK(drops[SL_DROP_NO_REPLICA] >= 2);
	facts_close_maps(&maps);
	CHECK_INT(unlink(strcat(strcpy(path, dir), "/counters")), 0);
	CHECK_INT(facts_open_maps(&tables, dir, &maps), -ENOENT);
	close(tables.flows_fd);
}
