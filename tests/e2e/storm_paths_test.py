#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""A storm on each path of the matrix and for each way of starting the agents: STORM (20000) short
connections that end in every way there is, over both families; none may fail but for a rare race of the
kernel's own (servers.unheard()), and every count must come back to 0. From outside to another node
they may be fewer: then it says so. (storm_test.py mixes the paths, and compares with kube-proxy.)"""

import contextlib
import itertools
import os
import sys
import time

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import Skip, case, check, check_equal, main  # noqa: E402
from matrix import (COLUMNS, FAMILIES, Cell, add_column, choose_cases, reason_of, roads,  # noqa: E402
                    start_agents)
from servers import Load, check_no_errors, spread_flows  # noqa: E402
import matrix  # noqa: E402

STORM = int(os.environ.get("STORM", 20000))
# An outside client's connection to another node takes a source port, which then rests for a minute.
SOURCE_NAT = 28000 // len(COLUMNS)


@contextlib.contextmanager
def setup():
    with roads(modes=("replace",)) as shared:
        shared.column = None
        for pod in shared.replica.values():
            spread_flows(pod)
        for node in shared.lab.nodes:   # clients here are nodes too
            node.sysctl(net__ipv4__tcp_tw_reuse=1)
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean(120)


def each(client, place):
    """Connections of one family; says so when they are fewer than STORM wants."""
    wanted = STORM // len(FAMILIES)
    if client != "outside" or "remote" not in place or wanted <= SOURCE_NAT:
        return wanted
    print(f"    {SOURCE_NAT} of {wanted} connections a family: each takes a port of the source NAT, which "
          "rests for a minute", flush=True)
    return SOURCE_NAT


def storm(shared, column, client, place):
    cells = [Cell(column, "replace", client, place, family, "tcp") for family in FAMILIES]
    why = [reason_of(shared, cell) for cell in cells]
    if any(why):
        raise Skip(why[0] or why[1])
    began, before = time.monotonic(), sum(matrix.picks(shared, cell) for cell in cells)
    app, space = shared.app["replace", place], matrix.caller(shared, cells[0])
    count = each(client, place)
    # Each client on a CPU of its own, where unheard()'s race is rare.
    loads = [Load(space, app.target(family), cpu=cpu, connections=24, count=count, end="mix",
                  timeout_ms=20000)
             for family, cpu in zip(FAMILIES, itertools.cycle(sorted(os.sched_getaffinity(0))))]
    results = [load.result(280) for load in loads]
    connections = sum(result["requests"] for result in results)
    print(f"    {connections} connections in {time.monotonic() - began:.1f} s")
    for result in results:
        check_no_errors(result, "storm", kernel_resets=1 + count // 100000)
    check_equal(connections, len(FAMILIES) * count, "connections")
    grown = sum(matrix.picks(shared, cell) for cell in cells) - before
    check(grown >= connections, f"{grown} picks for {connections} connections")


def add_path(column, client, place):
    def run(shared):
        if shared.column != column:
            start_agents(shared, column)
            shared.column = column
        storm(shared, column, client, place)

    run.__name__ = f"{column}_{client}_to_{place}".replace("-", "_")
    case(run)


for each_column in COLUMNS:
    add_column(each_column, add_path)

if __name__ == "__main__":
    choose_cases()
    main(setup, settled)
