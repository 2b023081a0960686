// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lends the agent's own mapped tables to the readers of struct maps, so that
 * metrics and status are rendered by the same code as in the CLI at no cost in
 * memory. Opens the counters, which are not mapped. Called by the agent.
 */
#include "facts.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static int open_pin(const char *bpffs, const char *name)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", bpffs, name);
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

static int count_rows(int fd, __u32 *ret)
{
	struct bpf_map_info info = {0};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*ret = info.max_entries;
	return 0;
}

int facts_open_maps(const struct tables *tables, const char *bpffs, struct maps *ret)
{
	struct maps maps = {
		.control = tables->control,
		.kernel = tables->kernel,
		.vips = tables->vips,
		.services = tables->services,
		.members = tables->members,
		.replicas = tables->replicas,
		.outliers = tables->outliers,
		.service_states = tables->service_states,
		.replica_services = tables->replica_services,
		.sources = tables->sources,
		.event_head = tables->event_head,
		.n_vips = SL_MAX_VIPS,
		.n_services = SL_MAX_SERVICES,
		.n_members = SL_MAX_MEMBERS,
		.n_replicas = SL_MAX_REPLICAS,
		.n_sources = SL_MAX_SOURCES,
		.service_names_fd = tables->service_names_fd,
		.replica_names_fd = tables->replica_names_fd,
		.drops_fd = open_pin(bpffs, "drops"),
		.counters_fd = open_pin(bpffs, "counters"),
		.first_bytes_fd = open_pin(bpffs, "first_bytes"),
		.spill_fd = -1,
	};
	int error = count_rows(tables->flows_fd, &maps.n_flow_sets);

	if (!error && maps.drops_fd < 0)
		error = maps.drops_fd;
	if (!error && maps.counters_fd < 0)
		error = maps.counters_fd;
	if (!error && maps.first_bytes_fd < 0)
		error = maps.first_bytes_fd;
	if (error) {
		facts_close_maps(&maps);
		return error;
	}
	*ret = maps;
	return 0;
}

void facts_close_maps(struct maps *maps)
{
	if (maps->drops_fd >= 0)
		close(maps->drops_fd);
	if (maps->counters_fd >= 0)
		close(maps->counters_fd);
	if (maps->first_bytes_fd >= 0)
		close(maps->first_bytes_fd);
	maps->drops_fd = maps->counters_fd = maps->first_bytes_fd = -1;
}
