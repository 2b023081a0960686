// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two CPUs at once over few flows and a table of few sets, so that they meet all
 * the time: the same SYN twice, both FINs at the same moment, an RST while the
 * sweep takes the flow, a slot reused under a late packet. Nothing may be
 * counted twice or lost. Seconds are a few milliseconds here (hz 1), so that
 * timeouts, lingers and quarantines race as well.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "bpf_fixture.h"
#include "check.h"

#define CLIENTS 24
#define REPLICAS 3
#define RUN_MS 2500
#define ENOUGH 10000    /* packets of each CPU, for the two to have met often */
#define RUN_MAX_MS 40000 /* an emulated CPU may need more than RUN_MS for that many */

/* What is said about one client port; %u: the port, %u: a sequence number. */
static const struct {
	enum fixture_hook at;
	const char *format;
} sayings[] = {
	{FROM_POD, "client:%u > vip:80 S seq %u len 0"},
	{FROM_POD, "client:%u > vip2:80 S seq %u len 0"},
	{FROM_POD, "client:%u > vip:80 FA seq %u ack 9 len 0"},
	{FROM_POD, "client:%u > vip:80 RA seq %u ack 9 len 0"},
	{FROM_POD, "client:%u > vip:80 A seq %u ack 9 len 0"},
	{TO_POD, "r1:8000 > client:%u SA seq 9 ack %u len 0"},
	{TO_POD, "r2:8000 > client:%u SA seq 9 ack %u len 0"},
	{TO_POD, "r1:8000 > client:%u FA seq 9 ack %u len 0"},
	{TO_POD, "r2:8000 > client:%u FA seq 9 ack %u len 0"},
	{TO_POD, "r2:8000 > client:%u RA seq 9 ack %u len 0"},
	{FROM_UPLINK, "client2:%u > vip:80 S seq %u len 0"},
	{FROM_UPLINK, "client2:%u > vip:80 A seq %u ack 9 len 0"},
	{FROM_UPLINK, "client2:%u > vip:80 FA seq %u ack 9 len 0"},
	{FROM_UPLINK, "client2:%u > vip:80 R seq %u len 0"},
	{TO_UPLINK, "r1:8000 > client2:%u SA seq 9 ack %u len 0"},
	{TO_UPLINK, "r2:8000 > client2:%u FA seq 9 ack %u len 0"},
};

#define SAYINGS (sizeof(sayings) / sizeof(sayings[0]))
#define SEQUENCES 2

static struct packet packets[SAYINGS][CLIENTS][SEQUENCES];

struct racer {
	struct fixture *fixture;
	unsigned cpu;
	atomic_bool *stop;
	atomic_ulong sent;
	unsigned long strange;
	struct fixture_result result;
};

static void make_packets(struct fixture *f)
{
	char line[PACKET_TEXT_LEN], text[PACKET_TEXT_LEN];

	for (unsigned i = 0; i < SAYINGS; i++)
		for (unsigned port = 0; port < CLIENTS; port++)
			for (unsigned seq = 0; seq < SEQUENCES; seq++) {
				snprintf(line, sizeof(line), sayings[i].format, port + 1, seq);
				CHECK_INT(packet_build(fixture_expand(f, line, text),
						       &packets[i][port][seq]), 0);
			}
}

static void *race(void *context)
{
	struct racer *racer = context;
	unsigned seed = racer->cpu + 1;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(racer->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	while (!atomic_load(racer->stop)) {
		unsigned i = rand_r(&seed) % SAYINGS, port = rand_r(&seed) % CLIENTS;

		racer->result.in = packets[i][port][rand_r(&seed) % SEQUENCES];
		fixture_send_built(racer->fixture, sayings[i].at, &racer->result);
		racer->strange += racer->result.verdict < NEXT;
		if (atomic_fetch_add(&racer->sent, 1) % 512 == 511)
			fixture_sweep(racer->fixture);
	}
	return NULL;
}

static void check_books(struct fixture *f)
{
	unsigned held[REPLICAS] = {0}, half_open = 0, with_port = 0;

	for (__u32 i = 0; i < f->flow_sets * SL_FLOW_WAYS; i++) {
		struct sl_flow *flow = &f->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS];
		__u32 phase = SL_FLOW_PHASE(flow->state);

		CHECK(phase != SL_FLOW_CLAIMED);
		if (phase != SL_FLOW_SYN && phase != SL_FLOW_OPEN)
			continue;
		held[flow->replica]++;
		half_open += phase == SL_FLOW_SYN;
		with_port += flow->snat_port != 0;
	}
	for (unsigned i = 0; i < REPLICAS; i++)
		CHECK_INT(f->replicas[i].state.inflight, held[i]);
	CHECK_INT(f->kernel->half_open, half_open);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), with_port);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_CLAIMED), 0);
}

static bool is_live(const struct sl_flow *flow)
{
	return SL_FLOW_PHASE(flow->state) == SL_FLOW_SYN ||
	       SL_FLOW_PHASE(flow->state) == SL_FLOW_OPEN;
}

/* One entry for each client and VIP, and no two live ones that a replica could not tell apart. */
static void check_unique(struct fixture *f)
{
	const unsigned n = f->flow_sets * SL_FLOW_WAYS;

	for (unsigned i = 0; i < n; i++)
		for (unsigned j = i + 1; j < n; j++) {
			struct sl_flow *a = &f->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS];
			struct sl_flow *b = &f->flows[j / SL_FLOW_WAYS].way[j % SL_FLOW_WAYS];

			if (SL_FLOW_PHASE(a->state) < SL_FLOW_SYN ||
			    SL_FLOW_PHASE(b->state) < SL_FLOW_SYN ||
			    memcmp(&a->key, &b->key, sizeof(a->key)))
				continue;
			CHECK(a->vip != b->vip);
			CHECK(a->replica != b->replica || !is_live(a) || !is_live(b));
		}
}

/* Lets the racers run. */
static void wait_for(struct racer racers[2])
{
	const struct timespec tick = {.tv_nsec = 50 * 1000000};

	for (unsigned ms = 0; ms < RUN_MAX_MS; ms += 50) {
		if (ms >= RUN_MS && atomic_load(&racers[0].sent) > ENOUGH &&
		    atomic_load(&racers[1].sent) > ENOUGH)
			return;
		nanosleep(&tick, NULL);
	}
}

static void two_cpus(struct fixture *f)
{
	__u32 service = fixture_simple(f, SL_SERVICE_REPLACE, REPLICAS);
	struct racer racers[2];
	atomic_bool stop = false;
	pthread_t threads[2];

	fixture_add_vip(f, service, "vip2:80");
	fixture_make_remote(f, 2, fixture_add_source(f, "node"));
	make_packets(f);
	for (unsigned i = 0; i < 2; i++)
		racers[i] = (struct racer){.fixture = f, .cpu = i, .stop = &stop};
	for (unsigned i = 0; i < 2; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	wait_for(racers);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		CHECK_INT(racers[i].strange, 0);
		CHECK(racers[i].sent > ENOUGH);
	}
	check_books(f);
	check_unique(f);
	printf("  %lu packets, %llu picks, %llu spills\n",
	       atomic_load(&racers[0].sent) + atomic_load(&racers[1].sent),
	       (unsigned long long)fixture_counter(f, SL_COUNT_PICKS),
	       (unsigned long long)fixture_counter(f, SL_COUNT_SPILLS));
	fixture_age(f, 8000);
	fixture_sweep(f);
	fixture_sweep(f);
	for (unsigned i = 0; i < REPLICAS; i++)
		CHECK_INT(f->replicas[i].state.inflight, 0);
	CHECK_INT(f->kernel->half_open, 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 0);
	CHECK_INT(fixture_count_flows(f, SL_FLOW_FREE), f->flow_sets * SL_FLOW_WAYS);
}

/* Nor is one pushed out of the table, and thereby out of the counts, that has a place in it. */
static void two_cpus_with_room(struct fixture *f)
{
	two_cpus(f);
	CHECK_INT(fixture_counter(f, SL_COUNT_SPILLS), 0);
}

TEST(two_cpus_never_count_twice_and_lose_nothing)
{
	static const struct fixture_options fast = {.flow_sets = 64, .snat_sets = 64, .hz = 1};

	fixture_once(two_cpus_with_room, &fast);
}

/* The same with a table that is always full, so that flows spill and slots are fought for. */
TEST(two_cpus_over_a_full_table)
{
	static const struct fixture_options full = {.flow_sets = 2, .snat_sets = 2, .hz = 1};

	fixture_once(two_cpus, &full);
}
