/* SPDX-License-Identifier: GPL-2.0-only */
/* For tests of policy: manifests as string literals, put together from pieces. */
#ifndef SLUICE_TEST_MANIFEST_TEXT_H
#define SLUICE_TEST_MANIFEST_TEXT_H

/* Documents: a Service, an EndpointSlice, a Pod. */
#define STEER "labels: {sluice.dev/steer: enabled}"
#define SERVICE(name, meta, spec)                                                                  \
	"---\napiVersion: v1\nkind: Service\nmetadata: {name: " name ", " meta "}\n"               \
	"spec: {" spec "}\n"
#define PORTS "ports: [{name: http, port: 80}]"
#define LLM SERVICE("llm", STEER, "clusterIP: 10.9.0.1, " PORTS)
#define SLICE(name, service, type, ports, endpoints)                                               \
	"---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: " name        \
	", labels: {kubernetes.io/service-name: " service "}}\naddressType: " type "\n"            \
	"ports: " ports "\nendpoints: " endpoints "\n"
#define HTTP "[{name: http, port: 8000}]"
#define TWO                                                                                        \
	"[{addresses: [10.1.0.1], nodeName: node-1, targetRef: {kind: Pod, name: p1}},\n"          \
	"  {addresses: [10.1.0.2], nodeName: node-2, zone: z, targetRef: {kind: Pod, name: p2}}]"
#define POD(name, meta, containers)                                                                \
	"---\napiVersion: v1\nkind: Pod\nmetadata: {name: " name ", " meta "}\n"                   \
	"spec: {containers: [" containers "]}\n"
#define TWO_SLICE SLICE("a", "llm", "IPv4", HTTP, TWO)

#endif
