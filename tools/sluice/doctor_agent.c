// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether the agent lives, and what it or `sluice` was told to do otherwise than
 * usual: a freeze, services handed back, the fast path. Called by `sluice doctor`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "doctor.h"
#include "fast.h"
#include "strbuf.h"

#define HEARTBEAT_MAX_MS 3000 /* older, and the programs take the agent for dead */

static void check_heartbeat(struct doctor *doctor)
{
	const struct sl_control *control = doctor->maps.control;
	struct timespec now;
	uint64_t now_ns, age_ms;

	if (!control->heartbeat_ns) {
		doctor_row(doctor, "agent", DOCTOR_FAIL, "look into the log of sluiced",
			   "the maps are pinned, but sluiced was never heard");
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ns = now.tv_sec * 1000000000ull + now.tv_nsec;
	age_ms = now_ns > control->heartbeat_ns ? (now_ns - control->heartbeat_ns) / 1000000 : 0;
	if (age_ms <= HEARTBEAT_MAX_MS)
		doctor_row(doctor, "agent", DOCTOR_OK, NULL,
			   "sluiced (pid %u) was heard %llu ms ago", control->agent_pid,
			   (unsigned long long)age_ms);
	else
		doctor_row(doctor, "agent", DOCTOR_FAIL,
			   "start sluiced; it takes over what is there without a broken connection",
			   "sluiced was last heard %llu s ago: the programs steer on, but nobody "
			   "probes, and new pods are not attached",
			   (unsigned long long)age_ms / 1000);
}

static void check_freeze(struct doctor *doctor)
{
	const struct sl_control *control = doctor->maps.control;
	__u32 left = maps_freeze_left(control, doctor->maps.kernel->now);

	if (left)
		doctor_row(doctor, "freeze", DOCTOR_WARN, "sluice unfreeze",
			   "ejections and resets are off for another %u s", left / control->hz);
}

static void check_handed_back(struct doctor *doctor)
{
	const struct maps *maps = &doctor->maps;
	struct sl_service_name name;
	struct strbuf services = {};
	char word[SL_NAME_LEN + 3];

	for (__u32 i = 0; i < maps->n_vips; i++) {
		if (!maps_is_handed_back(&maps->vips[i]) ||
		    !maps_service_name(maps, maps->vips[i].service, &name))
			continue;
		snprintf(word, sizeof(word), " %s,", name.service);
		if (!services.data || !strstr(services.data, word))
			strbuf_addf(&services, "%s", word);
	}
	if (services.len)
		doctor_row(doctor, "handed_back", DOCTOR_INFO, "sluice hand-back --undo SERVICE",
			   "Sluice takes no new connections of%.*s", (int)services.len - 1,
			   services.data);
	strbuf_done(&services);
}

/* Where redirects are not possible the node's stack does, as ever: nothing to mend. */
static void check_fast_path(struct doctor *doctor)
{
	const struct maps *maps = &doctor->maps;
	uint64_t counters[SL_COUNT_MAX] = {};
	struct fast_tally tally;
	char text[256];

	if (!fast_is_on(maps->control)) {
		doctor_row(doctor, "fast_path", DOCTOR_OK, NULL, "off (sluiced --fast-path)");
		return;
	}
	tally = fast_tally(maps->replicas, maps->n_replicas);
	maps_read_counters(maps, counters);
	doctor_row(doctor, "fast_path",
		   tally.n[FAST_CAP] || tally.n[FAST_NO_PEER] || tally.n[FAST_NO_WAY] ? DOCTOR_INFO :
										      DOCTOR_OK,
		   NULL, "%s; %llu flows so far, %llu more by the node's stack",
		   fast_format(&tally, text, sizeof(text)),
		   (unsigned long long)counters[SL_COUNT_FAST_PATH],
		   (unsigned long long)counters[SL_COUNT_FAST_DECLINED]);
}

void doctor_check_agent(struct doctor *doctor)
{
	switch (doctor->maps_err) {
	case 0:
		check_heartbeat(doctor);
		check_freeze(doctor);
		check_handed_back(doctor);
		check_fast_path(doctor);
		break;
	case -ENOENT:
		doctor_row(doctor, "agent", DOCTOR_INFO, NULL,
			   "sluiced has not run here: nothing is pinned below %s",
			   doctor->cli->bpffs);
		break;
	case -EPROTO:
		doctor_row(doctor, "agent", DOCTOR_FAIL,
			   "use the sluice that came with the running sluiced",
			   "the maps below %s have the layout of another version",
			   doctor->cli->bpffs);
		break;
	case -EPERM:
	case -EACCES:
		doctor_row_needs_root(doctor, "agent");
		break;
	default:
		doctor_row(doctor, "agent", DOCTOR_FAIL, NULL, "cannot read the maps below %s: %s",
			   doctor->cli->bpffs, strerror(-doctor->maps_err));
	}
}
