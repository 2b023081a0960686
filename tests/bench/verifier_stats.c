/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loads build/bpf/sluice.bpf.o and prints what each program cost the verifier:
 * instructions processed, against a budget. Exit 1 when a program does not load
 * (the end of the verifier's log is shown) or is over budget.
 *
 * usage: verifier_stats [OBJECT [BUDGET]]
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_BYTES (1 << 24)
#define BUDGET_DEFAULT 400000 /* of the kernel's 1 000 000 */
#define STATS_ONLY 4          /* BPF_LOG_STATS: one line of counts, no trace */

/* Instructions processed, from "processed N insns (limit ...)"; 0: not in the log. */
static unsigned long log_processed(const char *log)
{
	const char *at = strstr(log, "processed ");

	return at ? strtoul(at + strlen("processed "), NULL, 10) : 0;
}

static void print_tail(const char *log)
{
	size_t length = strlen(log);

	fputs(length > 4000 ? log + length - 4000 : log, stderr);
}

/* The object, loaded or not: `loaded` says. NULL: it cannot be opened. */
static struct bpf_object *load(const char *path, unsigned log_level, bool *loaded)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program;
	struct bpf_map *map;

	if (!object)
		return NULL;
	bpf_object__for_each_map(map, object)
		bpf_map__set_pin_path(map, NULL);
	bpf_object__for_each_program(program, object) {
		bpf_program__set_log_buf(program, calloc(1, LOG_BYTES), LOG_BYTES);
		bpf_program__set_log_level(program, log_level);
	}
	*loaded = !bpf_object__load(object);
	return object;
}

/* Loads it again, for the counts say nothing of the reason. Programs are loaded in order: the
 * refused one is the last that has a log. */
static void explain(const char *path)
{
	const char *name = "?", *log = "";
	struct bpf_program *program;
	bool loaded;
	struct bpf_object *object = load(path, getenv("VERBOSE") ? 2 : 1, &loaded);

	if (!object)
		return;
	bpf_object__for_each_program(program, object) {
		size_t size;
		const char *one = bpf_program__log_buf(program, &size);

		if (!*one)
			continue;
		name = bpf_program__name(program);
		log = one;
	}
	fprintf(stderr, "%s was refused:\n", name);
	print_tail(log);
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "build/bpf/sluice.bpf.o";
	unsigned long budget = argc > 2 ? strtoul(argv[2], NULL, 10) : BUDGET_DEFAULT;
	bool loaded, over = false;
	struct bpf_object *object = load(path, STATS_ONLY, &loaded);
	struct bpf_program *program;

	if (!object) {
		fprintf(stderr, "%s: cannot be opened: build it with `make`\n", path);
		return 1;
	}
	if (!loaded) {
		explain(path);
		return 1;
	}
	printf("%-16s %12s %12s\n", "program", "processed", "budget");
	bpf_object__for_each_program(program, object) {
		size_t size;
		unsigned long n = log_processed(bpf_program__log_buf(program, &size));

		printf("%-16s %12lu %12lu%s\n", bpf_program__name(program), n, budget,
		       n > budget ? "  OVER BUDGET" : "");
		over |= n > budget;
	}
	bpf_object__close(object);
	return over;
}
