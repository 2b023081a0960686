/* SPDX-License-Identifier: GPL-2.0-only */
/* "Did you mean ...?": the known name nearest to one that is not known. Pure. */
#ifndef SLUICE_NEAREST_H
#define SLUICE_NEAREST_H

#include <stddef.h>

/* Single-character edits that lead from a to b, upper and lower case being equal; names longer
 * than 63 bytes count as far apart. */
unsigned nearest_distance(const char *a, const char *b);

/* Whether `distance` edits of `name` are few enough to be a slip of the fingers. */
int nearest_is_near(const char *name, unsigned distance);

#endif
