// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared by the benches of tests/bench. Owns nothing; a failure ends the program.
 */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

void bench_die(const char *what, int error)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

struct bpf_object *bench_open_object(const char *name)
{
	char path[PATH_MAX + 64];
	ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
	struct bpf_object *object;

	if (len < 0)
		bench_die("/proc/self/exe", errno);
	while (len > 0 && path[len - 1] != '/')
		len--;
	snprintf(path + len, sizeof(path) - len, "%s.bpf.o", name);
	object = bpf_object__open_file(path, NULL);
	if (!object)
		bench_die(path, errno);
	return object;
}

int bench_program_fd(const struct bpf_object *object, const char *program)
{
	struct bpf_program *found = bpf_object__find_program_by_name(object, program);

	if (!found)
		bench_die(program, ENOENT);
	return bpf_program__fd(found);
}

/* Where a variable lies in the data section; -1: there is none of that name. */
static long knob_offset(const struct bpf_object *object, const char *knob)
{
	const struct btf *btf = bpf_object__btf(object);
	int section = btf ? btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC) : -1;
	const struct btf_type *type = section < 0 ? NULL : btf__type_by_id(btf, section);

	for (int i = 0; type && i < btf_vlen(type); i++) {
		const struct btf_var_secinfo *info = &btf_var_secinfos(type)[i];
		const struct btf_type *variable = btf__type_by_id(btf, info->type);

		if (!strcmp(btf__name_by_offset(btf, variable->name_off), knob))
			return info->offset;
	}
	return -1;
}

void bench_set_knob(struct bpf_object *object, const char *knob, unsigned value)
{
	long offset = knob_offset(object, knob);
	struct bpf_map *map;
	const void *now;
	char copy[4096];
	size_t len;

	bpf_object__for_each_map(map, object) {
		if (offset < 0 || !strstr(bpf_map__name(map), ".rodata"))
			continue;
		now = bpf_map__initial_value(map, &len);
		if (!now || len > sizeof(copy))
			break;
		memcpy(copy, now, len);
		memcpy(copy + offset, &value, sizeof(value));
		if (!bpf_map__set_initial_value(map, copy, len))
			return;
	}
	bench_die(knob, ENOENT);
}

void *bench_map_memory(const struct bpf_object *object, const char *map)
{
	struct bpf_map *found = bpf_object__find_map_by_name(object, map);
	size_t page = sysconf(_SC_PAGESIZE), len;
	void *memory;

	if (!found)
		bench_die(map, ENOENT);
	len = ((bpf_map__value_size(found) + 7) & ~7u) * (size_t)bpf_map__max_entries(found);
	memory = mmap(NULL, (len + page - 1) & ~(page - 1), PROT_READ | PROT_WRITE, MAP_SHARED,
		      bpf_map__fd(found), 0);
	if (memory == MAP_FAILED)
		bench_die(map, errno);
	return memory;
}

void bench_pin_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("sched_setaffinity", errno);
}

/* Of this thread: time in which others had the CPU does not count. */
static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

static double run_ns(int program_fd, struct bpf_test_run_opts *opts, int *ret_verdict)
{
	double start = now_ns();
	int err = bpf_prog_test_run_opts(program_fd, opts);

	if (err)
		bench_die("test run", err);
	if (ret_verdict)
		*ret_verdict = opts->retval;
	/* opts->duration is whole nanoseconds: too coarse for an empty program */
	return (now_ns() - start) / opts->repeat;
}

double bench_run_ns(int program_fd, const void *frame, size_t len, unsigned repeat,
		    int *ret_verdict)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len,
		    .repeat = repeat);

	return run_ns(program_fd, &opts, ret_verdict);
}

double bench_run_xdp_ns(int program_fd, const void *frame, size_t len, unsigned repeat, int ifindex,
			int *ret_verdict)
{
	struct xdp_md ctx = {.data_end = len, .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len,
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = repeat);

	return run_ns(program_fd, &opts, ret_verdict);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
