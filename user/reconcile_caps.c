// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the programs need to keep caps besides the caps themselves, which lie in the replicas' rows:
 * whether there are any, and which addresses are this node's own: its kubelet and its probes come
 * from there, and are spared. Called by reconcile.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "reconcile_state.h"

static bool has(const union sl_addr *list, size_t n, const union sl_addr *addr)
{
	for (size_t i = 0; i < n; i++)
		if (addr_equal(&list[i], addr))
			return true;
	return false;
}

int reconcile_adopt_locals(struct reconcile *r)
{
	size_t n = 0;

	for (size_t i = 0; i < SL_INDEX_SETS * SL_INDEX_WAYS; i++)
		n += r->tables->addr_index[i / SL_INDEX_WAYS].way[i % SL_INDEX_WAYS].kind ==
		     SL_INDEX_LOCAL;
	r->locals = calloc(n + 1, sizeof(*r->locals));
	if (!r->locals)
		return -ENOMEM;
	for (size_t i = 0; i < SL_INDEX_SETS * SL_INDEX_WAYS && r->n_locals < n; i++) {
		const struct sl_index_entry *entry =
			&r->tables->addr_index[i / SL_INDEX_WAYS].way[i % SL_INDEX_WAYS];

		if (entry->kind == SL_INDEX_LOCAL)
			r->locals[r->n_locals++] = entry->addr;
	}
	return 0;
}

/* Those that left go, those that are new come. */
static int change_locals(struct reconcile *r, const union sl_addr *addresses, size_t n)
{
	union sl_addr *locals = calloc(n + 1, sizeof(*locals));
	int error = 0;

	if (!locals)
		return -ENOMEM;
	if (n)
		memcpy(locals, addresses, n * sizeof(*addresses));
	for (size_t i = 0; i < r->n_locals; i++) {
		struct index_key key = reconcile_key(&r->locals[i], 0, 0, SL_INDEX_LOCAL);

		if (!has(addresses, n, &r->locals[i]))
			index_del(&r->index, &key, reconcile_now_ns());
	}
	for (size_t i = 0; i < n && !error; i++) {
		struct index_key key = reconcile_key(&addresses[i], 0, 0, SL_INDEX_LOCAL);

		error = index_add(&r->index, &key, 0, reconcile_now_ns());
		if (error == -EEXIST)
			error = 0;
	}
	free(r->locals);
	r->locals = locals;
	r->n_locals = error ? 0 : n; /* after an error: all anew, next time */
	return error;
}

int reconcile_locals(struct reconcile *r, const union sl_addr *addresses, size_t n, char *error,
		     size_t error_len)
{
	int code = 0;

	if (n != r->n_locals || (n && memcmp(r->locals, addresses, n * sizeof(*addresses))))
		code = change_locals(r, addresses, n);
	if (code)
		snprintf(error, error_len, "addresses of this node: %s", strerror(-code));
	return code;
}

void reconcile_caps(struct reconcile *r)
{
	bool caps = false;

	for (__u32 i = 0; i < r->replicas.n && !caps; i++)
		caps = r->replicas.row[i].used && r->tables->replicas[i].config.max_connections;
	__atomic_store_n(&r->tables->control->caps, caps, __ATOMIC_RELEASE);
}
