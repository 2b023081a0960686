#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""WIP"""
import contextlib
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
import traffic  # noqa: E402


@contextlib.contextmanager
def setup():
    with traffic.roads(options=("--fast-path",)) as shared:
        yield shared


@case
def every_way(shared):
    for client in traffic.CLIENTS:
        for place in traffic.PLACES:
            for family in traffic.FAMILIES:
                traffic.exchange_tcp(shared, client, place, family)
                traffic.exchange_udp(shared, client, place, family)
    print([(f["hook"]) for f in shared.lab.node1.sluice("flow", "show", "-a")][:10])
    print({k: v for k, v in shared.lab.node1.sluice("status")[0].items() if "fast" in k})


if __name__ == "__main__":
    main(setup, traffic.settled)
