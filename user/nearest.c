// SPDX-License-Identifier: GPL-2.0-only
/*
 * Edit distance between short names (Levenshtein 1966), for the nearest-name
 * hints of unknown fields and annotations. Who calls it walks its own table
 * of names and keeps the best.
 */
#include "nearest.h"

#include <ctype.h>
#include <string.h>

#define NAME_MAX_LEN 63u

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned low = a < b ? a : b;

	return low < c ? low : c;
}

unsigned nearest_distance(const char *a, const char *b)
{
	size_t len_a = strnlen(a, NAME_MAX_LEN + 1), len_b = strnlen(b, NAME_MAX_LEN + 1);
	unsigned row[NAME_MAX_LEN + 1];

	if (len_a > NAME_MAX_LEN || len_b > NAME_MAX_LEN)
		return NAME_MAX_LEN;
	for (unsigned j = 0; j <= len_b; j++)
		row[j] = j;
	for (unsigned i = 1; i <= len_a; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= len_b; j++) {
			unsigned differ = tolower((unsigned char)a[i - 1]) !=
					  tolower((unsigned char)b[j - 1]);
			unsigned best = min3(row[j] + 1, row[j - 1] + 1, diagonal + differ);

			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[len_b];
}

int nearest_is_near(const char *name, unsigned distance)
{
	return distance <= 1 + strlen(name) / 4;
}
