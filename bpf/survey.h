/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How many replicas of a service are ejected, and how many are fit: counted when somebody asks, by a
 * walk over the members in chunks that the verifier follows one by one. What a service can spare, and
 * whether so few are fit that ejections are to be ignored. Members beyond the first 5120 are not
 * counted. Called by ejection.h.
 */
#ifndef SLUICE_BPF_SURVEY_H
#define SLUICE_BPF_SURVEY_H

#include "eject.h"

#define EJECT_CHUNK 32u        /* members looked at by one eject_survey_chunk() */
#define EJECT_CHUNKS_MAX 160u

/* A survey's result: both counts in one int. */
#define SURVEY_EJECTED(survey) ((survey) & 0xffff)
#define SURVEY_FIT(survey) ((survey) >> 16 & 0x7fff)

/* One replica's part of a survey. A global function: verified by itself, as the next ones; in line,
 * the verifier of 6.1 would follow every outcome of 32 of them. */
__noinline int eject_survey_one(__u32 replica_row)
{
	struct sl_replica *replica = bpf_map_lookup_elem(&replicas, &replica_row);

	if (!replica)
		return 0;
	if (eject_is_out(replica))
		return 1;
	return replica->config.flags & (SL_REPLICA_UNFIT & ~SL_REPLICA_SUSPECT) ||
			       replica->config.admin & SL_ADMIN_DRAINED ? 0 : 1 << 16;
}

/* Members from slot `start` on. The list may change from one chunk to the next: an error of a
 * moment. */
__noinline int eject_survey_chunk(__u32 service_row, __u32 start)
{
	struct sl_service *service = bpf_map_lookup_elem(&services, &service_row);
	__u32 survey = 0, length, offset;
	__u64 list;

	if (!service)
		return 0;
	list = READ_ONCE(service->members);
	offset = SL_MEMBERS_OFFSET(list);
	length = SL_MEMBERS_LENGTH(list);
	for (__u32 i = 0; i < EJECT_CHUNK && start + i < length; i++) {
		__u32 slot = offset + start + i;
		struct sl_member *member = bpf_map_lookup_elem(&members, &slot);

		if (!member)
			break;
		survey += (__u32)eject_survey_one(member->replica);
	}
	return survey;
}

/* How many members of a service are ejected (SURVEY_EJECTED), and how many are neither that nor down
 * nor draining (SURVEY_FIT). */
__noinline int eject_survey(__u32 service_row)
{
	struct sl_service *service = bpf_map_lookup_elem(&services, &service_row);
	__u32 length, survey = 0;

	if (!service)
		return 0;
	length = SL_MEMBERS_LENGTH(READ_ONCE(service->members));
	for (__u32 i = 0; i < EJECT_CHUNKS_MAX && i * EJECT_CHUNK < length; i++)
		survey += (__u32)eject_survey_chunk(service_row, i * EJECT_CHUNK);
	return survey & 0x7fffffff;
}

static __always_inline __u32 eject_surveyed(const struct sl_service *service)
{
	__u32 length = SL_MEMBERS_LENGTH(READ_ONCE(service->members));

	return length < EJECT_CHUNK * EJECT_CHUNKS_MAX ? length : EJECT_CHUNK * EJECT_CHUNKS_MAX;
}

/* Whether as many of a service's replicas as are ejected now may be. */
__noinline int eject_has_room(__u32 service_row)
{
	struct sl_service *service = bpf_map_lookup_elem(&services, &service_row);
	__u32 ejected, n;

	if (!service || !eject_is_on(service))
		return 1;
	n = eject_surveyed(service);
	ejected = SURVEY_EJECTED((__u32)eject_survey(service_row));
	return ejected * 100 <= service->max_ejection_percent * n || (ejected <= 1 && n > 1);
}

/* Whether all services that share a replica, now marked as ejected, can do without it. */
__noinline int eject_is_allowed(__u32 replica_row)
{
	struct sl_replica_services *shared = bpf_map_lookup_elem(&replica_services, &replica_row);

	for (__u32 i = 0; shared && i < SL_MAX_SHARED && i < shared->n; i++)
		if (!eject_has_room(shared->service[i]))
			return 0;
	return 1;
}

/* Notes whether so few replicas of a service are fit that its ejections are to be ignored. */
__noinline int eject_weigh(__u32 service_row)
{
	struct sl_service *service = bpf_map_lookup_elem(&services, &service_row);
	struct sl_service_state *state = bpf_map_lookup_elem(&service_states, &service_row);
	__u32 fit;

	if (!service || !state || !service->min_health_percent)
		return 0;
	fit = SURVEY_FIT((__u32)eject_survey(service_row));
	WRITE_ONCE(state->unhealthy,
		   fit * 100 < service->min_health_percent * eject_surveyed(service));
	return 0;
}

static __always_inline void eject_weigh_all(__u32 replica_row)
{
	struct sl_replica_services *shared = bpf_map_lookup_elem(&replica_services, &replica_row);

	for (__u32 i = 0; shared && i < SL_MAX_SHARED && i < shared->n; i++)
		eject_weigh(shared->service[i]);
}

#endif
