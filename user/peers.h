/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Behind which pod interface a pod is, where the routes only lead to a bridge: asked of the kernel,
 * which tells the addresses of the other end of a veth though it is in another namespace. Neither
 * the bridge's forwarding table nor the neighbour table would do: both forget who is silent.
 */
#ifndef SLUICE_PEERS_H
#define SLUICE_PEERS_H

#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

#include "route.h"

struct peers;

/* 0, or -errno. */
int peers_new(struct peers **ret);
void peers_free(struct peers *peers);

/* The pod interface, a port of the bridge `master`, whose other end holds this address; 0: none. What
 * was once learnt is kept until peers_forget(), so that many may be asked for at once; who is not
 * found is looked for anew, a few times a second at most. */
int peers_find(struct peers *peers, const struct route_link *links, size_t n_links, int master,
	       const union sl_addr *addr, uint64_t now_ms);

/* Links changed. */
void peers_forget(struct peers *peers);

#endif
