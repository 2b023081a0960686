/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Somebody else's XDP program: counts what comes in, and passes it. The tests put
 * it in front of ours on real drivers.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} vmtest_passed SEC(".maps");

SEC("xdp")
int vmtest_pass(struct xdp_md *ctx)
{
	__u32 row = 0;
	__u64 *passed = bpf_map_lookup_elem(&vmtest_passed, &row);

	if (passed)
		__sync_fetch_and_add(passed, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
