// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who takes the fast path, as it is said in the log and by `sluice doctor`.
 */
#include <string.h>

#include "check.h"
#include "fast.h"

#define LOCAL (SL_REPLICA_USED | SL_REPLICA_LOCAL)

static enum fast_answer answer(__u16 flags, __u32 peer, __u32 cap)
{
	struct sl_replica_config config = {
		.flags = flags, .peer_ifindex = peer, .max_connections = cap};

	return fast_replica(&config);
}

TEST(reasons)
{
	CHECK_INT(answer(LOCAL | SL_REPLICA_FAST, 7, 0), FAST_YES);
	CHECK_INT(answer(LOCAL | SL_REPLICA_FAST, 7, 10), FAST_CAP);
	CHECK_INT(answer(LOCAL | SL_REPLICA_FAST, 0, 0), FAST_NO_PEER);
	CHECK_INT(answer(LOCAL, 7, 0), FAST_NO_PEER);
	CHECK_INT(answer(LOCAL, 0, 10), FAST_NO_PEER);
	CHECK_INT(answer(SL_REPLICA_USED | SL_REPLICA_FAST, 0, 0), FAST_YES);
	CHECK_INT(answer(SL_REPLICA_USED | SL_REPLICA_FAST, 3, 10), FAST_YES); /* 3: a source's row */
	CHECK_INT(answer(SL_REPLICA_USED, 0, 0), FAST_NO_WAY);
}

TEST(tally)
{
	static const struct sl_replica replicas[] = {
		{.config = {.flags = LOCAL | SL_REPLICA_FAST, .peer_ifindex = 7}},
		{.config = {.flags = LOCAL | SL_REPLICA_FAST, .peer_ifindex = 8, .max_connections = 1}},
		{.config = {.flags = LOCAL}},
		{.config = {.flags = LOCAL}},
		{.config = {.flags = LOCAL | SL_REPLICA_NOT_SERVING}}, /* nobody asks */
		{.config = {.flags = SL_REPLICA_USED | SL_REPLICA_NO_ROUTE}},
		{.config = {.flags = SL_REPLICA_FAST}}, /* a row that is free */
	};
	struct fast_tally tally = fast_tally(replicas, sizeof(replicas) / sizeof(replicas[0]));
	char text[256];

	CHECK_STR(fast_format(&tally, text, sizeof(text)),
		  "1 of 4 replicas; by the node's stack: 1 with a cap on connections, "
		  "2 behind no veth of a pod (hostNetwork, another kind of interface)");
	tally = fast_tally(replicas, 1);
	CHECK_STR(fast_format(&tally, text, sizeof(text)), "1 of 1 replicas");
	tally = (struct fast_tally){.n = {1, 2, 3, 4}};
	fast_format(&tally, text, 40);
	CHECK_INT(strlen(text), 39); /* cut, and no further */
}

TEST(on_and_off)
{
	struct sl_control control = {.fast_path = SL_FAST_PATH_FLOWS};

	CHECK(!fast_is_on(&control));
	control.fast_path |= SL_FAST_PATH_NEW;
	CHECK(fast_is_on(&control));
}
