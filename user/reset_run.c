// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the kernel's walk over the flow table (bpf/reset.h). It sends its probes itself as long as it
 * knows the way to a client and the client's MAC address; one that it does not know comes back and
 * goes out by a raw socket, for which the node's stack asks. Called by agent_failure.c.
 */
#include "reset_run.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#define MAC_LEN 14 /* Ethernet header */
#define FRAME4 54u
#define FRAME6 74u

/* A probe whose way the program does not know. That it cannot be sent is no error: its client is
 * gone, or will learn of the reset when it speaks. That there is no socket for it is left in
 * raw_error: the others are reset all the same. */
static void send_raw(struct reset_run *run, const unsigned char *packet, unsigned len, int ipv6)
{
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
	struct sockaddr_in to4 = {.sin_family = AF_INET};
	int *fd = ipv6 ? &run->raw6 : &run->raw4;

	if (*fd < 0)
		*fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			     IPPROTO_RAW);
	if (*fd < 0) {
		run->raw_error = -errno;
		return;
	}
	memcpy(&to4.sin_addr, packet + 16, 4);
	memcpy(&to6.sin6_addr, packet + 24, 16);
	(void)!sendto(*fd, packet, len, MSG_DONTWAIT,
		      ipv6 ? (struct sockaddr *)&to6 : (struct sockaddr *)&to4,
		      ipv6 ? sizeof(to6) : sizeof(to4));
}

int reset_run_slice(struct reset_run *run, struct sl_reset *job, int ipv6)
{
	/* What tells the kernel the packet's protocol; the program writes the rest. */
	unsigned char in[FRAME6] = {[12] = ipv6 ? 0x86 : 0x08, [13] = ipv6 ? 0xdd : 0x00,
				    [MAC_LEN] = ipv6 ? 0x60 : 0x45};
	unsigned char out[FRAME6];
	struct __sk_buff ctx = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in,
		    .data_size_in = ipv6 ? FRAME6 : FRAME4, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		    .ctx_out = &ctx, .ctx_size_out = sizeof(ctx));

	memcpy(ctx.cb, job, sizeof(*job));
	if (bpf_prog_test_run_opts(run->program_fd, &opts))
		return -errno;
	memcpy(job, ctx.cb, sizeof(*job));
	if (opts.retval == 1 && opts.data_size_out > MAC_LEN)
		send_raw(run, out + MAC_LEN, opts.data_size_out - MAC_LEN, ipv6);
	return 0;
}

void reset_run_done(struct reset_run *run)
{
	if (run->raw4 >= 0)
		close(run->raw4);
	if (run->raw6 >= 0)
		close(run->raw6);
	run->raw4 = run->raw6 = -1;
}
