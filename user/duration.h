/* SPDX-License-Identifier: GPL-2.0-only */
/* Durations as Kubernetes, Istio and Go write them: "100ms", "1.5s", "1h30m". Pure. */
#ifndef SLUICE_DURATION_H
#define SLUICE_DURATION_H

#include <stdint.h>

/* Units h, m, s, ms, us, ns, each with a decimal number before it; "0" needs none. No sign, no
 * blanks. 0 and *ret_ns, or -EINVAL; -ERANGE beyond 292 years. */
int duration_parse(const char *text, uint64_t *ret_ns);

#endif
