#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Replicas behind another device than the uplink, with Ethernet headers (VXLAN) and without (tun): all
that works over plain routes works over it, also what goes wrong; and routes that move from one device
to the other under load. The kernel's own tunnels without Ethernet: tests/vm/fabric_test.py."""

import contextlib
import os
import sys
import time

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from faults import icmp, rst  # noqa: E402
from hostnet import HostPod  # noqa: E402
from manifest import App, Port  # noqa: E402
from tunnels import (KINDS, check_resets, check_retries, devices, join, overlay, route,  # noqa: E402
                     route_directly)
from servers import Load, Server, check_no_errors, load  # noqa: E402
import traffic  # noqa: E402

VXLAN = KINDS["vxlan"]
STORM = 6000


@contextlib.contextmanager
def setup():
    with traffic.roads() as shared:
        join(shared)
        yield shared


def every_way(shared):
    for client in traffic.CLIENTS:
        for family in traffic.FAMILIES:
            traffic.exchange_tcp(shared, client, "remote", family, count=100)
            traffic.exchange_udp(shared, client, "remote", family, sizes=(1, 512, 1300))


def what_fails(shared):
    check_retries(shared, traffic.FAMILIES)
    check_resets(shared, traffic.FAMILIES)


def behind(name, what):
    def run(shared):
        with overlay(shared.lab, KINDS[name]):
            what(shared)
            traffic.settled(shared)
    run.__name__ = f"{what.__name__}_behind_{name}"
    return case(run)


for each_kind in ("vxlan", "tun"):
    for each_what in (every_way, what_fails):
        behind(each_kind, each_what)


def own_client(shared):
    """The node's own client, whose source address is that of the way to the replicas."""
    node = shared.lab.node1
    for app in (shared.tcp["remote"], shared.behind):
        for vip, source in ((app.vip4, "10.200.0.1"), (app.vip6, "fd20::1")):
            eventually(lambda: f"src {source} " in node.run("ip", "route", "get", vip),
                       f"the route to {vip} prefers the source {source}")
    for family in traffic.FAMILIES:
        for port, options in ((traffic.HTTP, {"path": "/60k", "pattern": True,
                                              "expect_bytes": 60000}),
                              (traffic.API, {"post": 60000}), (traffic.API, {"end": "mix"})):
            result = load(node, shared.tcp["remote"].target(family, port), connections=4,
                          count=50, **options)
            check_no_errors(result, f"the node itself over IPv{family}, {options}")
    for fault in (rst, icmp):
        with fault(shared.server):
            result = load(node, shared.behind.target(), connections=4, count=40)
            check_no_errors(result, f"the node itself, {fault.__name__}")


def host_replica(shared):
    """A replica in the network of the other node, at its address on the device."""
    lab = shared.lab
    host = HostPod(lab.node2, "host")
    host.ip4, host.ip6 = "10.200.0.2", "fd20::2"
    server = Server(host, 9000)
    app = App(lab, "host", 32, [Port("api", 80, 9000)])
    app.add(host)
    app.apply(lab.node1)
    for space in shared.client.values():
        for family in traffic.FAMILIES:
            result = load(space, app.target(family), connections=4, count=50, post=60000)
            check_no_errors(result, f"hostNetwork replica, {space.name} over IPv{family}")
    app.remove()
    eventually(lambda: not lab.node1.live_flows(("TCP",)), "its flows are over")
    server.kill()


for each_what in (own_client, host_replica):
    behind("tun", each_what)


@case
def storm(shared):
    """Connections that end in every way there is: no error, every count back to 0."""
    with overlay(shared.lab, VXLAN):
        loads = [Load(space, shared.behind.target(family), connections=8, count=STORM // 4,
                      end="mix", timeout_ms=20000)
                 for space in shared.client.values() for family in traffic.FAMILIES]
        for one in loads:
            check_no_errors(one.result(), f"storm from {one.name}")
        traffic.settled(shared)


def move(shared, to_overlay):
    """All routes between the nodes; returns once node1's agent has followed."""
    node = shared.lab.node1
    last = max(event["seq"] for event in node.sluice("event", "show"))

    def followed():
        return [event for event in node.sluice("event", "show")
                if event["seq"] > last and event["event"] == "route_moved"]
    for one in shared.lab.nodes:
        if to_overlay:
            route(one, VXLAN)
        else:
            route_directly(one)
    return eventually(followed, "the move is an event")


def check_moved(events, way, before):
    text = " ".join(event["text"] for event in events)
    for part in (f"{way}, source ", f"before: {before}, source ",
                 "open flows of outside clients keep the source they have"):
        check(part in text, f"{part!r} is not in {text!r}")


@case
def routes_move_under_load(shared):
    """To the VXLAN and back. A pod's connections go on; an outside client's keep the source address
    of the way on which they began, so they are lost where strict reverse-path filters do not take
    that on the new one (the event says so), and none that begins afterwards is."""
    lab = shared.lab
    target = shared.tcp["remote"].target
    with devices(lab, VXLAN):
        kept = [Load(shared.client["pod"], target(family), connections=4, duration=60,
                     keepalive=True, path="/16k") for family in traffic.FAMILIES]
        for way, before in (("over0", "uplink0"), ("uplink0", "over0")):
            fresh = [Load(space, target(family, traffic.HTTP), rate=200, duration=60,
                          timeout_ms=3000)
                     for space in shared.client.values() for family in traffic.FAMILIES]
            time.sleep(0.5)
            check_moved(move(shared, way == "over0"), way, before)
            time.sleep(0.5)
            for one in fresh:
                result = one.stop()
                check(result["ok"] > 100, f"{one.name}, to {way}: {result['ok']} requests")
                check_equal(result["connect_failed"], 0,
                            f"{one.name}, to {way}: connects that failed, {result['errors']}")
                if one.name != "outside":
                    check_no_errors(result, f"{one.name}, to {way}")
                print(f"    {one.name}, to {way}: {result['ok']} good, {result['failed']} lost, "
                      f"connect max {result['connect_us']['max']} us")
            traffic.exchange_bodies(shared, "remote")
        for one in kept:
            result = one.stop()
            check_no_errors(result, "kept-alive connections of a pod")
    traffic.exchange_bodies(shared, "remote")


if __name__ == "__main__":
    main(setup, traffic.settled)
