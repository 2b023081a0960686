// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns what was answered up to the last look at each replica. A replica behind several services is
 * judged in one of them, the first that has outlier detection by status, among the peers that are
 * judged there too. Refuses to eject anybody itself. Called by the agent.
 */
#include "outlier.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdlib.h>

#include "outlier_rate.h"

#define INTERVAL_S 10 /* where the service has none of its own */
#define NO_SERVICE UINT32_MAX

/* A replica's counts when its last interval began. */
struct counted {
	uint64_t answers, failed;
};

struct outlier {
	struct tables *tables;
	struct counted counted[SL_MAX_REPLICAS];
	__u32 begun[SL_MAX_SERVICES];  /* jiffies when the interval under way began */
	bool judged[SL_MAX_SERVICES];  /* whether there is such an interval */
};

int outlier_new(struct tables *tables, struct outlier **ret)
{
	struct outlier *outlier = calloc(1, sizeof(*outlier));

	if (!outlier)
		return -ENOMEM;
	outlier->tables = tables;
	*ret = outlier;
	return 0;
}

void outlier_free(struct outlier *outlier)
{
	free(outlier);
}

/* What the program says; 0 also when it could not be run: the next occasion will come. */
static int ask(const struct outlier *outlier, enum sl_eject_op op, __u32 service, __u32 replica,
	       __u32 a, __u32 b)
{
	char frame[ETH_ZLEN] = {}; /* what the kernel wants at least; nobody looks at it */
	struct __sk_buff context = {.cb = {op, service, replica, a, b}};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &context, .ctx_size_in = sizeof(context));

	return bpf_prog_test_run_opts(outlier->tables->eject_fd, &opts) ? 0 : (int)opts.retval;
}

/* ---- probes -----------------------------------------------------------------------------*/

void outlier_probed(struct outlier *outlier, __u32 replica)
{
	const struct sl_replica_state_row *state = &outlier->tables->replicas[replica].state;

	if (__atomic_load_n(&state->ejected_until, __ATOMIC_RELAXED) &&
	    __atomic_load_n(&state->ejected_for, __ATOMIC_RELAXED) == SL_EJECT_CONNECT)
		ask(outlier, SL_EJECT_OP_PROBED, 0, replica, 0, 0);
}

/* ---- success rates -------------------------------------------------------------------------*/

static bool is_judged(const struct sl_service *service)
{
	return (service->flags & (SL_SERVICE_USED | SL_SERVICE_SNIFF)) ==
		       (SL_SERVICE_USED | SL_SERVICE_SNIFF) &&
	       (service->eject_5xx || service->eject_gateway);
}

/* The service in which a replica is judged, or NO_SERVICE. */
static __u32 judge_of(const struct tables *tables, __u32 replica)
{
	const struct sl_replica_services *list = &tables->replica_services[replica];

	for (__u32 i = 0; i < list->n && i < SL_MAX_SHARED; i++)
		if (list->service[i] < SL_MAX_SERVICES &&
		    is_judged(&tables->services[list->service[i]]))
			return list->service[i];
	return NO_SERVICE;
}

/* What it answered since the last look, which this is one. Counts that fell are another replica's. */
static struct outlier_sample take_sample(struct outlier *outlier, __u32 replica)
{
	const struct sl_outlier *row = &outlier->tables->outliers[replica];
	struct counted *before = &outlier->counted[replica];
	struct counted now = {
		.failed = __atomic_load_n(&row->answers_5xx, __ATOMIC_RELAXED),
		.answers = __atomic_load_n(&row->answers, __ATOMIC_RELAXED),
	};
	struct outlier_sample sample = {.replica = replica};

	if (now.answers < before->answers || now.failed < before->failed)
		*before = (struct counted){};
	sample.answers = now.answers - before->answers;
	sample.failed = now.failed - before->failed;
	if (sample.failed > sample.answers) /* read between two adds */
		sample.failed = sample.answers;
	*before = now;
	return sample;
}

static __u32 permille(double share)
{
	return share * 1000 + 0.5;
}

static void judge(struct outlier *outlier, __u32 service, const struct outlier_sample *samples,
		  size_t n)
{
	struct outlier_rates rates;

	if (outlier_rates(samples, n, &rates))
		return;
	for (size_t i = 0; i < n; i++) {
		double rate;

		if (!outlier_rate_counts(&samples[i]))
			continue;
		rate = outlier_rate_of(&samples[i]);
		if (rate < rates.limit)
			ask(outlier, SL_EJECT_OP_EJECT, service, samples[i].replica, SL_EJECT_RATE,
			    permille(rate) | permille(rates.mean) << 16);
	}
}

/* The interval of a service is over. The samples are taken in any case: they begin the next one. */
static void end_interval(struct outlier *outlier, __u32 service, bool judged)
{
	const struct tables *tables = outlier->tables;
	__u64 list = __atomic_load_n(&tables->services[service].members, __ATOMIC_ACQUIRE);
	struct outlier_sample *samples = calloc(SL_MEMBERS_LENGTH(list) + 1, sizeof(*samples));
	size_t n = 0;

	for (__u32 i = 0; samples && i < SL_MEMBERS_LENGTH(list); i++) {
		__u32 replica = tables->members[SL_MEMBERS_OFFSET(list) + i].replica;

		if (replica < SL_MAX_REPLICAS && judge_of(tables, replica) == service)
			samples[n++] = take_sample(outlier, replica);
	}
	if (judged)
		judge(outlier, service, samples, n);
	free(samples);
}

void outlier_tick(struct outlier *outlier)
{
	const struct tables *tables = outlier->tables;
	__u32 now = tables->kernel->now;

	for (__u32 row = 0; row < SL_MAX_SERVICES; row++) {
		const struct sl_service *service = &tables->services[row];
		__u32 interval = service->outlier_interval_ticks ?:
					 INTERVAL_S * tables->control->hz;

		if (!is_judged(service)) {
			outlier->judged[row] = false;
			continue;
		}
		if (outlier->judged[row] && now - outlier->begun[row] < interval)
			continue;
		end_interval(outlier, row, outlier->judged[row]);
		outlier->judged[row] = true;
		outlier->begun[row] = now;
	}
}
