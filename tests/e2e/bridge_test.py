#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Every way from a client to a replica where pods hang on a bridge, with the rule that drops INVALID
packets; and that this rule finds nothing of ours to drop, although it bites."""

import contextlib
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from bridge import BridgePod  # noqa: E402
from case import case, check_equal, eventually, main  # noqa: E402
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


if __name__ == "__main__":
    main(setup, traffic.settled)
