#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The agent with thousands of replicas: how soon a desired state is in force, and what memory it
takes.

The input is what a cluster would hold: a file per Service, one per EndpointSlice (at most 100
endpoints each, as Kubernetes writes them) and one for the Pods of each slice, with an HTTP
readinessProbe, spread over 100 nodes; and once more with all of it in one file. All addresses lie in one pod of the lab, where one server answers for them; the node owns a
hundredth of them and probes those every 100 ms, the others 100 times as seldom.

Times are from outside: from exec, or from the rename of the changed file, to the event
`config_applied`. The agent waits until a directory has been quiet for 100 ms before it reads
(SETTLE); that is shown by itself.
"""

import argparse
import datetime
import os
import re
import statistics
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, f"{HERE}/../lib"]

from account import idle_share, profile_of, progress, target  # noqa: E402
from case import eventually  # noqa: E402
from lab import Lab  # noqa: E402
from servers import Server  # noqa: E402

PORT, NODES, SLICE, SETTLE_MS = 8000, 100, 100, 100
CHANGES = {"slice0": "one endpoint changed", "pods0": "one weight changed"}
NET = "10.64.0.0/16"

SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: inference
  labels: {{service.kubernetes.io/service-proxy-name: sluice}}
spec:
  type: ClusterIP
  clusterIP: {vip}
  selector: {{app: {name}}}
  ports:
  - {{name: http, protocol: TCP, port: 80, targetPort: http}}
"""
SLICE_HEAD = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{number}
  namespace: inference
  labels: {{kubernetes.io/service-name: {name}}}
addressType: IPv4
ports:
- {{name: http, protocol: TCP, port: {port}}}
endpoints:
"""
ENDPOINT = """\
- addresses: [{ip}]
  conditions: {{ready: true, serving: true, terminating: {terminating}}}
  nodeName: node{node}
  targetRef: {{kind: Pod, namespace: inference, name: {pod}}}
"""
POD = """\
---
apiVersion: v1
kind: Pod
metadata:
  name: {pod}
  namespace: inference
  labels: {{app: {name}}}
  annotations: {{sluice.dev/weight: "{weight}"}}
spec:
  nodeName: node{node}
  containers:
  - name: server
    image: server
    ports:
    - {{name: http, containerPort: {port}, protocol: TCP}}
    readinessProbe:
      httpGet: {{path: /health, port: http}}
      periodSeconds: 1
status:
  podIP: {ip}
"""


class Fleet:
    """Services of equal size, in files of ordinary size or in one. The first replica of all has
    another weight than the others, and may be about to end."""

    def __init__(self, manifests, services, replicas, one_file):
        self.manifests, self.one_file = manifests, one_file
        self.size = replicas // services
        self.names = [f"llm{i}" for i in range(services)]
        self.weight, self.terminating = 100, False

    def replica(self, service, i):
        name, number = self.names[service], service * self.size + i
        first = number == 0
        return {"name": name, "pod": f"{name}-{i}", "node": number % NODES + 1, "port": PORT,
                "weight": self.weight if first else 100,
                "terminating": "true" if first and self.terminating else "false",
                "ip": f"10.64.{number // 250}.{number % 250 + 1}"}

    def texts(self, service):
        """{file: text}"""
        name = self.names[service]
        vip = f"10.96.{service // 250}.{service % 250 + 1}"
        texts = {name: SERVICE.format(name=name, vip=vip)}
        for begin in range(0, self.size, SLICE):
            number = begin // SLICE
            replicas = [self.replica(service, i)
                        for i in range(begin, min(begin + SLICE, self.size))]
            texts[f"{name}-slice{number}"] = (
                SLICE_HEAD.format(name=name, number=number, port=PORT) +
                "".join(ENDPOINT.format(**replica) for replica in replicas))
            texts[f"{name}-pods{number}"] = "".join(POD.format(**replica) for replica in replicas)
        return texts

    def write_all(self):
        texts = {}
        for service in range(len(self.names)):
            texts.update(self.texts(service))
        if self.one_file:
            texts = {"all": "---\n".join(texts.values())}
        for name, text in texts.items():
            self.manifests.put_text(f"{name}.yaml", text)

    def change(self, what):
        """Something of the first replica changes: returns the moment (Unix time, ms) at which its
        file came to its place."""
        if what == "pods0":
            self.weight += 1
        else:
            self.terminating = not self.terminating
        if self.one_file:
            self.write_all()
        else:
            name = f"{self.names[0]}-{what}"
            text = self.texts(0)[name]
            self.manifests.put_text(f"{name}.yaml", text)
        return time.time() * 1000


def events(node, kind):
    """Moments (Unix time, ms) of the events of this kind, oldest first."""
    return [datetime.datetime.fromisoformat(row["time"]).timestamp() * 1000
            for row in node.sluice("event", "show") if row["event"] == kind]


def cpu_ms(pid):
    """CPU time of all threads of a process."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as stat:
            total += int(stat.read().split()[0])
    return total / 1e6


def start(node):
    """Starts the agent. Milliseconds from exec to applied, from programs loaded to applied, and of
    the agent's CPU."""
    began = time.time() * 1000
    agent = node.start_sluiced("--log-level", "warn")
    applied = events(node, "config_applied")[-1]
    return {"whole": applied - began, "apply": applied - events(node, "agent_start")[-1],
            "cpu": cpu_ms(agent.pid)}


def change(node, fleet, what):
    """Changes one replica; milliseconds until that is in force, and of CPU."""
    before = len(events(node, "config_applied"))
    pid = node.agent.pid
    cpu, idle_began = cpu_ms(pid), time.monotonic()
    time.sleep(0.5)
    background = (cpu_ms(pid) - cpu) / (time.monotonic() - idle_began)
    cpu, cpu_began = cpu_ms(pid), time.monotonic()
    began = fleet.change(what)
    eventually(lambda: len(events(node, "config_applied")) > before, "change applied", 30)
    spent = cpu_ms(pid) - cpu - background * (time.monotonic() - cpu_began)
    return {"whole": events(node, "config_applied")[-1] - began, "cpu": spent}


def memory(pid):
    """{name: KiB} from /proc/PID/status, and of the maps of BPF that the agent has mapped."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        sizes = {key: int(value.split()[0]) for key, value in
                 re.findall(r"^(VmHWM|VmRSS|Rss\w+):\s+(.*)$", status.read(), re.MULTILINE)}
    sizes["maps"] = 0
    of_bpf = False
    with open(f"/proc/{pid}/smaps", encoding="ascii") as smaps:
        for line in smaps:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                of_bpf = "bpf" in line
            elif of_bpf and line.startswith("Rss:"):
                sizes["maps"] += int(line.split()[1])
    return sizes


def profile_change(node, fleet):
    """Where the agent's CPU time goes while one change after the other comes, for two seconds."""
    end = time.monotonic() + 2.5

    def keep_changing():
        while time.monotonic() < end:
            fleet.change("slice0")
            time.sleep(2 * SETTLE_MS / 1000)

    thread = threading.Thread(target=keep_changing)
    thread.start()
    lines = profile_of(node.agent.pid, 2)
    thread.join()
    return lines


def measure(services, replicas, changes, one_file):
    with Lab(nodes=1) as lab:
        node, pod = lab.node1, lab.add_pod(lab.node1, "replicas")
        pod.ip(f"route add local {NET} dev lo")
        node.ip(f"route add {NET} via {pod.ip4} dev {pod.veth}")
        Server(pod, PORT)
        fleet = Fleet(lab.manifests, services, replicas, one_file)
        fleet.write_all()
        busy = idle_share(0.5)
        progress(f"  {title(services, replicas, one_file)}: cold start")
        cold = start(node)
        eventually(lambda: len(node.replicas()) == replicas, "all replicas are in the kernel")
        progress("  changes")
        changed = {what: [change(node, fleet, what) for _ in range(changes)] for what in CHANGES}
        profiled = profile_change(node, fleet)
        progress("  memory after 5 s of probes")
        time.sleep(5)
        sizes = memory(node.agent.pid)
        states = {}
        for row in node.replicas():
            states[row["state"]] = states.get(row["state"], 0) + 1
        progress("  warm start")
        node.agent.stop()
        warm = start(node)
    return {"cold": cold, "warm": warm, "memory": sizes, "states": states, "busy": busy,
            "profile": profiled,
            "change": {what: {key: statistics.median(one[key] for one in ones)
                              for key in ("whole", "cpu")} for what, ones in changed.items()}}


def title(services, replicas, one_file):
    return (f"{replicas} replicas in {services} service{'s' if services > 1 else ''}"
            f"{', one file' if one_file else ''}")


def print_result(name, result):
    cold, warm, sizes = (result[key] for key in ("cold", "warm", "memory"))
    print(f"{name:54}{'ms':>10}{'CPU ms':>10}")
    for what, ms, cpu in (
            ("cold start: exec to applied", cold["whole"], cold["cpu"]),
            ("  of it, programs loaded to applied", cold["apply"], None),
            ("warm start: exec to applied", warm["whole"], warm["cpu"]),
            ("  of it, programs loaded to applied", warm["apply"], None),
            *((f"{CHANGES[what]}, {SETTLE_MS} ms of quiet not counted", one["whole"] - SETTLE_MS,
               one["cpu"]) for what, one in result["change"].items())):
        print(f"  {what:52}{ms:10.1f}" + ("" if cpu is None else f"{cpu:10.1f}"))
    mib = {name: size / 1024 for name, size in sizes.items()}
    print(f"  memory, MiB: resident {mib['VmRSS']:.1f} (at most {mib['VmHWM']:.1f}); anonymous "
          f"{mib['RssAnon']:.1f}, file {mib['RssFile']:.1f}, of which BPF maps {mib['maps']:.1f}")
    if result["profile"]:
        print("  the agent's CPU time while changes come (perf):",
              *(f"  {line}" for line in result["profile"]), sep="\n")
    print(f"  states: {result['states']}; the CPUs were {result['busy']:.0%} busy before")


def print_targets(name, result, one_file):
    sizes = result["memory"]
    target(f"{name}: applied at cold start, once programs are loaded", result["cold"]["apply"],
           300, unit=" ms", digits=0)
    for what, one in result["change"].items():
        if not one_file: # which is decoded whole
            target(f"{name}: {CHANGES[what]}, {SETTLE_MS} ms of quiet not counted",
                   one["whole"] - SETTLE_MS, 5, unit=" ms", digits=1)
    target(f"{name}: resident memory (of it BPF maps: {sizes['maps'] / 1024:.1f})",
           sizes["VmRSS"] / 1024, 32, unit=" MiB", digits=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--replicas", type=int, default=5000)
    parser.add_argument("--services", type=int, nargs="*", default=[50, 1],
                        help="into how many they are divided; a run for each number (50 1)")
    parser.add_argument("--changes", type=int, default=9)
    options = parser.parse_args()
    runs = [(services, False) for services in options.services] + [(1, True)]
    results = [(title(services, options.replicas, one_file), one_file,
                measure(services, options.replicas, options.changes, one_file))
               for services, one_file in runs]
    for name, _, result in results:
        print_result(name, result)
    for name, one_file, result in results:
        print_targets(name, result, one_file)


if __name__ == "__main__":
    main()
