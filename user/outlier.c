// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns what was answered up to the last look at each replica. A replica behind several services is
 * judged in one of them, the first that has outlier detection by status (or latency), among the
 * peers that are judged there too. Refuses to eject anybody itself. Called by the agent.
 *
 * The programs keep of first bytes a mean of the last few answers alone, in which one stall weighs a
 * lot. So it is looked at each second, and what is judged is its mean over the interval's answers.
 */
#include "outlier.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdlib.h>

#include "outlier_latency.h"
#include "outlier_rate.h"

#define INTERVAL_S 10 /* where the service has none of its own */
#define NO_SERVICE UINT32_MAX

/* A replica's counts at a time, or between two. */
struct counted {
	uint64_t answers, failed;
};

/* How long its good answers took since its last interval by latency began. */
struct timed {
	struct counted seen; /* at the last look, */
	uint32_t tick;       /* which was in this outlier_tick() */
	uint64_t answers;
	uint64_t sum;  /* of outlier_latency_add() */
};

struct outlier {
	struct tables *tables;
	struct counted counted[SL_MAX_REPLICAS]; /* when the last interval by status began */
	struct timed timed[SL_MAX_REPLICAS];
	uint32_t tick; /* calls of outlier_tick() */
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

static bool is_sniffed(const struct sl_service *service)
{
	return (service->flags & (SL_SERVICE_USED | SL_SERVICE_SNIFF)) ==
	       (SL_SERVICE_USED | SL_SERVICE_SNIFF);
}

static bool by_status(const struct sl_service *service)
{
	return is_sniffed(service) && (service->eject_5xx || service->eject_gateway);
}

static bool by_latency(const struct sl_service *service)
{
	return is_sniffed(service) && service->latency_factor;
}

/* The service in which a replica is judged in one of these ways, or NO_SERVICE. */
static __u32 judge_of(const struct tables *tables, __u32 replica,
		      bool (*is_judged)(const struct sl_service *service))
{
	const struct sl_replica_services *list = &tables->replica_services[replica];

	for (__u32 i = 0; i < list->n && i < SL_MAX_SHARED; i++)
		if (list->service[i] < SL_MAX_SERVICES &&
		    is_judged(&tables->services[list->service[i]]))
			return list->service[i];
	return NO_SERVICE;
}

/* What it answered since the last look, which this is one. Counts that fell are another replica's. */
static struct counted count_since(struct counted *before, const struct sl_outlier *row)
{
	struct counted now = {
		.failed = __atomic_load_n(&row->answers_5xx, __ATOMIC_RELAXED),
		.answers = __atomic_load_n(&row->answers, __ATOMIC_RELAXED),
	};
	struct counted since;

	if (now.answers < before->answers || now.failed < before->failed)
		*before = (struct counted){};
	since.answers = now.answers - before->answers;
	since.failed = now.failed - before->failed;
	if (since.failed > since.answers) /* read between two adds */
		since.failed = since.answers;
	*before = now;
	return since;
}

static struct outlier_sample take_sample(struct outlier *outlier, __u32 replica)
{
	struct counted since = count_since(&outlier->counted[replica],
					   &outlier->tables->outliers[replica]);

	return (struct outlier_sample){replica, since.answers, since.failed};
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

/* The end of an interval. The samples are taken in any case: they begin the next one. */
static void end_rates(struct outlier *outlier, __u32 service, bool judged)
{
	const struct tables *tables = outlier->tables;
	__u64 list = __atomic_load_n(&tables->services[service].members, __ATOMIC_ACQUIRE);
	struct outlier_sample *samples = calloc(SL_MEMBERS_LENGTH(list) + 1, sizeof(*samples));
	size_t n = 0;

	for (__u32 i = 0; samples && i < SL_MEMBERS_LENGTH(list); i++) {
		__u32 replica = tables->members[SL_MEMBERS_OFFSET(list) + i].replica;

		if (replica < SL_MAX_REPLICAS && judge_of(tables, replica, by_status) == service)
			samples[n++] = take_sample(outlier, replica);
	}
	if (judged)
		judge(outlier, service, samples, n);
	free(samples);
}

/* ---- latency ---------------------------------------------------------------------------------*/

/* Only good answers have a time: a failure may well be quick. What was answered while nobody looked
 * has none either. */
static void look(struct outlier *outlier, __u32 replica)
{
	const struct sl_outlier *row = &outlier->tables->outliers[replica];
	struct timed *timed = &outlier->timed[replica];
	struct counted since = count_since(&timed->seen, row);

	if (timed->tick + 1 != outlier->tick)
		since = (struct counted){};
	timed->tick = outlier->tick;
	since.answers -= since.failed;
	outlier_latency_add(&timed->sum, since.answers,
			    __atomic_load_n(&row->first_byte, __ATOMIC_RELAXED));
	timed->answers += since.answers;
}

static void judge_latency(struct outlier *outlier, __u32 service,
			  struct outlier_latency_sample *samples, size_t n)
{
	__u32 factor = outlier->tables->services[service].latency_factor;
	struct outlier_latencies all;

	if (outlier_latencies(samples, n, factor, &all))
		return;
	/* The slowest first: not all may go. */
	for (size_t i = all.n; i-- > 0 && samples[i].mean_ms > all.limit_ms;)
		ask(outlier, SL_EJECT_OP_EJECT, service, samples[i].replica,
		    SL_EJECT_LATENCY | (__u32)all.n << 16,
		    outlier_latency_hundredths(samples[i].mean_ms) |
			    (__u32)outlier_latency_hundredths(all.median_ms) << 16);
}

/* Looks at the replicas of a service; at the end of an interval they are judged, and begin anew. */
static void time_service(struct outlier *outlier, __u32 service, bool ends, bool judged)
{
	const struct tables *tables = outlier->tables;
	__u64 list = __atomic_load_n(&tables->services[service].members, __ATOMIC_ACQUIRE);
	struct outlier_latency_sample *samples = calloc(SL_MEMBERS_LENGTH(list) + 1,
							sizeof(*samples));
	size_t n = 0;

	for (__u32 i = 0; samples && i < SL_MEMBERS_LENGTH(list); i++) {
		__u32 replica = tables->members[SL_MEMBERS_OFFSET(list) + i].replica;
		struct timed *timed;

		if (replica >= SL_MAX_REPLICAS || judge_of(tables, replica, by_latency) != service)
			continue;
		look(outlier, replica);
		timed = &outlier->timed[replica];
		if (!ends)
			continue;
		samples[n++] = (struct outlier_latency_sample){
			.replica = replica, .answers = timed->answers,
			.mean_ms = outlier_latency_mean_ms(timed->sum, timed->answers,
							   tables->control->hz)};
		timed->answers = timed->sum = 0;
	}
	if (ends && judged)
		judge_latency(outlier, service, samples, n);
	free(samples);
}

/* ---- intervals ---------------------------------------------------------------------------------*/

void outlier_tick(struct outlier *outlier)
{
	const struct tables *tables = outlier->tables;
	__u32 now = tables->kernel->now;

	outlier->tick++;
	for (__u32 row = 0; row < SL_MAX_SERVICES; row++) {
		const struct sl_service *service = &tables->services[row];
		__u32 interval = service->outlier_interval_ticks ?:
					 INTERVAL_S * tables->control->hz;
		bool judged = outlier->judged[row];
		bool ends = !judged || now - outlier->begun[row] >= interval;

		if (!by_status(service) && !by_latency(service)) {
			outlier->judged[row] = false;
			continue;
		}
		if (by_latency(service))
			time_service(outlier, row, ends, judged);
		if (!ends)
			continue;
		if (by_status(service))
			end_rates(outlier, row, judged);
		outlier->judged[row] = true;
		outlier->begun[row] = now;
	}
}
