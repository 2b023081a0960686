#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""How long 10 000 clients of a dead replica wait for their reset, and what new picks feel of it.

reset_bench.py [FLOWS]: prints a table in Markdown.
"""

import datetime
import json
import os
import resource
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/lib")

from case import check, eventually  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App  # noqa: E402
from process import Process  # noqa: E402
from servers import Server, wait_listening  # noqa: E402

CLIENTS = 2

# Run inside a pod: connects every 2 ms until stdin closes; prints "TIME MICROSECONDS" of each.
CONNECT = """
import select, socket, sys, time
target = (sys.argv[1], 80)
lines = []
while not select.select([sys.stdin], [], [], 0.002)[0]:
    began = time.time()
    socket.create_connection(target, 5).close()
    lines.append(f"{began} {(time.time() - began) * 1e6:.0f}")
print("\\n".join(lines))
"""


def quantile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def waiting(lab, pod, vip, count):
    process = Process(pod.inside(["python3", "-B", f"{ROOT}/tests/lib/wait_client.py", vip, 80,
                                  "/hang", count]), f"{lab.dir}/{pod.name}.log", subprocess.PIPE)
    lab.processes.append(process)
    return process


def main():
    flows = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    limit = flows * 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, resource.getrlimit(
        resource.RLIMIT_NOFILE)[1])))
    with Lab(1) as lab:
        node = lab.node1
        pods = [lab.add_pod(node, f"client{i}") for i in range(CLIENTS + 1)]
        apps = [App(lab, "dead", 10), App(lab, "well", 11)]
        for app in apps:
            app.add(lab.add_pod(node, app.name))
            app.write()
        dead, well = (app.replicas[0].pod for app in apps)
        odd = dead.spawn("python3", "-B", f"{ROOT}/tests/lib/odd_server.py", 80)
        wait_listening(dead, 80, odd)
        Server(well, 80)
        node.start_sluiced()
        for app in apps:
            eventually(lambda: app.applied(node) and
                       node.replica(app.replicas[0].pod.ip4)["state"] == "ready", app.name)
        clients = [waiting(lab, pod, apps[0].vip4, flows // CLIENTS) for pod in pods[:CLIENTS]]
        for client in clients:
            line = client.popen.stdout.readline().decode().strip()
            check(line == "up", f"{line} {client.log()}")
        held = node.replica(dead.ip4)["inflight"]
        check(held >= flows, f"{held} flows in flight")
        prober = subprocess.Popen(pods[-1].inside(["python3", "-c", CONNECT, apps[1].vip4]),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(3)
        began = time.time()
        node.ip(f"link set {dead.veth} down")
        times = []
        for client in clients:
            out, _ = client.popen.communicate(timeout=60)
            times += json.loads(out)["times"]
        ended = max(times)
        time.sleep(1)
        connects = [tuple(map(float, line.split()))
                    for line in prober.communicate("")[0].splitlines()]
        before = [us for at, us in connects if at < began]
        during = [us for at, us in connects if began <= at <= ended] or [0]
        event = next(one for one in node.sluice("event", "show") if one["event"] == "reset")
        probed = datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00"))
        report(flows, [at - began for at in times], probed.timestamp() - began, before, during,
               node.sluice("status")[0]["counters"]["resets"])


def report(flows, waits, probed, before, during, resets):
    print(f"{flows} waiting clients, {len(waits)} reset ({resets} flows counted).\n")
    print("| | ms |\n|---|---|")
    print(f"| `ip link set down` began, until all flows are marked and probed | {probed * 1000:.0f} |")
    for name, share in (("first", 0), ("half", 0.5), ("99 of 100", 0.99), ("last", 1)):
        print(f"| {name}: has its ECONNRESET after | {quantile(waits, share) * 1000:.0f} |")
    print("\n| connect to another replica, µs | p50 | p99 | worst |\n|---|---|---|---|")
    for name, values in (("before", before), ("meanwhile", during)):
        print(f"| {name} ({len(values)}) | {quantile(values, 0.5):.0f} | "
              f"{quantile(values, 0.99):.0f} | {max(values):.0f} |")


if __name__ == "__main__":
    main()
