/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What prog_bench.c tells driver.bpf.c: the packet to make before each call of
 * the program under test.
 */
#ifndef SLUICE_BENCH_DRIVE_H
#define SLUICE_BENCH_DRIVE_H

#include <linux/types.h>

#define DRIVE_WORDS 12               /* of a frame that are made anew: 96 bytes, all headers */
#define DRIVE_PORTS 4096u            /* flow n: port DRIVE_PORT + n % DRIVE_PORTS ... */
#define DRIVE_PORT 1024u             /* ... of client number n / DRIVE_PORTS */
#define DRIVE_REPLICAS 16u
#define DRIVE_SNAT_PORT 1024u        /* first source-NAT port */
#define DRIVE_MAX_FLOWS (1u << 20)
#define DRIVE_CHUNK 65536u

enum drive_mode {
	DRIVE_AS_IS,      /* the same packet each time */
	DRIVE_CLIENT,     /* flow n's packet; its replica's too, if replica_at */
	DRIVE_SNAT_REPLY, /* flow n is port n / DRIVE_REPLICAS on replica n % DRIVE_REPLICAS */
};

struct drive {
	__u64 frame[DRIVE_WORDS];
	__u32 mode;
	__u32 next;       /* counts calls */
	__u32 mask;       /* flow n: next * spread & mask */
	__u32 spread;     /* odd: in which order flows come */
	__u32 addr_at;    /* where the last four bytes of the client's address lie */
	__u32 addr;       /* of client number 0, host byte order */
	__u32 port_at;    /* where the port lies that varies */
	__u32 replica_at; /* where the last byte of the replica's address lies; 0: leave it */
};

/* The replica of each flow, row in replicas + 1. */
struct drive_chunk {
	__u8 replica[DRIVE_CHUNK];
};

#endif
