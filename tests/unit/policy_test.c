// SPDX-License-Identifier: GPL-2.0-only
/* Objects to the desired state: what is steered, VIPs, which replicas, traffic policies. Each
 * replica: policy_replica_test.c; verdicts, limits: policy_verdict_test.c; refusals: manifests/bad.
 */
#include <arpa/inet.h>
#include <errno.h>

#include "check.h"
#include "manifest_text.h"
#include "manifests.h"

/* "default/llm http replace external 6: 10.9.0.1:80/6/0 -> 10.1.0.1:8000 10.1.0.2:8000", a line
 * for each service-port. */
static const char *describe(const struct manifests *m)
{
	static char text[4096];
	char place[ADDR_PORT_STR_LEN], *end = text;

	*end = '\0';
	if (m->err)
		snprintf(text, sizeof(text), "refused: %s: %s", m->diag.field, m->diag.reason);
	for (size_t i = 0; m->model && i < m->model->n_services; i++) {
		const struct model_service *service = &m->model->services[i];

		end += sprintf(end, "%s%s %s%s%s%s:", i ? "\n" : "", service->name,
			       service->port_name, service->replace ? " replace" : "",
			       service->external ? " external" : "", service->ipv6 ? " 6" : "");
		for (size_t j = 0; j < service->n_vips; j++)
			end += sprintf(end, " %s/%u/%d",
				       addr_format_port(&service->vips[j].addr,
							service->vips[j].port, place),
				       service->vips[j].proto, service->vips[j].kind);
		end += sprintf(end, " ->");
		for (size_t j = 0; j < service->n_replicas; j++)
			end += sprintf(end, " %s",
				       addr_format_port(&service->replicas[j].addr,
							service->replicas[j].port, place));
	}
	return text;
}

static void check_model(const char *text, const char *expected)
{
	struct manifests m = manifests_compile(text, NULL);

	CHECK_STR(describe(&m), expected);
	manifests_done(&m);
}

TEST(labels_decide_what_is_steered)
{
#define NAMESPACE(label)                                                                           \
	"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {" label "}}\n"
#define LABELLED(labels) SERVICE("llm", "labels: {" labels "}", "clusterIP: 10.9.0.1, " PORTS)
#define OVERLAID         "default/llm http: 10.9.0.1:80/6/0 ->"
#define REPLACED         "default/llm http replace: 10.9.0.1:80/6/0 ->"
#define PROXY            "service.kubernetes.io/service-proxy-name: "
	check_model(LABELLED("a: b"), "");
	check_model(LABELLED("sluice.dev/steer: enabled"), OVERLAID);
	check_model(LABELLED("sluice.dev/steer: disabled"), "");
	check_model(LABELLED("a: b") NAMESPACE("sluice.dev/steer: enabled"), OVERLAID);
	check_model(LABELLED("a: b") NAMESPACE("sluice.dev/steer: disabled"), "");
	check_model(LABELLED("sluice.dev/steer: disabled") NAMESPACE("sluice.dev/steer: enabled"),
		    "");
	check_model(LABELLED(PROXY "sluice"), REPLACED);
	check_model(LABELLED(PROXY "sluice, sluice.dev/steer: enabled"), REPLACED);
	check_model(LABELLED(PROXY "other"), "");
}

TEST(replicas_come_from_slices_by_the_name_of_the_port)
{
	check_model(LLM SLICE("a", "llm", "IPv4", "[{name: http, port: 8000}, {name: x, port: 9}]",
			      TWO),
		    "default/llm http: 10.9.0.1:80/6/0 -> 10.1.0.1:8000 10.1.0.2:8000");
	check_model(LLM SLICE("a", "llm", "IPv4", "[{name: web, port: 8000}]", TWO),
		    "default/llm http: 10.9.0.1:80/6/0 ->");
	check_model(LLM SLICE("a", "llm", "IPv4", "[{name: http, port: 8000, protocol: UDP}]", TWO),
		    "default/llm http: 10.9.0.1:80/6/0 ->");
	check_model(LLM SLICE("a", "other", "IPv4", HTTP, TWO),
		    "default/llm http: 10.9.0.1:80/6/0 ->");
	check_model(SERVICE("llm", STEER, "clusterIP: 10.9.0.1, ports: [{port: 80}]") SLICE(
			    "a", "llm", "IPv4", "[{port: 8000}]", "[{addresses: [10.1.0.1]}]"),
		    "default/llm : 10.9.0.1:80/6/0 -> 10.1.0.1:8000");
}

TEST(several_ports_and_slices_with_different_target_ports)
{
	check_model(SERVICE("llm", STEER,
			    "clusterIP: 10.9.0.1, ports: [{name: http, port: 80}, "
			    "{name: dns, port: 53, protocol: UDP}, "
			    "{name: sctp, port: 9, protocol: SCTP}]")
			    SLICE("a", "llm", "IPv4",
				  "[{name: http, port: 8000}, "
				  "{name: dns, port: 5353, protocol: UDP}]",
				  "[{addresses: [10.1.0.1]}]")
				    SLICE("b", "llm", "IPv4", "[{name: http, port: 8001}]",
					  "[{addresses: [10.1.0.1]}]"),
		    "default/llm dns: 10.9.0.1:53/17/0 -> 10.1.0.1:5353\n"
		    "default/llm http: 10.9.0.1:80/6/0 -> 10.1.0.1:8000 10.1.0.1:8001");
}

TEST(an_endpoint_in_two_slices_is_one_replica_and_the_fitter_counts)
{
	struct manifests m = manifests_compile(
		LLM SLICE("a", "llm", "IPv4", HTTP,
			  "[{addresses: [10.1.0.2]}, {addresses: [10.1.0.1], "
			  "conditions: {ready: false}, nodeName: old}]")
			SLICE("b", "llm", "IPv4", HTTP, "[{addresses: [10.1.0.1], nodeName: new}]"),
		NULL);
	const struct model_service *service = m.model ? m.model->services : NULL;

	CHECK_STR(describe(&m), "default/llm http: 10.9.0.1:80/6/0 -> 10.1.0.1:8000 10.1.0.2:8000");
	if (service) {
		CHECK(service->replicas[0].serving);
		CHECK_STR(service->replicas[0].node, "new");
	}
	manifests_done(&m);
}

TEST(families_are_kept_apart)
{
#define V6 SLICE("b", "llm", "IPv6", HTTP, "[{addresses: ['fd00::1']}]")
#define V4 SLICE("a", "llm", "IPv4", HTTP, "[{addresses: [10.1.0.1]}]")
	check_model(SERVICE("llm", STEER,
			    "clusterIP: 10.9.0.1, clusterIPs: [10.9.0.1, 'fd09::1'], "
			    "type: NodePort, ports: [{name: http, port: 80, nodePort: 30080}]")
			    V4 V6,
		    "default/llm http: 10.9.0.1:80/6/0 0.0.0.0:30080/6/3 -> 10.1.0.1:8000\n"
		    "default/llm http 6: [fd09::1]:80/6/0 [::]:30080/6/3 -> [fd00::1]:8000");
	check_model(SERVICE("llm", STEER, "clusterIP: 'fd09::1', " PORTS) V4 V6,
		    "default/llm http 6: [fd09::1]:80/6/0 -> [fd00::1]:8000");
	check_model(SERVICE("llm", STEER,
			    "ipFamilies: [IPv4], clusterIP: 10.9.0.1, type: NodePort, "
			    "ports: [{name: http, port: 80, nodePort: 30080}]") V4 V6,
		    "default/llm http: 10.9.0.1:80/6/0 0.0.0.0:30080/6/3 -> 10.1.0.1:8000");
	check_model(LLM SLICE("a", "llm", "FQDN", HTTP, "[{addresses: [a.example]}]"),
		    "default/llm http: 10.9.0.1:80/6/0 ->");
}

#define OUTSIDE(policies)                                                                          \
	"apiVersion: v1\nkind: Service\nmetadata: {name: llm, " STEER "}\n"                        \
	"spec: {clusterIP: 10.9.0.1, type: LoadBalancer, " policies " ports: [{name: http, "       \
	"port: 80, nodePort: 30080}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}\n"
#define INSIDE_VIP   " 10.9.0.1:80/6/0"
#define OUTSIDE_VIPS " 192.0.2.1:80/6/1 0.0.0.0:30080/6/3"
#define BOTH         " 10.1.0.1:8000 10.1.0.2:8000"
#define HERE         " 10.1.0.1:8000"

TEST(traffic_policies_split_a_port_where_they_lead_apart)
{
#define ONE_SLICE SLICE("a", "llm", "IPv4", HTTP, "[{addresses: [10.1.0.1], nodeName: node-1}]")
	check_model(OUTSIDE("") TWO_SLICE, "default/llm http:" INSIDE_VIP OUTSIDE_VIPS " ->" BOTH);
	check_model(OUTSIDE("externalTrafficPolicy: Local,") TWO_SLICE,
		    "default/llm http:" INSIDE_VIP " ->" BOTH "\n"
		    "default/llm http external:" OUTSIDE_VIPS " ->" HERE);
	check_model(OUTSIDE("internalTrafficPolicy: Local,") TWO_SLICE,
		    "default/llm http:" INSIDE_VIP " ->" HERE "\n"
		    "default/llm http external:" OUTSIDE_VIPS " ->" BOTH);
	check_model(OUTSIDE("externalTrafficPolicy: Local, internalTrafficPolicy: Local,")
			    TWO_SLICE,
		    "default/llm http:" INSIDE_VIP OUTSIDE_VIPS " ->" HERE);
	check_model(OUTSIDE("externalTrafficPolicy: Local,")
			    ONE_SLICE, /* the same list after all */
		    "default/llm http:" INSIDE_VIP OUTSIDE_VIPS " ->" HERE);
	check_model(
		SERVICE("llm", STEER, "clusterIP: 10.9.0.1, externalTrafficPolicy: Local, " PORTS)
			TWO_SLICE, /* no VIP for outside clients */
		"default/llm http:" INSIDE_VIP " ->" BOTH);
	check_model(OUTSIDE("externalTrafficPolicy: Local,")
			    SLICE("a", "llm", "IPv4", HTTP, "[{addresses: [10.1.0.1]}]"),
		    "default/llm http:" INSIDE_VIP " ->" HERE
		    "\n" /* no nodeName: not of this node */
		    "default/llm http external:" OUTSIDE_VIPS " ->");
}

TEST(source_ranges_close_the_vips_for_outside_clients)
{
	check_model(OUTSIDE("loadBalancerSourceRanges: [10.0.0.0/8],") TWO_SLICE,
		    "default/llm http:" INSIDE_VIP " ->" BOTH);
	check_model(OUTSIDE("loadBalancerSourceRanges: [],") TWO_SLICE,
		    "default/llm http:" INSIDE_VIP OUTSIDE_VIPS " ->" BOTH);
}

TEST(external_ips_only_where_allowed)
{
	static const char text[] =
		SERVICE("llm", STEER,
			"clusterIP: 10.9.0.1, externalIPs: [192.0.2.7, 198.51.100.1], " PORTS);
	struct addr_cidr cidr;
	struct policy_options options = {.external_cidrs = &cidr, .n_external_cidrs = 1};
	struct manifests m;

	check_model(text, "default/llm http: 10.9.0.1:80/6/0 ->");
	addr_parse_cidr("192.0.2.0/24", &cidr);
	m = manifests_compile(text, &options);
	CHECK_STR(describe(&m), "default/llm http: 10.9.0.1:80/6/0 192.0.2.7:80/6/2 ->");
	CHECK_STR(manifests_said(&m, "spec.externalIPs[0]"), "honoured");
	CHECK(strstr(manifests_said(&m, "spec.externalIPs[1]"),
		     "--allow-external-ips 198.51.100.1/32") != NULL);
	manifests_done(&m);
}

TEST(one_address_twice_in_a_service_is_one_vip)
{
	check_model("apiVersion: v1\nkind: Service\nmetadata: {name: llm, " STEER "}\n"
		    "spec: {clusterIP: 10.9.0.1, clusterIPs: [10.9.0.1], " PORTS "}\n"
		    "status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: 192.0.2.1}]}}\n",
		    "default/llm http: 10.9.0.1:80/6/0 192.0.2.1:80/6/1 ->");
}

TEST(two_services_may_share_an_address_on_different_ports)
{
	check_model(SERVICE("a", STEER, "clusterIP: 10.9.0.1, ports: [{port: 80}]")
			    SERVICE("b", STEER, "clusterIP: 10.9.0.1, ports: [{port: 81}]")
				    SERVICE("c", STEER,
					    "clusterIP: 10.9.0.1, "
					    "ports: [{port: 81, protocol: UDP}]"),
		    "default/a : 10.9.0.1:80/6/0 ->\ndefault/b : 10.9.0.1:81/6/0 ->\n"
		    "default/c : 10.9.0.1:81/17/0 ->");
}

TEST(idle_timeout_of_the_rule_and_of_its_ports)
{
#define RULE(policy)                                                                               \
	"---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\n"    \
	"spec: {host: llm, trafficPolicy: {" policy "}}\n"
#define IDLE(t) "connectionPool: {tcp: {idleTimeout: " t "}}"
	static const struct {
		const char *rule;
		unsigned ms;
	} rows[] = {
		{"", 3600000},
		{RULE("loadBalancer: {simple: LEAST_REQUEST}"), 3600000},
		{RULE(IDLE("5m")), 300000},
		{RULE(IDLE("5m") ", portLevelSettings: [{port: {number: 80}, " IDLE("6m") "}]"),
		 360000},
		{RULE(IDLE("5m") ", portLevelSettings: [{port: {number: 81}, " IDLE("6m") "}]"),
		 300000},
		{RULE(IDLE("5m") ", portLevelSettings: [{port: {number: 80}}]"), 3600000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct manifests m;
		char text[1024];

		snprintf(text, sizeof(text), "%s%s", LLM, rows[i].rule);
		m = manifests_compile(text, NULL);
		CHECK_INT(m.model ? m.model->services[0].idle_timeout_ms : 0, rows[i].ms);
		manifests_done(&m);
	}
}

TEST(a_shared_replica_has_one_weight_and_interval)
{
	struct manifests m = manifests_compile(
		SERVICE("a", STEER ", annotations: {sluice.dev/weight: '10'}",
			"clusterIP: 10.9.0.1, " PORTS)
			SERVICE("b",
				STEER ", annotations: {sluice.dev/weight: '20', "
				      "sluice.dev/probe-interval: 1s}",
				"clusterIP: 10.9.0.2, " PORTS) SLICE("a", "a", "IPv4", HTTP, TWO)
				SLICE("b", "b", "IPv4", HTTP, TWO),
		NULL);
	unsigned said = 0;

	CHECK_INT(m.err, 0);
	for (size_t i = 0; i < m.verdicts.n; i++)
		said += m.verdicts.list[i].kind == VERDICT_UNSUPPORTED;
	CHECK_INT(said, 2); /* of two replicas, the first is named */
	for (size_t i = 0; m.model && i < m.model->n_services; i++)
		for (size_t j = 0; j < m.model->services[i].n_replicas; j++) {
			CHECK_INT(m.model->services[i].replicas[j].weight, 10);
			CHECK_INT(m.model->services[i].replicas[j].probe.interval_ms, 100);
		}
	manifests_done(&m);
}

/* Services s0 to s8 lead to one replica, which stands behind seven at most; `llm` to others. */
TEST(of_too_many_services_with_one_replica_the_last_are_left_out)
{
	char text[8192] = LLM TWO_SLICE, *end = text + strlen(text), expected[1024], *line = expected;
	struct manifests m;
	unsigned said = 0;

	line += sprintf(line, "default/llm http: 10.9.0.1:80/6/0 -> 10.1.0.1:8000 10.1.0.2:8000");
	for (int i = 0; i < 9; i++) {
		end += sprintf(end, SERVICE("s%d", STEER, "clusterIP: 10.9.1.%d, " PORTS), i, i + 1);
		end += sprintf(end,
			       SLICE("of-s%d", "s%d", "IPv4", "[{name: http, port: 9000}]",
				     "[{addresses: [10.1.0.9]}, {addresses: [10.1.1.%d]}]"),
			       i, i, i + 1);
		if (i < 7)
			line += sprintf(line, "\ndefault/s%d http: 10.9.1.%d:80/6/0 -> "
					"10.1.0.9:9000 10.1.1.%d:9000", i, i + 1, i + 1);
	}
	m = manifests_compile(text, NULL);
	CHECK_STR(describe(&m), expected);
	for (size_t i = 0; i < m.verdicts.n; i++) {
		const struct verdict *verdict = &m.verdicts.list[i];

		if (verdict->kind != VERDICT_UNSUPPORTED)
			continue;
		said++;
		CHECK_STR(verdict->object, said == 1 ? "Service default/s7" : "Service default/s8");
		CHECK_STR(verdict->field, "spec.ports");
		CHECK_STR(verdict->reason,
			  "port 80 is not steered: replica 10.1.0.9:9000 stands behind 7 "
			  "service-ports already; let fewer lead to it");
	}
	CHECK_INT(said, 2);
	manifests_done(&m);
}

TEST(nothing_to_steer_gives_an_empty_model)
{
	check_model("", "");
	check_model(SERVICE("llm", STEER, "clusterIP: None, " PORTS), "");
	check_model(SERVICE("llm", STEER, "type: ExternalName, externalName: a.example"), "");
	check_model(SERVICE("llm", STEER, PORTS), "");
}
