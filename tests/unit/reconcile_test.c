// SPDX-License-Identifier: GPL-2.0-only
/* Models into tables, as plain memory; the two maps of names are real ones. Needs root. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "addr.h"
#include "check.h"
#include "log.h"
#include "reconcile.h"

#define NEEDS_ROOT "needs root for BPF maps"

struct fixture {
	struct tables tables;
	struct events events;
	struct maps maps;
	struct reconcile *reconcile;
	bool routed; /* there is a way to each replica */
	char error[1024];
};

static void path_of(void *context, const union sl_addr *to, struct reconcile_path *ret)
{
	if (context) /* a fixture with routes */
		*ret = (struct reconcile_path){.ifindex = 7, .local = true};
}

static int hash_of(size_t value, __u32 n)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);

	return bpf_map_create(BPF_MAP_TYPE_HASH, "names", sizeof(__u32), value, n, &opts);
}

static bool begin_routed(struct fixture *f, bool routed)
{
	struct tables *t = &f->tables;

	*f = (struct fixture){.routed = routed};
	log_init(LOG_LEVEL_ERROR, false);
	t->service_names_fd = hash_of(sizeof(struct sl_service_name), SL_MAX_SERVICES);
	t->replica_names_fd = hash_of(sizeof(struct sl_replica_name), SL_MAX_REPLICAS);
	if (t->service_names_fd < 0 || t->replica_names_fd < 0)
		return false;
	t->control = calloc(1, sizeof(*t->control));
	t->control->hz = 250;
	t->kernel = calloc(1, sizeof(*t->kernel));
	t->filters = calloc(SL_FILTER_MAX, sizeof(*t->filters));
	t->addr_index = calloc(SL_INDEX_SETS, sizeof(*t->addr_index));
	t->vips = calloc(SL_MAX_VIPS, sizeof(*t->vips));
	t->services = calloc(SL_MAX_SERVICES, sizeof(*t->services));
	t->members = calloc(SL_MAX_MEMBERS, sizeof(*t->members));
	t->replicas = calloc(SL_MAX_REPLICAS, sizeof(*t->replicas));
	t->replica_services = calloc(SL_MAX_REPLICAS, sizeof(*t->replica_services));
	t->outliers = calloc(SL_MAX_REPLICAS, sizeof(*t->outliers));
	t->service_states = calloc(SL_MAX_SERVICES, sizeof(*t->service_states));
	t->sources = calloc(SL_MAX_SOURCES, sizeof(*t->sources));
	t->event_head = calloc(1, sizeof(*t->event_head));
	t->flows_fd = memfd_create("flows", MFD_CLOEXEC); /* none in them */
	CHECK_INT(ftruncate(t->flows_fd, (off_t)SL_FLOW_SETS * sizeof(struct sl_flow_set)), 0);
	f->maps = (struct maps){.services = t->services, .n_services = SL_MAX_SERVICES,
				.service_names_fd = t->service_names_fd};
	f->events = (struct events){.head = t->event_head, .maps = &f->maps,
				    .ring = calloc(SL_MAX_EVENTS, sizeof(struct sl_event))};
	CHECK_INT(reconcile_new(t, &f->events, path_of, f->routed ? f : NULL, &f->reconcile), 0);
	return true;
}

static bool begin(struct fixture *f)
{
	return begin_routed(f, false);
}

static void end(struct fixture *f)
{
	struct tables *t = &f->tables;

	reconcile_free(f->reconcile);
	free(t->control);
	free((void *)t->kernel);
	free(t->filters);
	free(t->addr_index);
	free(t->vips);
	free(t->services);
	free(t->members);
	free(t->replicas);
	free(t->replica_services);
	free(t->outliers);
	free(t->service_states);
	free(t->sources);
	free(t->event_head);
	free(f->events.ring);
	close(t->service_names_fd);
	close(t->replica_names_fd);
	close(t->flows_fd);
}

static union sl_addr address(const char *text)
{
	union sl_addr addr = {};

	CHECK_INT(addr_parse(text, &addr), 0);
	return addr;
}

/* Service-ports default/NAME of one VIP each; `replicas` are 10.1.0.1:8000. */
static struct model_service service(char *name, struct model_vip *vip,
				    struct model_replica *replica)
{
	return (struct model_service){.name = name, .port_name = "http", .port = htons(80),
				      .proto = IPPROTO_TCP, .idle_timeout_ms = 1000, .vips = vip,
				      .n_vips = !!vip, .replicas = replica,
				      .n_replicas = !!replica};
}

static int apply(struct fixture *f, struct model_service *services, size_t n,
		 const union sl_addr *addresses, size_t n_addresses)
{
	struct model model = {.services = services, .n_services = n};

	f->error[0] = '\0';
	return reconcile_apply(f->reconcile, &model, addresses, n_addresses, f->error,
			       sizeof(f->error));
}

/* Two passes: rows retired before the second are free after it. */
static void reclaim(struct fixture *f)
{
	for (int i = 0; i < 1000 && reconcile_has_retired(f->reconcile); i++)
		reconcile_reclaim(f->reconcile);
	CHECK(!reconcile_has_retired(f->reconcile));
}

TEST(what_does_not_fit_changes_nothing)
{
	enum { N = 1300, ADDRESSES = 13 }; /* 16900 node ports in a table of 16384 */
	struct model_service *services = calloc(N, sizeof(*services));
	struct model_vip *vips = calloc(N, sizeof(*vips));
	union sl_addr addresses[ADDRESSES];
	char (*names)[32] = calloc(N, sizeof(*names));
	struct sl_vip *before = calloc(SL_MAX_VIPS, sizeof(*before));
	struct fixture f;

	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	for (int i = 0; i < ADDRESSES; i++) {
		addresses[i] = address("192.0.2.0");
		addresses[i].b[15] = i + 1;
	}
	for (int i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "default/s%d", i);
		vips[i] = (struct model_vip){.addr = address("0.0.0.0"), .port = htons(30000 + i),
					     .proto = IPPROTO_TCP, .kind = MODEL_VIP_NODE_PORT};
		services[i] = service(names[i], &vips[i], NULL);
	}
	CHECK_INT(apply(&f, services, 2, addresses, ADDRESSES), 0);
	memcpy(before, f.tables.vips, SL_MAX_VIPS * sizeof(*before));
	CHECK_INT(apply(&f, services, N, addresses, ADDRESSES), -ENOSPC);
	CHECK(strstr(f.error, "VIPs is full: 16874 rows needed, 16358 of 16384 free"));
	CHECK(!memcmp(before, f.tables.vips, SL_MAX_VIPS * sizeof(*before)));
	CHECK(!(f.tables.services[2].flags & SL_SERVICE_USED));
	CHECK_INT(f.tables.control->applied, 1);
	CHECK_INT(apply(&f, services, N, addresses, 12), 0);
	end(&f);
	free(services);
	free(vips);
	free(names);
	free(before);
}

TEST(a_replica_moves_on_to_other_services)
{
	struct model_replica replica = {.addr = address("10.1.0.1"), .port = htons(8000),
					.proto = IPPROTO_TCP, .weight = 100, .serving = true};
	struct model_service services[2 * SL_MAX_SHARED];
	char names[2 * SL_MAX_SHARED][32];
	struct fixture f;

	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	for (unsigned i = 0; i < 2 * SL_MAX_SHARED; i++) {
		snprintf(names[i], sizeof(names[i]), "default/s%u", i);
		/* The services that get it are applied before those that lose it. */
		services[i] = service(names[i], NULL, i < SL_MAX_SHARED ? NULL : &replica);
	}
	CHECK_INT(apply(&f, services, 2 * SL_MAX_SHARED, NULL, 0), 0);
	CHECK_INT(f.tables.replica_services[0].n, SL_MAX_SHARED);
	for (unsigned i = 0; i < 2 * SL_MAX_SHARED; i++)
		services[i] = service(names[i], NULL, i < SL_MAX_SHARED ? &replica : NULL);
	CHECK_INT(apply(&f, services, 2 * SL_MAX_SHARED, NULL, 0), 0);
	CHECK_INT(f.tables.replica_services[0].n, SL_MAX_SHARED);
	for (unsigned i = 0; i < SL_MAX_SHARED; i++)
		CHECK(f.tables.replica_services[0].service[i] < SL_MAX_SHARED);
	end(&f);
}

/* Whichever of the service-ports that have it is applied last. */
TEST(held_by_one_list_is_held)
{
	struct model_replica named = {.addr = address("10.1.0.1"), .port = htons(8000),
				      .proto = IPPROTO_TCP, .weight = 100, .serving = true};
	struct model_replica held = named;
	struct model_service services[2];
	const __u16 *flags;
	struct fixture f;

	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	held.held_until_ns = 1;
	flags = &f.tables.replicas[0].config.flags;
	for (int held_at = 0; held_at < 2; held_at++) {
		services[0] = service("default/s0", NULL, held_at ? &named : &held);
		services[1] = service("default/s1", NULL, held_at ? &held : &named);
		CHECK_INT(apply(&f, services, 2, NULL, 0), 0);
		CHECK(*flags & SL_REPLICA_HELD);
		CHECK(!(*flags & SL_REPLICA_NOT_SERVING));
		services[held_at] = service("default/s", NULL, &named);
		CHECK_INT(apply(&f, services, 2, NULL, 0), 0);
		CHECK(!(*flags & SL_REPLICA_HELD));
	}
	services[0] = service("default/s0", NULL, &held);
	CHECK_INT(apply(&f, services, 1, NULL, 0), 0);
	CHECK(*flags & SL_REPLICA_HELD);
	CHECK_INT(apply(&f, services, 0, NULL, 0), 0);
	CHECK(!(*flags & SL_REPLICA_HELD) && *flags & SL_REPLICA_NOT_SERVING);
	CHECK_INT(reconcile_service(f.reconcile, &services[0]), 0);
	services[0] = service("default/other", NULL, NULL);
	CHECK_INT(reconcile_service(f.reconcile, &services[0]), -ENOENT);
	end(&f);
}

TEST(events_of_one_service_are_not_the_next_ones)
{
	struct model_service alpha = service("default/alpha", NULL, NULL);
	struct model_service beta = service("default/beta", NULL, NULL);
	const struct sl_event *ring;
	struct fixture f;

	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	ring = f.events.ring;
	CHECK_INT(apply(&f, &alpha, 1, NULL, 0), 0);
	CHECK_INT(apply(&f, NULL, 0, NULL, 0), 0);
	reclaim(&f);
	CHECK_INT(apply(&f, &beta, 1, NULL, 0), 0);
	CHECK_INT(ring[1].kind, SL_EVENT_SERVICE_ADD);
	CHECK_INT(ring[2].kind, SL_EVENT_SERVICE_DEL);
	CHECK_INT(ring[3].kind, SL_EVENT_SERVICE_ADD);
	CHECK_STR(ring[2].text, "default/alpha http");
	CHECK_STR(ring[3].text, "default/beta http");
	CHECK_INT(ring[3].service, ring[2].service); /* the row is used again */
	CHECK_INT(ring[2].epoch, ring[1].epoch);
	CHECK(ring[3].epoch != ring[2].epoch);
	CHECK_INT(f.tables.services[0].epoch, ring[3].epoch);
	end(&f);
}

TEST(the_next_service_of_a_row_counts_from_nothing_but_for_tickets_still_out)
{
	struct model_service alpha = service("default/alpha", NULL, NULL);
	struct model_service beta = service("default/beta", NULL, NULL);
	struct sl_service_state all_ones, want = {.parked = ~0u}, *state;
	struct fixture f;

	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	state = &f.tables.service_states[0];
	CHECK_INT(apply(&f, &alpha, 1, NULL, 0), 0);
	memset(&all_ones, 0xff, sizeof(all_ones));
	*state = all_ones;
	CHECK_INT(apply(&f, NULL, 0, NULL, 0), 0);
	reclaim(&f);
	CHECK_INT(apply(&f, &beta, 1, NULL, 0), 0);
	CHECK(!memcmp(state, &want, sizeof(want)));
	end(&f);
}

TEST(policy_becomes_fields_of_the_service_row)
{
	struct model_replica replica = {.addr = address("10.1.0.1"), .port = htons(8000),
					.proto = IPPROTO_TCP, .weight = 100, .serving = true,
					.max_connections = 7};
	struct model_service one = service("default/a", NULL, &replica);
	const struct sl_service *row;
	struct fixture f;

	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	row = &f.tables.services[0];
	one.retry = (struct model_retry){.attempts = 2, .deadline_ms = 30};
	one.max_parked = 9;
	CHECK_INT(apply(&f, &one, 1, NULL, 0), 0);
	CHECK_INT(row->flags, SL_SERVICE_USED); /* without outlierDetection nothing is ejected */
	CHECK_INT(row->eject_5xx + row->eject_gateway + row->eject_local, 0);
	CHECK_INT(row->max_ejection_ticks, 0);
	CHECK_INT(row->retry_attempts, 2);
	CHECK(row->retry_budget > 0);
	CHECK_INT(row->max_parked, 9);
	CHECK_INT(row->syn_deadline_ticks, 8); /* of 4 ms, rounded up */
	CHECK_INT(f.tables.replicas[0].config.max_connections, 7);

	one.reset_after_ms = 3000;
	one.retry.off = one.replace = one.wait_full = one.wait_none = one.keep_on_eject = true;
	one.outlier = (struct model_outlier){
		.enabled = true, .consecutive_5xx = 5, .consecutive_local = 6,
		.base_ejection_ms = 30000, .max_ejection_percent = 10, .min_health_percent = 20};
	replica.max_connections = 0;
	CHECK_INT(apply(&f, &one, 1, NULL, 0), 0);
	CHECK_INT(row->flags, SL_SERVICE_USED | SL_SERVICE_REPLACE | SL_SERVICE_NO_RETRY |
				      SL_SERVICE_SNIFF | SL_SERVICE_WAIT_FULL |
				      SL_SERVICE_WAIT_NONE | SL_SERVICE_KEEP);
	CHECK_INT(row->eject_5xx, 5);
	CHECK_INT(row->eject_local, 0); /* counts with SPLIT alone */
	CHECK_INT(row->max_ejection_percent, 10);
	CHECK_INT(row->min_health_percent, 20);
	CHECK_INT(row->base_ejection_ticks, 30 * 250);
	CHECK_INT(row->max_ejection_ticks, 300 * 250);
	CHECK_INT(row->reset_after_ds, 30);
	CHECK_INT(f.tables.replicas[0].config.max_connections, 0);

	one.outlier.consecutive_5xx = 0;
	one.outlier.split = true;
	one.outlier.base_ejection_ms = 400000;
	CHECK_INT(apply(&f, &one, 1, NULL, 0), 0);
	CHECK(!(row->flags & SL_SERVICE_SNIFF));
	CHECK_INT(row->latency_factor, 0);
	CHECK(row->flags & SL_SERVICE_SPLIT);
	CHECK_INT(row->eject_local, 6);
	CHECK_INT(row->max_ejection_ticks, 400 * 250);

	one.outlier.latency_factor = 275;
	CHECK_INT(apply(&f, &one, 1, NULL, 0), 0);
	CHECK(row->flags & SL_SERVICE_SNIFF); /* times are seen where status lines are */
	CHECK_INT(row->latency_factor, 275);
	end(&f);
}

static bool is_local(struct fixture *f, const char *text)
{
	union sl_addr addr = address(text);

	for (size_t i = 0; i < SL_INDEX_SETS * SL_INDEX_WAYS; i++) {
		const struct sl_index_entry *entry =
			&f->tables.addr_index[i / SL_INDEX_WAYS].way[i % SL_INDEX_WAYS];

		if (entry->kind == SL_INDEX_LOCAL && !memcmp(&entry->addr, &addr, sizeof(addr)))
			return true;
	}
	return false;
}

TEST(the_programs_know_caps_and_whom_they_spare)
{
	struct model_replica replica = {.addr = address("10.1.0.1"), .port = htons(8000),
					.proto = IPPROTO_TCP, .weight = 100, .serving = true};
	struct model_service one = service("default/a", NULL, &replica);
	union sl_addr before[2] = {address("192.0.2.1"), address("fd00::1")};
	union sl_addr after[2] = {address("fd00::1"), address("192.0.2.2")};
	struct fixture f;

	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	CHECK_INT(apply(&f, &one, 1, before, 2), 0);
	CHECK(is_local(&f, "192.0.2.1") && is_local(&f, "fd00::1"));
	CHECK_INT(f.tables.control->caps, 0);
	replica.max_connections = 3;
	CHECK_INT(apply(&f, &one, 1, before, 2), 0);
	CHECK_INT(f.tables.control->caps, 1);
	reconcile_free(f.reconcile); /* another agent adopts what is there */
	CHECK_INT(reconcile_new(&f.tables, &f.events, path_of, NULL, &f.reconcile), 0);
	CHECK_INT(apply(&f, &one, 1, after, 2), 0);
	CHECK(!is_local(&f, "192.0.2.1"));
	CHECK(is_local(&f, "192.0.2.2") && is_local(&f, "fd00::1"));
	replica.max_connections = 0;
	CHECK_INT(apply(&f, &one, 1, after, 2), 0);
	CHECK_INT(f.tables.control->caps, 0);
	end(&f);
}

/* ---- slow start ------------------------------------------------------------------------------ */

/* default/a with 10.1.0.1:8000, to be joined by 10.1.0.2:8000; slow start of a minute. */
struct warm_bench {
	struct fixture f;
	struct model_replica replicas[2];
	struct model_service service;
	struct sl_replica *first, *second;
};

static int apply_warm(struct warm_bench *bench, unsigned n)
{
	bench->service.n_replicas = n;
	return apply(&bench->f, &bench->service, 1, NULL, 0);
}

static bool begin_warm(struct warm_bench *bench)
{
	if (!begin_routed(&bench->f, true))
		return false;
	for (int i = 0; i < 2; i++)
		bench->replicas[i] = (struct model_replica){
			.addr = address(i ? "10.1.0.2" : "10.1.0.1"), .port = htons(8000),
			.proto = IPPROTO_TCP, .weight = 100, .serving = true};
	bench->service = service("default/a", NULL, bench->replicas);
	bench->service.warmup = (struct model_warmup){60000, 10, 100};
	bench->first = &bench->f.tables.replicas[0];
	bench->second = &bench->f.tables.replicas[1];
	CHECK_INT(apply_warm(bench, 1), 0);
	return true;
}

static bool is_warming(const struct sl_replica *replica)
{
	return maps_replica_state(replica, 0) == SL_STATE_WARMING;
}

static const char *last_text(const struct fixture *f)
{
	return f->events.ring[f->tables.event_head->last % SL_MAX_EVENTS].text;
}

TEST(a_replica_that_joins_others_starts_slowly)
{
	struct warm_bench bench;

	if (!begin_warm(&bench))
		SKIP(NEEDS_ROOT);
	CHECK(!is_warming(bench.first)); /* it joined nobody */
	CHECK_INT(apply_warm(&bench, 2), 0);
	CHECK(!is_warming(bench.first));
	CHECK(is_warming(bench.second));
	CHECK_INT(bench.second->config.warming, 6553);
	CHECK_STR(last_text(&bench.f), "slow start of 60 s");
	CHECK(reconcile_warm(bench.f.reconcile));
	CHECK_INT(apply_warm(&bench, 2), 0); /* the same once more begins nothing anew */
	CHECK(is_warming(bench.second));
	bench.service.warmup.duration_ms = 1;
	CHECK_INT(apply_warm(&bench, 2), 0);
	usleep(2000);
	CHECK(reconcile_warm(bench.f.reconcile));
	CHECK_INT(maps_replica_state(bench.second, 0), SL_STATE_READY);
	CHECK_STR(last_text(&bench.f), "slow start is over");
	end(&bench.f);
}

TEST(a_replica_that_comes_back_starts_slowly)
{
	struct reconcile *r;
	struct warm_bench bench;

	if (!begin_warm(&bench))
		SKIP(NEEDS_ROOT);
	r = bench.f.reconcile;
	reconcile_health(r, 0, SL_REPLICA_SUSPECT, "silent");
	reconcile_health(r, 0, 0, "answered");
	CHECK(!is_warming(bench.first)); /* suspicion is no absence */
	reconcile_health(r, 0, SL_REPLICA_PROBE_DOWN, "refused");
	CHECK_INT(maps_replica_state(bench.first, 0), SL_STATE_DOWN);
	reconcile_health(r, 0, 0, "tcp connect: connected");
	CHECK(is_warming(bench.first));
	CHECK_STR(last_text(&bench.f), "tcp connect: connected; slow start of 60 s");
	bench.replicas[0].serving = false;
	CHECK_INT(apply_warm(&bench, 1), 0);
	bench.first->config.warming = 60000; /* as if it had been nearly through */
	bench.replicas[0].serving = true;
	CHECK_INT(apply_warm(&bench, 1), 0);
	CHECK(is_warming(bench.first));
	CHECK_INT(bench.first->config.warming, 6553);
	end(&bench.f);
}

TEST(an_ejected_replica_is_slow_from_its_first_moment_back)
{
	struct warm_bench bench;

	if (!begin_warm(&bench))
		SKIP(NEEDS_ROOT);
	bench.first->state.ejected_until = 1000; /* jiffies stand at 0 */
	CHECK(reconcile_warm(bench.f.reconcile));
	CHECK_INT(maps_replica_state(bench.first, 0), SL_STATE_EJECTED);
	bench.first->state.ejected_until = 0;
	CHECK(is_warming(bench.first)); /* without the agent's doing */
	CHECK(reconcile_warm(bench.f.reconcile));
	CHECK(is_warming(bench.first));
	CHECK_STR(last_text(&bench.f), "slow start of 60 s");
	end(&bench.f);
}

TEST(a_new_agent_goes_on_with_a_slow_start)
{
	struct warm_bench bench;
	struct fixture *f = &bench.f;

	if (!begin_warm(&bench))
		SKIP(NEEDS_ROOT);
	CHECK_INT(apply_warm(&bench, 2), 0);
	bench.second->config.warming = 32768;
	reconcile_free(f->reconcile);
	CHECK_INT(reconcile_new(&f->tables, &f->events, path_of, f, &f->reconcile), 0);
	CHECK(!reconcile_warm(f->reconcile)); /* it does not know yet how slow */
	reconcile_paths(f->reconcile);
	CHECK(is_warming(bench.second));
	CHECK_INT(apply_warm(&bench, 2), 0);
	CHECK(reconcile_warm(f->reconcile));
	CHECK(is_warming(bench.second));
	CHECK(bench.second->config.warming >= 32768 - 66);
	bench.service.warmup.duration_ms = 0;
	CHECK_INT(apply_warm(&bench, 2), 0);
	CHECK_INT(maps_replica_state(bench.second, 0), SL_STATE_READY);
	CHECK(!reconcile_warm(f->reconcile));
	end(f);
}

/* ---- hand-back --------------------------------------------------------------------------*/

static struct model_vip vip_at(const char *addr)
{
	return (struct model_vip){.addr = address(addr), .port = htons(80), .proto = IPPROTO_TCP};
}

/* `admin` of the VIP at an address that is not withdrawn; -1: there is none. */
static int admin_of(const struct fixture *f, const char *addr)
{
	const union sl_addr wanted = address(addr);

	for (__u32 i = 0; i < SL_MAX_VIPS; i++) {
		const struct sl_vip *vip = &f->tables.vips[i];

		if (vip->flags == SL_VIP_USED && addr_equal(&vip->addr, &wanted))
			return vip->admin;
	}
	return -1;
}

/* Does what `sluice hand-back` does. */
static void hand_back(struct fixture *f, const char *addr)
{
	const union sl_addr wanted = address(addr);

	for (__u32 i = 0; i < SL_MAX_VIPS; i++)
		if (addr_equal(&f->tables.vips[i].addr, &wanted))
			f->tables.vips[i].admin = SL_ADMIN_HANDED_BACK;
}

TEST(vips_that_join_a_service_that_is_handed_back_are_so_too)
{
	struct model_vip vips[2] = {vip_at("10.96.0.1"), vip_at("10.96.0.2")};
	struct model_vip other = vip_at("10.96.0.3");
	struct model_service services[2];
	struct fixture f;

	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	services[0] = service("default/a", &vips[0], NULL);
	services[1] = service("default/b", &other, NULL);
	CHECK_INT(apply(&f, services, 2, NULL, 0), 0);
	hand_back(&f, "10.96.0.1");
	services[0].n_vips = 2;
	CHECK_INT(apply(&f, services, 2, NULL, 0), 0);
	CHECK_INT(admin_of(&f, "10.96.0.1"), SL_ADMIN_HANDED_BACK);
	CHECK_INT(admin_of(&f, "10.96.0.2"), SL_ADMIN_HANDED_BACK);
	CHECK_INT(admin_of(&f, "10.96.0.3"), 0);
	reconcile_free(f.reconcile); /* another agent adopts what is there */
	CHECK_INT(reconcile_new(&f.tables, &f.events, path_of, NULL, &f.reconcile), 0);
	services[0].vips = &vips[1]; /* the first one leaves, and comes back */
	services[0].n_vips = 1;
	CHECK_INT(apply(&f, services, 2, NULL, 0), 0);
	CHECK_INT(admin_of(&f, "10.96.0.1"), -1);
	services[0].vips = vips;
	services[0].n_vips = 2;
	CHECK_INT(apply(&f, services, 2, NULL, 0), 0);
	CHECK_INT(admin_of(&f, "10.96.0.1"), SL_ADMIN_HANDED_BACK);
	CHECK_INT(admin_of(&f, "10.96.0.3"), 0);
	end(&f);
}

TEST(a_vip_that_moves_to_another_service_is_as_that_one)
{
	struct model_vip vips[3] = {vip_at("10.96.0.1"), vip_at("10.96.0.2"), vip_at("10.96.0.3")};
	struct model_service services[2];
	struct fixture f;

	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	services[0] = service("default/a", &vips[0], NULL);
	services[0].n_vips = 2;
	services[1] = service("default/b", &vips[2], NULL);
	CHECK_INT(apply(&f, services, 2, NULL, 0), 0);
	hand_back(&f, "10.96.0.1");
	hand_back(&f, "10.96.0.2");
	services[0].n_vips = 1;
	services[1].vips = &vips[1];
	services[1].n_vips = 2;
	CHECK_INT(apply(&f, services, 2, NULL, 0), 0);
	CHECK_INT(admin_of(&f, "10.96.0.1"), SL_ADMIN_HANDED_BACK);
	CHECK_INT(admin_of(&f, "10.96.0.2"), 0);
	CHECK_INT(admin_of(&f, "10.96.0.3"), 0);
	end(&f);
}

/* The VIP that the bare address names; -1: there is no such address. */
static int64_t address_names(struct fixture *f, const union sl_addr *addr)
{
	for (size_t i = 0; i < SL_INDEX_SETS * SL_INDEX_WAYS; i++) {
		struct sl_index_entry *entry =
			&f->tables.addr_index[i / SL_INDEX_WAYS].way[i % SL_INDEX_WAYS];

		if (entry->kind == SL_INDEX_ADDRESS && !memcmp(&entry->addr, addr, sizeof(*addr)))
			return entry->id;
	}
	return -1;
}

TEST(an_address_names_a_vip_that_it_has)
{
	struct model_vip vips[2] = {vip_at("10.96.0.1"), vip_at("10.96.0.1")};
	struct model_service it = service("default/a", vips, NULL);
	const union sl_addr *addr = &vips[0].addr;
	struct fixture f;

	vips[1].port = htons(81);
	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	it.n_vips = 2;
	CHECK_INT(apply(&f, &it, 1, NULL, 0), 0);
	CHECK_INT(f.tables.vips[address_names(&f, addr)].port, vips[0].port);
	it.vips = &vips[1];
	it.n_vips = 1;
	CHECK_INT(apply(&f, &it, 1, NULL, 0), 0);
	reclaim(&f);
	CHECK_INT(f.tables.vips[address_names(&f, addr)].port, vips[1].port);
	CHECK_INT(apply(&f, NULL, 0, NULL, 0), 0);
	reclaim(&f);
	CHECK_INT(address_names(&f, addr), -1);
	end(&f);
}

TEST(a_hand_back_ends_with_the_label_and_with_the_mode)
{
	struct model_vip vip = vip_at("10.96.0.1");
	struct model_service it = service("default/a", &vip, NULL);
	struct fixture f;

	if (!begin(&f))
		SKIP(NEEDS_ROOT);
	CHECK_INT(apply(&f, &it, 1, NULL, 0), 0);
	hand_back(&f, "10.96.0.1");
	CHECK_INT(apply(&f, NULL, 0, NULL, 0), 0);
	CHECK_INT(apply(&f, &it, 1, NULL, 0), 0); /* the row was only withdrawn meanwhile */
	CHECK_INT(admin_of(&f, "10.96.0.1"), 0);
	hand_back(&f, "10.96.0.1");
	CHECK_INT(apply(&f, &it, 1, NULL, 0), 0);
	CHECK_INT(admin_of(&f, "10.96.0.1"), SL_ADMIN_HANDED_BACK);
	it.replace = true;
	CHECK_INT(apply(&f, &it, 1, NULL, 0), 0);
	CHECK_INT(admin_of(&f, "10.96.0.1"), 0);
	CHECK_INT(f.tables.event_head->kinds[SL_EVENT_HAND_BACK], 1);
	end(&f);
}
