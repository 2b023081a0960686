// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads replica rows; owns nothing. Called by the agent, for its log, and by the CLI.
 */
#include "fast.h"

#include <stdio.h>

static const char *const reasons[FAST_ANSWERS] = {
	[FAST_CAP] = "with a cap on connections",
	[FAST_NO_PEER] = "behind no veth of a pod (hostNetwork, another kind of interface)",
	[FAST_NO_WAY] = "over a device where their answers are not met",
};

bool fast_is_on(const struct sl_control *control)
{
	return control->fast_path & SL_FAST_PATH_NEW;
}

enum fast_answer fast_replica(const struct sl_replica_config *config)
{
	if (!(config->flags & SL_REPLICA_LOCAL))
		return config->flags & SL_REPLICA_FAST ? FAST_YES : FAST_NO_WAY;
	if (!(config->flags & SL_REPLICA_FAST) || !config->peer_ifindex)
		return FAST_NO_PEER;
	return config->max_connections ? FAST_CAP : FAST_YES;
}

struct fast_tally fast_tally(const struct sl_replica *replicas, size_t n)
{
	struct fast_tally tally = {};

	for (size_t i = 0; i < n; i++)
		if (replicas[i].config.flags & SL_REPLICA_USED &&
		    !(replicas[i].config.flags & (SL_REPLICA_NOT_SERVING | SL_REPLICA_NO_ROUTE)))
			tally.n[fast_replica(&replicas[i].config)]++;
	return tally;
}

const char *fast_format(const struct fast_tally *tally, char *buf, size_t len)
{
	const char *lead = "; by the node's stack:";
	unsigned all = 0;
	size_t at;

	for (int i = 0; i < FAST_ANSWERS; i++)
		all += tally->n[i];
	at = snprintf(buf, len, "%u of %u replicas", tally->n[FAST_YES], all);
	for (int i = FAST_YES + 1; i < FAST_ANSWERS && at < len; i++) {
		if (!tally->n[i])
			continue;
		at += snprintf(buf + at, len - at, "%s %u %s", lead, tally->n[i], reasons[i]);
		lead = ",";
	}
	return buf;
}
