// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way to each replica: device, preferred source, whether it is this node's own, whether there is
 * one at all; and an event when replicas are reached another way than before. Called by
 * reconcile_replica.c and the agent.
 */
#include <net/if.h>
#include <stdio.h>

#include <sluice/hash.h>

#include "addr.h"
#include "reconcile_state.h"

/* Row + 1 of a source address; 0: none given, or no row left (the kernel names the drop). */
static __u16 source_row(struct reconcile *r, const union sl_addr *addr)
{
	struct index_key key = reconcile_key(addr, 0, 0, SL_INDEX_SOURCE);
	struct sl_source *source;
	__u32 row;

	if (!addr->d[0] && !addr->d[1])
		return 0;
	if (index_find(&r->index, &key, &row) == 0)
		return row + 1;
	if (r->n_sources == SL_MAX_SOURCES)
		return 0;
	row = r->n_sources;
	source = &r->tables->sources[row];
	source->addr = *addr;
	source->addr_sum = sl_addr_sum(addr);
	source->used = 1;
	if (index_add(&r->index, &key, row, reconcile_now_ns()))
		return 0;
	r->n_sources++;
	return row + 1;
}

void reconcile_route(struct reconcile *r, __u32 row)
{
	struct sl_replica_config *config = &r->tables->replicas[row].config;
	struct reconcile_path path = {};
	__u16 flags;
	__u32 way;

	r->path(r->context, &config->addr, &path);
	config->out_ifindex = path.ifindex;
	way = path.local ? path.peer_ifindex : source_row(r, &path.source);
	flags = config->flags & ~(SL_REPLICA_LOCAL | SL_REPLICA_NO_ROUTE | SL_REPLICA_FAST);
	if (path.local)
		flags |= SL_REPLICA_LOCAL;
	else if (!path.ifindex)
		flags |= SL_REPLICA_NO_ROUTE;
	if (path.fast)
		flags |= SL_REPLICA_FAST;
	/* What the word means hangs on a flag: no program may take one for the other. */
	if ((flags ^ config->flags) & SL_REPLICA_LOCAL)
		__atomic_store_n(&config->peer_ifindex, 0, __ATOMIC_RELEASE);
	reconcile_turn_flags(r, row, flags,
			     flags & SL_REPLICA_NO_ROUTE ? "no route to it" : "route changed");
	__atomic_store_n(&config->peer_ifindex, way, __ATOMIC_RELEASE);
}

/* Replicas that are reached another way than before: how many, and the first of them. */
struct moved {
	__u32 n;
	__u32 row;
	__u32 ifindex; /* before */
	__u16 source;
};

static void moved_note(struct moved *moved, __u32 row, const struct sl_replica_config *before,
		       const struct sl_replica_config *now)
{
	bool remote = before->out_ifindex && now->out_ifindex &&
		      !((before->flags | now->flags) & SL_REPLICA_LOCAL);

	if (!remote || (before->out_ifindex == now->out_ifindex && before->source == now->source))
		return;
	if (!moved->n++) {
		moved->row = row;
		moved->ifindex = before->out_ifindex;
		moved->source = before->source;
	}
}

/* "eth0, source 192.0.2.1" */
static const char *way_text(const struct reconcile *r, __u32 ifindex, __u16 source, char *buf,
			    size_t len)
{
	char name[IF_NAMESIZE], addr[ADDR_STR_LEN] = "none";

	if (!if_indextoname(ifindex, name))
		snprintf(name, sizeof(name), "device %u", ifindex);
	if (source)
		addr_format(&r->tables->sources[source - 1].addr, addr);
	snprintf(buf, len, "%s, source %s", name, addr);
	return buf;
}

/* Open flows with source NAT keep the source that they have, which the new way may not take. */
static void moved_say(struct reconcile *r, const struct moved *moved)
{
	const struct sl_replica_config *now = &r->tables->replicas[moved->row].config;
	struct sl_event event = {
		.kind = SL_EVENT_ROUTE_MOVED,
		.addr = now->addr,
		.port = now->port,
		.value = moved->n,
	};
	char before_text[128], now_text[128];

	if (moved->n && r->events)
		events_add(r->events, &event, "%u replicas: %s (before: %s)%s", moved->n,
			   way_text(r, now->out_ifindex, now->source, now_text, sizeof(now_text)),
			   way_text(r, moved->ifindex, moved->source, before_text,
				    sizeof(before_text)),
			   now->source == moved->source ? "" :
			   "; open flows of outside clients keep the source they have");
}

void reconcile_paths(struct reconcile *r)
{
	struct moved moved = {};

	for (__u32 row = 0; row < r->replicas.n; row++) {
		struct sl_replica_config *config = &r->tables->replicas[row].config, before = *config;

		if (!r->replicas.row[row].used)
			continue;
		reconcile_route(r, row);
		moved_note(&moved, row, &before, config);
	}
	moved_say(r, &moved);
}
