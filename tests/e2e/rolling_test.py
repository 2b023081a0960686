#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Changes under load: replicas join, leave, change their weight, restart; agents stop, are
killed, come back. No request may fail, but those on the connections of a killed replica."""

import contextlib
import os
import signal
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App  # noqa: E402
from servers import Load, Nginx, check_no_errors  # noqa: E402


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, nginx={})
        shared.client = lab.add_pod(lab.node1, "client")
        shared.app = App(lab, "web", 10)
        shared.app.probe = {"httpGet": {"path": "/health", "port": 80}, "periodSeconds": 1,
                            "failureThreshold": 2}
        for i in range(4):
            add_replica(shared, lab.nodes[i % 2], f"web{i}")
        shared.app.write()
        for node in lab.nodes:
            node.start_sluiced()
            eventually(lambda: shared.app.applied(node), "web applied")
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean()


def add_replica(shared, node, name):
    pod = shared.lab.add_pod(node, name)
    shared.nginx[name] = Nginx(pod)
    shared.app.add(pod)
    return pod


def row_of(shared, pod):
    return shared.lab.node1.replica(pod.ip4)


class Traffic:
    """Short and kept-alive requests of 40 ms from a pod and from outside, until finish()."""

    def __init__(self, shared, kept_alive=True):
        target = shared.app.target
        body = {"path": "/16k", "pattern": True, "expect_bytes": 16384}
        self.loads = []
        for space in (shared.client, shared.lab.outside):
            for family in (4, 6):
                self.loads.append(Load(space, target(family), rate=100, duration=300, **body))
                if kept_alive:
                    self.loads.append(Load(space, target(family), connections=4, duration=300,
                                           keepalive=True, **body))
        time.sleep(0.5)

    def stop(self):
        return [load.stop() for load in self.loads]

    def finish(self, what):
        """Ends it; no request may have failed. Returns requests per replica."""
        total = {}
        for load in self.loads:
            result = load.stop()
            check_no_errors(result, f"{what}: {load.name}")
            for name, count in result["replicas"].items():
                total[name] = total.get(name, 0) + count
        return total


@case
def replicas_join_leave_and_change_weight(shared):
    app, lab = shared.app, shared.lab
    traffic = Traffic(shared)
    joined = [add_replica(shared, node, f"late{node.number}") for node in lab.nodes]
    app.apply()
    time.sleep(0.5)
    for weight in (300, 1, 100):
        for one in app.replicas[:2]:
            one.weight = weight
        app.apply()
    gone = app.replicas[0].pod
    app.drop(gone)
    app.apply()
    time.sleep(0.5)
    total = traffic.finish("join, leave, reweight")
    for pod in joined:
        check(total.get(pod.name, 0) > 0, f"{pod.name} joined and got nothing: {total}")
    for pod in joined:
        app.drop(pod)
    app.replicas[0].weight = None
    app.add(gone)
    app.apply()


@case
def many_quick_changes(shared):
    """Fifty changes of membership in a row, faster than they settle."""
    app = shared.app
    traffic = Traffic(shared)
    for i in range(50):
        one = app.replicas[i % len(app.replicas)]
        app.drop(one.pod)
        app.write()
        time.sleep(0.05)
        app.replicas.append(one)
        one.weight = 50 + i
        app.write()
    for one in app.replicas:
        one.weight = None
    app.apply()
    traffic.finish("many quick changes")


@case
def a_replica_restarts_gracefully(shared):
    """Terminating, drained, stopped, started, ready again: the way of a rolling update."""
    app, lab = shared.app, shared.lab
    traffic = Traffic(shared, kept_alive=False)
    for one in list(app.replicas):
        one.terminating = True
        app.write()
        for node in lab.nodes:
            eventually(lambda: node.replica(one.pod.ip4)["state"] == "draining",
                       f"{one.pod.name} is draining on {node.name}")
        eventually(lambda: row_of(shared, one.pod)["inflight"] == 0 and
                   lab.node1.replica(one.pod.ip6)["inflight"] == 0,
                   f"{one.pod.name} is drained")
        shared.nginx[one.pod.name].stop()
        shared.nginx[one.pod.name].start()
        one.terminating = False
        app.write()
        for address in (one.pod.ip4, one.pod.ip6):
            eventually(lambda: lab.node1.replica(address)["state"] == "ready",
                       f"{one.pod.name} is ready again")
    total = traffic.finish("rolling restart")
    check_equal(sorted(total), sorted(one.pod.name for one in app.replicas), "who served")


@case
def agents_restart(shared):
    """SIGTERM, then SIGKILL, on both nodes: connections live on, new ones are steered while no
    agent runs, and the next agent adopts what it finds."""
    lab = shared.lab
    traffic = Traffic(shared)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for node in lab.nodes:
            picks = sum(row["picks"] for row in node.replicas())
            node.agent.popen.send_signal(number)
            node.agent.popen.wait(10)
            time.sleep(1)
            if node is lab.node1:
                now = sum(row["picks"] for row in node.replicas())
                check(now > picks, "no picks while the agent was away")
            node.start_sluiced()
            eventually(lambda: shared.app.applied(node), "web applied")
    total = traffic.finish("agents restart")
    check_equal(len(total), len(shared.app.replicas), "replicas that served")


@case
def a_replica_is_killed(shared):
    """Only requests that it had, or got before its probe failed, may fail; later ones do not."""
    lab, pod = shared.lab, shared.app.replicas[0].pod
    traffic = Traffic(shared)
    time.sleep(1)
    shared.nginx[pod.name].kill()
    for address in (pod.ip4, pod.ip6):
        eventually(lambda: lab.node1.replica(address)["state"] == "down", f"{pod.name} is down")
    down_at = time.monotonic()
    time.sleep(2)
    served = time.monotonic() - down_at
    for load, result in zip(traffic.loads, traffic.stop()):
        end_ms = result["duration_s"] * 1000
        late = [error for error in result["error_log"]
                if error["at_ms"] > end_ms - (served - 0.5) * 1000]
        check(not late, f"{load.name}: errors long after {pod.name} was down: {late[:3]}")
        for error in result["error_log"]:
            check(error["kind"] in ("refused", "reset", "short"), f"{load.name}: {error}")
            check(error["replica"] in ("", pod.name), f"not the killed one's: {error}")
    shared.nginx[pod.name].start()
    for address in (pod.ip4, pod.ip6):
        eventually(lambda: lab.node1.replica(address)["state"] == "ready", f"{pod.name} is back")


if __name__ == "__main__":
    main(setup, settled)
