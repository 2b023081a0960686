// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which services `sluice hand-back` gave back, as their VIPs' rows say: so that
 * VIPs that join such a service are given back too, whoever runs this agent.
 * There is no other memory of it. Never gives a service back by itself.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#include "reconcile_state.h"

static uint64_t hash_of(const char *service, bool replace)
{
	return reconcile_hash(service, replace ? "replace" : "overlay");
}

/* The service that a VIP belongs to, in the mode in which it was given back; 0: unknown. */
static uint64_t service_of(const struct reconcile *r, const struct sl_vip *vip)
{
	struct sl_service_name name;
	__u32 row = vip->service;

	if (row >= r->services.n || bpf_map_lookup_elem(r->tables->service_names_fd, &row, &name))
		return 0;
	return hash_of(name.service, r->tables->services[row].flags & SL_SERVICE_REPLACE);
}

static bool is_handed_back(const struct sl_vip *vip)
{
	return (vip->flags & (SL_VIP_USED | SL_VIP_NO_NEW)) == SL_VIP_USED &&
	       __atomic_load_n(&vip->admin, __ATOMIC_ACQUIRE) & SL_ADMIN_HANDED_BACK;
}

static bool is_noted(const struct reconcile *r, uint64_t hash)
{
	for (size_t i = 0; i < r->n_handed_back; i++)
		if (r->handed_back[i] == hash)
			return true;
	return false;
}

static int note(struct reconcile *r, uint64_t hash)
{
	uint64_t *list;

	if (!hash || is_noted(r, hash))
		return 0;
	list = reallocarray(r->handed_back, r->n_handed_back + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	list[r->n_handed_back++] = hash;
	r->handed_back = list;
	return 0;
}

int reconcile_note_handed_back(struct reconcile *r)
{
	int error = 0;

	r->n_handed_back = 0;
	for (__u32 i = 0; i < r->vips.n && !error; i++)
		if (r->vips.row[i].used && is_handed_back(&r->tables->vips[i]))
			error = note(r, service_of(r, &r->tables->vips[i]));
	return error;
}

__u32 reconcile_vip_admin(const struct reconcile *r, const struct model_service *service)
{
	return r->n_handed_back && is_noted(r, hash_of(service->name, service->replace)) ?
		       SL_ADMIN_HANDED_BACK : 0;
}

void reconcile_end_hand_back(struct reconcile *r, __u32 service)
{
	struct sl_event event = {.kind = SL_EVENT_HAND_BACK, .service = service + 1};
	bool ended = false;

	for (__u32 i = 0; i < r->vips.n; i++) {
		struct sl_vip *vip = &r->tables->vips[i];

		if (!r->vips.row[i].used || vip->service != service)
			continue;
		ended |= is_handed_back(vip);
		__atomic_store_n(&vip->admin, 0, __ATOMIC_RELEASE);
	}
	if (ended && r->events)
		events_add(r->events, &event, "ended by a change of its mode: its new flows are Sluice's again");
}
