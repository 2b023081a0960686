// SPDX-License-Identifier: GPL-2.0-only
/* What DestinationRule, VirtualService and annotations make of a service-port: outlier detection,
 * retries, slow start, caps; who has the say; when a VirtualService is left out whole. */
#include <arpa/inet.h>
#include <stdio.h>

#include "check.h"
#include "manifest_text.h"
#include "manifests.h"

#define RULE(policy)                                                                               \
	"---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\n"    \
	"spec: {host: llm, trafficPolicy: {" policy "}}\n"
#define VIRTUAL(name, spec)                                                                        \
	"---\napiVersion: networking.istio.io/v1beta1\nkind: VirtualService\n"                     \
	"metadata: {name: " name "}\nspec: {" spec "}\n"
#define HOME           "route: [{destination: {host: llm}}]"
#define RETRIES(text)  VIRTUAL("v", "hosts: [llm], http: [{" HOME ", retries: {" text "}}]")
#define TWO_PORTS                                                                                  \
	SERVICE("llm", STEER,                                                                      \
		"clusterIP: 10.9.0.1, ports: [{name: a, port: 80}, {name: b, port: 81}, "          \
		"{name: u, port: 53, protocol: UDP}]")

static const struct model_service *row(const struct manifests *m, size_t i)
{
	static const struct model_service none;

	if (m->err)
		printf("  refused: %u %s: %s\n", m->diag.line, m->diag.field, m->diag.reason);
	CHECK(m->model && i < m->model->n_services);
	return m->model && i < m->model->n_services ? &m->model->services[i] : &none;
}

/* "5xx 5 gateway 0 local 5 interval 10000 base 30000 max 10 health 0", " split"; or "off". */
static const char *describe_outlier(const struct model_outlier *o)
{
	static char text[256];

	if (!o->enabled)
		return "off";
	snprintf(text, sizeof(text),
		 "5xx %u gateway %u local %u interval %u base %u max %u health %u%s",
		 o->consecutive_5xx, o->consecutive_gateway, o->consecutive_local, o->interval_ms,
		 o->base_ejection_ms, o->max_ejection_percent, o->min_health_percent,
		 o->split ? " split" : "");
	return text;
}

static void check_outlier(const char *rule, const char *expected)
{
	char text[2048];
	struct manifests m;

	snprintf(text, sizeof(text), LLM "%s", rule);
	m = manifests_compile(text, NULL);
	CHECK_STR(describe_outlier(&row(&m, 0)->outlier), expected);
	manifests_done(&m);
}

TEST(outlier_detection_has_istios_defaults)
{
#define OUTLIER(text) RULE("outlierDetection: {" text "}")
	check_outlier("", "off");
	check_outlier(RULE("connectionPool: {}"), "off");
	check_outlier(OUTLIER(""),
		      "5xx 5 gateway 0 local 5 interval 10000 base 30000 max 10 health 0");
	check_outlier(OUTLIER("consecutive5xxErrors: 0, consecutiveGatewayErrors: 3"),
		      "5xx 0 gateway 3 local 5 interval 10000 base 30000 max 10 health 0");
	check_outlier(OUTLIER("consecutiveErrors: 7"),
		      "5xx 7 gateway 0 local 5 interval 10000 base 30000 max 10 health 0");
	check_outlier(OUTLIER("consecutiveErrors: 7, consecutive5xxErrors: 8"),
		      "5xx 8 gateway 0 local 5 interval 10000 base 30000 max 10 health 0");
	check_outlier(OUTLIER("consecutiveLocalOriginFailures: 2"),
		      "5xx 5 gateway 0 local 5 interval 10000 base 30000 max 10 health 0");
	check_outlier(OUTLIER("consecutiveLocalOriginFailures: 2, "
			      "splitExternalLocalOriginErrors: true, interval: 5s, "
			      "baseEjectionTime: 1m30s, maxEjectionPercent: 50, "
			      "minHealthPercent: 30"),
		      "5xx 5 gateway 0 local 2 interval 5000 base 90000 max 50 health 30 split");
	check_outlier(OUTLIER("consecutive5xxErrors: 4294967295, baseEjectionTime: 1000h"),
		      "5xx 65535 gateway 0 local 5 interval 10000 base 604800000 max 10 health 0");
}

/* "3 attempts, 0 ms", ", off" */
static void check_retry(const char *rules, const char *expected)
{
	char text[2048], got[64];
	struct manifests m;

	snprintf(text, sizeof(text), LLM "%s", rules);
	m = manifests_compile(text, NULL);
	snprintf(got, sizeof(got), "%u attempts, %u ms%s", row(&m, 0)->retry.attempts,
		 row(&m, 0)->retry.deadline_ms, row(&m, 0)->retry.off ? ", off" : "");
	if (strcmp(got, expected))
		printf("  %s\n", rules);
	CHECK_STR(got, expected);
	manifests_done(&m);
}

TEST(retries_of_the_only_route)
{
#define TIMEOUT RULE("connectionPool: {tcp: {connectTimeout: 30ms}}")
	check_retry("", "3 attempts, 0 ms");
	check_retry(TIMEOUT, "3 attempts, 30 ms");
	check_retry(RETRIES("attempts: 2"), "2 attempts, 0 ms");
	check_retry(RETRIES("attempts: 2, perTryTimeout: 25ms") TIMEOUT, "2 attempts, 25 ms");
	check_retry(RETRIES("attempts: 2, perTryTimeout: 2s") TIMEOUT, "2 attempts, 30 ms");
	check_retry(RETRIES("attempts: 0"), "0 attempts, 0 ms, off");
	check_retry(RETRIES("attempts: 100"), "15 attempts, 0 ms");
	check_retry(VIRTUAL("v", "hosts: [llm.default.svc.cluster.local], gateways: [mesh, gw], "
				 "http: [{route: [{destination: {host: llm, port: {number: 80}}, "
				 "weight: 100}], timeout: 5s, retries: {attempts: 1}}]"),
		    "1 attempts, 0 ms");
	check_retry(VIRTUAL("v", "hosts: [llm], http: [{" HOME "}]"), "3 attempts, 0 ms");
	check_retry(VIRTUAL("v", "hosts: [other], http: [{route: [{destination: {host: other}}], "
				 "retries: {attempts: 1}}]"),
		    "3 attempts, 0 ms");
}

TEST(conditions_that_a_failed_connect_meets)
{
	static const struct {
		const char *on;
		bool retried;
		const char *said;
	} rows[] = {
		{"connect-failure", true, "honoured"},
		{"", true, "honoured"},
		{"5xx", true, "mapped: failed connects are retried"},
		{"gateway-error", true, "mapped"},
		{"reset", true, "mapped"},
		{"reset-before-request,retriable-4xx", true, "mapped"},
		{"retriable-4xx, connect-failure", true, "mapped"},
		{"connect-failure,refused-stream,unavailable,cancelled,503", true, "mapped"},
		{"retriable-4xx", false, "unsupported: Sluice balances"},
		{"refused-stream,unavailable", false, "unsupported"},
		{"503", false, "unsupported"},
		{"retriable-status-codes", false, "unsupported"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct manifests m;
		char text[2048];
		const char *said;

		snprintf(text, sizeof(text), LLM RETRIES("attempts: 2, retryOn: '%s'"), rows[i].on);
		m = manifests_compile(text, NULL);
		said = manifests_said(&m, "spec.http[0].retries.retryOn");
		if (row(&m, 0)->retry.off == rows[i].retried ||
		    strncmp(said, rows[i].said, strlen(rows[i].said)))
			printf("  %s: %s\n", rows[i].on, said);
		CHECK_INT(row(&m, 0)->retry.off, !rows[i].retried);
		CHECK(!strncmp(said, rows[i].said, strlen(rows[i].said)));
		manifests_done(&m);
	}
}

/* `http`: what stands in place of the plain route; all of it is unsupported, for `reason`. */
static void check_left_out(const char *spec, const char *field, const char *reason)
{
	struct manifests m;
	char text[2048];
	const char *said;

	snprintf(text, sizeof(text), LLM VIRTUAL("v", "%s"), spec);
	m = manifests_compile(text, NULL);
	CHECK_INT(row(&m, 0)->retry.attempts, MODEL_ATTEMPTS_DEFAULT);
	said = manifests_said(&m, field);
	if (strncmp(said, "unsupported: ", 13) || !strstr(said, reason) ||
	    !strstr(said, ": the whole VirtualService is left out"))
		printf("  %s: \"%s\", expected \"%s\"\n", spec, said, reason);
	CHECK(strstr(said, reason) && strstr(said, ": the whole VirtualService is left out"));
	said = manifests_said(&m, "spec.http[0].retries.attempts");
	CHECK(!*said || !strncmp(said, "unsupported: ", 13));
	manifests_done(&m);
}

TEST(a_virtual_service_that_asks_for_more_is_left_out_whole)
{
#define ONE(more) "hosts: [llm], http: [{" HOME ", retries: {attempts: 1}" more "}]"
#define TO(route) "hosts: [llm], http: [{route: [" route "], retries: {attempts: 1}}]"
#define HTTP0     "spec.http[0]."
	check_left_out(ONE(", match: [{uri: {prefix: /a}}]"), HTTP0 "match", "match rules");
	check_left_out(ONE(", match: [{uri: {prefix: /a}}]"), "spec.http", "match rules");
	check_left_out(ONE(", fault: {abort: {}}"), HTTP0 "fault", "diverts requests");
	check_left_out(ONE(", mirror: {host: b}"), HTTP0 "retries.attempts", "diverts requests");
	check_left_out(ONE(", headers: {}"), HTTP0 "headers", "diverts requests");
	check_left_out(ONE(", rewrite: {uri: /}"), HTTP0 "rewrite", "diverts requests");
	check_left_out(ONE(", corsPolicy: {}"), HTTP0 "corsPolicy", "diverts requests");
	check_left_out("hosts: [llm], http: [{redirect: {uri: /}}]", HTTP0 "redirect", "diverts");
	check_left_out(ONE("}, {" HOME), "spec.http", "weighted splits");
	check_left_out(TO("{destination: {host: llm}, weight: 90}, {destination: {host: b}, "
			  "weight: 10}"),
		       HTTP0 "route[0].weight", "weighted splits");
	check_left_out(TO("{destination: {host: llm, subset: v1}}"),
		       HTTP0 "route[0].destination.subset", "subsets");
	check_left_out(TO("{destination: {host: b}}"), HTTP0 "route[0].destination.host",
		       "other destinations");
	check_left_out(TO("{destination: {host: llm}, headers: {}}"), HTTP0 "route[0].headers",
		       "are not acted upon");
	check_left_out("hosts: [llm, b], http: [{" HOME "}]", HTTP0 "route[0].destination.host",
		       "other destinations");
	check_left_out("hosts: [llm], tcp: [{" HOME "}]", "spec.tcp", "tcp and tls routes");
	check_left_out("hosts: [llm], tls: [{" HOME "}], http: [{" HOME "}]", "spec.tls",
		       "tcp and tls routes");
	check_left_out("gateways: [gw], " ONE(""), "spec.gateways", "for gateways alone");
}

TEST(of_two_virtual_services_the_first_by_name_counts)
{
	struct manifests m = manifests_compile(
		LLM VIRTUAL("b", "hosts: [llm], http: [{" HOME ", retries: {attempts: 9}}]")
			VIRTUAL("a", "hosts: [llm, llm.default], http: [{" HOME
				     ", retries: {attempts: 1}}]"),
		NULL);
	const struct verdict *verdict = NULL;

	CHECK_INT(row(&m, 0)->retry.attempts, 1);
	for (size_t i = 0; i < m.verdicts.n; i++)
		if (!strcmp(m.verdicts.list[i].object, "VirtualService default/b"))
			verdict = &m.verdicts.list[i];
	CHECK_STR(verdict ? verdict->field : NULL, "spec.hosts[0]");
	CHECK_STR(verdict ? verdict->reason : NULL,
		  "VirtualService default/a governs this host already: the rule is left out");
	manifests_done(&m);
}

TEST(hosts_that_are_nobodys_say_so)
{
#define SAYS(hosts, field, said)                                                                   \
	do {                                                                                       \
		struct manifests m = manifests_compile(LLM VIRTUAL("v", hosts ", http: []"), NULL); \
		CHECK_STR(manifests_said(&m, field), said);                                        \
		manifests_done(&m);                                                                \
	} while (0)
	SAYS("hosts: ['*.example']", "spec.hosts[0]",
	     "unsupported: is not one Service of a cluster, so nothing counts for it; write "
	     "NAME.NAMESPACE.svc.cluster.local");
	SAYS("hosts: [other]", "spec.hosts[0]",
	     "unsupported: Service default/other is not in the input: the rule is left out");
	SAYS("hosts: [llm], htp: []", "spec.htp", "unknown: no such field; did you mean http?");
}

TEST(a_port_s_own_settings_take_the_place_of_the_rule_s)
{
	struct manifests m = manifests_compile(
		TWO_PORTS RULE("outlierDetection: {consecutive5xxErrors: 2}, connectionPool: {tcp: "
			       "{maxConnections: 9, connectTimeout: 1s, idleTimeout: 1m}, http: "
			       "{http1MaxPendingRequests: 7}}, loadBalancer: {warmupDurationSecs: "
			       "30s}, portLevelSettings: [{port: {number: 81}, outlierDetection: "
			       "{consecutiveGatewayErrors: 4}, loadBalancer: {warmup: {duration: 2m, "
			       "minimumPercent: 25, aggression: 1.5}}}]")
			VIRTUAL("v", "hosts: [llm], http: [{route: [{destination: {host: llm, "
				     "port: {number: 81}}}], retries: {attempts: 5}}]"),
		NULL);
	const struct model_service *a = row(&m, 0), *b = row(&m, 1), *udp = row(&m, 2);

	CHECK_INT(a->outlier.consecutive_5xx, 2);
	CHECK_INT(a->outlier.consecutive_gateway, 0);
	CHECK_INT(a->max_parked, 7);
	CHECK_INT(a->idle_timeout_ms, 60000);
	CHECK_INT(a->retry.deadline_ms, 1000);
	CHECK_INT(a->retry.attempts, 3);
	CHECK_INT(a->warmup.duration_ms, 30000);
	CHECK_INT(a->warmup.minimum_percent, 10);
	CHECK_INT(a->warmup.aggression_percent, 100);
	CHECK_INT(b->outlier.consecutive_5xx, 5);
	CHECK_INT(b->outlier.consecutive_gateway, 4);
	CHECK_INT(b->max_parked, 1024);
	CHECK_INT(b->retry.deadline_ms, 0);
	CHECK_INT(b->retry.attempts, 5);
	CHECK_INT(b->warmup.duration_ms, 120000);
	CHECK_INT(b->warmup.minimum_percent, 25);
	CHECK_INT(b->warmup.aggression_percent, 150);
	CHECK(!udp->outlier.enabled && !udp->retry.attempts && !udp->max_parked);
	CHECK_INT(udp->warmup.duration_ms, 30000);
	CHECK_STR(manifests_said(&m, "spec.http[0].route[0].destination.port.number"),
		  "mapped: the retries count for connections to this port alone");
	manifests_done(&m);
}

TEST(caps_of_pod_then_service_then_rule)
{
#define CAP(n) "annotations: {sluice.dev/max-connections-per-replica: '" n "'}"
#define RULE_CAP RULE("connectionPool: {tcp: {maxConnections: 9}}")
	static const struct {
		const char *text;
		unsigned caps[2];
	} rows[] = {
		{LLM TWO_SLICE, {0, 0}},
		{LLM TWO_SLICE RULE_CAP, {9, 9}},
		{LLM TWO_SLICE RULE_CAP POD("p2", CAP("5"), ""), {9, 5}},
		{SERVICE("llm", STEER ", " CAP("20"), "clusterIP: 10.9.0.1, " PORTS) TWO_SLICE
			 RULE_CAP POD("p1", CAP("30"), ""),
		 {30, 20}},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct manifests m = manifests_compile(rows[i].text, NULL);

		CHECK_INT(row(&m, 0)->n_replicas, 2);
		for (size_t j = 0; j < row(&m, 0)->n_replicas; j++)
			CHECK_INT(row(&m, 0)->replicas[j].max_connections, rows[i].caps[j]);
		manifests_done(&m);
	}
}

TEST(annotations_of_the_service)
{
	struct manifests m = manifests_compile(
		SERVICE("llm",
			STEER ", annotations: {sluice.dev/when-full: wait, sluice.dev/when-none: "
			      "wait, sluice.dev/on-eject: keep, sluice.dev/reset-after: 1m}",
			"clusterIP: 10.9.0.1, " PORTS),
		NULL);

	CHECK(row(&m, 0)->wait_full && row(&m, 0)->wait_none && row(&m, 0)->keep_on_eject);
	CHECK_INT(row(&m, 0)->reset_after_ms, 60000);
	manifests_done(&m);
	m = manifests_compile(SERVICE("llm",
				      STEER ", annotations: {sluice.dev/when-full: refuse, "
					    "sluice.dev/on-eject: reset}",
				      "clusterIP: 10.9.0.1, " PORTS),
			      NULL);
	CHECK(!row(&m, 0)->wait_full && !row(&m, 0)->wait_none && !row(&m, 0)->keep_on_eject);
	CHECK_INT(row(&m, 0)->reset_after_ms, 10000);
	manifests_done(&m);
}

/* By port: the second has outlierDetection of its own, the first and the one of UDP have none. */
TEST(latency_outliers_need_outlier_detection)
{
#define FIELD "metadata.annotations[sluice.dev/latency-outliers]"
#define SLOW(factor)                                                                               \
	SERVICE("llm", STEER ", annotations: {sluice.dev/latency-outliers: '" factor "'}",         \
		"clusterIP: 10.9.0.1, ports: [{name: a, port: 80}, {name: b, port: 81}, "          \
		"{name: u, port: 53, protocol: UDP}]")
	struct manifests m = manifests_compile(
		SLOW("2.75") RULE("portLevelSettings: [{port: {number: 81}, outlierDetection: "
				  "{consecutive5xxErrors: 0}}]"), NULL);

	CHECK_INT(row(&m, 0)->outlier.latency_factor, 0);
	CHECK_INT(row(&m, 1)->outlier.latency_factor, 275);
	CHECK_INT(row(&m, 2)->outlier.latency_factor, 0);
	CHECK_STR(manifests_said(&m, FIELD), "honoured");
	CHECK_INT(manifests_verdict(&m, FIELD)->line, 4);
	manifests_done(&m);
	m = manifests_compile(SLOW("1.5") RULE("outlierDetection: {}"), NULL);
	CHECK_INT(row(&m, 0)->outlier.latency_factor, 150);
	CHECK_INT(row(&m, 2)->outlier.latency_factor, 0);
	manifests_done(&m);
	m = manifests_compile(SLOW("100") RULE("outlierDetection: {}"), NULL);
	CHECK_INT(row(&m, 0)->outlier.latency_factor, 10000);
	manifests_done(&m);
	m = manifests_compile(SLOW("3") RULE("portLevelSettings: [{port: {number: 53}, "
					     "outlierDetection: {}}]"), NULL);
	CHECK_INT(row(&m, 0)->outlier.latency_factor, 0);
	CHECK_STR(manifests_said(&m, FIELD),
		  "unsupported: has no effect without outlierDetection on a TCP port; write a "
		  "DestinationRule that has it");
	manifests_done(&m);
}
