// SPDX-License-Identifier: GPL-2.0-only
/* Kubernetes objects, decoded: values and their defaults; ties between objects; doubles. What is
 * refused stands in manifests/bad, verdicts in policy_test.c. */
#include <arpa/inet.h>
#include <errno.h>

#include "addr.h"
#include "check.h"
#include "manifests.h"

static const void *find(const struct manifests *m, enum object_kind kind, const char *namespace,
			const char *name)
{
	const void *object = m->err ? NULL : objects_find(m->objects, kind, namespace, name);

	if (m->err)
		printf("  refused: %u %s: %s\n", m->diag.line, m->diag.field, m->diag.reason);
	CHECK(object != NULL);
	return object;
}

TEST(service_with_everything)
{
	struct manifests m = manifests_decode(
		"apiVersion: v1\nkind: Service\n"
		"metadata: {name: llm, namespace: team, labels: {sluice.dev/steer: enabled},\n"
		"  annotations: {sluice.dev/weight: '7', sluice.dev/probe-interval: 1.5s}}\n"
		"spec:\n  type: LoadBalancer\n  clusterIP: 10.96.0.1\n"
		"  clusterIPs: [10.96.0.1, 'fd00::1']\n  externalIPs: [192.0.2.1]\n"
		"  externalTrafficPolicy: Local\n  publishNotReadyAddresses: true\n"
		"  ports:\n  - {name: a, port: 80, nodePort: 30080}\n"
		"  - {name: b, port: 53, protocol: UDP}\n"
		"status: {loadBalancer: {ingress: [{ip: 192.0.2.2}, {hostname: x.example},\n"
		"  {ip: 192.0.2.3, ipMode: Proxy}]}}\n");
	const struct object_service *service = find(&m, OBJECT_SERVICE, "team", "llm");
	char text[ADDR_STR_LEN];

	if (service) {
		CHECK_STR(service->object.title, "Service team/llm");
		CHECK_STR(service->object.file, "test.yaml");
		CHECK_INT(service->object.steer, STEER_ENABLED);
		CHECK_INT(service->object.weight, 7);
		CHECK_INT(service->object.probe_interval_ms, 1500);
		CHECK_INT(service->cluster_ips.n, 2);
		CHECK_STR(addr_format(&service->cluster_ips.list[1].addr, text), "fd00::1");
		CHECK_INT(service->load_balancer_ips.n, 1); /* no name, no ipMode Proxy */
		CHECK_INT(service->external_ips.n, 1);
		CHECK(service->external_local && !service->internal_local);
		CHECK(service->publish_not_ready && service->takes_node_ports);
		CHECK_INT(service->n_ports, 2);
		CHECK_INT(service->ports[0].node_port, 30080);
		CHECK_INT(service->ports[0].proto, IPPROTO_TCP);
		CHECK_INT(service->ports[1].proto, IPPROTO_UDP);
		CHECK_STR(service->ports[1].field, "spec.ports[1]");
	}
	manifests_done(&m);
}

#define SLICE                                                                                      \
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"                                   \
	"metadata: {name: s, labels: {kubernetes.io/service-name: llm}}\n"                         \
	"addressType: IPv4\nports: [{name: http, port: 8000}]\nendpoints:\n"

TEST(conditions_default_as_kubernetes_says)
{
	static const struct {
		const char *conditions;
		bool ready, serving, terminating;
	} rows[] = {
		{"", true, true, false},
		{"conditions: {}", true, true, false},
		{"conditions: {ready: null}", true, true, false},
		{"conditions: {ready: false}", false, false, false},
		{"conditions: {ready: false, serving: true, terminating: true}", false, true, true},
		{"conditions: {serving: false}", true, false, false},
		{"conditions: {terminating: true}", true, true, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct object_slice *slice;
		struct manifests m;
		char text[512];

		snprintf(text, sizeof(text), SLICE "- addresses: [10.0.0.1]\n  %s\n",
			 rows[i].conditions);
		m = manifests_decode(text);
		slice = find(&m, OBJECT_SLICE, "default", "s");
		if (slice) {
			CHECK_INT(slice->endpoints[0].ready, rows[i].ready);
			CHECK_INT(slice->endpoints[0].serving, rows[i].serving);
			CHECK_INT(slice->endpoints[0].terminating, rows[i].terminating);
		}
		manifests_done(&m);
	}
}

TEST(endpoints_name_node_zone_and_pod)
{
	struct manifests m = manifests_decode(
		SLICE "- addresses: [10.0.0.1]\n  nodeName: node-1\n  zone: z\n"
		      "  targetRef: {kind: Pod, name: llm-0}\n"
		      "- addresses: [10.0.0.2]\n  targetRef: {kind: Node, name: x}\n"
		      "---\napiVersion: v1\nkind: Pod\nmetadata: {name: llm-0}\n"
		      "spec: {containers: []}\n"
		      "---\napiVersion: v1\nkind: Service\nmetadata: {name: llm}\n"
		      "spec: {clusterIP: 10.9.0.1, ports: [{port: 80}]}\n");
	const struct object_service *service = find(&m, OBJECT_SERVICE, "default", "llm");
	const struct object_slice *slice = service ? service->slices : NULL;

	CHECK(slice != NULL);
	if (slice) {
		CHECK_INT(slice->n_endpoints, 2);
		CHECK_STR(slice->endpoints[0].node, "node-1");
		CHECK_STR(slice->endpoints[0].zone, "z");
		CHECK(slice->endpoints[0].pod != NULL);
		CHECK(slice->endpoints[0].pod == find(&m, OBJECT_POD, "default", "llm-0"));
		CHECK(!slice->endpoints[1].node && !slice->endpoints[1].pod_name);
	}
	manifests_done(&m);
}

#define POD_HEAD                                                                                   \
	"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"                   \
	"  - ports: [{name: web, containerPort: 8000}]\n    readinessProbe: "

static struct model_probe decode_probe(const char *probe, struct manifests *ret)
{
	const struct object_pod *pod;
	char text[1024];

	snprintf(text, sizeof(text), POD_HEAD "%s\n", probe);
	*ret = manifests_decode(text);
	pod = find(ret, OBJECT_POD, "default", "p");
	if (!pod)
		return (struct model_probe){0};
	CHECK(pod->containers[0].has_probe);
	return pod->containers[0].probe;
}

TEST(http_probe)
{
	struct manifests m;
	struct model_probe probe = decode_probe(
		"{httpGet: {path: health, port: web, scheme: HTTPS, host: a.example, httpHeaders: ["
		"{name: X-A, value: '1'}, {name: host, value: b.example}, {name: X-B, value: "
		"''}]}, "
		"periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 4, successThreshold: 6}",
		&m);

	CHECK_INT(probe.kind, MODEL_PROBE_HTTPS);
	CHECK_STR(probe.path, "/health");
	CHECK_INT(ntohs(probe.port), 8000);
	CHECK_STR(probe.host, "b.example"); /* the header is stronger */
	CHECK_INT(probe.n_headers, 2);
	CHECK_STR(probe.headers[1].name, "X-B");
	CHECK_INT(probe.period_ms, 5000);
	CHECK_INT(probe.timeout_ms, 2000);
	CHECK_INT(probe.failure_threshold, 4);
	CHECK_INT(probe.success_threshold, 6);
	manifests_done(&m);
}

TEST(other_probes_and_defaults)
{
	struct manifests m;
	struct model_probe probe = decode_probe("{httpGet: {port: 81, host: a.example}}", &m);

	CHECK_INT(probe.kind, MODEL_PROBE_HTTP);
	CHECK_STR(probe.path, "/");
	CHECK_STR(probe.host, "a.example");
	CHECK_INT(ntohs(probe.port), 81);
	CHECK_INT(probe.timeout_ms, 1000);
	CHECK_INT(probe.period_ms, 1000);
	CHECK_INT(probe.failure_threshold, 3);
	CHECK_INT(probe.success_threshold, 1);
	manifests_done(&m);
	probe = decode_probe("{tcpSocket: {port: web, host: 10.0.0.9}}", &m);
	CHECK_INT(probe.kind, MODEL_PROBE_TCP);
	CHECK_INT(ntohs(probe.port), 8000);
	CHECK(!probe.host);
	manifests_done(&m);
	probe = decode_probe("{grpc: {port: 9000, service: llm.v1}}", &m);
	CHECK_INT(probe.kind, MODEL_PROBE_GRPC);
	CHECK_STR(probe.grpc_service, "llm.v1");
	manifests_done(&m);
	probe = decode_probe("{grpc: {port: 9000}}", &m);
	CHECK_STR(probe.grpc_service, "");
	manifests_done(&m);
	probe = decode_probe("{exec: {command: [true]}, timeoutSeconds: 9}", &m);
	CHECK_INT(probe.kind, MODEL_PROBE_NONE); /* policy puts a tcpSocket probe in its place */
	CHECK_INT(probe.timeout_ms, 9000);
	manifests_done(&m);
}

#define RULE_HEAD                                                                                  \
	"apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata: {name: r, "     \
	"namespace: team}\nspec:\n  host: "
#define TEAM_LLM                                                                                   \
	"---\napiVersion: v1\nkind: Service\nmetadata: {name: llm, namespace: team}\n"             \
	"spec: {clusterIP: 10.9.0.1, ports: [{port: 80}]}\n"

#define POD(name, line, path)                                                                      \
	"---\napiVersion: v1\nkind: Pod\n" line "metadata: {name: " name ", annotations: {sluice.dev/weight: '7'}}\n" \
	"spec:\n  containers:\n  - ports: [{name: http, containerPort: 80}]\n"                       \
	"    readinessProbe:\n      httpGet: {path: " path ", port: http, host: h}\n"

/* What Pods of one template have alike is kept once, whoever is between them, and no difference is
 * lost. */
TEST(pods_of_one_template_share_what_they_have_alike)
{
	struct manifests m = manifests_decode(POD("a", "", "/x") POD("b", "", "/x")
					      "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n"
					      POD("c", "", "/x") POD("d", "", "/y") POD("e", "# one more\n", "/y"));
	const struct object_pod *pods[5] = {};

	for (unsigned i = 0; i < 5; i++)
		pods[i] = find(&m, OBJECT_POD, "default", (char[]){"abcde"[i], '\0'});
	for (unsigned i = 0; i < 5 && pods[i]; i++) {
		const struct object *object = &pods[i]->object;

		CHECK_STR(pods[i]->containers[0].probe.path, i < 3 ? "/x" : "/y");
		CHECK_STR(pods[i]->containers[0].ports[0].name, "http");
		CHECK_INT(object->notes.n, 4);
		CHECK_STR(object->notes.list[1].field, "spec.containers[0].readinessProbe.httpGet.path");
		CHECK_INT(object->notes.list[1].line, i < 4 ? 7 : 8);
	}
	if (pods[4]) {
		CHECK(pods[0]->containers == pods[1]->containers);
		CHECK(pods[1]->containers == pods[2]->containers);
		CHECK(pods[2]->containers != pods[3]->containers);
		CHECK(pods[3]->containers == pods[4]->containers);
		CHECK(pods[0]->object.notes.list == pods[3]->object.notes.list);
		CHECK(pods[3]->object.notes.list != pods[4]->object.notes.list);
	}
	manifests_done(&m);
}

TEST(rules_find_their_service_by_host)
{
	static const struct {
		const char *host;
		bool found;
	} rows[] = {
		{"llm", true},
		{"llm.team", true},
		{"llm.team.svc", true},
		{"llm.team.svc.cluster.local", true},
		{"llm.other", false},
		{"other", false},
		{"'*.team.svc.cluster.local'", false},
		{"llm.team.example.com", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct object_service *service;
		struct manifests m;
		char text[512];

		snprintf(text, sizeof(text), RULE_HEAD "%s\n" TEAM_LLM, rows[i].host);
		m = manifests_decode(text);
		service = find(&m, OBJECT_SERVICE, "team", "llm");
		if (service && !!service->rule != rows[i].found)
			printf("  host %s\n", rows[i].host);
		CHECK_INT(service && service->rule, rows[i].found);
		manifests_done(&m);
	}
}

TEST(idle_timeouts_of_rule_and_ports)
{
	struct manifests m = manifests_decode(
		RULE_HEAD "llm\n  trafficPolicy:\n    connectionPool: {tcp: {idleTimeout: 30m}}\n"
			  "    portLevelSettings:\n    - port: {number: 80}\n"
			  "      connectionPool: {tcp: {idleTimeout: 0s}}\n    - port: {number: "
			  "81}\n" TEAM_LLM);
	const struct object_rule *rule = find(&m, OBJECT_RULE, "team", "r");

	if (rule) {
		CHECK_INT(rule->traffic.idle_timeout_ms, 1800000);
		CHECK_INT(rule->n_ports, 2);
		CHECK_INT(rule->ports[0].port, 80);
		CHECK_INT(rule->ports[0].idle_timeout_ms, 7 * 86400000);
		CHECK(!rule->ports[1].has_idle_timeout);
	}
	manifests_done(&m);
}

TEST(lists_are_unpacked_and_sorted)
{
	struct manifests m = manifests_decode(
		"apiVersion: v1\nkind: List\nitems:\n"
		"- {apiVersion: v1, kind: Namespace, metadata: {name: z}}\n"
		"- {apiVersion: v1, kind: List, items: [\n"
		"    {apiVersion: v1, kind: Namespace, metadata: {name: a}}]}\n"
		"- {apiVersion: apps/v1, kind: Deployment, metadata: {name: z}}\n"
		"- {apiVersion: apps/v1, kind: Deployment, metadata: {name: z}}\n");
	struct object *const *list;
	size_t n;

	CHECK_INT(m.err, 0);
	list = objects_of(m.objects, OBJECT_NAMESPACE, &n);
	CHECK_INT(n, 2);
	CHECK_STR(list[0]->name, "a");
	CHECK_STR(list[1]->name, "z");
	objects_of(m.objects, OBJECT_OTHER, &n);
	CHECK_INT(n, 2); /* not ours: doubles are their own affair */
	CHECK_INT(objects_count(m.objects), 4);
	CHECK(!objects_find(m.objects, OBJECT_NAMESPACE, "", "m"));
	manifests_done(&m);
}

TEST(names_of_different_kinds_and_namespaces_do_not_clash)
{
	struct manifests m = manifests_decode(
		TEAM_LLM "---\napiVersion: v1\nkind: Service\nmetadata: {name: llm}\n"
			 "spec: {clusterIP: 10.9.0.2, ports: [{port: 80}]}\n"
			 "---\napiVersion: v1\nkind: Pod\nmetadata: {name: llm, namespace: team}\n"
			 "spec: {containers: []}\n");

	CHECK_INT(m.err, 0);
	manifests_done(&m);
}

TEST(too_many_fields_to_judge_are_refused)
{
	char *text = calloc(1, 64 << 10), *end = text;
	struct manifests m;

	end += sprintf(end, "apiVersion: v1\nkind: Service\nmetadata: {name: llm}\nspec:\n");
	for (int i = 0; i < 1001; i++)
		end += sprintf(end, "  field%d: 1\n", i);
	m = manifests_decode(text);
	CHECK_INT(m.err, -EINVAL);
	CHECK_INT(m.diag.line, 1005);
	CHECK_STR(m.diag.field, "spec.field1000");
	manifests_done(&m);
	free(text);
}
