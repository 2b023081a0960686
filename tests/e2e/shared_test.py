#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Two replicas behind three services of two ports each, which all lead to one port of the replica's,
and each service with several VIPs: for every client, the replicas themselves and hostNetwork ones
among them, all VIPs at once, and from the same few ports of the client's."""

import contextlib
import os
import sys
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from hostnet import HostPod, drop_invalid, dropped_by_rules  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Load, Server, check_no_errors, load  # noqa: E402

CLIENTS = ("pod", "outside", "node", "itself")
PORTS = (80, 81)


def add_services(shared, kind, number, pods):
    """Three services of these pods; returns their VIPs: [(family, TARGET)]."""
    lab, targets = shared.lab, []
    for i in range(3):
        app = App(lab, f"{kind}{i}", number + i, [Port(f"api{port}", port, 8080) for port in PORTS])
        app.load_balancer = f"203.0.113.{number + i}"
        app.own_pods = i == 0
        for pod in pods:
            app.add(pod)
        app.write()
        shared.apps.append(app)
        for port in PORTS:
            targets += [(4, f"{app.vip4}:{port}"), (4, f"{app.load_balancer}:{port}"),
                        (6, f"[{app.vip6}]:{port}")]
    return targets


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, apps=[], node=lab.node1)
        near, far = lab.add_pod(lab.node1, "near"), lab.add_pod(lab.node2, "far")
        hosts = [HostPod(lab.node1, "nearhost"), HostPod(lab.node2, "farhost")]
        shared.servers = [Server(pod) for pod in (near, far, *hosts)]
        for space in (*lab.nodes, near):
            drop_invalid(space, "INPUT", "OUTPUT")
        shared.targets = {"pods": add_services(shared, "pods", 10, [near, far]),
                          "hosts": add_services(shared, "hosts", 20, hosts)}
        shared.names = {"pods": ["far", "near"], "hosts": ["farhost", "nearhost"]}
        shared.client = {"pod": lab.add_pod(lab.node1, "client"), "outside": lab.outside,
                         "node": lab.node1, "itself": near}
        for node in lab.nodes:
            node.start_sluiced()
        for app in shared.apps:
            eventually(lambda: app.applied(lab.node1), f"{app.name} applied")
        shared.before = [dropped_by_rules(space) for space in (*lab.nodes, near)]
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean()
    check_equal([dropped_by_rules(space) for space in (*shared.lab.nodes, shared.client["itself"])],
                shared.before, "dropped by strict rules")


def all_at_once(shared, kind, client, **options):
    loads = [Load(shared.client[client], target, connections=4, **options)
             for _, target in shared.targets[kind]]
    seen = set()
    for (_, target), one in zip(shared.targets[kind], loads):
        result = one.result()
        check_no_errors(result, f"{client} to {target}")
        seen |= set(result["replicas"])
    check_equal(sorted(seen), shared.names[kind], f"{client}: who answered")


def one_way(kind, client):
    def every_vip(shared):
        all_at_once(shared, kind, client, count=60, path="/bytes/20000", pattern=True,
                    expect_bytes=20000)

    every_vip.__name__ = f"{client}_to_{kind}"
    case(every_vip)


for each_kind in ("pods", "hosts"):
    for each_client in CLIENTS:
        one_way(each_kind, each_client)


@case
def the_same_port_towards_several_vips(shared):
    """One port of a client's, three services, two replicas: the second connection gets the other
    replica, for one could not tell them apart; the third has nobody left, and is refused."""
    for server in shared.servers:
        server.control("delay 700000")
    try:
        for port, client in enumerate(("pod", "node", "itself"), 6001):
            before = shared.node.sluice("status")[0]["drops"]["collision"]
            held = []
            for i, app in enumerate(shared.apps[:2], 1):
                held.append(Load(shared.client[client], f"{app.vip4}:80", connections=1, count=1,
                                 ports=f"{port}-{port}", path="/bytes/100"))
                eventually(lambda: len(shared.node.live_flows(("TCP",))) == i, f"{client}: {i} wait")
            third = load(shared.client[client], f"{shared.apps[2].vip4}:80", connections=1, count=1,
                         ports=f"{port}-{port}")
            check_equal(third["errors"]["refused"], 1, f"{client}: {third}")
            check_equal(shared.node.sluice("status")[0]["drops"]["collision"], before + 1, "drops")
            results = [one.result() for one in held]
            for result in results:
                check_no_errors(result, f"{client} from port {port}")
            check_equal(sorted(name for result in results for name in result["replicas"]),
                        shared.names["pods"], f"{client}: who answered")
            shared.node.assert_clean()
    finally:
        for server in shared.servers:
            server.control("delay 0")


if __name__ == "__main__":
    main(setup, settled)
