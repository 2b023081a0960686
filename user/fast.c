// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads replica rows and, at a start, the flow table; owns nothing. Called by datapath, by the agent,
 * for its log, and by the CLI.
 */
#include "fast.h"

#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

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

static bool is_fast(const struct sl_flow *flow)
{
	return flow->hook >= SL_HOOK_FAST_POD && SL_FLOW_PHASE(flow->state) != SL_FLOW_FREE;
}

/* Whether the spill table holds any flow: they are few, and nothing is won by a look at each. */
static bool has_spilled(const char *bpffs)
{
	struct sl_flow_key key;
	char path[PATH_MAX];
	bool found;
	int fd;

	snprintf(path, sizeof(path), "%s/spill", bpffs);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return true;
	found = !bpf_map_get_next_key(fd, NULL, &key);
	close(fd);
	return found;
}

bool fast_has_flows(const char *bpffs)
{
	struct bpf_map_info info = {};
	const struct sl_flow *flows;
	__u32 len = sizeof(info);
	bool found = false;
	char path[PATH_MAX];
	size_t bytes;
	int fd;

	if (has_spilled(bpffs))
		return true;
	snprintf(path, sizeof(path), "%s/flows", bpffs);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return true;
	bytes = bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : (size_t)info.max_entries * info.value_size;
	flows = bytes ? mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
	close(fd);
	if (flows == MAP_FAILED)
		return true;
	for (size_t i = 0; i < bytes / sizeof(*flows) && !found; i++)
		found = is_fast(&flows[i]);
	munmap((void *)flows, bytes);
	return found;
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
