// SPDX-License-Identifier: GPL-2.0-only
/* What is said of each field, and of whom nothing is said; limits on the size of a model. */
#include <errno.h>

#include "check.h"
#include "manifests.h"

/* A steered Service `llm` with a slice, a Pod and a rule; each row of a test adds one field. */
struct parts {
	const char *labels, *annotations, *spec, *port, *endpoint, *pod, *probe, *rule;
};

static struct manifests compile_parts(const struct parts *parts)
{
	char text[4096];
#define PART(name) (parts->name ? parts->name : "")

	snprintf(text, sizeof(text),
		 "apiVersion: v1\nkind: Service\nmetadata: {name: llm, labels: {%s "
		 "sluice.dev/steer: enabled}, annotations: {%s}}\n"
		 "spec: {%s clusterIP: 10.9.0.1, ports: [{%s name: http, port: 80}]}\n"
		 "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, "
		 "labels: {kubernetes.io/service-name: llm}}\naddressType: IPv4\n"
		 "ports: [{name: http, port: 8000}]\n"
		 "endpoints: [{%s addresses: [10.1.0.1], targetRef: {kind: Pod, name: p}}]\n"
		 "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {%s}}\n"
		 "spec: {containers: [{readinessProbe: {%s tcpSocket: {port: 8000}}}]}\n"
		 "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: "
		 "r}\n"
		 "spec: {host: llm, %s}\n",
		 PART(labels), PART(annotations), PART(spec), PART(port), PART(endpoint), PART(pod),
		 PART(probe), PART(rule));
	return manifests_compile(text, NULL);
}

#define POLICY(text)  .rule = "trafficPolicy: {" text "}"
#define SPEC(name)    "spec." name
#define TRAFFIC(name) "spec.trafficPolicy." name
/* What one part of the objects makes of one field: how what is said of it begins. */
static const struct {
	struct parts parts;
	const char *field, *said;
} verdict_rows[] = {
	{{0}, "metadata.labels[sluice.dev/steer]", "honoured"},
	{{0}, SPEC("clusterIP"), "honoured"},
	{{0}, SPEC("host"), "honoured"},
	{{.spec = "sessionAffinity: None,"}, SPEC("sessionAffinity"), "honoured"},
	{{.spec = "sessionAffinity: ClientIP,"},
	 SPEC("sessionAffinity"),
	 "unsupported: this version"},
	{{.spec = "sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}},"},
	 SPEC("sessionAffinityConfig"),
	 "unsupported: this version"},
	{{.spec = "trafficDistribution: PreferClose,"},
	 SPEC("trafficDistribution"),
	 "unsupported: this version does not prefer near"},
	{{.spec = "loadBalancerSourceRanges: [10.0.0.0/8],"},
	 SPEC("loadBalancerSourceRanges"),
	 "unsupported: this version does not filter by source; so that nothing is opened"},
	{{.spec = "externalIPs: [192.0.2.1],"},
	 SPEC("externalIPs[0]"),
	 "unsupported: not steered, since whoever may write a Service could take any "
	 "address "
	 "(CVE-2020-8554); start sluiced with --allow-external-ips 192.0.2.1/32"},
	{{.spec = "sesionAffinity: None,"},
	 SPEC("sesionAffinity"),
	 "unknown: no such field; did you mean sessionAffinity?"},
	{{.spec = "colour: red,"},
	 SPEC("colour"),
	 "unknown: no such field; the nearest is"},
	{{.spec = "healthCheckNodePort: 30000,"},
	 SPEC("healthCheckNodePort"),
	 "unsupported"},
	{{.spec = "loadBalancerIP: 192.0.2.1,"}, SPEC("loadBalancerIP"), "unsupported"},
	{{.spec = "externalIPs: ['fd00::1'],"}, SPEC("externalIPs[0]"), "unsupported"},
	{{.port = "protocol: SCTP,"},
	 SPEC("ports[0].protocol"),
	 "unsupported: Sluice balances TCP"},
	{{.port = "appProtocol: http,"}, SPEC("ports[0].appProtocol"), "unsupported"},
	{{.port = "targetport: 8000,"},
	 SPEC("ports[0].targetport"),
	 "unknown: no such field; did you mean targetPort?"},
	{{.annotations = "sluice.dev/weight: '7'"},
	 "metadata.annotations[sluice.dev/weight]",
	 "honoured"},
	{{.annotations = "sluice.dev/weight: auto"},
	 "metadata.annotations[sluice.dev/weight]",
	 "unsupported: this version does not measure weights: taken as 100"},
	{{.annotations = "sluice.dev/on-eject: keep"},
	 "metadata.annotations[sluice.dev/on-eject]",
	 "honoured"},
	{{.pod = "sluice.dev/latency-outliers: '3'"},
	 "metadata.annotations[sluice.dev/latency-outliers]",
	 "unsupported: counts only on a Service"},
	{{.pod = "sluice.dev/on-eject: keep"},
	 "metadata.annotations[sluice.dev/on-eject]",
	 "unsupported: counts only on a Service; move it there"},
	{{.pod = "sluice.dev/max-connections-per-replica: '8'"},
	 "metadata.annotations[sluice.dev/max-connections-per-replica]",
	 "honoured"},
	{{.annotations = "sluice.dev/when-ful: wait"},
	 "metadata.annotations[sluice.dev/when-ful]",
	 "unknown: no such field; did you mean sluice.dev/when-full?"},
	{{.annotations = "sluice.dev/rebalance: idle"},
	 "metadata.annotations[sluice.dev/rebalance]",
	 "unsupported: valid, but not acted upon"},
	{{.annotations = "sluice.dev/wieght: '7'"},
	 "metadata.annotations[sluice.dev/wieght]",
	 "unknown: no such field; did you mean sluice.dev/weight?"},
	{{.annotations = "sluice.dev/steer: enabled"},
	 "metadata.annotations[sluice.dev/steer]",
	 "unknown: belongs into metadata.labels"},
	{{.labels = "sluice.dev/weight: '7',"},
	 "metadata.labels[sluice.dev/weight]",
	 "unknown: belongs into metadata.annotations"},
	{{.annotations = "example.com/weight: '7'"},
	 "metadata.annotations[example.com/weight]",
	 ""},
	{{.pod = "sluice.dev/load: vllm"},
	 "metadata.annotations[sluice.dev/load]",
	 "unsupported: valid, but not acted upon"},
	{{.endpoint = "hints: {},"}, "endpoints[0].hints", "unsupported"},
	{{.endpoint = "nodename: a,"},
	 "endpoints[0].nodename",
	 "unknown: no such field; did you mean nodeName?"},
	{{.endpoint = "conditions: {redy: true},"},
	 "endpoints[0].conditions.redy",
	 "unknown: no such field; did you mean ready?"},
	{{.probe = "initialDelaySeconds: 5,"},
	 "spec.containers[0].readinessProbe.initialDelaySeconds",
	 "honoured"},
	{{.probe = "timeoutSecond: 5,"},
	 "spec.containers[0].readinessProbe.timeoutSecond",
	 "unknown: no such field; did you mean timeoutSeconds?"},
	{{POLICY("loadBalancer: {simple: LEAST_REQUEST}")},
	 TRAFFIC("loadBalancer.simple"),
	 "honoured"},
	{{POLICY("loadBalancer: {simple: LEAST_CONN}")},
	 TRAFFIC("loadBalancer.simple"),
	 "mapped: the old name of LEAST_REQUEST"},
	{{POLICY("loadBalancer: {simple: ROUND_ROBIN}")},
	 TRAFFIC("loadBalancer.simple"),
	 "unsupported: this version knows LEAST_REQUEST alone"},
	{{POLICY("loadBalancer: {consistentHash: {useSourceIp: true}}")},
	 TRAFFIC("loadBalancer.consistentHash.useSourceIp"),
	 "unsupported: valid, but not"},
	{{POLICY("loadBalancer: {consistentHash: {httpHeaderName: x}}")},
	 TRAFFIC("loadBalancer.consistentHash.httpHeaderName"),
	 "unsupported: Sluice balances connections"},
	{{POLICY("loadBalancer: {warmup: {duration: 1m}}")},
	 TRAFFIC("loadBalancer.warmup.duration"),
	 "honoured"},
	{{POLICY("loadBalancer: {warmup: {duration: 1m, minimumPercent: 12.5}}")},
	 TRAFFIC("loadBalancer.warmup.minimumPercent"),
	 "mapped: taken as 13"},
	{{POLICY("loadBalancer: {warmup: {duration: 1m, minimumPercent: 0}}")},
	 TRAFFIC("loadBalancer.warmup.minimumPercent"),
	 "mapped: taken as 1"},
	{{POLICY("loadBalancer: {warmupDurationSecs: 60s}")},
	 TRAFFIC("loadBalancer.warmupDurationSecs"),
	 "mapped: the old name of warmup.duration"},
	{{POLICY("connectionPool: {tcp: {idleTimeout: 1h}}")},
	 TRAFFIC("connectionPool.tcp.idleTimeout"),
	 "honoured"},
	{{POLICY("connectionPool: {tcp: {idleTimeout: 0s}}")},
	 TRAFFIC("connectionPool.tcp.idleTimeout"),
	 "mapped: taken as 7 days"},
	{{POLICY("connectionPool: {tcp: {maxConnections: 1}}")},
	 TRAFFIC("connectionPool.tcp.maxConnections"),
	 "mapped: taken as the cap of each replica, over all clients"},
	{{POLICY("connectionPool: {tcp: {maxConnections: 0}}")},
	 TRAFFIC("connectionPool.tcp.maxConnections"),
	 "honoured"},
	{{POLICY("connectionPool: {tcp: {connectTimeout: 10s}}")},
	 TRAFFIC("connectionPool.tcp.connectTimeout"),
	 "honoured"},
	{{POLICY("connectionPool: {http: {http1MaxPendingRequests: 9}}")},
	 TRAFFIC("connectionPool.http.http1MaxPendingRequests"),
	 "mapped: taken as how many connects may wait on a node"},
	{{POLICY("connectionPool: {http: {http2MaxRequests: 1}}")},
	 TRAFFIC("connectionPool.http.http2MaxRequests"),
	 "unsupported: Sluice balances connections"},
	{{POLICY("connectionPool: {tpc: {}}")},
	 TRAFFIC("connectionPool.tpc"),
	 "unknown: no such field; the nearest is tcp"},
	{{POLICY("outlierDetection: {consecutiveErrors: 3}")},
	 TRAFFIC("outlierDetection.consecutiveErrors"),
	 "mapped: the old name of consecutive5xxErrors"},
	{{POLICY("outlierDetection: {consecutiveErrors: 3, consecutive5xxErrors: 4}")},
	 TRAFFIC("outlierDetection.consecutiveErrors"),
	 "unsupported: the old name of consecutive5xxErrors, which is there too"},
	{{POLICY("outlierDetection: {consecutive5xxErrors: 70000}")},
	 TRAFFIC("outlierDetection.consecutive5xxErrors"),
	 "mapped: taken as 65535, the most there is"},
	{{POLICY("outlierDetection: {consecutiveLocalOriginFailures: 3}")},
	 TRAFFIC("outlierDetection.consecutiveLocalOriginFailures"),
	 "unsupported: has no effect without splitExternalLocalOriginErrors: true"},
	{{POLICY("outlierDetection: {consecutiveLocalOriginFailures: 3, "
		 "splitExternalLocalOriginErrors: true}")},
	 TRAFFIC("outlierDetection.consecutiveLocalOriginFailures"),
	 "honoured"},
	{{POLICY("outlierDetection: {maxEjectionPercent: 50}")},
	 TRAFFIC("outlierDetection.maxEjectionPercent"),
	 "honoured"},
	{{POLICY("outlierDetection: {interval: 200h}")},
	 TRAFFIC("outlierDetection.interval"),
	 "mapped: taken as 7 days"},
	{{POLICY("outlierDetection: {baseEjectionTime: 30s}")},
	 TRAFFIC("outlierDetection.baseEjectionTime"),
	 "honoured"},
	{{POLICY("outlierDetection: {consecutive5xxError: 3}")},
	 TRAFFIC("outlierDetection.consecutive5xxError"),
	 "unknown: no such field; did you mean consecutive5xxErrors?"},
	{{POLICY("tls: {mode: ISTIO_MUTUAL}")},
	 TRAFFIC("tls"),
	 "unsupported: Sluice balances"},
	{{POLICY("portLevelSettings: [{port: {number: 80}, tls: {}}]")},
	 TRAFFIC("portLevelSettings[0].tls"),
	 "unsupported"},
	{{POLICY("portLevelSettings: [{port: {number: 81}}]")},
	 TRAFFIC("portLevelSettings[0].port"),
	 "unsupported: Service default/llm has no port 81"},
	{{.rule = "subsets: [{name: a}]"}, SPEC("subsets"), "unsupported: valid, but not"},
	{{.rule = "workloadSelector: {}"}, SPEC("workloadSelector"), "unsupported"},
};

TEST(every_field_gets_its_verdict)
{
	for (size_t i = 0; i < sizeof(verdict_rows) / sizeof(verdict_rows[0]); i++) {
		const char *field = verdict_rows[i].field, *expected = verdict_rows[i].said;
		struct manifests m = compile_parts(&verdict_rows[i].parts);
		const char *said = manifests_said(&m, field);
		bool as_expected = *expected ? !strncmp(said, expected, strlen(expected)) : !*said;

		if (m.err || !as_expected)
			printf("  row %zu: %s \"%s\", expected \"%s\" (%s)\n", i, field, said,
			       expected, m.diag.reason);
		CHECK(!m.err && as_expected);
		manifests_done(&m);
	}
}

static void check_said(const char *text, const char *field, const char *said)
{
	struct manifests m = manifests_compile(text, NULL);

	CHECK_STR(manifests_said(&m, field), said);
	manifests_done(&m);
}

#define META(name) "metadata: {name: " name "}\n"
#define PLAIN      "apiVersion: v1\nkind: Service\n" META("a")

TEST(what_is_not_steered_is_not_judged_but_slips_are)
{
	check_said(PLAIN "spec: {sessionAffinity: ClientIP, ports: [{port: 80}]}\n",
		   "spec.sessionAffinity", "");
	check_said("apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {sluice.dev/ster: "
		   "enabled}}\nspec: {ports: [{port: 80}]}\n",
		   "metadata.labels[sluice.dev/ster]",
		   "unknown: no such field; did you mean sluice.dev/steer?");
	check_said("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {sluice.dev/steer: "
		   "enabled}}\n"
		   "spec: {containers: []}\n",
		   "metadata.labels[sluice.dev/steer]",
		   "unsupported: counts only on a Service or a Namespace; move it there");
	check_said("apiVersion: apps/v1\nkind: Deployment\n" META("a"), "kind",
		   "unsupported: kind Deployment is not used by Sluice");
	check_said("apiVersion: v1\nkind: service\n" META("a"), "kind",
		   "unknown: no such kind; did you mean Service?");
	check_said("apiVersion: v1\nkind: Node\n" META("a"), "kind",
		   "unsupported: kind Node is not used by Sluice");
	check_said("apiVersion: serving.knative.dev/v1\nkind: Service\n" META("a"), "kind",
		   "unsupported: kind Service is not used by Sluice");
}

TEST(objects_that_name_nobody_say_so)
{
#define SLICE        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
#define RULE         "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
#define SERVICE_NAME "metadata.labels[kubernetes.io/service-name]"
	check_said(SLICE META("s") "addressType: IPv4\n", SERVICE_NAME,
		   "unsupported: is missing, so the slice belongs to no Service; add the label");
	check_said(SLICE "metadata: {name: s, labels: {kubernetes.io/service-name: b}}\n"
			 "addressType: IPv4\n",
		   SERVICE_NAME,
		   "unsupported: Service default/b is not in the input: the slice is left out");
	check_said(RULE META("r") "spec: {host: b}\n", "spec.host",
		   "unsupported: Service default/b is not in the input: the rule is left out");
	check_said(RULE META("r") "spec: {host: '*.local'}\n", "spec.host",
		   "unsupported: is not one Service of a cluster, so the rule is left out; write "
		   "NAME.NAMESPACE.svc.cluster.local");
	check_said(PLAIN "spec: {ports: [{port: 80}]}\n---\n" RULE META(
			   "r") "spec: {host: a}\n---\n" RULE META("s") "spec: {host: a}\n",
		   "spec.host",
		   "unsupported: DestinationRule default/r governs this host already: the rule is "
		   "left out");
}

#define STEERED                                                                                    \
	"apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {sluice.dev/steer: "           \
	"enabled}}\n"

TEST(a_service_without_a_vip_says_so)
{
	check_said(STEERED "spec: {clusterIP: None, ports: [{port: 80}]}\n", "spec.clusterIP",
		   "unsupported: None: a headless Service has no VIP to steer");
	check_said(STEERED "spec: {ports: [{port: 80}]}\n", "spec",
		   "unsupported: has no VIP to steer; write its clusterIP");
	check_said(STEERED "spec: {type: ExternalName, externalName: b}\n", "spec.type",
		   "unsupported: a name has no VIP: there is nothing to steer");
	check_said(STEERED
		   "spec: {clusterIP: 10.9.0.1, externalIPs: ['fd00::1'], ports: [{port: 80}]}\n",
		   "spec.clusterIP", "honoured");
}

TEST(ports_of_a_slice_that_the_service_lacks_are_named)
{
	check_said(
		STEERED
		"spec: {clusterIP: 10.9.0.1, ports: [{name: http, port: 80}]}\n---\n" SLICE
		"metadata: {name: s, labels: {kubernetes.io/service-name: a}}\naddressType: IPv4\n"
		"ports: [{name: web, port: 80}]\nendpoints: []\n",
		"ports[0]",
		"unsupported: Service default/a has no port of the name \"web\" and this protocol: "
		"these endpoints are left out");
}

TEST(pods_of_one_service_are_judged_once)
{
	char *text = calloc(1, 64 << 10), *end = text;
	unsigned about_pods = 0;
	struct manifests m;

	end += sprintf(end, STEERED "spec: {clusterIP: 10.9.0.1, ports: [{port: 80}]}\n---\n" SLICE
				    "metadata: {name: s, labels: {kubernetes.io/service-name: a}}\n"
				    "addressType: IPv4\nports: [{port: 80}]\nendpoints:\n");
	for (int i = 1; i <= 100; i++)
		end += sprintf(end,
			       "- {addresses: [10.1.0.%d], targetRef: {kind: Pod, name: p%d}}\n", i,
			       i);
	for (int i = 1; i <= 100; i++)
		end += sprintf(
			end,
			"---\napiVersion: v1\nkind: Pod\nmetadata: {name: p%d}\nspec: {containers"
			": [{readinessProbe: {%s: {port: 80}}}]}\n",
			i, i < 51 ? "grpc" : "tcpSocket");
	m = manifests_compile(text, NULL);
	CHECK_INT(m.err, 0);
	for (size_t i = 0; i < m.verdicts.n; i++)
		about_pods += !strncmp(m.verdicts.list[i].object, "Pod ", 4);
	CHECK_INT(about_pods, 2);
	manifests_done(&m);
	free(text);
}

/* One service, one port, `n` endpoints from 10.0.0.1 up in slices of 1000. */
static char *many_endpoints(unsigned n)
{
	size_t size = 4096 + (size_t)n * 64;
	char *text = malloc(size), *end = text;

	end += sprintf(end, STEERED "spec: {clusterIP: 10.9.0.1, ports: [{port: 80}]}\n");
	for (unsigned i = 0; i < n; i++) {
		if (i % 1000 == 0)
			end += sprintf(
				end,
				"\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
				"metadata: {name: s%u, labels: {kubernetes.io/service-name: a}}\n"
				"addressType: IPv4\nports: [{port: 80}]\nendpoints:\n",
				i);
		end += sprintf(end, "- addresses: [10.%u.%u.%u]\n", (i + 1) >> 16,
			       (i + 1) >> 8 & 255, (i + 1) & 255);
		if (text + size - end < 512) {
			size *= 2;
			end -= (size_t)text;
			text = realloc(text, size);
			end += (size_t)text;
		}
	}
	return text;
}

TEST(more_endpoints_than_a_list_holds_are_refused)
{
	static const struct {
		unsigned n;
		const char *reason;
	} rows[] = {
		{16384, NULL},
		{16385,
		 "16385 replicas are to be steered to, more than 16384; steer fewer Services"},
		{65536, "has 65536 endpoints, more than 65535; split the Service"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = many_endpoints(rows[i].n);
		struct manifests m = manifests_compile(text, NULL);

		CHECK_INT(m.err, rows[i].reason ? -EINVAL : 0);
		CHECK_STR(m.diag.reason, rows[i].reason ? rows[i].reason : "");
		manifests_done(&m);
		free(text);
	}
}
