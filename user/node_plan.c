// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the rules by which a VIP gets a route, its source and its MTU. Called by the agent after each
 * change of tables, routes or addresses.
 */
#include "node_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"

#define MTU_MAX 65535u /* of our device */

static int compare_addr(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(union sl_addr));
}

static int compare_route(const void *a, const void *b)
{
	const struct node_route *x = a, *y = b;

	return compare_addr(&x->to, &y->to);
}

/* For sorting: of one address, those without a source first. */
static int compare_wanted(const void *a, const void *b)
{
	const struct node_route *x = a, *y = b;

	return compare_addr(&x->to, &y->to) ?: compare_addr(&x->source, &y->source);
}

bool node_ways_own(const struct node_ways *ways, const union sl_addr *addr)
{
	return ways->n_own &&
	       bsearch(addr, ways->own, ways->n_own, sizeof(*ways->own), compare_addr);
}

/* ---- what a service's replicas say ---------------------------------------------------------*/

struct votes {
	__u32 of_source[SL_MAX_SOURCES]; /* remote replicas that are reached by it */
	const union sl_addr *host;       /* of a replica in this node's own network; NULL: none */
	const union sl_addr *local;      /* of a replica of this node; NULL: none */
	__u32 mtu;                       /* least; 0: none known */
};

static void vote(struct votes *votes, const struct sl_replica_config *replica,
		 const struct node_ways *ways)
{
	__u32 mtu = replica->out_ifindex ? ways->mtu(ways->context, replica->out_ifindex) : 0;

	if (mtu && (!votes->mtu || mtu < votes->mtu))
		votes->mtu = mtu;
	if (replica->source)
		votes->of_source[(replica->source - 1) % SL_MAX_SOURCES]++;
	else if (node_ways_own(ways, &replica->addr))
		votes->host = &replica->addr;
	else if (replica->flags & SL_REPLICA_LOCAL)
		votes->local = &replica->addr;
}

static void choose_source(const struct tables *tables, const struct votes *votes,
			  const struct node_ways *ways, union sl_addr *ret)
{
	__u32 best = 0;

	memset(ret, 0, sizeof(*ret));
	for (__u32 i = 1; i < SL_MAX_SOURCES; i++)
		if (votes->of_source[i] > votes->of_source[best])
			best = i;
	if (votes->host)
		*ret = *votes->host;
	else if (votes->of_source[best])
		*ret = tables->sources[best].addr;
	else if (votes->local)
		ways->source(ways->context, votes->local, ret);
	if (!node_ways_own(ways, ret)) /* the kernel would refuse the route */
		memset(ret, 0, sizeof(*ret));
}

/* Source and MTU of the routes to a service's VIPs. */
static void ask_replicas(const struct tables *tables, const struct sl_service *service,
			 const struct node_ways *ways, struct node_route *ret)
{
	__u64 list = service->members;
	struct votes votes = {};
	__u32 at, row;

	for (__u32 i = 0; i < SL_MEMBERS_LENGTH(list); i++) {
		at = SL_MEMBERS_OFFSET(list) + i;
		row = at < SL_MAX_MEMBERS ? tables->members[at].replica : SL_NO_REPLICA;
		if (row < SL_MAX_REPLICAS && tables->replicas[row].config.flags & SL_REPLICA_USED)
			vote(&votes, &tables->replicas[row].config, ways);
	}
	choose_source(tables, &votes, ways, &ret->source);
	ret->mtu = votes.mtu < MTU_MAX ? votes.mtu : 0;
}

/* ---- what is wanted ------------------------------------------------------------------------*/

static const struct sl_service *wanting_service(const struct tables *tables,
						const struct sl_vip *vip)
{
	const struct sl_service *service;

	if (!(vip->flags & SL_VIP_USED) || vip->flags & SL_VIP_NO_NEW ||
	    vip->service >= SL_MAX_SERVICES)
		return NULL;
	service = &tables->services[vip->service];
	return service->flags & SL_SERVICE_USED && service->flags & SL_SERVICE_REPLACE ? service :
											 NULL;
}

/* Services that share an address agree: the first source, the least MTU. */
static size_t merge(struct node_route *list, size_t n)
{
	size_t kept = 0;

	for (size_t i = 1; i < n; i++) {
		struct node_route *last = &list[kept], *next = &list[i];

		if (!addr_equal(&last->to, &next->to)) {
			list[++kept] = *next;
			continue;
		}
		if (!last->source.d[0] && !last->source.d[1])
			last->source = next->source;
		if (next->mtu && (!last->mtu || next->mtu < last->mtu))
			last->mtu = next->mtu;
	}
	return n ? kept + 1 : 0;
}

int node_plan_routes(const struct tables *tables, const struct node_ways *ways,
		     struct node_route **ret, size_t *ret_n)
{
	struct node_route *list;
	size_t n = 0;

	for (__u32 i = 0; i < SL_MAX_VIPS; i++)
		n += !!wanting_service(tables, &tables->vips[i]);
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	n = 0;
	for (__u32 i = 0; i < SL_MAX_VIPS; i++) {
		const struct sl_vip *vip = &tables->vips[i];
		const struct sl_service *service = wanting_service(tables, vip);

		if (!service || node_ways_own(ways, &vip->addr))
			continue;
		list[n].to = vip->addr;
		ask_replicas(tables, service, ways, &list[n++]);
	}
	qsort(list, n, sizeof(*list), compare_wanted);
	*ret = list;
	*ret_n = merge(list, n);
	return 0;
}

/* ---- what differs --------------------------------------------------------------------------*/

void node_plan_compare(const struct node_route *wanted, size_t n_wanted,
		       struct node_route *present, size_t n_present, node_step_fn *fn,
		       void *context)
{
	size_t i = 0, j = 0;
	int order;

	if (n_present)
		qsort(present, n_present, sizeof(*present), compare_route);
	while (i < n_wanted || j < n_present) {
		if (i == n_wanted)
			order = 1;
		else if (j == n_present)
			order = -1;
		else
			order = compare_route(&wanted[i], &present[j]);
		if (order < 0)
			fn(context, NODE_STEP_ADD, &wanted[i++]);
		else if (order > 0)
			fn(context, NODE_STEP_LEAVE, &present[j++]);
		else if (!addr_equal(&wanted[i].source, &present[j].source) ||
			 wanted[i].mtu != present[j].mtu)
			i++, j++, fn(context, NODE_STEP_CHANGE, &wanted[i - 1]);
		else
			i++, j++;
	}
}
