// SPDX-License-Identifier: GPL-2.0-only
/*
 * What reconcile's files share: which rows of a table are taken, seen or
 * retired, and the keys, names and clock they all use. Stores nothing in a
 * table.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fnv.h"
#include "reconcile_state.h"

uint64_t reconcile_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* Over two strings; never 0. */
uint64_t reconcile_hash(const char *a, const char *b)
{
	uint64_t hash = fnv_add(fnv_add(FNV_START, a, strlen(a)), "\xff", 1);

	hash = fnv_add(fnv_add(hash, b, strlen(b)), "\xff", 1);
	return hash ? hash : 1;
}

struct index_key reconcile_key(const union sl_addr *addr, __be16 port, __u8 proto, __u8 kind)
{
	return (struct index_key){.addr = *addr, .port = port, .proto = proto, .kind = kind};
}

uint64_t reconcile_name_hash(const struct sl_service_name *name)
{
	uint64_t hash = reconcile_hash(name->service, name->port_name);
	uint64_t rest = (uint64_t)name->port << 16 | name->proto << 8 | name->external << 1 |
			name->ipv6;

	return hash ^ rest * 0x9e3779b97f4a7c15ull;
}

uint64_t reconcile_name(const struct model_service *service, struct sl_service_name *ret)
{
	*ret = (struct sl_service_name){.port = service->port, .proto = service->proto,
					.external = service->external, .ipv6 = service->ipv6};
	snprintf(ret->service, sizeof(ret->service), "%s", service->name);
	snprintf(ret->port_name, sizeof(ret->port_name), "%s", service->port_name);
	return reconcile_name_hash(ret);
}

int64_t reconcile_find_service(const struct reconcile *r, uint64_t hash)
{
	for (__u32 i = 0; i < r->services.n; i++)
		if (r->services.row[i].used && r->services.row[i].name == hash)
			return i;
	return -ENOENT;
}

int64_t reconcile_service(const struct reconcile *r, const struct model_service *service)
{
	struct sl_service_name name;

	return reconcile_find_service(r, reconcile_name(service, &name));
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
		if (rows->row[i].seen) /* a page of rows that were never used stays nobody's */
			rows->row[i].seen = false;
}
