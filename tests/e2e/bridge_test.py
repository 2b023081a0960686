#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Every way from a client to a replica where pods hang on a bridge, with the rule that drops INVALID
packets; that this rule finds nothing of ours to drop, although it bites; and the same where bridged
packets bypass netfilter (bridge-nf-call-iptables=0), which `sluice doctor` judges."""

import contextlib
import json
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from bridge import BridgePod  # noqa: E402
from case import case, check, check_equal, eventually, main  # noqa: E402
from process import built  # noqa: E402
from servers import load  # noqa: E402
import traffic  # noqa: E402

STRAY = """
import socket, struct, sys
reset = struct.pack("!HHIIBBHHH", 4242, 80, 1, 0, 5 << 4, 4, 0, 0, 0)
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).sendto(reset, (sys.argv[1], 0))
"""


@contextlib.contextmanager
def setup():
    with traffic.roads(pod_type=BridgePod) as shared:
        yield shared


def invalid(node):
    """Packets that the rules of this node have dropped as INVALID, both families."""
    total = 0
    for tables in ("iptables", "ip6tables"):
        for line in node.run(tables, "-w", "-xvnL", "FORWARD").splitlines():
            total += int(line.split()[0]) if "ctstate INVALID" in line else 0
    return total


@case
def every_way(shared):
    for client in traffic.CLIENTS:
        for place in traffic.PLACES:
            for family in traffic.FAMILIES:
                traffic.exchange_tcp(shared, client, place, family)
                traffic.exchange_udp(shared, client, place, family)


@case
def nothing_of_ours_is_invalid(shared):
    before = [invalid(node) for node in shared.lab.nodes]
    for place in traffic.PLACES:
        traffic.exchange_bodies(shared, place)
    check_equal([invalid(node) for node in shared.lab.nodes], before, "packets dropped as INVALID")


@case
def invalid_packets_are_dropped(shared):
    """An RST that belongs to nothing, through the router and to a neighbour on the bridge."""
    node = shared.lab.node1
    for client in traffic.CLIENTS:
        before = invalid(node)
        shared.client[client].run("python3", "-c", STRAY, shared.lab.pods["local"].ip4)
        eventually(lambda: invalid(node) > before, f"a stray RST from {client} is dropped")


def doctor(node):
    """The row `bridge_nf`."""
    rows = json.loads(node.run(built("sluice"), "-j", "--bpffs", node.bpffs, "doctor", fail=False))
    return next(row for row in rows if row["check"] == "bridge_nf")


@contextlib.contextmanager
def bypassed(shared):
    """Packets between ports of a bridge do not pass netfilter."""
    def call(value):
        for node in shared.lab.nodes:
            node.sysctl(**{"net__bridge__bridge-nf-call-iptables": value,
                           "net__bridge__bridge-nf-call-ip6tables": value})
    call(0)
    try:
        yield
    finally:
        call(1)


@contextlib.contextmanager
def without_the_rule(shared):
    rule = ("FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
    for node in shared.lab.nodes:
        for tables in ("iptables", "ip6tables"):
            node.run(tables, "-w", "-D", *rule)
    try:
        yield
    finally:
        for node in shared.lab.nodes:
            for tables in ("iptables", "ip6tables"):
                node.run(tables, "-w", "-A", *rule)


@case
def bridged_packets_past_netfilter(shared):
    """Every way still, as long as no rule drops what connection tracking saw half of."""
    check_equal(doctor(shared.lab.node1)["status"], "ok", "bridge_nf, packets pass netfilter")
    with bypassed(shared), without_the_rule(shared):
        check_equal(doctor(shared.lab.node1)["status"], "warn", "bridge_nf, no rule")
        for client in traffic.CLIENTS:
            for place in traffic.PLACES:
                for family in traffic.FAMILIES:
                    traffic.exchange_tcp(shared, client, place, family, count=50)
                    traffic.exchange_udp(shared, client, place, family)


@case
def past_netfilter_with_the_rule(shared):
    """Between two pods of one bridge data dies, and doctor says so; every other way is as before."""
    with bypassed(shared):
        row = doctor(shared.lab.node1)
        check_equal(row["status"], "fail", "bridge_nf with the rule")
        check("connections between its pods open, then stall" in row["found"], row)
        for client, place in (("pod", "remote"), ("outside", "local"), ("outside", "remote")):
            traffic.exchange_bodies(shared, place, (client,))
        result = load(shared.client["pod"], shared.tcp["local"].target(), connections=4, count=4,
                      timeout_ms=1000)
        check_equal((result["ok"], result["connect_failed"]), (0, 0), f"stalled: {result}")
    traffic.exchange_bodies(shared, "local", ("pod",))


if __name__ == "__main__":
    main(setup, traffic.settled)
