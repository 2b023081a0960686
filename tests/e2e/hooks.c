// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lists the BPF programs at the tcx hooks of every interface of this network
 * namespace, one "INTERFACE ingress|egress COUNT" a line, so that a test can
 * say that none is left. bpftool of Debian 12 does not know tcx. Prints nothing
 * on a kernel without tcx.
 */
#include <linux/bpf.h>
#include <net/if.h>
#include <sys/syscall.h>

#include "net.h"

#define TCX_INGRESS 46
#define TCX_EGRESS 47

static unsigned programs_at(unsigned ifindex, unsigned hook)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.query.target_fd = ifindex;
	attr.query.attach_type = hook;
	if (syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)))
		return 0;
	return attr.query.prog_cnt;
}

int main(void)
{
	struct if_nameindex *list = if_nameindex();

	for (struct if_nameindex *link = list; link && link->if_index; link++) {
		unsigned in = programs_at(link->if_index, TCX_INGRESS);
		unsigned out = programs_at(link->if_index, TCX_EGRESS);

		if (in)
			printf("%s ingress %u\n", link->if_name, in);
		if (out)
			printf("%s egress %u\n", link->if_name, out);
	}
	if_freenameindex(list);
	return 0;
}
