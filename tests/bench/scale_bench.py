#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The agent with thousands of replicas: how soon a desired state is in force, and what memory it
takes.

The input is what a cluster would hold: a file per Service with its EndpointSlices (at most 100
endpoints each, as Kubernetes writes them) and Pods with an HTTP readinessProbe, spread over 100
nodes. All addresses lie in one pod of the lab, where one server answers for them; the node owns a
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
---
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
  conditions: {{ready: true, serving: true, terminating: false}}
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
    """Services of equal size; the text of each file, written when told."""

    def __init__(self, manifests, services, replicas):
        self.manifests = manifests
        self.size = replicas // services
        self.names = [f"llm{i}" for i in range(services)]

    def text(self, service, weight):
        """`weight`: of the first replica; the others have 100."""
        name = self.names[service]
        slices, pods = [], []
        for i in range(self.size):
            number = service * self.size + i
            one = {"name": name, "pod": f"{name}-{i}", "node": number % NODES + 1, "port": PORT,
                   "weight": 100 if i else weight,
                   "ip": f"10.64.{number // 250}.{number % 250 + 1}"}
            if i % SLICE == 0:
                slices.append(SLICE_HEAD.format(number=i // SLICE, **one))
            slices.append(ENDPOINT.format(**one))
            pods.append(POD.format(**one))
        vip = f"10.96.{service // 250}.{service % 250 + 1}"
        return "".join([SERVICE.format(name=name, vip=vip), *slices, *pods])

    def write(self, service, weight=100):
        """Returns the moment (Unix time, ms) at which the file came to its place."""
        text = self.text(service, weight)
        self.manifests.put_text(f"{self.names[service]}.yaml", text)
        return time.time() * 1000

    def write_all(self):
        for service in range(len(self.names)):
            self.write(service)


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


def change(node, fleet, weight):
    """Gives one replica another weight; milliseconds until it is in force, and of CPU."""
    before = len(events(node, "config_applied"))
    pid = node.agent.pid
    cpu, idle_began = cpu_ms(pid), time.monotonic()
    time.sleep(0.5)
    background = (cpu_ms(pid) - cpu) / (time.monotonic() - idle_began)
    cpu, cpu_began = cpu_ms(pid), time.monotonic()
    began = fleet.write(0, weight)
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
        weight = 200
        while time.monotonic() < end:
            fleet.write(0, weight)
            time.sleep(2 * SETTLE_MS / 1000)
            weight += 1

    thread = threading.Thread(target=keep_changing)
    thread.start()
    lines = profile_of(node.agent.pid, 2)
    thread.join()
    return lines


def measure(services, replicas, changes):
    with Lab(nodes=1) as lab:
        node, pod = lab.node1, lab.add_pod(lab.node1, "replicas")
        pod.ip(f"route add local {NET} dev lo")
        node.ip(f"route add {NET} via {pod.ip4} dev {pod.veth}")
        Server(pod, PORT)
        fleet = Fleet(lab.manifests, services, replicas)
        fleet.write_all()
        busy = idle_share(0.5)
        progress(f"  {services} services, {replicas} replicas: cold start")
        cold = start(node)
        eventually(lambda: len(node.replicas()) == replicas, "all replicas are in the kernel")
        progress("  changes")
        changed = [change(node, fleet, 101 + i) for i in range(changes)]
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
            "change": {key: statistics.median(one[key] for one in changed)
                       for key in ("whole", "cpu")}}


def print_result(services, replicas, result):
    cold, warm, change_ms, sizes = (result[key] for key in ("cold", "warm", "change", "memory"))
    print(f"{replicas} replicas in {services} service{'s' if services > 1 else ''}"
          f"{'':22}{'ms':>10}{'CPU ms':>10}")
    for what, ms, cpu in (
            ("cold start: exec to applied", cold["whole"], cold["cpu"]),
            ("  of it, programs loaded to applied", cold["apply"], None),
            ("warm start: exec to applied", warm["whole"], warm["cpu"]),
            ("  of it, programs loaded to applied", warm["apply"], None),
            (f"one weight changed, incl. {SETTLE_MS} ms of quiet", change_ms["whole"],
             change_ms["cpu"])):
        print(f"  {what:44}{ms:10.0f}" + ("" if cpu is None else f"{cpu:10.0f}"))
    mib = {name: size / 1024 for name, size in sizes.items()}
    print(f"  memory, MiB: resident {mib['VmRSS']:.1f} (at most {mib['VmHWM']:.1f}); anonymous "
          f"{mib['RssAnon']:.1f}, file {mib['RssFile']:.1f}, of which BPF maps {mib['maps']:.1f}")
    if result["profile"]:
        print("  the agent's CPU time while changes come (perf):",
              *(f"  {line}" for line in result["profile"]), sep="\n")
    print(f"  states: {result['states']}; the CPUs were {result['busy']:.0%} busy before")


def print_targets(services, replicas, result):
    what = f"{replicas} replicas, {services} service{'s' if services > 1 else ''}"
    sizes = result["memory"]
    target(f"{what}: applied at cold start, once programs are loaded", result["cold"]["apply"],
           300, unit=" ms", digits=0)
    target(f"{what}: one changed, {SETTLE_MS} ms of quiet not counted",
           result["change"]["whole"] - SETTLE_MS, 5, unit=" ms", digits=0)
    target(f"{what}: resident memory (of it BPF maps: {sizes['maps'] / 1024:.1f})",
           sizes["VmRSS"] / 1024, 32, unit=" MiB", digits=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--replicas", type=int, default=5000)
    parser.add_argument("--services", type=int, nargs="*", default=[50, 1],
                        help="into how many they are divided; a run for each number (50 1)")
    parser.add_argument("--changes", type=int, default=5)
    options = parser.parse_args()
    results = [(services, measure(services, options.replicas, options.changes))
               for services in options.services]
    for services, result in results:
        print_result(services, options.replicas, result)
    for services, result in results:
        print_targets(services, options.replicas, result)


if __name__ == "__main__":
    main()
