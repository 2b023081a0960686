#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Every way a packet can take: the matrix of tests/lib/matrix.py, one case a cell, once for each way of
starting the agents (columns), and once more with the agents killed. While the cells of a part run,
everything that passes any interface is watched: checksums, addresses, the kernel's own refusals.
The table is printed in the end. `matrix_test.py WORD...` runs the cases with such a word in their names,
as `xdp_`, `self_to` or `v6_udp`."""

import contextlib
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, main, skipped  # noqa: E402
from matrix import (COLUMNS, ECHO, HTTP, PORT, USED, add_unsupported, cells, choose_cases,  # noqa: E402
                    kill_agents, roads, run_cell, start_agents, table, unsupported)
import watch  # noqa: E402


@contextlib.contextmanager
def setup():
    with roads() as shared, contextlib.ExitStack() as shared.over:
        shared.part = None
        yield shared
        print(f"\n{table(shared.results)}\n", flush=True)


# ---- a part: the cells of one column and protocol, under watch ----------------------------------
def enter(shared, part, column, dead):
    """Starts the agents as the part wants them, and the watch; both once."""
    if shared.part == part:
        return
    shared.part = part
    start_agents(shared, column)
    if dead:
        kill_agents(shared)
    lab = shared.lab
    shared.spaces = [*lab.nodes, lab.outside, *lab.pods.values()]
    shared.column, shared.used = column, used(shared, column)
    shared.refused = watch.refusals(shared.spaces), watch.martians()
    shared.others = other_spaces(shared)
    shared.watch = shared.over.enter_context(watch.Watch(shared.spaces, (HTTP, ECHO, PORT)))


def used(shared, column):
    """How often the nodes went the column's own way; 0 where it has none."""
    if column not in USED:
        return 0
    return sum(node.sluice("status")[0]["counters"][USED[column]] for node in shared.lab.nodes)


def ends(shared):
    """(VIPs, replicas) as watch.leaks() wants them."""
    both = [(port, proto) for port in (HTTP, ECHO) for proto in ("TCP", "UDP")]
    vips = {(vip, *one) for app in shared.app.values() for vip in (app.vip4, app.vip6)
            for one in both}
    replicas = {(address, PORT, proto) for pod in shared.replica.values()
                for address in (pod.ip4, pod.ip6) for proto in ("TCP", "UDP")}
    return vips, replicas


def leave(shared):
    """Ends the watch and judges what it saw."""
    vips, replicas = ends(shared)
    seen = shared.watch.stop()
    watch.check_sums(seen)
    pods = list(shared.lab.pods.values())
    found = watch.leaks(seen, shared.lab.nodes, pods, shared.lab.outside, vips, replicas)
    check(not found, f"{len(found)} leaks of addresses, e.g. {found[:4]}")
    answers = [row for row in seen["client"] if watch.end(row, "s") in vips]
    check(answers, "the watch saw no answer of a VIP to the pod")
    check(all(row["device"] == "eth0" and row["way"] == "in" for row in answers), f"{answers}")
    check_refusals(shared)
    check(shared.column not in USED or used(shared, shared.column) > shared.used,
          f"{shared.column} was not at work: its counter stood still")


def check_refusals(shared):
    before, martians = shared.refused
    others = sorted(shared.others | other_spaces(shared))
    grown = {key: value - before[key] for key, value in watch.refusals(shared.spaces).items()
             if value != before[key]}
    check(not grown, f"the kernel refused packets: {grown}")
    if others:
        skipped(f"{shared.part}_martians".replace(" ", "_"), "the kernel counts them for the whole machine, "
                f"and here are other network namespaces, as {others[0]}")
    else:
        check(watch.martians() == martians, "martians were counted")


def other_spaces(shared):
    """Named network namespaces that are not this lab's."""
    return {name for name in os.listdir("/run/netns") if not name.startswith(f"{shared.lab.prefix}-")}


def add_cell(part, cell, column, dead):
    def run(shared):
        enter(shared, part, column, dead)
        try:
            shared.results[cell] = run_cell(shared, cell)
        except AssertionError as error:
            shared.results[cell] = error
            raise

    run.__name__ = cell.name
    case(run)


def add_part(column, protocol, dead=False, **chosen):
    part = f"{column}{'-dead' if dead else ''}"
    for cell in cells(part, (protocol,), **chosen):
        add_cell(f"{part} {protocol}", cell, column, dead)

    def on_the_wire(shared):
        check(shared.part == f"{part} {protocol}", "none of its cells was run")
        leave(shared)

    on_the_wire.__name__ = f"{part}_{protocol}_on_the_wire".replace("-", "_")
    case(on_the_wire)


def add_columns():
    """UDP first: its conversations end by silence, while TCP is tried."""
    lacking = {column: unsupported(column) for column in COLUMNS}
    here = [column for column in COLUMNS if not lacking[column]]
    for column in here:
        add_part(column, "udp")
    for column in here:
        add_part(column, "tcp")
        add_part(column, "tcp", dead=True, families=(4,))
    for column, why in lacking.items():
        if why:
            add_unsupported(column, why)


add_columns()


@case
def everything_ends(shared):
    """No flow is left, nor counted: the last datagram was 120 s ago."""
    for node in shared.lab.nodes:
        node.assert_clean(180, ("TCP", "UDP"))


if __name__ == "__main__":
    choose_cases()
    main(setup)
