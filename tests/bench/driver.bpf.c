/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * BPF_PROG_TEST_RUN does not restore the packet between repetitions: this
 * program writes the headers anew from a template, gives them the addresses and
 * ports of the next flow and tail-calls the program under test. Measured once
 * with `empty` in its place, it is the baseline to subtract.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "drive.h"

#define FRAME_BYTES (DRIVE_WORDS * 8)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct drive);
} drives SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DRIVE_MAX_FLOWS / DRIVE_CHUNK);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct drive_chunk);
} chunks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} under_test SEC(".maps");

/* The same for programs of XDP: one map holds programs of one kind. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} xdp_under_test SEC(".maps");

/* The frame, as far as it is linear. */
struct frame {
	void *data, *end;
};

/* A place of `size` bytes in the frame, or NULL. */
static __always_inline void *place(const struct frame *frame, __u32 at, __u32 size)
{
	void *here = frame->data + (at & 127);

	return here + size > frame->end ? NULL : here;
}

static __always_inline void put_16(const struct frame *frame, __u32 at, __u16 value)
{
	__u16 *here = place(frame, at, 2);

	if (here)
		*here = bpf_htons(value);
}

static __always_inline void put_replica(const struct frame *frame, __u32 at, __u8 replica)
{
	__u8 *here = place(frame, at, 1);

	if (here)
		*here = replica;
}

static __always_inline void drive_client(const struct frame *frame, const struct drive *drive,
					 __u32 n)
{
	__u32 *addr = place(frame, drive->addr_at, 4), row = n / DRIVE_CHUNK;
	struct drive_chunk *chunk;

	if (addr)
		*addr = bpf_htonl(drive->addr + n / DRIVE_PORTS);
	put_16(frame, drive->port_at, DRIVE_PORT + n % DRIVE_PORTS);
	if (!drive->replica_at)
		return;
	chunk = bpf_map_lookup_elem(&chunks, &row);
	if (chunk)
		put_replica(frame, drive->replica_at, chunk->replica[n % DRIVE_CHUNK]);
}

/* Makes the next packet. 0, or -3. */
static __always_inline int drive(void *data, void *end)
{
	struct frame frame = {data, end};
	__u32 zero = 0, n;
	struct drive *drive = bpf_map_lookup_elem(&drives, &zero);
	__u64 *words = data;

	if (!drive || data + FRAME_BYTES > end)
		return -3;
	for (int i = 0; i < DRIVE_WORDS; i++)
		words[i] = drive->frame[i];
	n = drive->next++ * drive->spread & drive->mask;
	if (drive->mode == DRIVE_CLIENT) {
		drive_client(&frame, drive, n);
	} else if (drive->mode == DRIVE_SNAT_REPLY) {
		put_16(&frame, drive->port_at, DRIVE_SNAT_PORT + n / DRIVE_REPLICAS);
		put_replica(&frame, drive->replica_at, 1 + n % DRIVE_REPLICAS);
	}
	return 0;
}

SEC("tc")
int driver(struct __sk_buff *skb)
{
	if (drive((void *)(long)skb->data, (void *)(long)skb->data_end))
		return -3;
	bpf_tail_call(skb, &under_test, 0);
	return -4;
}

SEC("tc")
int empty(struct __sk_buff *skb)
{
	return -1;
}

SEC("xdp")
int xdp_driver(struct xdp_md *ctx)
{
	if (drive((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &xdp_under_test, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int xdp_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
