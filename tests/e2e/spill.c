// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes into the spill table of a running agent what a program would have put there, had it found
 * the flow table full.
 *
 *	spill DIR ADDRESS open    a flow of the node's own client towards that VIP
 *	spill DIR ADDRESS done    the same, over
 */
#include <stdlib.h>

#include "../lib/pinned.h"

static struct sl_flow flow_of(const struct sl_vip *vip, __u32 row, enum sl_flow_phase phase)
{
	return (struct sl_flow){.key = {.client = vip->addr, .port = htons(40000),
					.proto = vip->proto, .service = vip->service},
				.state = SL_FLOW_GENERATION_ONE | SL_FLOW_SPILLED | phase,
				.replica = SL_NO_REPLICA, .vip = row, .hook = SL_HOOK_NODE};
}

static int spill(const char *dir, const struct sl_flow *flow)
{
	union bpf_attr attr = {0};
	char path[512];

	snprintf(path, sizeof(path), "%s/spill", dir);
	attr.pathname = (uintptr_t)path;
	return pinned_update(pinned_bpf(BPF_OBJ_GET, &attr), &flow->key, flow);
}

int main(int argc, char **argv)
{
	struct sl_vip *vips;
	struct sl_kernel *kernel;
	union sl_addr addr;
	struct sl_flow flow;
	int error = 1;

	if (argc != 4) {
		fprintf(stderr, "spill: see the head of tests/e2e/spill.c\n");
		return 2;
	}
	addr = pinned_addr(argv[2]);
	vips = pinned_open(argv[1], "vips", sizeof(*vips) * SL_MAX_VIPS);
	kernel = pinned_open(argv[1], "kernel", sizeof(*kernel));
	for (__u32 row = 0; vips && kernel && row < SL_MAX_VIPS; row++) {
		if (!(vips[row].flags & SL_VIP_USED) || memcmp(&vips[row].addr, &addr, sizeof(addr)))
			continue;
		flow = flow_of(&vips[row], row, strcmp(argv[3], "done") ? SL_FLOW_OPEN : SL_FLOW_DONE);
		error = spill(argv[1], &flow) != 0;
		__sync_fetch_and_add(&kernel->spilled, 1);
		break;
	}
	if (error)
		fprintf(stderr, "spill: %s: %s\n", argv[2], strerror(errno));
	return error;
}
