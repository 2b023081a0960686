/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the BPF benches share: objects that lie beside the bench, maps in memory,
 * and time per run.
 */
#ifndef SLUICE_TEST_BENCH_H
#define SLUICE_TEST_BENCH_H

#include <stddef.h>

#include <bpf/libbpf.h>

/* Ends the program: no number could be trusted. */
void bench_die(const char *what, int error) __attribute__((noreturn));

/* Opens NAME.bpf.o from the directory of the running program; not loaded yet. */
struct bpf_object *bench_open_object(const char *name);
int bench_program_fd(const struct bpf_object *object, const char *program);
/* Sets a `const volatile __u32` of the object before it is loaded. */
void bench_set_knob(struct bpf_object *object, const char *knob, unsigned value);
/* An mmapable array, writable. */
void *bench_map_memory(const struct bpf_object *object, const char *map);

/* Keeps the measurement on one CPU, the last one, away from interrupts of the first. */
void bench_pin_cpu(void);

/* Nanoseconds for each of `repeat` runs on a frame of `len` bytes; the last verdict in
 * *ret_verdict unless NULL. */
double bench_run_ns(int program_fd, const void *frame, size_t len, unsigned repeat,
		    int *ret_verdict);

/* The same for a program of XDP, whose frames come in at the device `ifindex`. */
double bench_run_xdp_ns(int program_fd, const void *frame, size_t len, unsigned repeat, int ifindex,
			int *ret_verdict);

/* Sorts the values. */
double bench_median(double *values, size_t n);

#endif
