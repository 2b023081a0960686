// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns which ports are in each other's way. Called by sluiced before it starts, by the agent after
 * each change of VIPs, and by `sluice doctor`.
 */
#include "port_range.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMED_MAX 8

bool port_range_overlap(struct port_range a, struct port_range b)
{
	return a.max && b.max && a.min <= b.max && b.min <= a.max;
}

struct port_range port_range_local(void)
{
	FILE *file = fopen(PORT_RANGE_LOCAL_PATH, "re");
	struct port_range range = {};

	if (!file)
		return range;
	if (fscanf(file, "%u %u", &range.min, &range.max) != 2)
		range = (struct port_range){};
	fclose(file);
	return range;
}

static int compare_addr(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(union sl_addr));
}

static bool is_met(struct port_range range, const struct sl_vip *vip, const union sl_addr *own,
		   size_t n_own)
{
	unsigned port = ntohs(vip->port);

	return vip->flags & SL_VIP_USED && port >= range.min && port <= range.max && n_own &&
	       bsearch(&vip->addr, own, n_own, sizeof(*own), compare_addr);
}

void port_range_name_vips(struct port_range range, const struct sl_vip *vips, size_t n_vips,
			  const union sl_addr *own, size_t n_own, struct strbuf *ret)
{
	const struct sl_vip *named[NAMED_MAX];
	size_t n = 0, j;

	for (size_t i = 0; i < n_vips; i++) {
		if (!is_met(range, &vips[i], own, n_own))
			continue;
		for (j = 0; j < n; j++)
			if (named[j]->port == vips[i].port && named[j]->proto == vips[i].proto)
				break;
		if (j < n)
			continue;
		if (n == NAMED_MAX) {
			strbuf_add(ret, ", ...");
			return;
		}
		named[n++] = &vips[i];
		strbuf_addf(ret, "%s%u/%s", n > 1 ? ", " : "", ntohs(vips[i].port),
			    vips[i].proto == IPPROTO_UDP ? "UDP" : "TCP");
	}
}
