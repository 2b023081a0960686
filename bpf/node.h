/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The way of the node's own clients. VIPs that nobody else serves are routed to SL_NODE_DEVICE, whose
 * egress is from_client's hook for them. What goes back to them, replies and refusals, goes in there
 * as if a neighbour had sent it: connection tracking and reverse-path filters saw the VIP on that
 * device on the way out.
 */
#ifndef SLUICE_BPF_NODE_H
#define SLUICE_BPF_NODE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "config.h"

static __always_inline bool is_node_device(__u32 ifindex)
{
	return node_ifindex && ifindex == node_ifindex;
}

/* The flag of bpf_redirect() that puts a client's packet back where from_client sees it. */
static __always_inline __u64 client_side(__u32 ifindex)
{
	return is_node_device(ifindex) ? 0 : BPF_F_INGRESS;
}

/* Addresses the frame to the device; another address would make the packet somebody else's. */
static __always_inline long node_address(struct __sk_buff *skb)
{
	__u8 mac[ETH_ALEN] = SL_NODE_MAC;

	return bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0);
}

#endif
