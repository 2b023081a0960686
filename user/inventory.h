/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One consistent look at the services and replicas in the pinned maps, with
 * names and states resolved and sorted for printing. Taken anew for each
 * answer; never changes the maps.
 */
#ifndef SLUICE_INVENTORY_H
#define SLUICE_INVENTORY_H

#include "addr.h"
#include "maps.h"

/* A service-port as people know it: its variants by family and by where clients are, are one. */
struct inventory_service {
	char name[SL_NAME_LEN]; /* namespace/name */
	char port[64];          /* name of the port, or its number */
	bool replace;
	uint32_t load_ttl_ms;
	uint32_t n_replicas;
	uint32_t states[SL_STATE_MAX]; /* replicas in each */
	uint32_t held;                 /* replicas that stay although their list lacks them */
	uint64_t inflight;             /* of its replicas, whichever service the flows came by */
	struct sl_first_byte first_byte; /* of all its variants */
	uint32_t parked;               /* SYNs that wait, of all its variants */
	uint64_t parked_total;         /* that ever did */
	uint64_t resets;               /* flows of dead replicas that were reset, of all its variants */
	bool sniffed;                  /* whether that means anything */
	bool handed_back;              /* new flows are left to kube-proxy */
	bool panic;                    /* a variant whose picks go to all that serve */
};

/* A replica behind one service; a shared one appears once for each. */
struct inventory_replica {
	uint32_t service; /* index into services */
	uint32_t row;     /* in the map replicas */
	enum sl_replica_state state;
	bool has_load; /* load is a fresh report */
	struct sl_replica copy;
	char address[ADDR_STR_LEN];
	char address_port[ADDR_PORT_STR_LEN];
	char *pod; /* namespace/name; "" when unknown */
};

struct inventory {
	struct inventory_service *services; /* sorted by name, port */
	struct inventory_replica *replicas; /* sorted by service, row */
	size_t n_services, n_replicas;
};

/* `now_ns`: CLOCK_MONOTONIC. 0, or -ENOMEM. */
int inventory_new(const struct maps *maps, uint64_t now_ns, struct inventory **ret);
void inventory_free(struct inventory *inventory);

#endif
