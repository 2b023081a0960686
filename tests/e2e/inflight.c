// SPDX-License-Identifier: GPL-2.0-only
/*
 * Samples the in-flight counts of all IPv4 replicas on one port, straight from
 * the mapped rows: a sample takes a microsecond, where the CLI takes long enough
 * for the counts to move meanwhile. One line a sample: "ADDRESS=COUNT ...".
 */
#include <getopt.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <sluice/abi.h>

#include "net.h"

#define MAX_ROWS 1024
#define TORN_NS 20000 /* a sample that took longer was interrupted: taken anew */

static const struct sl_replica *replicas_map(const char *bpffs)
{
	char path[256];
	union bpf_attr attr;
	void *rows;
	int fd;

	snprintf(path, sizeof(path), "%s/replicas", bpffs);
	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uintptr_t)path;
	fd = syscall(SYS_bpf, BPF_OBJ_GET, &attr, sizeof(attr));
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	rows = mmap(NULL, SL_MAX_REPLICAS * sizeof(struct sl_replica), PROT_READ, MAP_SHARED, fd, 0);
	if (rows == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	return rows;
}

/* Fills `list` with the replicas that are watched; returns how many. */
static unsigned choose(const struct sl_replica *rows, unsigned port,
		       const struct sl_replica *list[MAX_ROWS])
{
	unsigned n = 0;

	for (unsigned i = 0; i < SL_MAX_REPLICAS && n < MAX_ROWS; i++)
		if ((rows[i].config.flags & SL_REPLICA_USED) &&
		    rows[i].config.port == htons(port) &&
		    rows[i].config.addr.w[2] == (__be32)SL_V4_MARK)
			list[n++] = &rows[i];
	return n;
}

static void sample(const struct sl_replica *const list[], unsigned n, uint32_t counts[])
{
	uint64_t began;

	do {
		began = now_ns();
		for (unsigned i = 0; i < n; i++)
			counts[i] = *(volatile const uint32_t *)&list[i]->state.inflight;
	} while (now_ns() - began > TORN_NS);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"bpffs", 1, 0, 'b'}, {"port", 1, 0, 'p'}, {"samples", 1, 0, 'n'},
		{"interval-us", 1, 0, 'i'}, {0},
	};
	const struct sl_replica *list[MAX_ROWS];
	unsigned port = 0, samples = 1, interval_us = 10000, n;
	uint32_t counts[MAX_ROWS];
	const char *bpffs = "/sys/fs/bpf/sluice";
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'b': bpffs = optarg; break;
		case 'p': port = atoi(optarg); break;
		case 'n': samples = atoi(optarg); break;
		case 'i': interval_us = atoi(optarg); break;
		default: return 2;
		}
	}
	n = choose(replicas_map(bpffs), port, list);
	for (unsigned i = 0; i < samples; i++) {
		sample(list, n, counts);
		for (unsigned j = 0; j < n; j++) {
			char address[INET_ADDRSTRLEN];

			inet_ntop(AF_INET, &list[j]->config.addr.w[3], address, sizeof(address));
			printf("%s%s=%u", j ? " " : "", address, counts[j]);
		}
		putchar('\n');
		usleep(interval_us);
	}
	return 0;
}
