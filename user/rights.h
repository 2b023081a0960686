/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The capabilities that sluiced needs, in one list for its start and for the doctor. Removing filters
 * (--unload before Linux 6.6) takes CAP_SYS_ADMIN besides, which is left to the kernel to say.
 */
#ifndef SLUICE_RIGHTS_H
#define SLUICE_RIGHTS_H

#include <stddef.h>
#include <stdint.h>

/* For people. To load programs, to have the verifier take them, to attach them and write routes, to
 * send probes of resets by raw sockets. */
#define RIGHTS_NEEDED "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN for both), CAP_NET_ADMIN, CAP_NET_RAW"
#define RIGHTS_LEN 64 /* of the names of all that can be missing, with the NUL */

/* The effective capabilities of this thread, 1 << CAP_*; all where the kernel does not tell: it will
 * say what it refuses. */
uint64_t rights_effective(void);

/* How many of the needed ones are not among `effective`, and their names: "CAP_BPF, CAP_NET_RAW". */
size_t rights_missing(uint64_t effective, char ret[RIGHTS_LEN]);

#endif
