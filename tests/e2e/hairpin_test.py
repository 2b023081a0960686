#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""A replica calls its own VIP and is given itself, with strict rp_filter and INVALID packets dropped
in the pod and on the node; pods on veths and on a bridge; with another replica to turn to, and
without; at its cap; and with the agent dead."""

import contextlib
import os
import signal
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from bridge import BridgePod  # noqa: E402
from case import SLOW, case, check, check_equal, eventually, main  # noqa: E402
from faults import black_hole, rst  # noqa: E402
from hostnet import drop_invalid, dropped_by_rules  # noqa: E402
from lab import Lab, Pod  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Nginx, Server, check_no_errors, load  # noqa: E402
import traffic  # noqa: E402

HTTP, API = 0, 1


def new_app(lab, name, number, pods, proto="TCP"):
    ports = [Port("http", 80, 80, node_port=30000 + number), Port("api", 8080, 8080)]
    app = App(lab, name, number, ports if proto == "TCP" else [Port("echo", 53, 8080, "UDP")])
    app.own_pods = proto == "TCP"
    for pod in pods:
        app.add(pod)
    app.write()
    return app


@contextlib.contextmanager
def world(pod_type=Pod):
    """`alone` has the replica own; `pair` own2 and other, which is on the other node."""
    with Lab(pod_type=pod_type) as lab:
        shared = types.SimpleNamespace(lab=lab, server={})
        own, own2 = lab.add_pod(lab.node1, "own"), lab.add_pod(lab.node1, "own2")
        other = lab.add_pod(lab.node2, "other")
        shared.own, shared.own2, shared.other = own, own2, other
        for pod in (own, own2, other):
            Nginx(pod)
            shared.server[pod.name] = Server(pod)
            drop_invalid(pod, "INPUT", "OUTPUT")
        drop_invalid(lab.node1, "INPUT", "OUTPUT")
        shared.alone = new_app(lab, "alone", 10, [own])
        shared.alone_udp = new_app(lab, "alone-udp", 11, [own], "UDP")
        shared.pair = new_app(lab, "pair", 12, [own2, other])
        for node in lab.nodes:
            node.start_sluiced()
        for app in (shared.alone, shared.alone_udp, shared.pair):
            eventually(lambda: app.applied(lab.node1), f"{app.name} applied")
        shared.before = costs(shared)
        yield shared


def costs(shared):
    return [dropped_by_rules(space) for space in (shared.lab.node1, shared.own, shared.own2)]


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean()
    check_equal(costs(shared), shared.before, "dropped by strict rules")


def exchange(shared, family, count=200):
    """Everything by TCP that paths_test asks, and who the replica thinks the client is."""
    for port, options in (
            (HTTP, {}),
            (HTTP, {"path": "/60k", "pattern": True, "expect_bytes": 60000}),
            (API, {"path": "/bytes/60000", "pattern": True, "expect_bytes": 60000,
                   "keepalive": True}),
            (API, {"post": 60000}),
            (API, {"end": "mix"})):
        result = load(shared.own, shared.alone.target(family, port), connections=8, count=count,
                      **options)
        check_no_errors(result, f"IPv{family}, {options}")
        check_equal(list(result["replicas"]), ["own"], "who answered")
    seen = traffic.header(shared.own, f"http://{shared.alone.target(family, HTTP)}/", "X-Client")
    check_equal(seen, shared.alone.vip4 if family == 4 else shared.alone.vip6, "client seen")


@case
def tcp(shared):
    for family in (4, 6):
        exchange(shared, family)


@case
def udp(shared):
    app = shared.alone_udp
    for vip in (app.vip4, app.vip6):
        for size in (1, 512, 1400):
            account = traffic.converse(shared.own, vip, 53, size=size)
            check_equal((account["lost"], account["bad"], account["moved"],
                         list(account["servers"]), account["clients"]),
                        (0, 0, 0, ["own"], [vip]), f"UDP to {vip}, {size} bytes: {account}")


@case
def node_port(shared):
    node = shared.lab.node1
    for address in (node.ip4, f"[{node.ip6}]"):
        target = f"{address}:{shared.alone.ports[HTTP].node_port}"
        check_no_errors(load(shared.own, target, connections=4, count=100, path="/60k",
                             pattern=True, expect_bytes=60000), target)


@case
def checksums_without_offload(shared):
    devices = ((shared.own, "eth0"), (shared.lab.node1, shared.own.veth))
    with shared.lab.without_offload(devices):
        for family in (4, 6):
            exchange(shared, family, 50)


@case
def itself_or_another(shared):
    for family in (4, 6):
        result = load(shared.own2, shared.pair.target(family, API), connections=8, count=400)
        check_no_errors(result, f"IPv{family}")
        check_equal(sorted(result["replicas"]), ["other", "own2"], "who answered")


def others_take_over(shared, fault):
    with fault(shared.server["own2"]):
        for family in (4, 6):
            result = load(shared.own2, shared.pair.target(family, API), connections=4, count=100)
            check_no_errors(result, f"IPv{family}")
            check_equal(list(result["replicas"]), ["other"], "who answered")
            check(result["connect_us"]["p99"] < 900000 * SLOW, f"{result['connect_us']}")


@case
def a_refusal_of_its_own_goes_to_another(shared):
    others_take_over(shared, rst)


@case
def a_silence_of_its_own_goes_to_another(shared):
    others_take_over(shared, black_hole)


@case
def a_refusal_without_another_is_told_at_once(shared):
    with rst(shared.server["own"]):
        began = time.monotonic()
        result = load(shared.own, shared.alone.target(4, API), connections=1, count=20)
        check_equal(result["ok"], 0, "answered")
        check(time.monotonic() - began < 5 * SLOW, f"took {time.monotonic() - began} s")
    eventually(lambda: load(shared.own, shared.alone.target(4, API), connections=1,
                            count=5)["failed"] == 0, "as before", 30)


@case
def cap(shared):
    """At the replica's own interface its own client is counted as any other."""
    shared.alone.annotations["sluice.dev/max-connections-per-replica"] = "2"
    shared.alone.apply(shared.lab.node1)
    try:
        check_no_errors(load(shared.own, shared.alone.target(4, API), connections=1, count=100),
                        "one at a time")
        shared.server["own"].control("delay 50000")
        result = load(shared.own, shared.alone.target(4, API), connections=8, count=40)
        check(result["ok"] and result["failed"], f"eight at a time: {result}")
        check(shared.lab.node1.sluice("status")[0]["drops"]["full"], "none was refused as full")
    finally:
        shared.server["own"].control("delay 0")
        del shared.alone.annotations["sluice.dev/max-connections-per-replica"]
        shared.alone.apply(shared.lab.node1)


@case
def on_a_bridge(shared):
    with world(pod_type=BridgePod) as other:
        for family in (4, 6):
            exchange(other, family, 50)
        udp(other)
        itself_or_another(other)
        settled_tcp(other)


def settled_tcp(shared):
    shared.lab.node1.assert_clean()
    check_equal(costs(shared), shared.before, "dropped by strict rules")


@case
def agent_dead(shared):
    agent = shared.lab.node1.agent
    agent.signal(signal.SIGKILL)
    agent.popen.wait()
    for family in (4, 6):
        exchange(shared, family, 50)
    udp(shared)
    shared.lab.node1.start_sluiced()


if __name__ == "__main__":
    main(world, settled)
