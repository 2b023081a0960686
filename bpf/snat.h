/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Source-NAT ports. An outside client's flow to a remote replica leaves with an
 * address of this node, so that the answers come back here. A port is unique per
 * (source address, replica, protocol) and rests 60 s after its flow: the entry
 * itself is the reservation. Ports are handed out in a circle per replica, so the
 * one freed longest ago comes first.
 */
#ifndef SLUICE_BPF_SNAT_H
#define SLUICE_BPF_SNAT_H

#include <sluice/hash.h>

#include "config.h"
#include "maps.h"
#include "verifier.h"

#define SNAT_TRIES 16

static __always_inline struct sl_snat_set *snat_set(const union sl_snat_key *key)
{
	__u32 row = sl_hash_snat(key, seed) & (snat_sets - 1);

	return bpf_map_lookup_elem(&snat, &row);
}

/* Way `i` of a search, from a start that the verifier does not know (see index_find_in()). */
static __always_inline __u32 snat_way(const union sl_snat_key *key, __u32 i)
{
	__u32 way = bpf_ntohs(key->port) + i;

	opaque(way);
	return way & (SL_SNAT_WAYS - 1);
}

/* The entry of `key` in phase `from` or a later one; NULL: none. */
static __always_inline struct sl_snat *snat_find(const union sl_snat_key *key,
						 enum sl_snat_phase from)
{
	struct sl_snat_set *set = snat_set(key);

	if (!set)
		return NULL;
	for (__u32 i = 0; i < SL_SNAT_WAYS; i++) {
		struct sl_snat *entry = &set->way[snat_way(key, i)];
		__u32 phase = READ_ONCE(entry->phase);

		if (phase < from)
			continue;
		entry = load_after(entry, phase); /* the phase is stored last */
		if (entry->key.d == key->d)
			return entry;
	}
	return NULL;
}

/* Whether the port may be given again. A flow that goes on after an RST takes its port back, so a
 * port in quarantine is nobody's. */
static __always_inline bool snat_is_rested(const struct sl_snat *entry, __u32 phase, __u32 now)
{
	return phase == SL_SNAT_FREE ||
	       (phase == SL_SNAT_QUARANTINE &&
		(__s32)(now - entry->freed) > (__s32)(SNAT_QUARANTINE_S * hz));
}

/* Reserves `key`, unless it is taken or its set is full: CLAIMED from then on. */
static __always_inline bool snat_reserve(const union sl_snat_key *key, __u32 now)
{
	struct sl_snat_set *set = snat_set(key);
	struct sl_snat *entry;
	bool again = false;
	int empty = -1;
	__u32 phase;

	if (!set)
		return false;
	for (__u32 i = 0; i < SL_SNAT_WAYS; i++) {
		__u32 way = snat_way(key, i);

		entry = &set->way[way];
		if (!snat_is_rested(entry, READ_ONCE(entry->phase), now)) {
			if (entry->key.d == key->d)
				return false;
		} else if (!again) { /* its own last place before any other: a key lies in one */
			again = entry->key.d == key->d;
			empty = way;
		}
	}
	if (empty < 0)
		return false;
	entry = &set->way[empty & (SL_SNAT_WAYS - 1)];
	phase = READ_ONCE(entry->phase);
	if (!snat_is_rested(entry, phase, now) ||
	    __sync_val_compare_and_swap(&entry->phase, phase, SL_SNAT_CLAIMED) != phase)
		return false;
	entry->key.d = key->d;
	return true;
}

/* Finds and reserves a port; key->port is set by it. The port, network byte order, or 0: none
 * is free. A global function: verified by itself. */
__noinline int snat_allocate(union sl_snat_key *key, __u32 now)
{
	__u32 ports = (__u32)snat_port_max - snat_port_min + 1, row, n;
	struct sl_replica *replica;

	if (!key)
		return 0;
	row = key->replica;
	replica = bpf_map_lookup_elem(&replicas, &row);
	if (!replica)
		return 0;
	for (int i = 0; i < SNAT_TRIES; i++) {
		n = __sync_fetch_and_add(&replica->state.snat_cursor, 1);
		key->port = bpf_htons(snat_port_min + n % ports);
		if (snat_reserve(key, now))
			return key->port;
	}
	return 0;
}

/* The flow for which the port was reserved was not opened. */
static __always_inline void snat_cancel(const union sl_snat_key *key)
{
	struct sl_snat *entry = snat_find(key, SL_SNAT_CLAIMED);

	if (entry)
		__sync_val_compare_and_swap(&entry->phase, SL_SNAT_CLAIMED, SL_SNAT_FREE);
}

/* The flow for which the port was reserved lies in `slot`: answers find it from now on. */
static __always_inline void snat_publish(const union sl_snat_key *key, __u32 slot,
					 __u32 generation, __u32 client_ifindex)
{
	struct sl_snat *entry = snat_find(key, SL_SNAT_CLAIMED);

	if (!entry)
		return;
	entry->flow = slot;
	entry->generation = generation;
	entry->client_ifindex = client_ifindex;
	__sync_val_compare_and_swap(&entry->phase, SL_SNAT_CLAIMED, SL_SNAT_LIVE);
}

/* The flow that held the port is over. */
static __always_inline void snat_release(const union sl_snat_key *key, __u32 now)
{
	struct sl_snat *entry = snat_find(key, SL_SNAT_LIVE);

	if (!entry || READ_ONCE(entry->phase) != SL_SNAT_LIVE)
		return; /* its rest has begun already */
	entry->freed = now;
	__sync_val_compare_and_swap(&entry->phase, SL_SNAT_LIVE, SL_SNAT_QUARANTINE);
}

/* The flow goes on after all. False: its port has been given to another one. */
static __always_inline bool snat_regain(const union sl_snat_key *key, __u32 slot, __u32 generation)
{
	struct sl_snat *entry = snat_find(key, SL_SNAT_LIVE);

	return entry && entry->flow == slot && entry->generation == generation &&
	       __sync_val_compare_and_swap(&entry->phase, SL_SNAT_QUARANTINE, SL_SNAT_LIVE) ==
		       SL_SNAT_QUARANTINE;
}

#endif
