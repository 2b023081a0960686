// SPDX-License-Identifier: GPL-2.0-only
/* What of the needed capabilities a process lacks. */
#include <linux/capability.h>

#include "check.h"
#include "rights.h"

#define BIT(capability) (1ull << (capability))
#define NET (BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW))

TEST(each_that_is_missing_is_named)
{
	char missing[RIGHTS_LEN];

	CHECK_INT(rights_missing(0, missing), 4);
	CHECK_STR(missing, "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW");
	CHECK_INT(rights_missing(BIT(CAP_BPF) | NET, missing), 1);
	CHECK_STR(missing, "CAP_PERFMON");
	CHECK_INT(rights_missing(BIT(CAP_BPF) | BIT(CAP_PERFMON) | BIT(CAP_NET_ADMIN), missing), 1);
	CHECK_STR(missing, "CAP_NET_RAW");
	CHECK_INT(rights_missing(BIT(CAP_BPF) | BIT(CAP_PERFMON) | NET, missing), 0);
	CHECK_STR(missing, "");
}

/* As the kernel takes it for both (bpf_capable(), perfmon_capable()); not for the network's. */
TEST(sys_admin_stands_in_for_bpf_and_perfmon)
{
	char missing[RIGHTS_LEN];

	CHECK_INT(rights_missing(BIT(CAP_SYS_ADMIN) | NET, missing), 0);
	CHECK_INT(rights_missing(BIT(CAP_SYS_ADMIN), missing), 2);
	CHECK_STR(missing, "CAP_NET_ADMIN, CAP_NET_RAW");
}

/* capget(2) and the kernel's own words of it. */
TEST(the_effective_ones_are_those_of_proc)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long effective = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	if (file)
		fclose(file);
	CHECK_INT(rights_effective(), effective);
}
