// SPDX-License-Identifier: GPL-2.0-only
/* What the agent answers over HTTP: the table, health, readiness and the JSON of /status. */
#include <jansson.h>

#include "check.h"
#include "fake_maps.h"
#include "status.h"

static struct facts facts_of(const struct fake_maps *fake)
{
	return (struct facts){.version = "1.2.3",
			      .node_name = "node-a",
			      .bpffs = "/nonexistent",
			      .maps = fake ? &fake->maps : NULL,
			      .applied = 3,
			      .verdicts = {[VERDICT_UNSUPPORTED] = 2}};
}

/* The answer to `path` as http would give it; the body is the caller's to free. */
static int ask(const char *path, struct facts *facts, char **ret_body)
{
	struct strbuf out = {0};
	int status = -1;

	for (size_t i = 0; i < STATUS_HANDLERS; i++)
		if (!strcmp(status_handlers[i].path, path))
			status = status_handlers[i].render(facts, &out);
	*ret_body = strbuf_take(&out);
	return status;
}

static json_t *status_of(struct facts *facts)
{
	json_error_t error;
	json_t *json;
	char *body;

	CHECK_INT(ask("/status", facts, &body), 200);
	json = json_loads(body, 0, &error);
	if (!json)
		printf("  line %d: %s\n", error.line, error.text);
	CHECK(json_is_object(json));
	free(body);
	return json;
}

static long long number(json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	CHECK(json_is_integer(value));
	return json_integer_value(value);
}

static const char *string(json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

TEST(health)
{
	struct facts facts = facts_of(NULL);
	char *body;

	facts.unready = "no input yet";
	CHECK_INT(ask("/healthz", &facts, &body), 200);
	CHECK_STR(body, "ok\n");
	free(body);
	CHECK_INT(ask("/readyz", &facts, &body), 503);
	CHECK_STR(body, "not ready: no input yet\n");
	free(body);
	facts.unready = NULL;
	CHECK_INT(ask("/readyz", &facts, &body), 200);
	CHECK_STR(body, "ready\n");
	free(body);
	CHECK_INT(ask("/metrics", &facts, &body), 200);
	CHECK(strstr(body, "\nsluice_ready 1\n"));
	free(body);
}

TEST(unreadable_map_is_500)
{
	struct fake_maps fake;
	struct facts facts;
	char *body;
	int fd;

	if (!fake_maps_init(&fake, 4, 4))
		SKIP(FAKE_NEEDS);
	facts = facts_of(&fake);
	fd = fake.maps.counters_fd;
	fake.maps.counters_fd = -1;
	CHECK_INT(ask("/metrics", &facts, &body), 500);
	CHECK_STR(body, "metrics cannot be shown: Bad file descriptor\n");
	fake.maps.counters_fd = fd;
	free(body);
	fake_maps_done(&fake);
}

TEST(agent_alone)
{
	struct diag diag = {.file = "/m/a.yaml",
			    .line = 7,
			    .field = "spec.ports[0].port",
			    .reason = "70000 is no port: \xff"};
	struct facts facts = facts_of(NULL);
	json_t *json, *config, *refused;

	facts.last_refused = &diag;
	facts.last_refused_ns = 1700000000000000000;
	json = status_of(&facts);
	CHECK_STR(string(json, "node"), "node-a");
	CHECK_STR(string(json, "version"), "1.2.3");
	CHECK(json_is_true(json_object_get(json, "ready")));
	CHECK(json_is_null(json_object_get(json, "unready")));
	config = json_object_get(json, "config");
	CHECK_INT(number(config, "applied"), 3);
	CHECK_INT(number(json_object_get(config, "fields"), "unsupported"), 2);
	refused = json_object_get(config, "last_refused");
	CHECK_STR(string(refused, "time"), "2023-11-14T22:13:20Z");
	CHECK_STR(string(refused, "file"), "/m/a.yaml");
	CHECK_INT(number(refused, "line"), 7);
	CHECK_STR(string(refused, "field"), "spec.ports[0].port");
	CHECK_STR(string(refused, "reason"), "70000 is no port: ?");
	CHECK(!json_object_get(json, "services"));
	json_decref(json);
}

/* Two services share replica 1; each lists it. */
static void example(struct fake_maps *fake)
{
	fake_service(fake, 0, "default/llm", "http", 80, SL_SERVICE_LOADS);
	fake_service(fake, 2, "default/chat", "", 8080, SL_SERVICE_REPLACE);
	fake->services[0].load_ttl_ms = 1u << 30;
	fake_replica(fake, 0, "10.0.0.1:8000", "default/llm-0", 0, -1);
	fake_replica(fake, 1, "[fd00::2]:8001", NULL, 0, 2);
	fake->replicas[0].config.flags |= SL_REPLICA_HELD;
	fake->replicas[0].state.inflight = 4;
	fake->replicas[0].state.picks = 1ull << 40;
	fake->replicas[0].config.flags |= SL_REPLICA_HAS_LOAD;
	fake->replicas[0].config.load = 384;
	fake->replicas[1].config.flags |= SL_REPLICA_PROBE_DOWN;
	fake->kernel.live = 9;
	fake->kernel.half_open = 2;
}

TEST(services_and_replicas)
{
	json_t *json, *services, *service, *replica, *table;
	struct fake_maps fake;
	struct facts facts;

	if (!fake_maps_init(&fake, 4, 4))
		SKIP(FAKE_NEEDS);
	example(&fake);
	facts = facts_of(&fake);
	json = status_of(&facts);
	CHECK(number(json, "uptime_seconds") > 0);
	table = json_object_get(json, "flow_table");
	CHECK_INT(number(table, "size"), 1024);
	CHECK_INT(number(table, "live"), 9);
	CHECK_INT(number(table, "half_open"), 2);
	services = json_object_get(json, "services");
	CHECK_INT(json_array_size(services), 2);
	service = json_array_get(services, 0);
	CHECK_STR(string(service, "service"), "default/chat");
	CHECK_STR(string(service, "service_port"), "8080");
	CHECK_STR(string(service, "mode"), "replace");
	CHECK(json_is_true(json_object_get(service, "panic")));
	CHECK_INT(json_array_size(json_object_get(service, "replicas")), 1);
	service = json_array_get(services, 1);
	CHECK_STR(string(service, "service"), "default/llm");
	CHECK_STR(string(service, "service_port"), "http");
	CHECK_STR(string(service, "mode"), "overlay");
	CHECK_INT(number(service, "inflight"), 4);
	CHECK(json_is_false(json_object_get(service, "panic")));
	CHECK_INT(json_array_size(json_object_get(service, "replicas")), 2);
	replica = json_array_get(json_object_get(service, "replicas"), 0);
	CHECK_STR(string(replica, "address"), "10.0.0.1");
	CHECK_INT(number(replica, "port"), 8000);
	CHECK_STR(string(replica, "pod"), "default/llm-0");
	CHECK_STR(string(replica, "state"), "ready");
	CHECK(json_is_true(json_object_get(replica, "held")));
	CHECK_INT(number(replica, "picks"), 1ll << 40);
	CHECK(json_real_value(json_object_get(replica, "load")) == 1.5);
	replica = json_array_get(json_object_get(service, "replicas"), 1);
	CHECK_STR(string(replica, "address"), "fd00::2");
	CHECK_STR(string(replica, "state"), "down");
	CHECK(json_is_false(json_object_get(replica, "held")));
	CHECK(json_is_null(json_object_get(replica, "load")));
	json_decref(json);
	fake_maps_done(&fake);
}
