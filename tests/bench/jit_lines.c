// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which source line each piece of a program's machine code comes from, as the
 * kernel knows it: a line "OFFSET FILE:LINE TEXT" each, offsets in hexadecimal
 * from the start of the program. conn_bench.py matches samples of perf with them.
 *
 * usage: jit_lines PINNED_PROGRAM
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "bench.h"

struct lines {
	unsigned n;
	struct bpf_line_info *source;
	__u64 *address;
	__u64 start; /* of the program itself; its functions lie elsewhere */
};

static struct bpf_prog_info info_of(int fd, struct bpf_prog_info wanted)
{
	__u32 len = sizeof(wanted);
	int err = bpf_obj_get_info_by_fd(fd, &wanted, &len);

	if (err)
		bench_die("program info", err);
	return wanted;
}

static struct lines lines_of(int fd, const struct bpf_prog_info *info)
{
	struct lines lines = {.n = info->nr_jited_line_info};

	if (!lines.n || lines.n != info->nr_line_info)
		bench_die("line info (is net.core.bpf_jit_enable 1?)", ENOENT);
	lines.source = calloc(lines.n, sizeof(*lines.source));
	lines.address = calloc(lines.n, sizeof(*lines.address));
	if (!lines.source || !lines.address)
		bench_die("lines", ENOMEM);
	info_of(fd, (struct bpf_prog_info){
			    .line_info = (uintptr_t)lines.source,
			    .nr_line_info = lines.n,
			    .line_info_rec_size = sizeof(*lines.source),
			    .jited_line_info = (uintptr_t)lines.address,
			    .nr_jited_line_info = lines.n,
			    .jited_line_info_rec_size = sizeof(*lines.address),
			    .jited_ksyms = (uintptr_t)&lines.start,
			    .nr_jited_ksyms = 1,
		    });
	return lines;
}

int main(int argc, char **argv)
{
	int fd = bpf_obj_get(argc > 1 ? argv[1] : "");
	struct bpf_prog_info info;
	struct lines lines;
	struct btf *btf;

	if (fd < 0)
		bench_die(argc > 1 ? argv[1] : "usage: jit_lines PINNED_PROGRAM", errno);
	info = info_of(fd, (struct bpf_prog_info){});
	lines = lines_of(fd, &info);
	btf = btf__load_from_kernel_by_id(info.btf_id);
	if (!btf)
		bench_die("BTF", errno);
	for (unsigned i = 0; i < lines.n; i++) {
		const struct bpf_line_info *source = &lines.source[i];

		if (lines.address[i] >= lines.start)
			printf("%llx %s:%u %s\n", lines.address[i] - lines.start,
			       btf__name_by_offset(btf, source->file_name_off),
			       BPF_LINE_INFO_LINE_NUM(source->line_col),
			       btf__name_by_offset(btf, source->line_off));
	}
	btf__free(btf);
	free(lines.source);
	free(lines.address);
	return 0;
}
