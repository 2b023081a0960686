#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The storm: 200 000 short connections that end in every way there is, from pods and from
outside, on both CPUs, among half-open ones; every count must come back to 0, and no client
may see an error that the same storm through kube-proxy's rules lacks."""

import contextlib
import os
import signal
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from process import built  # noqa: E402
from servers import Load, Nginx, Server, unheard  # noqa: E402
import kubeproxy  # noqa: E402

CONNECTIONS = 200000
HALF_OPEN = 6000
IDLE = {"connectionPool": {"tcp": {"idleTimeout": "5s"}}}


@contextlib.contextmanager
def new_lab():
    """Each side of the comparison has a lab of its own: TIME_WAITs of one would slow the other."""
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, servers=[])
        shared.clients = [lab.add_pod(lab.node1, f"client{i}") for i in range(2)]
        shared.app = App(lab, "storm", 10, [Port("http", 80, 8080), Port("nginx", 81, 80)])
        for i in range(6):
            pod = lab.add_pod(lab.nodes[i % 2], f"replica{i}")
            shared.servers.append(Server(pod))
            Nginx(pod)
            shared.app.add(pod)
        yield shared


@contextlib.contextmanager
def setup():
    with new_lab() as shared:
        shared.app.write()
        for node in shared.lab.nodes:
            node.start_sluiced()
            eventually(lambda: shared.app.applied(node), f"storm applied on {node.name}")
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean(120)


def storm(shared, connections):
    """{error kind: count} over all clients, and how many connections there were. Up to two that the kernel
    reset by itself (servers.unheard()) are left out."""
    app, cpus = shared.app, sorted(os.sched_getaffinity(0))
    spaces = [*shared.clients, shared.lab.outside]
    loads = []
    for i, space in enumerate(spaces):
        for family in (4, 6):
            loads.append(Load(space, app.target(family, 0), cpu=cpus[i % len(cpus)],
                              connections=12, count=connections * 5 // 36 + 1, end="mix",
                              timeout_ms=20000))
        loads.append(Load(space, app.target(4, 1), cpu=cpus[(i + 1) % len(cpus)], connections=4,
                          count=connections * 2 // 36 + 1, timeout_ms=20000))
    flood = shared.lab.outside.spawn(
        built("tests/e2e/synflood"), "--target", app.target(4), "--net", "192.168.51.0",
        "--count", HALF_OPEN, "--rate", 1000)
    errors, begun, unanswered = {}, 0, 0
    for load in loads:
        result = load.result(300)
        begun += result["requests"]
        unanswered += unheard(result)
        for kind, count in result["errors"].items():
            errors[kind] = errors.get(kind, 0) + count
    check(flood.popen.wait(60) == 0, flood.log())
    errors["reset"] -= min(unanswered, 2)
    return errors, begun


def timed_storm(shared, what):
    began = time.monotonic()
    errors, begun = storm(shared, CONNECTIONS)
    print(f"    {what}: {begun} connections in {time.monotonic() - began:.1f} s, errors {errors}")
    check(begun >= CONNECTIONS, f"only {begun} connections")
    return errors, begun


@case
def counts_return_to_zero_and_no_new_errors(shared):
    with new_lab() as other:
        kubeproxy.install(other.lab.node1, [other.app])
        without, _ = timed_storm(other, "kube-proxy rules")
    node = shared.lab.node1
    before = sum(row["picks"] for row in node.replicas())
    errors, begun = timed_storm(shared, "Sluice")
    picks = sum(row["picks"] for row in node.replicas()) - before
    check(picks >= begun, f"{picks} picks for {begun} connections")
    for kind, count in errors.items():
        check(count <= without[kind], f"{kind}: {count} with Sluice, {without[kind]} without")


@case
def killed_clients_and_servers(shared):
    """Processes at either end end by SIGKILL in mid-flow; a whole client pod goes, whose flows
    end by the idle timeout."""
    lab, app = shared.lab, shared.app
    app.traffic_policy = IDLE
    app.apply()
    victim = lab.add_pod(lab.node1, "victim")
    loads = [Load(space, app.target(family), connections=16, duration=8, path="/bytes/60000")
             for space in (*shared.clients, lab.outside) for family in (4, 6)]
    doomed = [Load(space, app.target(), connections=16, duration=30, path=path)
              for space in (shared.clients[0], victim) for path in ("/bytes/60000", "/hang")]
    time.sleep(2)
    for server in shared.servers[:2]:
        server.kill()
        server.start()
    for load in doomed[:2]:
        load.process.signal(signal.SIGKILL)
    lab.del_pod(victim)
    for load in loads:
        check(load.result()["ok"] > 100, "the others go on")
    settled(shared)
    app.traffic_policy = None
    app.apply()


@case
def half_open_alone_are_forgotten(shared):
    lab = shared.lab
    lab.outside.run(built("tests/e2e/synflood"), "--target", shared.app.target(), "--net",
                    "192.168.51.0", "--count", 2000, "--rate", 2000)
    check(lab.node1.live_flows(), "no half-open flow was counted")


if __name__ == "__main__":
    main(setup, settled)
