#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Both ways of attaching: tcx where the kernel has it, clsact when it is forced; the same
traffic over both, and nothing left after --unload."""

import contextlib
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import Skip, case, check, check_equal, eventually, main  # noqa: E402
from neighbour import Neighbours  # noqa: E402
from process import built  # noqa: E402
import traffic  # noqa: E402


@contextlib.contextmanager
def setup():
    with traffic.roads(env={"SLUICE_FORCE_CLSACT": "1"}) as shared:
        yield shared


def clsact_devices(node):
    return {line.split()[4] for line in node.run("tc", "qdisc", "show").splitlines()
            if "clsact" in line}


def tcx_devices(node):
    return {line.split()[0] for line in node.run(built("tests/e2e/hooks")).splitlines()}


@case
def clsact_carries_all_traffic(shared):
    node = shared.lab.node1
    hooked = {"uplink0", "sluice0", *(pod.veth for pod in shared.lab.pods.values() if pod.node is node)}
    check_equal(clsact_devices(node), hooked, "devices with clsact")
    check_equal(tcx_devices(node), set(), "devices with tcx")
    traffic.exchange_everything(shared)


@case
def a_device_that_cannot_be_attached_is_said_once(shared):
    """One where somebody else's filter for IPv4 alone holds our priority. Two replicas are routed there
    and routes change, which asks for it each time: one line; and once the place is free, attached
    without any further change."""
    node = shared.lab.node1
    vip = shared.tcp["local"].vip4
    remote = shared.lab.pods["remote"]

    def said():
        return [line for line in node.agent.log().splitlines() if "cannot attach to odd0" in line]

    def routed():
        return vip in node.run("ip", "route", "show", "proto", "115")

    others = Neighbours(shared.lab)
    _, program = others.load(node, "neighbour_next")
    node.ip("link add odd0 type veth peer name odd1")
    node.run("tc", "qdisc", "add", "dev", "odd0", "clsact")
    node.run("tc", "filter", "add", "dev", "odd0", "ingress", "protocol", "ip", "prio", "1", "handle", "1",
             "bpf", "da", "object-pinned", program)
    node.ip("link set odd0 up")
    node.ip("link set odd1 up")
    try:
        for address in (remote.ip4, remote.ip6):
            node.ip(f"route add {address} dev odd0")
        eventually(said, "it is said")
        for _ in range(3):
            node.ip(f"route del {vip}/32")
            eventually(routed, "routes were looked at anew")
        check_equal(len(said()), 1, f"lines: {said()}")
        check("sluice doctor" in said()[0], "no advice")
        node.run("tc", "filter", "del", "dev", "odd0", "ingress")
        eventually(lambda: "attach: odd0 as fabric" in node.agent.log(), "it is attached")
        check_equal(len(said()), 1, f"lines: {said()}")
    finally:
        node.ip("link del odd0")
        others.close()
    for address in (remote.ip4, remote.ip6):
        eventually(lambda: node.replica(address, 8080)["state"] == "ready", f"{address} is back")
    for client in traffic.CLIENTS:
        traffic.exchange_tcp(shared, client, "remote", 4, 50)


@case
def unload_removes_clsact(shared):
    node = shared.lab.node1
    node.agent.stop()
    check(clsact_devices(node), "the filters are gone with the agent")
    check_equal(node.unload(), [], "left by --unload")


@case
def tcx_is_the_first_choice(shared):
    node = shared.lab.node1
    if not tcx_devices(shared.lab.node2):
        raise Skip("this kernel has no tcx (before 6.6)")
    node.start_sluiced()
    check_equal(clsact_devices(node), set(), "devices with clsact")
    check("uplink0" in tcx_devices(node), "no tcx program on uplink0")
    for place in traffic.PLACES:
        traffic.exchange_tcp(shared, "pod", place, 4)
    node.agent.stop()
    check_equal(node.unload(), [], "left by --unload")


if __name__ == "__main__":
    main(setup, traffic.settled)
