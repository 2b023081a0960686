// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opens what is pinned, reads it and closes it again. Nothing stays mapped: the
 * source-NAT table alone would weigh 8 MiB in the agent's resident memory.
 * Refuses nothing but a table that is there and cannot be read. Called by metrics.
 */
#include "metrics_pins.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sluice/abi.h>

#include "exposition.h"

#define PROGRAMS_MAX 64
#define STATS_PATH   "/proc/sys/kernel/bpf_stats_enabled"

/* ---- programs ------------------------------------------------------------------------------ */

struct program {
	char name[64];
	uint64_t run_ns, runs;
};

static bool program_read(const char *path, struct program *ret)
{
	struct bpf_prog_info info = {0};
	__u32 len = sizeof(info);
	int fd = bpf_obj_get(path), error;

	if (fd < 0)
		return false;
	error = bpf_obj_get_info_by_fd(fd, &info, &len);
	close(fd);
	ret->run_ns = info.run_time_ns;
	ret->runs = info.run_cnt;
	return !error;
}

static size_t programs_read(const char *bpffs, struct program ret[PROGRAMS_MAX])
{
	char dir_path[512], path[1024];
	struct dirent *entry;
	size_t n = 0;
	DIR *dir;

	snprintf(dir_path, sizeof(dir_path), "%s/progs", bpffs);
	dir = opendir(dir_path);
	if (!dir)
		return 0;
	while (n < PROGRAMS_MAX && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir_path, entry->d_name);
		snprintf(ret[n].name, sizeof(ret[n].name), "%.63s", entry->d_name);
		n += program_read(path, &ret[n]);
	}
	closedir(dir);
	return n;
}

static bool stats_enabled(void)
{
	FILE *file = fopen(STATS_PATH, "re");
	int value = 0;

	if (!file)
		return false;
	if (fscanf(file, "%d", &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

void metrics_programs_render(const char *bpffs, struct strbuf *out)
{
	static const char enabled[] = "sluice_program_stats_enabled";
	static const char seconds[] = "sluice_program_run_seconds_total";
	static const char runs[] = "sluice_program_runs_total";
	struct program programs[PROGRAMS_MAX];
	size_t n = programs_read(bpffs, programs);

	exposition_family(out, enabled, "gauge",
			  "1 while kernel.bpf_stats_enabled=1; else run counts and times stop.");
	exposition_u64(out, enabled, NULL, stats_enabled());
	exposition_family(out, seconds, "counter", "Time spent in a kernel program.");
	for (size_t i = 0; i < n; i++) {
		exposition_open(out, seconds);
		exposition_label(out, "program", programs[i].name);
		exposition_close_double(out, programs[i].run_ns / 1e9);
	}
	exposition_family(out, runs, "counter", "Runs of a kernel program.");
	for (size_t i = 0; i < n; i++) {
		exposition_open(out, runs);
		exposition_label(out, "program", programs[i].name);
		exposition_close(out, programs[i].runs);
	}
}

/* ---- source NAT ------------------------------------------------------------------------------ */

#define SNAT_PHASES (SL_SNAT_QUARANTINE + 1)

static void snat_count(const struct sl_snat_set *sets, uint32_t n_sets, uint64_t ret[SNAT_PHASES])
{
	for (uint32_t set = 0; set < n_sets; set++)
		for (uint32_t way = 0; way < SL_SNAT_WAYS; way++) {
			uint32_t phase =
				__atomic_load_n(&sets[set].way[way].phase, __ATOMIC_RELAXED);

			if (phase < SNAT_PHASES)
				ret[phase]++;
		}
}

/* Maps the pinned table for as long as counting takes. */
static int snat_read(const char *bpffs, uint64_t ret[SNAT_PHASES], uint64_t *ret_size)
{
	struct bpf_map_info info = {0};
	__u32 len = sizeof(info);
	char path[512];
	size_t bytes;
	void *sets;
	int fd, error = 0;

	snprintf(path, sizeof(path), "%s/snat", bpffs);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		error = -errno;
	else if (info.value_size != sizeof(struct sl_snat_set))
		error = -EPROTO;
	bytes = (size_t)info.max_entries * sizeof(struct sl_snat_set);
	sets = error ? MAP_FAILED : mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (!error && sets == MAP_FAILED)
		error = -errno;
	close(fd);
	if (error)
		return error;
	snat_count(sets, info.max_entries, ret);
	munmap(sets, bytes);
	*ret_size = (uint64_t)info.max_entries * SL_SNAT_WAYS;
	return 0;
}

int metrics_snat_render(const char *bpffs, struct strbuf *out)
{
	static const char ports[] = "sluice_snat_ports", table[] = "sluice_snat_table_size";
	uint64_t phases[SNAT_PHASES] = {0}, size;
	int error = snat_read(bpffs, phases, &size);

	if (error)
		return error == -ENOENT ? 0 : error;
	exposition_family(out, ports, "gauge",
			  "Source-NAT ports in use, and in quarantine after use.");
	exposition_open(out, ports);
	exposition_label(out, "phase", "live");
	exposition_close(out, phases[SL_SNAT_LIVE]);
	exposition_open(out, ports);
	exposition_label(out, "phase", "quarantine");
	exposition_close(out, phases[SL_SNAT_QUARANTINE]);
	exposition_family(out, table, "gauge", "Source-NAT ports that the table can hold.");
	exposition_u64(out, table, NULL, size);
	return 0;
}
