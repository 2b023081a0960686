// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the decision whether an uplink gets our XDP program. Never in generic
 * mode; never in place of anybody else's. `auto` leaves alone every device that
 * other software is behind (veth, bond, VLAN, bridge, ...): what comes out of a
 * veth may have no checksum yet, which an skb says and XDP cannot see. Called by
 * datapath; xdp_query() by `sluice bpf show` and `sluice doctor` too.
 */
#include "xdp.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static const char *const mode_names[SL_XDP_MODES] = {
	[SL_XDP_AUTO] = "auto",
	[SL_XDP_ON] = "on",
	[SL_XDP_OFF] = "off",
};

int xdp_mode_parse(const char *text, enum sl_xdp_mode *ret)
{
	for (unsigned i = 0; i < SL_XDP_MODES; i++)
		if (!strcmp(text, mode_names[i])) {
			*ret = i;
			return 0;
		}
	return -EINVAL;
}

bool xdp_has_frags(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_XDP_HAS_FRAGS);
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "sluice_frags", "Dual BSD/GPL", pass,
			       sizeof(pass) / sizeof(pass[0]), &opts);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

int xdp_query(int ifindex, struct xdp_place *ret)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	int error = bpf_xdp_query(ifindex, 0, &opts), fd;

	if (error)
		return error;
	*ret = (struct xdp_place){.native = opts.attach_mode != XDP_ATTACHED_SKB};
	if (opts.attach_mode == XDP_ATTACHED_NONE)
		return 0;
	ret->program = opts.attach_mode == XDP_ATTACHED_SKB ? opts.skb_prog_id :
		       opts.drv_prog_id ? opts.drv_prog_id : opts.hw_prog_id;
	fd = bpf_prog_get_fd_by_id(ret->program);
	if (fd < 0)
		return 0; /* it went while we looked, or we may not */
	if (!bpf_obj_get_info_by_fd(fd, &info, &len))
		snprintf(ret->name, sizeof(ret->name), "%s", info.name);
	close(fd);
	return 0;
}

static void explain(int ifindex, int error, char why[XDP_WHY_LEN])
{
	struct xdp_place place = {};

	switch (error) {
	case -EBUSY:
	case -EEXIST:
		if (xdp_query(ifindex, &place) || !place.program)
			snprintf(why, XDP_WHY_LEN, "another program is there");
		else
			snprintf(why, XDP_WHY_LEN, "another program is there (%s, id %u)", place.name,
				 place.program);
		break;
	case -EOPNOTSUPP:
		snprintf(why, XDP_WHY_LEN, "its driver has no native XDP, or not with its offloads");
		break;
	default:
		snprintf(why, XDP_WHY_LEN, "the kernel refuses: %s", strerror(-error));
	}
}

/* Why the program is not to be there; NULL: it is. A bond runs it at its legs, whose packets seem to leave
 * by another device than they came in by. */
static const char *objection(enum sl_xdp_mode mode, const char *kind)
{
	if (mode == SL_XDP_OFF)
		return "--xdp off";
	if (!strcmp(kind, "bond") || (mode == SL_XDP_AUTO && kind[0]))
		return kind;
	return NULL;
}

int xdp_attach(const struct attach *attach, enum sl_xdp_mode mode, const struct xdp_uplink *uplink,
	       int fd, char why[XDP_WHY_LEN])
{
	const char *against = objection(mode, uplink->kind);
	int error;

	if (against) {
		snprintf(why, XDP_WHY_LEN, "%s%s", against == uplink->kind ? "a " : "", against);
		error = detach_xdp(attach, uplink->name);
		return error ? error : -EOPNOTSUPP;
	}
	error = attach_xdp(attach, uplink->ifindex, uplink->name, fd);
	if (error)
		explain(uplink->ifindex, error, why);
	return error;
}
