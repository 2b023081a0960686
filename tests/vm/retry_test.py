#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Retries and deadlines over long and bad wires, on kernels that have netem: answers that come
after the SYN deadline belong to healthy replicas, and none of these may be charged for them or
lose a client; and a replica that does refuse, or does not answer, is still stepped over."""

import contextlib
import os
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import SLOW, Skip, case, check, check_equal, eventually, main  # noqa: E402
from faults import black_hole, rst  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Nginx, Server, check_no_errors, load  # noqa: E402

PORT, COUNT = 8080, 40
PATIENCE_MS = 30000
OUTLIERS = {"outlierDetection": {"consecutive5xxErrors": 5, "baseEjectionTime": "30s",
                                 "maxEjectionPercent": 100}}


@contextlib.contextmanager
def setup():
    """Three replicas: one of this node's, two behind the wire."""
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, server={}, client=lab.add_pod(lab.node1, "client"))
        shared.app = App(lab, "web", 10, [Port("http", 80, PORT)])
        shared.app.traffic_policy = OUTLIERS
        shared.app.probe = {"httpGet": {"path": "/health", "port": 80}, "periodSeconds": 1,
                            "timeoutSeconds": 5}
        for name, node in (("near", lab.node1), ("far1", lab.node2), ("far2", lab.node2)):
            pod = lab.add_pod(node, name)
            Nginx(pod)
            shared.server[name] = Server(pod, PORT, logged=True)
            shared.app.add(pod)
        shared.app.write()
        for node in lab.nodes:
            node.start_sluiced()
            eventually(lambda: shared.app.applied(node), "web applied")
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean(120)
    noted = [request for server in shared.server.values() for request in server.ids()]
    check_equal(len(set(noted)), len(noted), "requests, and how often they were read")
    for server in shared.server.values():
        server.forget_ids()


@contextlib.contextmanager
def wire(shared, *spoil):
    """Spoils what goes between the nodes, either way; `spoil` as netem takes it."""
    fabric = shared.lab.fabric
    names = [node.name for node in shared.lab.nodes]
    try:
        for name in names:
            try:
                fabric.run("tc", "qdisc", "add", "dev", name, "root", "netem", *spoil)
            except AssertionError as error:
                raise Skip(f"this kernel has no netem: {error}") from None
        yield
    finally:
        for name in names:
            fabric.run("tc", "qdisc", "del", "dev", name, "root", fail=False)


def charged(shared):
    """{replica: failed connects} as node1 counts them, where there were any; with those whose
    second is not over yet."""
    time.sleep(1.5 * SLOW)
    rows = {one.pod.name: sum(shared.lab.node1.replica(address, PORT)["connect_failures"]
                              for address in (one.pod.ip4, one.pod.ip6))
            for one in shared.app.replicas}
    return {name: count for name, count in rows.items() if count}


def ejections(shared):
    return sum(row["ejections"] for row in shared.lab.node1.replicas())


def since(before, after):
    return {name: count - before.get(name, 0) for name, count in after.items()
            if count != before.get(name, 0)}


def ask_all(shared, what):
    """All clients over both families; returns who answered."""
    served = set()
    for space in (shared.client, shared.lab.outside):
        for family in (4, 6):
            result = load(space, shared.app.target(family), connections=8, count=COUNT, ids=True,
                          timeout_ms=PATIENCE_MS)
            check_no_errors(result, f"{what}, IPv{family} from {space.name}")
            connect = result["connect_us"]
            print(f"    {what}, IPv{family} from {space.name}: connect p50 "
                  f"{connect['p50'] / 1000:.0f} ms, max {connect['max'] / 1000:.0f} ms")
            served |= set(result["replicas"])
    return served


def check_delay(shared, milliseconds):
    """That round trip between the nodes, far above the first deadline."""
    before, ejected = charged(shared), ejections(shared)
    with wire(shared, "delay", f"{milliseconds // 2}ms"):
        ask_all(shared, f"{milliseconds} ms")
        check_equal(since(before, charged(shared)), {}, "healthy replicas charged")
        check_equal(ejections(shared), ejected, "ejections")


@case
def round_trip_of_80_ms(shared):
    check_delay(shared, 80)


@case
def round_trip_of_300_ms(shared):
    check_delay(shared, 300)


@case
def only_far_replicas_are_left(shared):
    """Every first answer comes after the deadline, and so do those of the retries."""
    before = charged(shared)
    with wire(shared, "delay", "150ms"), rst(shared.server["near"]):
        served = ask_all(shared, "300 ms, near refuses")
        check(served <= {"far1", "far2"}, f"served by {served}")
        counters = shared.lab.node1.sluice("status")[0]["counters"]
        print(f"    {counters['late_wins']} flows given back to who answered late")
        check(set(since(before, charged(shared))) <= {"near"},
              f"charged: {since(before, charged(shared))}")


@case
def a_silent_replica_behind_a_long_wire(shared):
    """One far replica never answers, the other one late: only the first is charged."""
    before = charged(shared)
    with wire(shared, "delay", "40ms"), black_hole(shared.server["far1"]):
        served = ask_all(shared, "80 ms, far1 silent")
        check("far1" not in served, f"served by {served}")
        eventually(lambda: "far1" in since(before, charged(shared)), "far1 is charged")
        check_equal(set(since(before, charged(shared))), {"far1"}, "charged")


@case
def duplicates(shared):
    """Each SYN and each answer may come twice: the second one finds a flow that knows better."""
    before = charged(shared)
    with wire(shared, "delay", "5ms", "2ms", "duplicate", "20%"):
        ask_all(shared, "duplicates")
        check_equal(since(before, charged(shared)), {}, "healthy replicas charged")


@case
def loss(shared):
    """A lost SYN is sent to another replica, and its loss may be charged; nobody is ejected."""
    ejected = ejections(shared)
    with wire(shared, "delay", "5ms", "loss", "3%"):
        ask_all(shared, "3 % loss")
        charged(shared)
        check_equal(ejections(shared), ejected, "ejections")


if __name__ == "__main__":
    main(setup, settled)
