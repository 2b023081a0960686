// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the question "what runs at this TC hook": tcx through bpf(2), clsact
 * filters through rtnetlink, since no one tool lists both. Attaches and detaches
 * nothing. Called by `sluice bpf show` and `sluice doctor`.
 */
#include <errno.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "route_query.h"
#include "tc_hooks.h"

#define MAX_TCX 64 /* BPF_MPROG_MAX: the kernel takes no more at one hook */

struct listing {
	tc_hooks_fn *fn;
	void *context;
};

static void program_name(__u32 id, char *buf, size_t len)
{
	struct bpf_prog_info info = {};
	__u32 info_len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd < 0)
		return;
	if (!bpf_obj_get_info_by_fd(fd, &info, &info_len))
		snprintf(buf, len, "%s", info.name);
	close(fd);
}

static int list_tcx(int ifindex, bool egress, const struct listing *listing)
{
	__u32 ids[MAX_TCX];
	LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = ids, .prog_cnt = MAX_TCX);
	int err = bpf_prog_query_opts(ifindex, egress ? TC_HOOKS_TCX_EGRESS : TC_HOOKS_TCX_INGRESS,
				      &opts);

	if (err)
		return err == -EINVAL ? 0 : err; /* a kernel without tcx */
	for (__u32 i = 0; i < opts.prog_cnt; i++) {
		struct tc_hook hook = {.tcx = true, .program = ids[i]};

		program_name(hook.program, hook.name, sizeof(hook.name));
		listing->fn(listing->context, &hook);
	}
	return 0;
}

static int on_filter(struct nl_msg *msg, void *context)
{
	const struct listing *listing = context;
	struct nlmsghdr *header = nlmsg_hdr(msg);
	struct nlattr *attrs[TCA_MAX + 1], *options[TCA_BPF_MAX + 1];
	struct tcmsg *message = nlmsg_data(header);
	struct tc_hook hook = {};

	if (nlmsg_parse(header, sizeof(*message), attrs, TCA_MAX, NULL) < 0 || !attrs[TCA_KIND])
		return NL_SKIP;
	if (!message->tcm_handle) /* the classifier itself; its filters follow */
		return NL_SKIP;
	hook.priority = TC_H_MAJ(message->tcm_info) >> 16;
	nla_strlcpy(hook.name, attrs[TCA_KIND], sizeof(hook.name));
	if (!strcmp(hook.name, "u32") && !TC_U32_KEY(message->tcm_handle))
		return NL_SKIP; /* a hash table of filters, no filter */
	if (!strcmp(hook.name, "bpf") && attrs[TCA_OPTIONS] &&
	    !nla_parse_nested(options, TCA_BPF_MAX, attrs[TCA_OPTIONS], NULL)) {
		if (options[TCA_BPF_ID])
			hook.program = nla_get_u32(options[TCA_BPF_ID]);
		if (options[TCA_BPF_NAME])
			nla_strlcpy(hook.name, options[TCA_BPF_NAME], sizeof(hook.name));
	}
	listing->fn(listing->context, &hook);
	return NL_OK;
}

static int list_clsact(struct nl_sock *sock, int ifindex, bool egress, struct listing *listing)
{
	struct tcmsg request = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = ifindex,
		.tcm_parent = TC_H_MAKE(TC_H_CLSACT, egress ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS),
	};
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	int err;

	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_filter, listing);
	err = nl_send_simple(sock, RTM_GETTFILTER, NLM_F_DUMP, &request, sizeof(request));
	if (err >= 0)
		err = nl_recvmsgs(sock, cb);
	nl_cb_put(cb);
	return route_query_errno(err < 0 ? err : 0);
}

int tc_hooks_list(struct nl_sock *sock, int ifindex, bool egress, tc_hooks_fn *fn, void *context)
{
	struct listing listing = {fn, context};
	char name[IF_NAMESIZE];
	int err;

	/* Without tcx nobody else would say so: rtnetlink lists nothing, and means it. */
	if (!if_indextoname(ifindex, name))
		return errno == ENXIO ? -ENODEV : -errno;
	err = list_tcx(ifindex, egress, &listing);
	return err ? err : list_clsact(sock, ifindex, egress, &listing);
}

int tc_hooks_have_tcx(void)
{
	LIBBPF_OPTS(bpf_prog_query_opts, opts);
	int err = bpf_prog_query_opts(if_nametoindex("lo"), TC_HOOKS_TCX_INGRESS, &opts);

	return err == -EINVAL ? 0 : err ? err : 1;
}
