// SPDX-License-Identifier: GPL-2.0-only
/*
 * What reconcile's files share: which rows of a table are taken, seen or
 * retired, and the keys and clock they all use. Knows nothing of what a row
 * holds.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "reconcile_state.h"

uint64_t reconcile_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* FNV-1a over two strings; never 0. */
uint64_t reconcile_hash(const char *a, const char *b)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (int i = 0; i < 2; i++) {
		for (const char *p = i ? b : a; *p; p++)
			hash = (hash ^ (unsigned char)*p) * 0x100000001b3ull;
		hash = (hash ^ 0xff) * 0x100000001b3ull;
	}
	return hash ? hash : 1;
}

struct index_key reconcile_key(const union sl_addr *addr, __be16 port, __u8 proto, __u8 kind)
{
	return (struct index_key){.addr = *addr, .port = port, .proto = proto, .kind = kind};
}

int rows_init(struct rows *rows, __u32 n)
{
	rows->n = n;
	rows->row = calloc(n, sizeof(*rows->row));
	return rows->row ? 0 : -ENOMEM;
}

int64_t rows_take(struct rows *rows)
{
	for (__u32 i = 0; i < rows->n; i++) {
		if (rows->row[i].used)
			continue;
		rows->row[i] = (struct row){.used = true, .seen = true};
		return i;
	}
	return -ENOSPC;
}

void rows_retire(struct rows *rows, __u32 row, bool retired)
{
	if (rows->row[row].retired == retired)
		return;
	rows->row[row].retired = retired;
	rows->row[row].doomed = false;
	rows->retired += retired ? 1 : -1;
}

void rows_release(struct rows *rows, __u32 row)
{
	rows_retire(rows, row, false);
	rows->row[row] = (struct row){};
}

void rows_unsee(struct rows *rows)
{
	for (__u32 i = 0; i < rows->n; i++)
		rows->row[i].seen = false;
}
