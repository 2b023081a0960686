// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reader's view of pinned maps, against maps that the test creates itself
 * and pins in a bpffs of its own mount namespace. Needs root.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <bpf/libbpf.h>

#include "check.h"
#include "maps.h"
#include "pinned.h"

#define NEEDS_ROOT "needs root for a mount namespace and for BPF maps"

static char mount_point[] = "/tmp/sluice-maps-XXXXXX";

/* A bpffs that nobody else sees; it goes with this process. */
static bool have_bpffs(void)
{
	static int mounted = -1;

	if (mounted >= 0)
		return mounted;
	mounted = !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		  mkdtemp(mount_point) && !mount("bpf", mount_point, "bpf", 0, NULL);
	return mounted;
}

static __attribute__((destructor)) void leave_no_directory(void)
{
	umount(mount_point);
	rmdir(mount_point);
}

/* A directory of pins for one test. */
static bool pin_all(const char *name, char dir[64], struct pinned *ret)
{
	if (!have_bpffs())
		return false;
	snprintf(dir, 64, "%s/%s", mount_point, name);
	CHECK_INT(mkdir(dir, 0700), 0);
	return pinned_init(dir, ret);
}

static void unpin(const char *dir, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	CHECK_INT(unlink(path), 0);
}

static int open_and_close(const char *dir)
{
	struct maps maps;
	int err = maps_open(dir, &maps);

	if (!err)
		maps_close(&maps);
	return err;
}

TEST(opens_and_reads)
{
	uint64_t drops[SL_DROP_MAX], counters[SL_COUNT_MAX], sum;
	struct sl_replica_name replica;
	struct sl_service_name service;
	struct pinned pinned;
	struct maps maps;
	char dir[64];

	if (!pin_all("reads", dir, &pinned))
		SKIP(NEEDS_ROOT);
	pinned_fill(&pinned);
	CHECK_INT(maps_open(dir, &maps), 0);
	CHECK_INT(maps.n_services, PINNED_SERVICES);
	CHECK_INT(maps.n_vips, PINNED_VIPS);
	CHECK_INT(maps.n_replicas, PINNED_REPLICAS);
	CHECK_INT(maps.n_members, PINNED_MEMBERS);
	CHECK_INT(maps.n_flow_sets, PINNED_SETS);
	CHECK_INT(maps.n_events, PINNED_EVENTS);
	CHECK_INT(maps.control->agent_pid, 4711);
	CHECK_INT(maps.replicas[6].state.picks, 10);
	pinned.replicas[6].state.picks = 11; /* the same memory, no copy */
	CHECK_INT(maps.replicas[6].state.picks, 11);

	sum = libbpf_num_possible_cpus() > 1 ? 5 : 2;
	CHECK_INT(maps_read_drops(&maps, drops), 0);
	CHECK_INT(drops[SL_DROP_NO_REPLICA], sum);
	CHECK_INT(drops[SL_DROP_FRAGMENT], 0);
	CHECK_INT(maps_read_counters(&maps, counters), 0);
	CHECK_INT(counters[SL_COUNT_PICKS], sum);

	CHECK(maps_service_name(&maps, 2, &service));
	CHECK_STR(service.service, "default/llm");
	CHECK(!maps_service_name(&maps, 9, &service));
	CHECK_STR(service.service, "");
	CHECK(maps_replica_name(&maps, 6, &replica));
	CHECK_STR(replica.pod, "default/llm-a");
	CHECK(!maps_replica_name(&maps, 9, &replica));
	CHECK_STR(replica.pod, "");
	maps_close(&maps);
	maps_close(&maps); /* harmless */
}

TEST(refuses_what_is_not_ours)
{
	struct pinned pinned;
	char dir[64];

	if (!pin_all("refuses", dir, &pinned))
		SKIP(NEEDS_ROOT);
	CHECK_INT(open_and_close(dir), 0);
	CHECK_INT(open_and_close("/nonexistent"), -ENOENT);
	CHECK_INT(open_and_close(mount_point), -ENOENT);

	pinned.control->layout = SL_LAYOUT_VERSION + 1;
	CHECK_INT(open_and_close(dir), -EPROTO);
	pinned.control->layout = 0;
	CHECK_INT(open_and_close(dir), -EAGAIN);
	pinned.control->layout = SL_LAYOUT_VERSION;

	unpin(dir, "spill");
	CHECK_INT(open_and_close(dir), -EAGAIN);
	CHECK(pinned_create(dir, "spill", BPF_MAP_TYPE_HASH, 24, 32, 64, 0) >= 0);
	CHECK_INT(open_and_close(dir), -EPROTO);
	unpin(dir, "spill");
	CHECK(pinned_create(dir, "spill", BPF_MAP_TYPE_LRU_HASH, 24, 64, 64, 0) >= 0);
	CHECK_INT(open_and_close(dir), 0);

	unpin(dir, "replica_services");
	CHECK(pinned_array(dir, "replica_services", 32, PINNED_REPLICAS / 2) != NULL);
	CHECK_INT(open_and_close(dir), -EPROTO);
}

/* Nothing may be left open by a refusal. */
TEST(refusals_leak_nothing)
{
	struct pinned pinned;
	char dir[64];
	int before, after;

	if (!pin_all("leaks", dir, &pinned))
		SKIP(NEEDS_ROOT);
	unpin(dir, "spill");
	before = dup(0);
	for (int i = 0; i < 100; i++)
		CHECK_INT(open_and_close(dir), -EAGAIN);
	after = dup(0);
	CHECK_INT(after, before + 1);
	close(before);
	close(after);
}

TEST(memory_is_read_only)
{
	struct pinned pinned;
	struct maps maps;
	char dir[64];

	if (!pin_all("read_only", dir, &pinned))
		SKIP(NEEDS_ROOT);
	CHECK_INT(maps_open(dir, &maps), 0);
	CHECK(mprotect((void *)maps.control, 4096, PROT_READ | PROT_WRITE) < 0);
	maps_close(&maps);
}

TEST(state_shows_the_most_severe)
{
	struct sl_replica replica = {.config.flags = SL_REPLICA_USED};

	CHECK_INT(maps_replica_state(&replica, 1000), SL_STATE_READY);
	replica.config.flags |= SL_REPLICA_WARMING;
	CHECK_INT(maps_replica_state(&replica, 1000), SL_STATE_WARMING);
	replica.config.flags |= SL_REPLICA_SUSPECT;
	CHECK_INT(maps_replica_state(&replica, 1000), SL_STATE_SUSPECT);
	replica.state.ejected_until = 1001;
	CHECK_INT(maps_replica_state(&replica, 1000), SL_STATE_EJECTED);
	CHECK_INT(maps_replica_state(&replica, 1001), SL_STATE_SUSPECT);
	replica.config.admin = SL_ADMIN_DRAINED;
	CHECK_INT(maps_replica_state(&replica, 1000), SL_STATE_DRAINING);
	replica.config.admin = 0;
	replica.config.flags |= SL_REPLICA_DRAINING;
	CHECK_INT(maps_replica_state(&replica, 1000), SL_STATE_DRAINING);
	replica.config.flags |= SL_REPLICA_NOT_SERVING;
	CHECK_INT(maps_replica_state(&replica, 1000), SL_STATE_DOWN);
	replica.config.flags = SL_REPLICA_PROBE_DOWN;
	CHECK_INT(maps_replica_state(&replica, 1000), SL_STATE_DOWN);
}

TEST(flows_in_use_only)
{
	struct pinned pinned;
	struct sl_flow flow;
	struct maps maps;
	char dir[64];

	if (!pin_all("flows", dir, &pinned))
		SKIP(NEEDS_ROOT);
	pinned_fill(&pinned);
	CHECK_INT(maps_open(dir, &maps), 0);
	CHECK(maps_read_flow(&maps, 0, 0, &flow));
	CHECK_INT(flow.key.port, htons(40000));
	CHECK_INT(SL_FLOW_GENERATION(flow.state), 7);
	CHECK(maps_read_flow(&maps, 6, 0, &flow)); /* done, lingering */
	CHECK(!maps_read_flow(&maps, 7, 0, &flow)); /* claimed */
	CHECK(!maps_read_flow(&maps, 1, 0, &flow)); /* free */
	maps_close(&maps);
}

/* One slot that changes hands as fast as a thread can: every field is the generation's own. */
struct writer {
	struct sl_flow *slot;
	bool stop;
};

static void *rewrite_slot(void *context)
{
	struct writer *writer = context;
	struct sl_flow *slot = writer->slot;

	for (__u64 g = 1; !__atomic_load_n(&writer->stop, __ATOMIC_RELAXED); g++) {
		__atomic_store_n(&slot->state, SL_FLOW_CLAIMED | g << 32, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_RELEASE);
		__atomic_store_n(&slot->replica, (__u32)g, __ATOMIC_RELAXED);
		__atomic_store_n(&slot->vip, (__u32)g, __ATOMIC_RELAXED);
		__atomic_store_n(&slot->key.service, (__u32)g, __ATOMIC_RELAXED);
		__atomic_store_n(&slot->state, SL_FLOW_OPEN | g << 32, __ATOMIC_RELEASE);
	}
	return NULL;
}

TEST(flow_copies_are_never_torn)
{
	struct writer writer = {0};
	struct pinned pinned;
	struct sl_flow flow;
	struct maps maps;
	pthread_t thread;
	unsigned torn = 0, read = 0;
	char dir[64];

	if (!pin_all("torn", dir, &pinned))
		SKIP(NEEDS_ROOT);
	CHECK_INT(maps_open(dir, &maps), 0);
	writer.slot = &pinned.flows[2].way[3];
	CHECK_INT(pthread_create(&thread, NULL, rewrite_slot, &writer), 0);
	for (int i = 0; i < 2000000; i++) {
		if (!maps_read_flow(&maps, 2, 3, &flow))
			continue;
		read++;
		torn += flow.replica != SL_FLOW_GENERATION(flow.state) ||
			flow.vip != flow.replica || flow.key.service != flow.replica;
	}
	__atomic_store_n(&writer.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	CHECK(read > 0);
	CHECK_INT(torn, 0);
	maps_close(&maps);
}

TEST(events_know_what_was_overwritten)
{
	struct sl_event event = {.kind = SL_EVENT_ATTACH};
	struct pinned pinned;
	struct maps maps;
	char dir[64];

	if (!pin_all("events", dir, &pinned))
		SKIP(NEEDS_ROOT);
	CHECK_INT(maps_open(dir, &maps), 0);
	for (int i = 1; i <= PINNED_EVENTS + 2; i++)
		pinned_event(pinned.events, pinned.event_head, event, 0, "veth0");
	CHECK_INT(maps_read_event(&maps, 1, &event), -ENOENT);
	CHECK_INT(maps_read_event(&maps, 2, &event), -ENOENT);
	CHECK_INT(maps_read_event(&maps, 3, &event), 0);
	CHECK_INT(event.seq, 3);
	CHECK_STR(event.text, "veth0");
	CHECK_INT(maps_read_event(&maps, PINNED_EVENTS + 2, &event), 0);
	CHECK_INT(maps_read_event(&maps, PINNED_EVENTS + 3, &event), -EAGAIN);
	maps_close(&maps);
}
