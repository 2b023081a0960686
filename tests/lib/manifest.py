# SPDX-License-Identifier: GPL-2.0-only
"""Kubernetes objects as the agent reads them: built here, written atomically as YAML."""

import json
import os
import re

from case import eventually

PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*$")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def _scalar(value):
    if isinstance(value, str) and PLAIN.match(value) and value.lower() not in WORDS:
        return value
    return json.dumps(value)


def yaml(value, indent=""):
    """Block-style YAML of dicts, lists and scalars."""
    lines = []
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        lead = f"{indent}{_scalar(key)}:" if key is not None else f"{indent}-"
        if isinstance(item, (dict, list)) and item:
            body = yaml(item, indent + "  ")
            if key is None:
                lines.append(f"{lead} {body.lstrip()}")
            else:
                lines.append(f"{lead}\n{body}")
        else:
            lines.append(f"{lead} {_scalar(item)}\n")
    return "".join(lines)


class Manifests:
    """The directory that agents watch."""

    def __init__(self, directory):
        self.dir = directory
        os.makedirs(directory, exist_ok=True)

    def put(self, name, objects):
        """One file of several documents; a reader sees all of it or nothing."""
        self.put_text(f"{name}.yaml", "---\n".join(yaml(one) for one in objects))

    def put_text(self, file_name, text):
        partial = f"{self.dir}/.{file_name}.partial"
        with open(partial, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(partial, f"{self.dir}/{file_name}")

    def remove(self, file_name):
        os.unlink(f"{self.dir}/{file_name}")


class Replica:
    """What an App says of one pod."""

    def __init__(self, pod, weight=None):
        self.pod = pod
        self.weight = weight
        self.uid = None  # of its Pod
        self.ready = True
        self.terminating = False


class Port:
    def __init__(self, name, port, target, proto="TCP", node_port=None):
        self.name, self.port, self.target = name, port, target
        self.proto, self.node_port = proto, node_port


class App:
    """A Service with its EndpointSlices, Pods and, when asked for, DestinationRule."""

    def __init__(self, lab, name, number, ports=None):
        self.lab = lab
        self.name = name
        self.vip4 = f"10.96.0.{number}"
        self.vip6 = f"fd96::{number:x}"
        self.ports = ports or [Port("http", 80, 80)]
        self.load_balancer = None
        self.labels = {"service.kubernetes.io/service-proxy-name": "sluice"}  # replace mode
        self.probe = None            # readinessProbe; None: Sluice's default
        self.probe_interval = None   # "50ms"
        self.traffic_policy = None   # of a DestinationRule
        self.annotations = {}        # of the Service
        self.own_pods = True         # whether its file holds the Pods: one app's must
        self.replicas = []

    @property
    def service(self):
        return f"default/{self.name}"

    def overlay(self, steer="enabled"):
        """Overlay mode; with "disabled" it opts out, with None its Namespace decides."""
        self.labels = {"sluice.dev/steer": steer} if steer else {}

    def add(self, pod, weight=None):
        replica = Replica(pod, weight)
        self.replicas.append(replica)
        return replica

    def drop(self, pod):
        self.replicas = [one for one in self.replicas if one.pod is not pod]

    def replica_of(self, pod):
        return next(one for one in self.replicas if one.pod is pod)

    def _meta(self, name, **more):
        return {"name": name, "namespace": "default", **more}

    def _service_port(self, port):
        node_port = {"nodePort": port.node_port} if port.node_port else {}
        return {"name": port.name, "port": port.port, "protocol": port.proto,
                "targetPort": port.target, **node_port}

    def _service(self):
        annotations = dict(self.annotations)
        if self.probe_interval:
            annotations["sluice.dev/probe-interval"] = self.probe_interval
        kind = "NodePort" if any(port.node_port for port in self.ports) else "ClusterIP"
        status = {}
        if self.load_balancer:
            kind = "LoadBalancer"
            status = {"status": {"loadBalancer": {"ingress": [{"ip": self.load_balancer}]}}}
        return {"apiVersion": "v1", "kind": "Service",
                "metadata": self._meta(self.name, labels=self.labels, annotations=annotations),
                "spec": {"type": kind, "clusterIP": self.vip4,
                         "clusterIPs": [self.vip4, self.vip6],
                         "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack",
                         "selector": {"app": self.name},
                         "ports": [self._service_port(port) for port in self.ports]}, **status}

    def _endpoint(self, replica, address):
        serving = replica.ready or replica.terminating
        return {"addresses": [address],
                "conditions": {"ready": replica.ready and not replica.terminating,
                               "serving": serving, "terminating": replica.terminating},
                "nodeName": replica.pod.node.name,
                "targetRef": {"kind": "Pod", "namespace": "default", "name": replica.pod.name,
                              **({"uid": replica.uid} if replica.uid else {})}}

    def _slice(self, family):
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": self._meta(f"{self.name}-{family.lower()}",
                                       labels={"kubernetes.io/service-name": self.name}),
                "addressType": family,
                "ports": [{"name": port.name, "port": port.target, "protocol": port.proto}
                          for port in self.ports],
                "endpoints": [self._endpoint(one, one.pod.ip4 if family == "IPv4" else one.pod.ip6)
                              for one in self.replicas]}

    def _pod(self, replica):
        container = {"name": "server", "image": "server",
                     "ports": [{"containerPort": port.target, "protocol": port.proto}
                               for port in self.ports]}
        if self.probe:
            container["readinessProbe"] = self.probe
        annotations = {"sluice.dev/weight": str(replica.weight)} if replica.weight else {}
        host = {"hostNetwork": True} if replica.pod.ip4 == replica.pod.node.ip4 else {}
        return {"apiVersion": "v1", "kind": "Pod",
                "metadata": self._meta(replica.pod.name, labels={"app": self.name},
                                       annotations=annotations),
                "spec": {"nodeName": replica.pod.node.name, **host, "containers": [container]},
                "status": {"podIP": replica.pod.ip4,
                           "podIPs": [{"ip": replica.pod.ip4}, {"ip": replica.pod.ip6}]}}

    def _destination_rule(self):
        return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                "metadata": self._meta(self.name),
                "spec": {"host": f"{self.name}.default.svc.cluster.local",
                         "trafficPolicy": self.traffic_policy}}

    def objects(self):
        rule = [self._destination_rule()] if self.traffic_policy else []
        return [self._service(), self._slice("IPv4"), self._slice("IPv6"),
                *(self._pod(one) for one in self.replicas if self.own_pods), *rule]

    def write(self):
        """Puts the manifest as it now stands before all agents."""
        self.lab.manifests.put(self.name, self.objects())

    def apply(self, *nodes):
        """Writes it and waits until these nodes (all, when none is named) steer by it, by what
        only their policy tells too."""
        nodes = nodes or self.lab.nodes
        before = {node: node.configs_applied() for node in nodes}
        self.write()
        for node in nodes:
            eventually(lambda: (before[node] is None or node.configs_applied() != before[node])
                       and self.applied(node), f"{node.name} applied {self.name}", 15)

    def remove(self):
        self.lab.manifests.remove(f"{self.name}.yaml")

    def expected(self):
        """{(ADDRESS, PORT, PROTOCOL): weight} of what an agent should steer to."""
        return {(address, port.target, port.proto): one.weight or 100
                for one in self.replicas for port in self.ports
                for address in (one.pod.ip4, one.pod.ip6)}

    def applied(self, node):
        """Whether the node's kernel picks among exactly this app's replicas, by these weights.
        One that left stays visible, as down, until no flow and no sweep refers to it."""
        rows = {(row["address"], row["port"], row["protocol"]): row
                for row in node.replicas(self.service)}
        expected = self.expected()
        return expected.keys() <= rows.keys() and all(
            row["weight"] == expected[key] if key in expected else row["state"] == "down"
            for key, row in rows.items())

    def target(self, family=4, port=0):
        """ADDR:PORT of a VIP, `port` being an index into `ports`."""
        number = self.ports[port].port
        return f"{self.vip4}:{number}" if family == 4 else f"[{self.vip6}]:{number}"
