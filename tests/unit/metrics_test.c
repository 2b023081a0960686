// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metrics, from maps of the test's own making and real probes: what the
 * numbers are, and that Prometheus' own checker likes the text.
 */
#include <errno.h>
#include <sys/socket.h>
#include <time.h>
#include <uv.h>

#include "check.h"
#include "fake_maps.h"
#include "metrics.h"

#define DEADLINE_MS (5000 * check_slow())

static struct facts facts_of(const struct fake_maps *fake)
{
	return (struct facts){
		.version = "1.2.3",
		.node_name = "node-a",
		.bpffs = "/nonexistent",
		.maps = fake ? &fake->maps : NULL,
		.unready = "no input yet",
		.applied = 7,
		.decoded = 9,
		.refused = 2,
		.verdicts = {[VERDICT_HONOURED] = 40, [VERDICT_UNKNOWN] = 1},
	};
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static char *render(const struct facts *facts)
{
	struct strbuf out = {0};

	CHECK_INT(metrics_render(facts, &out), 0);
	return strbuf_take(&out);
}

/* Whether `line` is a whole line of `text`. */
static bool has_line(const char *text, const char *line)
{
	size_t len = strlen(line);

	for (const char *at = text; (at = strstr(at, line)); at++)
		if ((at == text || at[-1] == '\n') && at[len] == '\n')
			return true;
	return false;
}

#define CHECK_LINE(text, line)                                                                     \
	do {                                                                                       \
		if (!has_line(text, line)) {                                                       \
			printf("  %s:%d: no line %s\n", __FILE__, __LINE__, line);                 \
			check_failed = true;                                                       \
		}                                                                                  \
	} while (0)

/* Two services, one of them with both variants, and three replicas, one of them shared. */
static bool example(struct fake_maps *fake)
{
	struct sl_replica *replica;

	if (!fake_maps_init(fake, 16, 16))
		return false;
	fake_service(fake, 3, "default/llm", "http", 80, SL_SERVICE_LOADS);
	fake_service(fake, 4, "default/llm", "http", 80, 0); /* for outside clients */
	fake_service(fake, 9, "ml/embed", "", 8080, SL_SERVICE_REPLACE);
	fake->service_states[3] = (struct sl_service_state){.parked = 5, .parked_total = 60, .resets = 3};
	fake->service_states[4] = (struct sl_service_state){.parked = 1, .parked_total = 10, .resets = 4};
	fake->services[3].load_ttl_ms = fake->services[4].load_ttl_ms = 2000;
	fake_replica(fake, 0, "10.0.0.1:8000", "default/llm-0", 3, 4);
	fake_replica(fake, 5, "[fd00::2]:8000", "default/llm-1", 3, 9);
	fake_replica(fake, 7, "10.0.0.3:8000", NULL, 9, -1);
	replica = &fake->replicas[0];
	replica->state = (struct sl_replica_state_row){.inflight = 5,
						       .owned = 6,
						       .picks = 700,
						       .connect_failures = 8,
						       .ejections = 9,
						       .retries = 10};
	replica->config.flags |= SL_REPLICA_HAS_LOAD;
	replica->config.load = 3 * 256 + 64;
	replica->config.report_ns = now_ns(CLOCK_MONOTONIC);
	replica->config.weight = 250;
	fake->replicas[5].config.flags |= SL_REPLICA_SUSPECT;
	fake->replicas[7].config.flags |= SL_REPLICA_HELD;
	fake->replicas[5].state.inflight = 2;
	fake->replicas[7].config.flags |= SL_REPLICA_PROBE_DOWN;
	fake->kernel =
		(struct sl_kernel){.half_open = 3, .live = 20, .lingering = 4, .sweep_count = 99};
	fake->control.heartbeat_ns = now_ns(CLOCK_MONOTONIC) - 250000000;
	fake->control.started_ns = 1700000000500000000;
	fake->head.kinds[SL_EVENT_PANIC] = 12;
	return true;
}

#define LLM_0                                                                                      \
	"{service=\"default/llm\",port=\"http\",replica=\"10.0.0.1:8000\",pod=\"default/llm-0\""
#define LLM_1                                                                                      \
	"{service=\"default/llm\",port=\"http\",replica=\"[fd00::2]:8000\",pod=\"default/llm-1\""
#define EMBED_1                                                                                    \
	"{service=\"ml/embed\",port=\"8080\",replica=\"[fd00::2]:8000\",pod=\"default/llm-1\""
#define EMBED_2 "{service=\"ml/embed\",port=\"8080\",replica=\"10.0.0.3:8000\",pod=\"\""

TEST(replicas)
{
	struct fake_maps fake;
	struct facts facts;
	char *text;

	if (!example(&fake))
		SKIP(FAKE_NEEDS);
	facts = facts_of(&fake);
	text = render(&facts);
	CHECK_LINE(text, "sluice_replica_inflight" LLM_0 "} 5");
	CHECK_LINE(text, "sluice_replica_owned_flows" LLM_0 "} 6");
	CHECK_LINE(text, "sluice_replica_weight" LLM_0 "} 250");
	CHECK_LINE(text, "sluice_replica_load" LLM_0 "} 3.25");
	CHECK(!strstr(text, "sluice_replica_load" LLM_1));
	CHECK_LINE(text, "sluice_replica_picks_total" LLM_0 "} 700");
	CHECK_LINE(text, "sluice_replica_connect_failures_total" LLM_0 "} 8");
	CHECK_LINE(text, "sluice_replica_ejections_total" LLM_0 "} 9");
	CHECK_LINE(text, "sluice_replica_retries_total" LLM_0 "} 10");
	CHECK_LINE(text, "sluice_replica_state" LLM_0 ",state=\"ready\"} 1");
	CHECK_LINE(text, "sluice_replica_state" LLM_0 ",state=\"down\"} 0");
	CHECK_LINE(text, "sluice_replica_state" LLM_1 ",state=\"suspect\"} 1");
	CHECK_LINE(text, "sluice_replica_state" EMBED_1 ",state=\"suspect\"} 1");
	CHECK_LINE(text, "sluice_replica_state" EMBED_2 ",state=\"down\"} 1");
	free(text);
	fake_maps_done(&fake);
}

TEST(services)
{
	struct fake_maps fake;
	struct facts facts;
	char *text;

	if (!example(&fake))
		SKIP(FAKE_NEEDS);
	facts = facts_of(&fake);
	text = render(&facts);
	CHECK_LINE(text, "sluice_service_inflight{service=\"default/llm\",port=\"http\"} 7");
	CHECK_LINE(text, "sluice_service_inflight{service=\"ml/embed\",port=\"8080\"} 2");
	CHECK_LINE(text, "sluice_parked_connections{service=\"default/llm\",port=\"http\"} 6");
	CHECK_LINE(text, "sluice_parked_connections{service=\"ml/embed\",port=\"8080\"} 0");
	CHECK_LINE(text, "sluice_parked_syns_total{service=\"default/llm\",port=\"http\"} 70");
	CHECK_LINE(text, "sluice_resets_total{service=\"default/llm\",port=\"http\"} 7");
	CHECK_LINE(text, "sluice_resets_total{service=\"ml/embed\",port=\"8080\"} 0");
	CHECK_LINE(text, "sluice_service_panic{service=\"default/llm\",port=\"http\"} 0");
	CHECK_LINE(text, "sluice_service_panic{service=\"ml/embed\",port=\"8080\"} 1");
	CHECK_LINE(text, "sluice_replicas_held{service=\"default/llm\",port=\"http\"} 0");
	CHECK_LINE(text, "sluice_replicas_held{service=\"ml/embed\",port=\"8080\"} 1");
	CHECK_LINE(text, "sluice_service_replicas"
			 "{service=\"default/llm\",port=\"http\",state=\"ready\"} 1");
	CHECK_LINE(text, "sluice_service_replicas"
			 "{service=\"default/llm\",port=\"http\",state=\"suspect\"} 1");
	free(text);
	fake_maps_done(&fake);
}

/* Draining replicas still serve, and with none that could serve there is nobody to pick. */
TEST(panic_is_what_the_pick_does)
{
	struct fake_maps fake;
	struct facts facts;
	char *text;

	if (!example(&fake))
		SKIP(FAKE_NEEDS);
	facts = facts_of(&fake);
	fake.replicas[5].config.flags = SL_REPLICA_USED | SL_REPLICA_DRAINING;
	text = render(&facts);
	CHECK_LINE(text, "sluice_service_panic{service=\"ml/embed\",port=\"8080\"} 0");
	free(text);
	fake.replicas[5].config.flags = SL_REPLICA_USED | SL_REPLICA_NOT_SERVING;
	fake.replicas[7].config.flags = SL_REPLICA_USED | SL_REPLICA_NOT_SERVING;
	text = render(&facts);
	CHECK_LINE(text, "sluice_service_panic{service=\"ml/embed\",port=\"8080\"} 0");
	free(text);
	fake_maps_done(&fake);
}

/* Ejected ones are out, unless so few are fit that ejections are ignored. */
TEST(panic_by_ejections)
{
	struct fake_maps fake;
	struct facts facts;
	char *text;

	if (!example(&fake))
		SKIP(FAKE_NEEDS);
	facts = facts_of(&fake);
	fake.replicas[5].config.flags = SL_REPLICA_USED;
	fake.kernel.now = 1000;
	fake.replicas[5].state.ejected_until = 1001; /* the other replica of ml/embed is down */
	text = render(&facts);
	CHECK_LINE(text, "sluice_replica_state" EMBED_1 ",state=\"ejected\"} 1");
	CHECK_LINE(text, "sluice_service_panic{service=\"ml/embed\",port=\"8080\"} 0");
	free(text);
	fake.services[9].eject_5xx = 5;
	text = render(&facts);
	CHECK_LINE(text, "sluice_service_panic{service=\"ml/embed\",port=\"8080\"} 1");
	CHECK_LINE(text, "sluice_service_replicas"
			 "{service=\"ml/embed\",port=\"8080\",state=\"ejected\"} 1");
	free(text);
	fake.services[9].eject_5xx = 0;
	fake.services[9].latency_factor = 300; /* either is outlier detection */
	text = render(&facts);
	CHECK_LINE(text, "sluice_service_panic{service=\"ml/embed\",port=\"8080\"} 1");
	free(text);
	fake.services[9].min_health_percent = 50;
	fake.service_states[9].unhealthy = 1;
	text = render(&facts);
	CHECK_LINE(text, "sluice_service_panic{service=\"ml/embed\",port=\"8080\"} 0");
	free(text);
	fake.service_states[9].unhealthy = 0;
	fake.kernel.now = 1001;
	text = render(&facts);
	CHECK_LINE(text, "sluice_service_panic{service=\"ml/embed\",port=\"8080\"} 0");
	CHECK_LINE(text, "sluice_replica_state" EMBED_1 ",state=\"ready\"} 1");
	free(text);
	fake_maps_done(&fake);
}

#define FIRST_BYTE "{service=\"default/llm\",port=\"http\""

TEST(times_of_first_bytes)
{
	struct sl_first_byte inside = {.bucket = {[0] = 1, [3] = 2, [14] = 4}, .ticks = 100000};
	struct sl_first_byte outside = {.bucket = {[3] = 1}, .ticks = 50};
	struct fake_maps fake;
	struct facts facts;
	char *text;

	if (!example(&fake))
		SKIP(FAKE_NEEDS);
	facts = facts_of(&fake);
	fake.control.hz = 100;
	text = render(&facts);
	CHECK(!strstr(text, "sluice_first_byte_seconds_bucket")); /* nobody looks */
	free(text);
	fake.services[3].flags |= SL_SERVICE_SNIFF;
	fake.services[4].flags |= SL_SERVICE_SNIFF;
	CHECK_INT(bpf_map_update_elem(fake.maps.first_bytes_fd, &(__u32){3}, &inside, BPF_ANY), 0);
	CHECK_INT(bpf_map_update_elem(fake.maps.first_bytes_fd, &(__u32){4}, &outside, BPF_ANY), 0);
	text = render(&facts);
	CHECK_LINE(text, "sluice_first_byte_seconds_bucket" FIRST_BYTE ",le=\"0.01\"} 1");
	CHECK_LINE(text, "sluice_first_byte_seconds_bucket" FIRST_BYTE ",le=\"0.04\"} 1");
	CHECK_LINE(text, "sluice_first_byte_seconds_bucket" FIRST_BYTE ",le=\"0.08\"} 4");
	CHECK_LINE(text, "sluice_first_byte_seconds_bucket" FIRST_BYTE ",le=\"81.92\"} 4");
	CHECK_LINE(text, "sluice_first_byte_seconds_bucket" FIRST_BYTE ",le=\"+Inf\"} 8");
	CHECK_LINE(text, "sluice_first_byte_seconds_sum" FIRST_BYTE "} 1000.5");
	CHECK_LINE(text, "sluice_first_byte_seconds_count" FIRST_BYTE "} 8");
	CHECK(!strstr(text, "sluice_first_byte_seconds_count{service=\"ml/embed\""));
	free(text);
	fake_maps_done(&fake);
}

/* Each family is picked by itself: the other's health does not help. */
TEST(panic_of_one_variant)
{
	struct fake_maps fake;
	struct facts facts;
	char *text;

	if (!example(&fake))
		SKIP(FAKE_NEEDS);
	facts = facts_of(&fake);
	fake.replica_services[0].n = 1; /* healthy, behind service row 3 alone */
	fake.replica_services[5].service[0] = 4;
	text = render(&facts);
	CHECK_LINE(text, "sluice_service_panic{service=\"default/llm\",port=\"http\"} 1");
	free(text);
	fake_maps_done(&fake);
}

TEST(stale_load_is_absent)
{
	struct fake_maps fake;
	struct facts facts;
	char *text;

	if (!example(&fake))
		SKIP(FAKE_NEEDS);
	facts = facts_of(&fake);
	fake.replicas[0].config.report_ns -= 3000000000;
	text = render(&facts);
	CHECK(!strstr(text, "sluice_replica_load{"));
	free(text);
	fake_maps_done(&fake);
}

TEST(datapath)
{
	struct fake_maps fake;
	struct facts facts;
	uint64_t drops, picks;
	char line[128], *text;

	if (!example(&fake))
		SKIP(FAKE_NEEDS);
	facts = facts_of(&fake);
	drops = fake_count(fake.maps.drops_fd, SL_DROP_TABLE_FULL, 11);
	picks = fake_count(fake.maps.counters_fd, SL_COUNT_PICKS, 1000);
	text = render(&facts);
	snprintf(line, sizeof(line), "sluice_drops_total{reason=\"table_full\"} %llu",
		 (unsigned long long)drops);
	CHECK_LINE(text, line);
	snprintf(line, sizeof(line), "sluice_picks_total %llu", (unsigned long long)picks);
	CHECK_LINE(text, line);
#define CHECK_DROP(enumerator, name, help)                                                         \
	CHECK(strstr(text, "\nsluice_drops_total{reason=\"" name "\"} "));
#define CHECK_COUNT(enumerator, name, help)                                                        \
	CHECK(strstr(text, "\n# HELP sluice_" name "_total " help "\n"));
	SL_DROP_REASONS(CHECK_DROP)
	SL_COUNTERS(CHECK_COUNT)
	CHECK_LINE(text, "sluice_flow_table_size 1024");
	CHECK_LINE(text, "sluice_flows_live 20");
	CHECK_LINE(text, "sluice_flows_lingering 4");
	CHECK_LINE(text, "sluice_flows_half_open 3");
	CHECK_LINE(text, "sluice_flow_sweeps_total 99");
	CHECK_LINE(text, "sluice_events_total{kind=\"panic\"} 12");
	CHECK_LINE(text, "sluice_events_total{kind=\"doubt\"} 0");
	CHECK(!strstr(text, "sluice_events_total{kind=\"none\"}"));
	CHECK_LINE(text, "sluice_agent_start_time_seconds 1700000000.5");
	CHECK(strtod(strstr(text, "\nsluice_agent_heartbeat_age_seconds ") + 36, NULL) >= 0.25);
	free(text);
	fake_maps_done(&fake);
}

/* Before the datapath is loaded there is the agent to speak of; with bad news and odd bytes. */
static struct facts agent_facts(void)
{
	static struct verdict ignored[] = {
		{VERDICT_UNKNOWN, NULL, 0, "Service default/llm", "spec.sesionAffinity",
		 "did you mean \"sessionAffinity\"?\nC:\\ \xff"},
	};
	static struct verdicts list = {.list = ignored, .n = 1};
	static struct diag diag = {.reason = "no"};
	struct facts facts = facts_of(NULL);

	facts.ignored = &list;
	facts.last_refused = &diag;
	return facts;
}

TEST(agent_without_maps)
{
	struct facts facts = agent_facts();
	char *text;

	text = render(&facts);
	CHECK_LINE(text, "sluice_build_info{version=\"1.2.3\",node=\"node-a\"} 1");
	CHECK_LINE(text, "sluice_ready 0");
	CHECK_LINE(text, "sluice_config_applied_total 7");
	CHECK_LINE(text, "sluice_config_refused_total 2");
	CHECK_LINE(text, "sluice_config_files_decoded_total 9");
	CHECK_LINE(text, "sluice_config_stale 1");
	CHECK_LINE(text, "sluice_config_fields{verdict=\"honoured\"} 40");
	CHECK_LINE(text, "sluice_config_fields{verdict=\"unknown\"} 1");
	CHECK_LINE(text, "sluice_config_ignored_field{verdict=\"unknown\","
			 "object=\"Service default/llm\",field=\"spec.sesionAffinity\","
			 "reason=\"did you mean \\\"sessionAffinity\\\"?\\nC:\\\\ ?\"} 1");
	CHECK(!strstr(text, "sluice_replica_"));
	free(text);
}

TEST(unreadable_map_is_an_error)
{
	struct fake_maps fake;
	struct strbuf out = {0};
	struct facts facts;
	int fd;

	if (!example(&fake))
		SKIP(FAKE_NEEDS);
	facts = facts_of(&fake);
	fd = fake.maps.drops_fd;
	fake.maps.drops_fd = -1;
	CHECK_INT(metrics_render(&facts, &out), -EBADF);
	fake.maps.drops_fd = fd;
	strbuf_done(&out);
	fake_maps_done(&fake);
}

static int line_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* No series twice: sorted, each line differs from the next in more than its number. */
static void check_unique(const char *text)
{
	char *copy = strdup(text), *lines[8192], *save = NULL;
	size_t n = 0;

	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (line[0] == '#' || n == sizeof(lines) / sizeof(lines[0]))
			continue;
		*strrchr(line, ' ') = '\0';
		lines[n++] = line;
	}
	CHECK(n > 5);
	qsort(lines, n, sizeof(lines[0]), line_compare);
	for (size_t i = 1; i < n; i++)
		if (!strcmp(lines[i - 1], lines[i])) {
			printf("  twice: %s\n", lines[i]);
			check_failed = true;
		}
	free(copy);
}

static bool has_promtool(void)
{
	return !system("command -v promtool >/dev/null");
}

#define NEEDS_PROMTOOL "promtool is not installed (Debian package prometheus)"

/* Whether promtool has nothing to complain about. */
static void check_promtool(const char *text)
{
	FILE *promtool = popen("promtool check metrics", "w");

	fputs(text, promtool);
	CHECK_INT(pclose(promtool), 0);
}

TEST(promtool_on_the_agent_alone)
{
	struct facts facts = agent_facts();
	char *text;

	if (!has_promtool())
		SKIP(NEEDS_PROMTOOL);
	text = render(&facts);
	check_unique(text);
	check_promtool(text);
	free(text);
}

/* ---- with real probes ---------------------------------------------------------------------- */

static void ignore_change(void *context, __u32 replica, const struct probe_health *health,
			  bool port_refused, const char *evidence)
{
}

static int loopback_listen(char *ret, size_t len)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(addr);

	CHECK_INT(bind(fd, (struct sockaddr *)&addr, size), 0);
	CHECK_INT(listen(fd, 64), 0);
	getsockname(fd, (struct sockaddr *)&addr, &size);
	snprintf(ret, len, "127.0.0.1:%u", ntohs(addr.sin_port));
	return fd;
}

/* Probes replica 0 of `fake` until it was answered twice. */
static struct probe_set *probed(uv_loop_t *loop, const struct fake_maps *fake)
{
	const struct sl_replica_config *config = &fake->replicas[0].config;
	struct model_probe probe = {.kind = MODEL_PROBE_TCP,
				    .port = config->port,
				    .interval_ms = 20,
				    .timeout_ms = 1000,
				    .period_ms = 1000,
				    .failure_threshold = 3,
				    .success_threshold = 1};
	struct probe_target target = {.replica = 0, .addr = config->addr, .probe = &probe};
	struct probe_set *set = NULL;
	uint64_t end;

	CHECK_INT(probe_set_new(loop, ignore_change, NULL, &set), 0);
	CHECK_INT(probe_set_sync(set, &target, 1), 0);
	end = now_ns(CLOCK_MONOTONIC) + DEADLINE_MS * 1000000ull;
	while (now_ns(CLOCK_MONOTONIC) < end && probe_set_histogram(set, 0)->total < 2)
		uv_run(loop, UV_RUN_NOWAIT);
	CHECK(probe_set_histogram(set, 0)->total >= 2);
	return set;
}

TEST(probes_and_promtool)
{
	struct fake_maps fake;
	struct probe_set *set;
	struct facts facts;
	char listen[32], line[256], *text;
	uv_loop_t loop;
	int fd;

	if (!has_promtool())
		SKIP(NEEDS_PROMTOOL);
	if (!example(&fake))
		SKIP(FAKE_NEEDS);
	fd = loopback_listen(listen, sizeof(listen));
	CHECK_INT(addr_parse_port(listen, &fake.replicas[0].config.addr,
				  &fake.replicas[0].config.port),
		  0);
	uv_loop_init(&loop);
	set = probed(&loop, &fake);
	facts = facts_of(&fake);
	facts.probes = set;
	text = render(&facts);
	snprintf(line, sizeof(line),
		 "sluice_replica_probe_latency_seconds_count{service="
		 "\"default/llm\",port=\"http\",replica=\"%s\",pod=\"default/llm-0\"} %llu",
		 listen, (unsigned long long)probe_set_histogram(set, 0)->total);
	CHECK_LINE(text, line);
	snprintf(line, sizeof(line),
		 "sluice_replica_probe_latency_seconds_bucket{service="
		 "\"default/llm\",port=\"http\",replica=\"%s\",pod=\"default/llm-0\",le=\"+Inf\"} "
		 "%llu",
		 listen, (unsigned long long)probe_set_histogram(set, 0)->total);
	CHECK_LINE(text, line);
	CHECK(strstr(text, "\nsluice_replica_probes_total{"));
	CHECK(!strstr(text, "sluice_replica_probes_total" LLM_1)); /* probed by another node */
	check_unique(text);
	check_promtool(text);
	free(text);
	probe_set_free(set);
	uv_run(&loop, UV_RUN_DEFAULT);
	CHECK_INT(uv_loop_close(&loop), 0);
	close(fd);
	fake_maps_done(&fake);
}

/* ---- size --------------------------------------------------------------------------------------
 */

#define MANY 5000

/* How many lines of `text` begin with `start`. */
static size_t count_lines(const char *text, const char *start)
{
	size_t n = !strncmp(text, start, strlen(start));

	for (const char *at = text; (at = strchr(at, '\n')); at++)
		n += !strncmp(at + 1, start, strlen(start));
	return n;
}

/* Sanitizers and a busy machine included; without them it takes about 30 ms with all probed. */
#define MANY_LIMIT_MS (1000 * check_slow())

TEST(five_thousand_replicas)
{
	struct fake_maps fake;
	char name[64], *text;
	struct facts facts;
	uint64_t began;

	if (!fake_maps_init(&fake, 128, MANY))
		SKIP(FAKE_NEEDS);
	for (uint32_t i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "default/model-%u", i);
		fake_service(&fake, i, name, "http", 80, 0);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		char pod[32];

		snprintf(name, sizeof(name), "10.%u.%u.1:8000", i / 256, i % 256);
		snprintf(pod, sizeof(pod), "default/model-%u", i);
		fake_replica(&fake, i, name, pod, i % 100, -1);
	}
	facts = facts_of(&fake);
	began = now_ns(CLOCK_MONOTONIC);
	text = render(&facts);
	began = (now_ns(CLOCK_MONOTONIC) - began) / 1000000;
	printf("  %u replicas: %llu ms, %zu bytes\n", MANY, (unsigned long long)began,
	       strlen(text));
	CHECK(began < MANY_LIMIT_MS);
	CHECK_INT(count_lines(text, "sluice_replica_inflight{"), MANY);
	CHECK_INT(count_lines(text, "sluice_replica_state{"), MANY * SL_STATE_MAX);
	CHECK_INT(count_lines(text, "sluice_service_inflight{"), 100);
	free(text);
	fake_maps_done(&fake);
}
