/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Somebody else's programs at our hooks: count the IPv4 TCP packets of a service
 * that they see, by the address that stands for it. One hands on to the next
 * program, one ends the chain, as most CNIs' do.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VIPS bpf_htonl(0x0a600000) /* 10.96.0.0/16, port 80 of tests/lib/manifest.py */
#define VIPS_MASK bpf_htonl(0xffff0000)

/* Probes come from a node's own address (tests/lib/lab.py) and an ephemeral port, which source NAT has
 * none of; they are nobody's business here. */
#define NODES bpf_htonl(0xc0a83200) /* 192.168.50.0/28 */
#define NODES_MASK bpf_htonl(0xfffffff0)
#define EPHEMERAL 32768

/* Rows of `seen`; tests/lib/neighbour.py names them. */
enum { TO_VIP, FROM_VIP, TO_REPLICA, FROM_REPLICA, SEEN_MAX };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SEEN_MAX);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline int is_probe(__be32 addr, __be16 port)
{
	return (addr & NODES_MASK) == NODES && bpf_ntohs(port) >= EPHEMERAL;
}

static __always_inline void see(struct __sk_buff *skb)
{
	struct tcphdr tcp;
	struct iphdr ip;
	__u32 row;
	__u64 *count;

	if (skb->protocol != bpf_htons(ETH_P_IP) ||
	    bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip)) ||
	    ip.protocol != IPPROTO_TCP || ip.ihl != 5 ||
	    bpf_skb_load_bytes(skb, sizeof(struct ethhdr) + sizeof(ip), &tcp, sizeof(tcp)))
		return;
	if (is_probe(ip.saddr, tcp.source) || is_probe(ip.daddr, tcp.dest))
		return;
	if (tcp.dest == bpf_htons(80))
		row = (ip.daddr & VIPS_MASK) == VIPS ? TO_VIP : TO_REPLICA;
	else if (tcp.source == bpf_htons(80))
		row = (ip.saddr & VIPS_MASK) == VIPS ? FROM_VIP : FROM_REPLICA;
	else
		return;
	count = bpf_map_lookup_elem(&seen, &row);
	if (count)
		__sync_fetch_and_add(count, 1);
}

SEC("tc/next")
int neighbour_next(struct __sk_buff *skb)
{
	see(skb);
	return TC_ACT_UNSPEC;
}

SEC("tc/ok")
int neighbour_ok(struct __sk_buff *skb)
{
	see(skb);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
