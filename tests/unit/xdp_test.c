// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where XDP is not even tried, and how a mode is spelt. Attaching is the business of
 * tests/e2e/xdp_test.py.
 */
#include <errno.h>

#include "check.h"
#include "xdp.h"

TEST(modes_have_names)
{
	static const char *const names[SL_XDP_MODES] = {"auto", "on", "off"};
	enum sl_xdp_mode mode;

	for (int i = 0; i < SL_XDP_MODES; i++) {
		mode = SL_XDP_MODES;
		CHECK_INT(xdp_mode_parse(names[i], &mode), 0);
		CHECK_INT(mode, i);
	}
	CHECK_INT(xdp_mode_parse("On", &mode), -EINVAL);
	CHECK_INT(xdp_mode_parse("", &mode), -EINVAL);
	CHECK_INT(mode, SL_XDP_OFF);
}

TEST(where_it_is_not_tried)
{
	static const struct {
		enum sl_xdp_mode mode;
		const char *kind, *why;
	} rows[] = {
		{SL_XDP_OFF, "", "--xdp off"},   {SL_XDP_OFF, "veth", "--xdp off"},
		{SL_XDP_AUTO, "veth", "a veth"}, {SL_XDP_AUTO, "vlan", "a vlan"},
		{SL_XDP_AUTO, "bond", "a bond"}, {SL_XDP_ON, "bond", "a bond"},
	};
	const struct attach attach = {.links_dir = "/nonexistent"};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct xdp_uplink uplink = {.ifindex = 1, .name = "lo", .kind = rows[i].kind};
		char why[XDP_WHY_LEN] = "";

		CHECK_INT(xdp_attach(&attach, rows[i].mode, &uplink, -1, why), -EOPNOTSUPP);
		CHECK_STR(why, rows[i].why);
	}
}

TEST(nothing_is_at_the_loopback)
{
	struct xdp_place place = {.program = 1};

	CHECK_INT(xdp_query(1, &place), 0);
	CHECK_INT(place.program, 0);
}
