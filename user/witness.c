// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decides on the second witness (see witness.h). Refuses to read clocks, maps or files: the caller
 * (agent_failure.c) does.
 */
#include "witness.h"

#include <stdio.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull
#define AHEAD_S 60 /* a stamp of a program may be newer than our idea of now, but not by more */

void witness_cpu(struct witness *witness, uint64_t cpu_us, uint64_t now_ns)
{
	if (witness->cpu_since_ns && cpu_us == witness->cpu_us) {
		witness->cpu_known = true;
		return;
	}
	witness->cpu_us = cpu_us;
	witness->cpu_since_ns = now_ns;
	witness->cpu_known = false;
}

uint64_t witness_payload_ns(uint32_t last, uint32_t now, uint32_t hz, uint64_t now_ns)
{
	int32_t age = now - last;
	uint64_t age_ns = age > 0 ? age * NS_PER_S / hz : 0;

	if (!last || age_ns >= now_ns || -(int64_t)age > (int64_t)AHEAD_S * hz)
		return 0;
	return now_ns - age_ns;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

bool witness_is_dead(const struct witness *witness, uint64_t now_ns, char *buf, unsigned len)
{
	uint64_t alive_ns = later(witness->since_ns, later(witness->payload_ns, witness->answer_ns));
	uint64_t quiet_ms = now_ns > alive_ns ? (now_ns - alive_ns) / NS_PER_MS : 0;
	uint32_t after_ms = witness->reset_after_ms ?: WITNESS_RESET_AFTER_MS;

	if (witness->unreachable) {
		snprintf(buf, len, "there is no way to its host");
		return true;
	}
	if (witness->refuses && quiet_ms >= WITNESS_REFUSES_MS) {
		snprintf(buf, len, "its port refuses, no byte of any flow for %llu ms",
			 (unsigned long long)quiet_ms);
		return true;
	}
	if (quiet_ms >= after_ms) {
		snprintf(buf, len, "no byte of any flow for %llu ms", (unsigned long long)quiet_ms);
		return true;
	}
	/* What lies in socket buffers goes out without the process: then it is too early to say. */
	if (witness->cpu_known && alive_ns <= witness->cpu_since_ns &&
	    now_ns >= witness->cpu_since_ns + WITNESS_CPU_NS) {
		snprintf(buf, len, "its pod used no CPU for %llu ms",
			 (unsigned long long)((now_ns - witness->cpu_since_ns) / NS_PER_MS));
		return true;
	}
	return false;
}
