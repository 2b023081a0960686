#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Fabrics of other kinds than a plain wire, on kernels that have them: VXLAN and IPIP between the
nodes, a VLAN on the uplink, and wires that delay, lose, duplicate and reorder."""

import contextlib
import json
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import Skip, case, check, main  # noqa: E402
import traffic  # noqa: E402

POD_MTU = 1400      # leaves room for every header below
VXLAN = "link add over0 type vxlan id 42 dstport 4789 local {here} remote {there} dev uplink0"
IPIP = "link add over0 type ipip local {here} remote {there} dev uplink0"
VLAN = "link add link uplink0 name over0 type vlan id 7"


@contextlib.contextmanager
def setup():
    with traffic.roads() as shared:
        for pod in shared.lab.pods.values():
            pod.ip(f"link set eth0 mtu {POD_MTU}")
            pod.node.ip(f"link set {pod.veth} mtu {POD_MTU}")
        yield shared


def other(lab, node):
    return lab.node2 if node is lab.node1 else lab.node1


@contextlib.contextmanager
def overlay(lab, kind, families):
    """Each node reaches the pods of the other one through a device of that kind."""
    for node in lab.nodes:
        there = other(lab, node)
        try:
            node.ip(kind.format(here=node.ip4, there=there.ip4))
        except AssertionError as error:
            raise Skip(f"this kernel cannot make the device: {error}") from None
        node.ip(f"addr add 10.200.0.{node.number}/24 dev over0",
                f"addr add fd20::{node.number}/64 dev over0 nodad" if 6 in families else "",
                "link set over0 up")
    try:
        for node in lab.nodes:
            there = other(lab, node)
            node.ip(f"route replace {there.pods4} via 10.200.0.{there.number} dev over0")
            if 6 in families:
                node.ip(f"route replace {there.pods6} via fd20::{there.number} dev over0")
        yield
    finally:
        for node in lab.nodes:
            there = other(lab, node)
            node.ip(f"route replace {there.pods4} via {there.ip4}",
                    f"route replace {there.pods6} via {there.ip6}",
                    "link del over0")


def check_overlay(shared, kind, families, clients=traffic.CLIENTS):
    with overlay(shared.lab, kind, families):
        traffic.exchange_bodies(shared, "remote", clients, families)
        traffic.settled(shared)
    traffic.exchange_bodies(shared, "remote", families=families)


@case
def vxlan_between_nodes(shared):
    check_overlay(shared, VXLAN, (4, 6))


@case
def ipip_between_nodes(shared):
    """Pods only: source NAT for outside clients does not go over devices without Ethernet."""
    check_overlay(shared, IPIP, (4,))


@case
def vlan_between_nodes(shared):
    check_overlay(shared, VLAN, (4, 6))


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
