#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Fabrics of other kinds than a plain wire, on kernels that have them: tunnels between the nodes, with
and without Ethernet headers in them, a VLAN on the uplink, and wires that delay, lose, duplicate and
reorder. What VXLAN does beyond carrying packets, tests/e2e/fabric_test.py shows on any machine."""

import contextlib
import json
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import Skip, case, check, eventually, main  # noqa: E402
from servers import check_no_errors, load  # noqa: E402
from tunnels import KINDS, Kind, check_resets, check_retries, join, overlay  # noqa: E402
import traffic  # noqa: E402

COUNT = 20      # requests of one kind: emulated kernels are slow
NARROW = 1300   # an MTU less than that of pods here (tunnels.MTU)
VLAN = Kind("link add link uplink0 name over0 type vlan id 7")


@contextlib.contextmanager
def setup():
    with traffic.roads() as shared:
        join(shared)
        yield shared


def check_overlay(shared, kind):
    """Clients in a pod and outside, bodies and datagrams, and the way back to plain routes."""
    with overlay(shared.lab, kind):
        traffic.exchange_bodies(shared, "remote", families=kind.families, count=COUNT)
        for client in traffic.CLIENTS:
            for family in kind.families:
                traffic.exchange_udp(shared, client, "remote", family, sizes=(1200,))
        traffic.settled(shared)
    traffic.exchange_bodies(shared, "remote", families=(4,), count=COUNT)


def carried_by(name):
    def run(shared):
        check_overlay(shared, KINDS[name])
    run.__name__ = f"{name}_between_nodes"
    return case(run)


for each in KINDS:
    carried_by(each)


@case
def vlan_between_nodes(shared):
    check_overlay(shared, VLAN)


def fails_behind(name):
    def run(shared):
        kind = KINDS[name]
        with overlay(shared.lab, kind):
            check_retries(shared, kind.families[:1], count=COUNT)
            check_resets(shared, kind.families[:1])
            traffic.settled(shared)
    run.__name__ = f"what_fails_behind_{name}"
    return case(run)


fails_behind("ipip_nbma")
fails_behind("wireguard")


@contextlib.contextmanager
def narrow_route(node, there):
    """Smaller than the pods' MTU, and known to the node's agent."""
    routes = [f"{there.ip4}/32 dev uplink0", f"{there.ip6}/128 dev uplink0"]
    node.ip(*(f"route add {route} mtu {NARROW}" for route in routes))
    try:
        eventually(lambda: node.sluice("bpf", "dump", "route_mtus"), "the agent knows the MTU")
        yield
    finally:
        node.ip(*(f"route del {route}" for route in routes))


def too_long_behind(name):
    """Answers that do not fit on the way to their client: the replica is told so through the device by
    which they came, and cuts them smaller."""
    def run(shared):
        kind, node = KINDS[name], shared.lab.node1
        with overlay(shared.lab, kind), narrow_route(node, shared.lab.outside):
            for pod in shared.lab.pods.values():
                for family in kind.families:  # what they learnt before
                    pod.run("ip", f"-{family}", "route", "flush", "cache")
            for family in kind.families:
                before = node.sluice("status")[0]["drops"]["too_big"]
                result = load(shared.client["outside"], shared.tcp["remote"].target(family, traffic.API),
                              connections=1, count=1, timeout_ms=traffic.PATIENCE_MS,
                              path="/bytes/60000", pattern=True, expect_bytes=60000)
                told = node.sluice("status")[0]["drops"]["too_big"] - before
                check_no_errors(result, f"IPv{family}, {told} told")
                check(told > 0, f"IPv{family}: nothing was too long")
            traffic.settled(shared)
    run.__name__ = f"what_is_too_long_behind_{name}"
    return case(run)


for each in ("ipip", "ipip_nbma", "wireguard", "vxlan"):
    too_long_behind(each)


@contextlib.contextmanager
def netem(shared, *spoil):
    """Spoils both directions between the nodes, and between outside and them."""
    fabric = shared.lab.fabric
    names = [space.name for space in (*shared.lab.nodes, shared.lab.outside)]
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


@case
def delay_and_loss(shared):
    """Lost and late SYNs, answers and ends: TCP repeats them, and every count is right after."""
    with netem(shared, "delay", "10ms", "5ms", "loss", "3%"):
        traffic.exchange_bodies(shared, "remote")
        for space in (*shared.lab.nodes, shared.lab.outside):
            account = shared.lab.fabric.run("tc", "-s", "-j", "qdisc", "show", "dev", space.name)
            check(json.loads(account)[0]["drops"] > 0, f"nothing was lost: {account}")


@case
def duplicates_and_reordering(shared):
    with netem(shared, "delay", "5ms", "reorder", "25%", "50%", "duplicate", "5%"):
        traffic.exchange_bodies(shared, "remote")


if __name__ == "__main__":
    main(setup, traffic.settled)
