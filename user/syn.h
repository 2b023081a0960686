/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes a client's SYN of what the kernel kept of it, as a whole frame. Pure.
 */
#ifndef SLUICE_SYN_H
#define SLUICE_SYN_H

#include <stddef.h>

#include <sluice/abi.h>

#define SYN_FRAME_MAX (14 + 40 + 20 + SL_SYN_OPTIONS_MAX)

/* The frame of the SYN kept in `pending`, addressed to `vip`, checksums complete, padded to 60 bytes
 * as Ethernet has it. Its length; 0: the row does not hold one. */
size_t syn_build(const struct sl_pending *pending, const struct sl_vip *vip,
		 unsigned char frame[SYN_FRAME_MAX]);

#endif
