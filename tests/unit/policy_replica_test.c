// SPDX-License-Identifier: GPL-2.0-only
/* What policy knows of each replica: its state, weight and probe, from slice, Pod and Service. */
#include <arpa/inet.h>

#include "check.h"
#include "manifest_text.h"
#include "manifests.h"

TEST(replicas_carry_what_the_slice_says)
{
	struct manifests m = manifests_compile(
		LLM SLICE("a", "llm", "IPv4", HTTP,
			  "[{addresses: [10.1.0.1], nodeName: n, zone: z, targetRef: {kind: Pod, "
			  "name: p, namespace: team}},\n  {addresses: [10.1.0.2], conditions: "
			  "{ready: false, serving: true, terminating: true}}]"),
		NULL);
	const struct model_replica *replicas = m.model ? m.model->services[0].replicas : NULL;

	CHECK(replicas != NULL);
	if (replicas) {
		CHECK_STR(replicas[0].pod, "team/p");
		CHECK_STR(replicas[0].node, "n");
		CHECK_STR(replicas[0].zone, "z");
		CHECK(replicas[0].ready && replicas[0].serving && !replicas[0].terminating);
		CHECK_INT(replicas[0].weight, 100);
		CHECK(!replicas[1].pod && !replicas[1].node && !replicas[1].zone);
		CHECK(!replicas[1].ready && replicas[1].serving && replicas[1].terminating);
	}
	manifests_done(&m);
}

/* The replicas of LLM with these Pods, whose Service has these annotations. */
static struct manifests compile_pods(const char *annotations, const char *spec, const char *pods)
{
	char text[4096];

	snprintf(text, sizeof(text),
		 "apiVersion: v1\nkind: Service\nmetadata: {name: llm, " STEER
		 ", annotations: {%s}}\nspec: {clusterIP: 10.9.0.1, %s " PORTS "}\n" TWO_SLICE "%s",
		 annotations, spec, pods);
	return manifests_compile(text, NULL);
}

TEST(weight_and_interval_of_pod_win_over_service)
{
	struct manifests m = compile_pods(
		"sluice.dev/weight: '50', sluice.dev/probe-interval: 250ms", "",
		POD("p1",
		    "annotations: {sluice.dev/weight: '65535', sluice.dev/probe-interval: 1s}", "")
			POD("p2", "labels: {a: b}", ""));
	const struct model_replica *replicas = m.model ? m.model->services[0].replicas : NULL;

	CHECK(replicas != NULL);
	if (replicas) {
		CHECK_INT(replicas[0].weight, 65535);
		CHECK_INT(replicas[0].probe.interval_ms, 1000);
		CHECK_INT(replicas[1].weight, 50);
		CHECK_INT(replicas[1].probe.interval_ms, 250);
	}
	manifests_done(&m);
}

#define OWNER                                                                                      \
	"{ports: [{containerPort: 8000}], readinessProbe: {httpGet: {path: /own, port: 8000}}}"
#define SIDECAR "{ports: [{containerPort: 9}], readinessProbe: {httpGet: {path: /side, port: 9}}}"
#define MUTE    "{ports: [{containerPort: 8000}]}"

TEST(the_container_of_the_target_port_says_how_to_probe)
{
	static const struct {
		const char *containers;
		enum model_probe_kind kind;
		int port;
		const char *path;
	} rows[] = {
		{"", MODEL_PROBE_TCP, 8000, NULL},
		{MUTE, MODEL_PROBE_TCP, 8000, NULL},
		{OWNER, MODEL_PROBE_HTTP, 8000, "/own"},
		{SIDECAR ", " OWNER, MODEL_PROBE_HTTP, 8000, "/own"},
		{MUTE ", " SIDECAR, MODEL_PROBE_HTTP, 9, "/side"},
		{"{readinessProbe: {exec: {command: [a]}}}", MODEL_PROBE_TCP, 8000, NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct model_probe *probe;
		struct manifests m;
		char pods[1024];

		snprintf(pods, sizeof(pods), POD("p1", "a: b", "%s"), rows[i].containers);
		m = compile_pods("", "", pods);
		CHECK_INT(m.err, 0);
		probe = m.model ? &m.model->services[0].replicas[0].probe : NULL;
		if (probe) {
			CHECK_INT(probe->kind, rows[i].kind);
			CHECK_INT(ntohs(probe->port), rows[i].port);
			CHECK_STR(probe->path ? probe->path : "-",
				  rows[i].path ? rows[i].path : "-");
			CHECK_INT(probe->interval_ms, 100);
			CHECK_INT(probe->timeout_ms, 1000);
			CHECK_INT(probe->failure_threshold, 3);
			CHECK_INT(probe->success_threshold, 1);
		}
		manifests_done(&m);
	}
}

TEST(probe_text_is_copied_whole)
{
	struct manifests m = compile_pods(
		"", "",
		POD("p1", "a: b",
		    "{readinessProbe: {httpGet: {port: "
		    "81, host: h, httpHeaders: [{name: A, value: b}, {name: C, value: d}]}}}")
			POD("p2", "a: b", "{readinessProbe: {grpc: {port: 82, service: s}}}"));
	const struct model_replica *replicas = m.model ? m.model->services[0].replicas : NULL;

	objects_free(m.objects); /* the model must not lean on it */
	m.objects = NULL;
	CHECK(replicas != NULL);
	if (replicas) {
		CHECK_STR(replicas[0].probe.host, "h");
		CHECK_INT(replicas[0].probe.n_headers, 2);
		CHECK_STR(replicas[0].probe.headers[1].name, "C");
		CHECK_STR(replicas[0].probe.headers[1].value, "d");
		CHECK_STR(replicas[1].probe.grpc_service, "s");
		CHECK(!replicas[1].probe.path);
	}
	manifests_done(&m);
}

TEST(udp_replicas_without_a_probe_are_not_asked)
{
	struct manifests m = manifests_compile(
		SERVICE("dns", STEER, "clusterIP: 10.9.0.1, ports: [{port: 53, protocol: UDP}]")
			SLICE("a", "dns", "IPv4", "[{port: 53, protocol: UDP}]", TWO)
				POD("p2", "a: b", "{readinessProbe: {tcpSocket: {port: 53}}}"),
		NULL);
	const struct model_replica *replicas = m.model ? m.model->services[0].replicas : NULL;

	CHECK(replicas != NULL);
	if (replicas) {
		CHECK_INT(replicas[0].probe.kind, MODEL_PROBE_NONE);
		CHECK_INT(replicas[1].probe.kind, MODEL_PROBE_TCP);
		CHECK_INT(m.model->services[0].idle_timeout_ms, 120000);
	}
	manifests_done(&m);
}

TEST(publish_not_ready_disregards_readiness)
{
	struct manifests m = manifests_compile(
		SERVICE("llm", STEER, "clusterIP: 10.9.0.1, publishNotReadyAddresses: true, " PORTS)
			SLICE("a", "llm", "IPv4", HTTP,
			      "[{addresses: [10.1.0.1], conditions: {ready: false}}]"),
		NULL);
	const struct model_replica *replica = m.model ? m.model->services[0].replicas : NULL;

	CHECK(replica != NULL);
	if (replica) {
		CHECK(replica->ready && replica->serving);
		CHECK_INT(replica->probe.kind, MODEL_PROBE_NONE);
	}
	manifests_done(&m);
}
