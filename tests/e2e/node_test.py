#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The node's own clients: processes in its network namespace that call VIPs nobody else serves. The
node has no default route, strict rp_filter everywhere, and drops INVALID packets in every chain."""

import contextlib
import json
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from process import built  # noqa: E402
from servers import check_no_errors, load  # noqa: E402
import traffic  # noqa: E402

DEVICE = "sluice0"
PROTOCOL = "115"


@contextlib.contextmanager
def setup():
    with traffic.roads() as shared:
        shared.node = shared.client["node"] = shared.lab.node1
        for tables in ("iptables", "ip6tables"):
            for chain in ("INPUT", "OUTPUT"):
                shared.node.run(tables, "-A", chain, "-m", "conntrack", "--ctstate", "INVALID",
                                "-j", "DROP")
        yield shared


def routes(node, family=4):
    """{address: route} of ours."""
    text = node.run("ip", "-j", f"-{family}", "route", "show", "proto", PROTOCOL)
    return {one["dst"]: one for one in json.loads(text or "[]")}


def one_way(place, family):
    def tcp(shared):
        traffic.exchange_tcp(shared, "node", place, family)

    def udp(shared):
        traffic.exchange_udp(shared, "node", place, family)

    for function in (tcp, udp):
        function.__name__ = f"{function.__name__}_to_{place}_v{family}"
        case(function)


for each_place in traffic.PLACES:
    for each_family in traffic.FAMILIES:
        one_way(each_place, each_family)


if __name__ == "__main__":
    main(setup, traffic.settled)
