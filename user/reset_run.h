/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One slice of a reset, in the kernel: runs the program `reset_flows`, and sends what that could not
 * send itself.
 */
#ifndef SLUICE_RESET_RUN_H
#define SLUICE_RESET_RUN_H

#include <sluice/abi.h>

struct reset_run {
	int program_fd;
	int raw4, raw6; /* raw sockets; -1: not open yet */
	int raw_error;  /* why one could not be opened the last time, -errno; 0: none was refused */
};

/* Goes on with the walk; `ipv6`: the family of the replica. 0, or -errno. */
int reset_run_slice(struct reset_run *run, struct sl_reset *job, int ipv6);
void reset_run_done(struct reset_run *run);

#endif
