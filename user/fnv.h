/* SPDX-License-Identifier: GPL-2.0-only */
/* FNV-1a, 64 bits: for tables of ours and for telling texts apart, not for keys that others choose. */
#ifndef SLUICE_FNV_H
#define SLUICE_FNV_H

#include <stddef.h>
#include <stdint.h>

#define FNV_START 0xcbf29ce484222325ull

/* Goes on from `hash`, which is FNV_START at first. */
static inline uint64_t fnv_add(uint64_t hash, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3ull;
	return hash;
}

#endif
