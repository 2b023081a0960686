// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frees rows that are retired and that no flow refers to. A pass looks at the
 * whole flow table, a slice a call, mapped for that moment only (the table is
 * larger than all the agent's own memory). Only rows retired before the pass
 * began can go at its end: no new flow can have come to them since.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>

#include "reconcile_state.h"

#define SLICE_BYTES (1u << 20)

static void meet(struct rows *rows, __u32 row)
{
	if (row < rows->n)
		rows->row[row].met = true;
}

static void meet_flow(struct reconcile *r, const struct sl_flow *flow)
{
	if (SL_FLOW_PHASE(__atomic_load_n(&flow->state, __ATOMIC_ACQUIRE)) < SL_FLOW_CLAIMED)
		return;
	if (!(flow->key.flags & SL_FLOW_OWNED))
		meet(&r->services, flow->key.service);
	meet(&r->vips, flow->vip);
	meet(&r->replicas, flow->replica);
}

static int meet_slice(struct reconcile *r, __u32 slice)
{
	const struct sl_flow *flows = mmap(NULL, SLICE_BYTES, PROT_READ, MAP_SHARED,
					   r->tables->flows_fd, (off_t)slice * SLICE_BYTES);

	if (flows == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < SLICE_BYTES / sizeof(*flows); i++)
		meet_flow(r, &flows[i]);
	munmap((void *)flows, SLICE_BYTES);
	return 0;
}

static int meet_spilled(struct reconcile *r)
{
	struct sl_flow_key key, *previous = NULL;
	struct sl_flow flow;

	if (!__atomic_load_n(&r->tables->kernel->spilled, __ATOMIC_RELAXED))
		return 0;
	for (unsigned step = 0; step < 2 * SL_MAX_SPILL; step++) {
		if (bpf_map_get_next_key(r->tables->spill_fd, previous, &key))
			return errno == ENOENT ? 0 : -errno;
		if (!bpf_map_lookup_elem(r->tables->spill_fd, &key, &flow))
			meet_flow(r, &flow);
		previous = &key;
	}
	return -EAGAIN; /* a key that the LRU gave up meanwhile begins the walk anew */
}

static void rows_begin(struct rows *rows)
{
	for (__u32 i = 0; i < rows->n; i++) {
		rows->row[i].met = false;
		rows->row[i].doomed = rows->row[i].retired;
	}
}

static bool is_free(const struct rows *rows, __u32 row)
{
	return rows->row[row].retired && rows->row[row].doomed && !rows->row[row].met;
}

static void free_vips(struct reconcile *r)
{
	for (__u32 i = 0; i < r->vips.n; i++) {
		struct sl_vip *vip = &r->tables->vips[i];
		struct index_key key =
			reconcile_key(&vip->addr, vip->port, vip->proto, SL_INDEX_VIP);

		if (!is_free(&r->vips, i))
			continue;
		index_del(&r->index, &key, reconcile_now_ns());
		vip->flags = 0;
		rows_release(&r->vips, i);
	}
}

/* Keeps an address with the VIP that it names, or another one that is left. False: there is none. */
static bool keep_address(struct reconcile *r, struct sl_index_entry *entry)
{
	for (__u32 n = 0, i = entry->id; n <= r->vips.n; n++, i = n - 1) {
		if (i >= r->vips.n || !r->vips.row[i].used ||
		    __builtin_memcmp(&r->tables->vips[i].addr, &entry->addr, sizeof(entry->addr)))
			continue;
		if (entry->id != i)
			__atomic_store_n(&entry->id, i, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

/* Addresses that no VIP has any more. */
static void free_addresses(struct reconcile *r)
{
	for (__u32 set = 0; set < SL_INDEX_SETS; set++) {
		for (__u32 way = 0; way < SL_INDEX_WAYS; way++) {
			struct sl_index_entry *entry = &r->tables->addr_index[set].way[way];
			struct index_key key = reconcile_key(&entry->addr, 0, 0, SL_INDEX_ADDRESS);

			if (entry->kind == SL_INDEX_ADDRESS && !keep_address(r, entry))
				index_del(&r->index, &key, reconcile_now_ns());
		}
	}
}

static void free_replicas(struct reconcile *r)
{
	for (__u32 i = 0; i < r->replicas.n; i++) {
		struct sl_replica *replica = &r->tables->replicas[i];
		struct index_key key = reconcile_key(&replica->config.addr, replica->config.port,
						     replica->config.proto, SL_INDEX_REPLICA);

		if (!is_free(&r->replicas, i) ||
		    __atomic_load_n(&replica->state.inflight, __ATOMIC_ACQUIRE))
			continue;
		index_del(&r->index, &key, reconcile_now_ns());
		bpf_map_delete_elem(r->tables->replica_names_fd, &i);
		replica->config.flags = 0;
		rows_release(&r->replicas, i);
	}
}

static void free_services(struct reconcile *r)
{
	for (__u32 i = 0; i < r->services.n; i++) {
		if (!is_free(&r->services, i))
			continue;
		reconcile_forget_service(r, i);
		bpf_map_delete_elem(r->tables->service_names_fd, &i);
		r->tables->services[i].flags = 0;
		rows_release(&r->services, i);
	}
}

void reconcile_reclaim(struct reconcile *r)
{
	if (!r->reclaim_slices) {
		rows_begin(&r->services);
		rows_begin(&r->vips);
		rows_begin(&r->replicas);
		r->reclaim_slices = (__u64)SL_FLOW_SETS * sizeof(struct sl_flow_set) / SLICE_BYTES;
		r->reclaim_slice = 0;
		if (meet_spilled(r))
			r->reclaim_slices = 0;
		return;
	}
	if (meet_slice(r, r->reclaim_slice)) {
		r->reclaim_slices = 0; /* try a whole pass again, next time */
		return;
	}
	if (++r->reclaim_slice < r->reclaim_slices)
		return;
	r->reclaim_slices = 0;
	free_vips(r);
	free_addresses(r);
	free_replicas(r);
	free_services(r);
}
