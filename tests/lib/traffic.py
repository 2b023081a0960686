# SPDX-License-Identifier: GPL-2.0-only
"""The ways a packet can take, each tried with real servers and clients.

Two TCP services (`local`, replica on node1; `remote`, replica on node2) and two for
UDP, on the same two pods; clients are a pod on node1 and `outside`, which come to the
VIPs at node1. exchange() runs one (client, place, family) and checks what both ends saw.
"""

import contextlib
import json
import os
import types

from case import check, check_equal, eventually
from lab import Lab
from manifest import App, Port
from servers import Nginx, Server, check_no_errors, load

PATIENCE_MS = 20000         # of one request, on wires that are slow or lose
CLIENTS = ("pod", "outside")
PLACES = ("local", "remote")
FAMILIES = (4, 6)
UDP_CLIENT = f"{os.path.dirname(os.path.abspath(__file__))}/udp_client.py"
HTTP, API = 0, 1


@contextlib.contextmanager
def roads(env=None, both=True, options=(), **lab_options):
    """The lab with the four services; `env` is given to the agent of node1, `options` to both. All
    clients come in at node1: without `both`, node2 has no agent."""
    with Lab(**lab_options) as lab:
        shared = types.SimpleNamespace(lab=lab, client={"outside": lab.outside}, tcp={}, udp={})
        for number, (place, node) in enumerate(zip(PLACES, (lab.node1, lab.node2))):
            pod = lab.add_pod(node, place)
            Nginx(pod)
            Server(pod)
            tcp = App(lab, place, 10 + number, [Port("http", 80, 80, node_port=30080 + number),
                                                Port("api", 8080, 8080)])
            tcp.load_balancer = f"203.0.113.{10 + number}"
            udp = App(lab, f"{place}-udp", 20 + number,
                      [Port("echo", 53, 8080, "UDP", node_port=30053 + number)])
            udp.own_pods = False
            for app in (tcp, udp):
                app.add(pod)
                app.write()
            shared.tcp[place], shared.udp[place] = tcp, udp
        shared.client["pod"] = lab.add_pod(lab.node1, "client")
        lab.node1.start_sluiced(*options, env=env)
        if both:
            lab.node2.start_sluiced(*options)
        for app in [*shared.tcp.values(), *shared.udp.values()]:
            eventually(lambda: app.applied(lab.node1), f"{app.name} applied")
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean()


def _seen_address(shared, client, place, family):
    """Whom the replica should see: the client itself, or, where source NAT applies, the address that
    the node's route to the replica prefers."""
    if client == "outside" and place == "remote":
        pod = shared.lab.pods[place]
        route = shared.lab.node1.run("ip", "-j", "route", "get", pod.ip4 if family == 4 else pod.ip6)
        return json.loads(route)[0]["prefsrc"]
    space = shared.client[client]
    return space.ip4 if family == 4 else space.ip6


def exchange_tcp(shared, client, place, family, count=200):
    """Small requests, 60 kB either way, every way of closing; who the replica saw."""
    space, app = shared.client[client], shared.tcp[place]
    what = f"{client} to {place} over IPv{family}"
    for port, options in (
            (HTTP, {}),
            (HTTP, {"path": "/60k", "pattern": True, "expect_bytes": 60000}),
            (API, {"path": "/bytes/60000", "pattern": True, "expect_bytes": 60000,
                   "keepalive": True}),
            (API, {"post": 60000}),
            (API, {"end": "mix"})):
        result = load(space, app.target(family, port), connections=8, count=count, **options)
        check_no_errors(result, f"{what}, {options}")
        check_equal(list(result["replicas"]), [place], f"{what}: who answered")
    check_equal(header(space, f"http://{app.target(family, HTTP)}/", "X-Client"),
                _seen_address(shared, client, place, family), f"{what}: client address seen")


def exchange_udp(shared, client, place, family, sizes=(1, 512, 1400)):
    """Conversations of several datagrams; none may be lost, changed or change its server."""
    space, app = shared.client[client], shared.udp[place]
    for size in sizes:
        account = converse(space, app.vip4 if family == 4 else app.vip6, 53, size=size)
        what = f"UDP, {client} to {place} over IPv{family}, {size} bytes: {account}"
        check(not account["lost"] and not account["bad"] and not account["moved"], what)
        check_equal(list(account["servers"]), [place], what)
        check_equal(account["clients"], [_seen_address(shared, client, place, family)], what)


def exchange_bodies(shared, place, clients=CLIENTS, families=FAMILIES, count=50):
    """Small answers, and large bodies either way; shorter than exchange_tcp(), and patient."""
    app = shared.tcp[place]
    for client in clients:
        for family in families:
            for port, options in (
                    (HTTP, {}),
                    (HTTP, {"path": "/60k", "pattern": True, "expect_bytes": 60000}),
                    (API, {"post": 60000})):
                result = load(shared.client[client], app.target(family, port), connections=4,
                              count=count, timeout_ms=PATIENCE_MS, **options)
                check_no_errors(result, f"{client} over IPv{family}, {options}")
                check_equal(list(result["replicas"]), [place], "who answered")


def exchange_everything(shared):
    for client in CLIENTS:
        for place in PLACES:
            for family in FAMILIES:
                exchange_tcp(shared, client, place, family)
                exchange_udp(shared, client, place, family)


def converse(space, address, port, conversations=10, datagrams=5, size=100):
    return json.loads(space.run("python3", UDP_CLIENT, address, port, conversations, datagrams,
                                size))


def header(space, url, name):
    """One header of one answer."""
    text = space.run("curl", "-sS", "-g", "-m", "5", "-D", "-", "-o", "/dev/null", url)
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.lower() == name.lower():
            return value.strip()
    return None
