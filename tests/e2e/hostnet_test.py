#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Replicas in the network of their node (hostNetwork), on this node and on the other one: for a pod, an
outside client and the node's own, with strict rp_filter and INVALID packets dropped in every chain;
one that refuses; and one with which the node's own client would share an address that it does not
come from."""

import contextlib
import os
import signal
import sys
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import SLOW, case, check, check_equal, eventually, main  # noqa: E402
from faults import black_hole, rst  # noqa: E402
from hostnet import HostPod, drop_invalid, dropped_by_rules  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Nginx, Server, check_no_errors, load  # noqa: E402
import traffic  # noqa: E402

CLIENTS = ("pod", "outside", "node")
PLACES = ("local", "remote")
HTTP, API = 0, 1


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, tcp={}, udp={}, server={}, node=lab.node1)
        shared.client = {"pod": lab.add_pod(lab.node1, "client"), "outside": lab.outside,
                         "node": lab.node1}
        for number, (place, node) in enumerate(zip(PLACES, lab.nodes)):
            drop_invalid(node, "INPUT", "OUTPUT")
            pod = HostPod(node, place)
            Nginx(pod)
            shared.server[place] = Server(pod)
            shared.tcp[place] = App(lab, place, 10 + number, [Port("http", 80, 80),
                                                              Port("api", 8081, 8080)])
            shared.udp[place] = App(lab, f"{place}-udp", 20 + number,
                                    [Port("echo", 53, 8080, "UDP")])
            shared.udp[place].own_pods = False
            for app in (shared.tcp[place], shared.udp[place]):
                app.add(pod)
                app.write()
        shared.both = App(lab, "both", 30, [Port("api", 80, 8080)])
        shared.both.own_pods = False
        for server in shared.server.values():
            shared.both.add(server.pod)
        shared.both.write()
        for node in lab.nodes:
            node.start_sluiced()
        for app in (*shared.tcp.values(), *shared.udp.values(), shared.both):
            eventually(lambda: app.applied(lab.node1), f"{app.name} applied")
        shared.before = [dropped_by_rules(node) for node in lab.nodes]
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean()
    check_equal([dropped_by_rules(node) for node in shared.lab.nodes], shared.before,
                "dropped by strict rules")


def seen_address(shared, client, place, family):
    """Whom the replica should see."""
    if client == "node" and place == "local":
        return None # the VIP
    space = shared.client[client]
    if client == "outside" and place == "remote":
        space = shared.node
    return space.ip4 if family == 4 else space.ip6


def exchange_tcp(shared, client, place, family, count=200):
    space, app = shared.client[client], shared.tcp[place]
    for port, options in (
            (HTTP, {"path": "/60k", "pattern": True, "expect_bytes": 60000}),
            (API, {"path": "/bytes/60000", "pattern": True, "expect_bytes": 60000,
                   "keepalive": True}),
            (API, {"post": 60000}),
            (API, {"end": "mix"})):
        result = load(space, app.target(family, port), connections=8, count=count, **options)
        what = f"{client} to {place} over IPv{family}, {options}"
        check_no_errors(result, what)
        check_equal(list(result["replicas"]), [place], f"{what}: who answered")
    vip = app.vip4 if family == 4 else app.vip6
    check_equal(traffic.header(space, f"http://{app.target(family, HTTP)}/", "X-Client"),
                seen_address(shared, client, place, family) or vip, "client address seen")


def exchange_udp(shared, client, place, family):
    app = shared.udp[place]
    vip = app.vip4 if family == 4 else app.vip6
    for size in (1, 1400):
        account = traffic.converse(shared.client[client], vip, 53, size=size)
        what = f"UDP, {client} to {place} over IPv{family}, {size} bytes: {account}"
        check_equal((account["lost"], account["bad"], account["moved"], list(account["servers"]),
                     account["clients"]),
                    (0, 0, 0, [place], [seen_address(shared, client, place, family) or vip]), what)


def one_way(client, place, family):
    def tcp(shared):
        exchange_tcp(shared, client, place, family)

    def udp(shared):
        exchange_udp(shared, client, place, family)

    for function in (tcp, udp):
        function.__name__ = f"{function.__name__}_{client}_to_{place}_v{family}"
        case(function)


for each_client in CLIENTS:
    for each_place in PLACES:
        for each_family in (4, 6):
            one_way(each_client, each_place, each_family)


def who_answers(shared, client, family, **options):
    result = load(shared.client[client], shared.both.target(family), connections=4, count=200,
                  **options)
    check_no_errors(result, f"{client}, IPv{family}")
    check(result["connect_us"]["p99"] < 900000 * SLOW, f"{client}: {result['connect_us']}")
    return sorted(result["replicas"])


@case
def all_are_chosen(shared):
    for client in CLIENTS:
        for family in (4, 6):
            check_equal(who_answers(shared, client, family), ["local", "remote"], client)


@case
def failing_ones_are_hidden(shared):
    """The other one is not asked by probes of its port alone: both are, and packets are first."""
    for fault in (rst, black_hole):
        for bad, good in (PLACES, PLACES[::-1]):
            for client in CLIENTS:
                for family in (4, 6):
                    with fault(shared.server[bad]):
                        check_equal(who_answers(shared, client, family), [good],
                                    f"{client}, {fault.__name__} at {bad}")
                    eventually(lambda: all(row["state"] == "ready"
                                           for row in shared.node.replicas("default/both")),
                               "ready again", 30)


@case
def agent_dead(shared):
    agent = shared.node.agent
    agent.signal(signal.SIGKILL)
    agent.popen.wait()
    for client in CLIENTS:
        for place in PLACES:
            for family in (4, 6):
                exchange_tcp(shared, client, place, family, 50)
                exchange_udp(shared, client, place, family)
    shared.node.start_sluiced()


@case
def from_another_address_of_the_node(shared):
    """The node has a second address, and a client of it that comes from that one: it gets the remote
    replica, and where there is none, a refusal."""
    node = shared.node
    node.ip("addr add 192.168.50.201/24 dev uplink0")
    try:
        eventually(lambda: load(node, shared.both.target(4), connections=2, count=20,
                                source="192.168.50.201")["failed"] == 0, "served", 10)
        result = load(node, shared.both.target(4), connections=4, count=200,
                      source="192.168.50.201")
        check_no_errors(result, "from the second address")
        check_equal(list(result["replicas"]), ["remote"], "who answered")
        result = load(node, shared.tcp["local"].target(4, API), connections=1, count=5,
                      source="192.168.50.201")
        check_equal(result["ok"], 0, "answered by a replica that cannot be told apart")
        check(node.sluice("status")[0]["drops"]["no_way_back"], "no drop has that name")
    finally:
        node.ip("addr del 192.168.50.201/24 dev uplink0")


if __name__ == "__main__":
    main(setup, settled)
