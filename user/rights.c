// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the list of capabilities that sluiced needs. Only compares: what is missing, main and the
 * doctor say. Called by main, before anything is made, and by `sluice doctor`.
 */
#include "rights.h"

#include <linux/capability.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(capability) (1ull << (capability))

static const struct {
	uint64_t any; /* each of these will do */
	const char *name;
} needed[] = {
	{BIT(CAP_BPF) | BIT(CAP_SYS_ADMIN), "CAP_BPF"},
	{BIT(CAP_PERFMON) | BIT(CAP_SYS_ADMIN), "CAP_PERFMON"},
	{BIT(CAP_NET_ADMIN), "CAP_NET_ADMIN"},
	{BIT(CAP_NET_RAW), "CAP_NET_RAW"},
};

uint64_t rights_effective(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	if (syscall(SYS_capget, &header, data))
		return UINT64_MAX;
	return data[0].effective | (uint64_t)data[1].effective << 32;
}

size_t rights_missing(uint64_t effective, char ret[RIGHTS_LEN])
{
	size_t n = 0, at = 0;

	ret[0] = '\0';
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (effective & needed[i].any)
			continue;
		at += snprintf(ret + at, RIGHTS_LEN - at, "%s%s", n ? ", " : "", needed[i].name);
		n++;
	}
	return n;
}
