#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""What a client feels of a failing replica, on each path of the matrix and for each way of starting the
agents, in short: refused and black-holed connects are hidden by the other replica; a kill and a hang hurt
those they met, once; and no request is ever read by two. (fault_test.py has every fault, at length.)

Each Service has the replica that fails, at the place in question, and a good one in a pod of node1. Two
ports: PORT is probed, and BLIND, of the same pod, only by way of PORT: there packets alone tell."""

import contextlib
import os
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import SLOW, Skip, case, check, eventually, main  # noqa: E402
from faults import black_hole, frozen, killed, rst  # noqa: E402
from hostnet import HostPod  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from matrix import (COLUMNS, FAMILIES, PLACES, Cell, add_column, caller, choose_cases,  # noqa: E402
                    entry_node, reason_of, start_agents)
from servers import Load, Server, check_no_errors, spread_flows  # noqa: E402

PORT, BLIND = 8080, 8081
CLIENTS = ("pod", "outside", "node")    # a hairpin has no other replica to go to
USERS, COUNT, SECONDS = 4, 30, 0.8
PROBE = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1, "timeoutSeconds": 1}


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, replica={}, app={}, server={}, column=None)
        shared.client = {"pod": lab.add_pod(lab.node1, "client"), "outside": lab.outside,
                         "node": lab.node1}
        pods = {place: HostPod(node, place) if "host" in place else lab.add_pod(node, place)
                for place, node in zip(PLACES, (lab.node1, lab.node2) * 2)}
        for number, (place, pod) in enumerate(pods.items(), 10):
            good = lab.add_pod(lab.node1, f"good-{number}")
            for one in (pod, good):
                spread_flows(one)
                for port in (PORT, BLIND):
                    shared.server[one.name, port] = Server(one, port, logged=True)
            app = App(lab, place, number, [Port("probed", 80, PORT), Port("blind", 81, BLIND)])
            app.probe = PROBE
            app.add(pod)
            app.add(good)
            app.write()
            shared.replica[place], shared.app["replace", place] = pod, app
        yield shared


def settled(shared):
    """Every replica is ready again, every count 0, and no request was read twice."""
    for node in shared.lab.nodes:
        eventually(lambda: all(row["state"] == "ready" for row in node.replicas()),
                   f"{node.name}: all replicas are ready again", 60)
        node.assert_clean()
    read = [one for server in shared.server.values() for one in server.ids()]
    check(len(read) == len(set(read)), f"{len(read) - len(set(read))} requests were read twice")
    for server in shared.server.values():
        server.forget_ids()


def start(shared, path, family, port=0, **options):
    client, place = path
    space = caller(shared, types.SimpleNamespace(client=client, place=place))
    return Load(space, shared.app["replace", place].target(family, port), connections=USERS,
                ids=True, **options)


def row_of(shared, path, family, port):
    """The replica as its node of entry has it."""
    client, place = path
    node = entry_node(shared, types.SimpleNamespace(client=client, place=place))
    pod = shared.replica[place]
    address = pod.ip4 if family == 4 else pod.ip6
    return next(row for row in node.replicas(shared.app["replace", place].service)
                if (row["address"], row["port"]) == (address, port))


def hits(row):
    """How many connects failed there, or were sent on to another one."""
    return row["retries"] + row["connect_failures"]


def check_hidden(shared, path, fault):
    """At the port that no probe looks at. The client notices nothing of a fault that it did meet."""
    with fault(shared.server[path[1], BLIND]):
        for family in FAMILIES:
            what = f"{fault.__name__}, IPv{family}"
            before = hits(row_of(shared, path, family, BLIND))
            result = start(shared, path, family, 1, count=COUNT).result()
            check_no_errors(result, what)
            check(path[1] not in result["replicas"], f"{what}: {result['replicas']} answered")
            check(result["connect_us"]["p99"] < 900000 * SLOW, f"{what}: {result['connect_us']}")
            check(hits(row_of(shared, path, family, BLIND)) > before, f"{what}: no connect met it")


def rows_of(shared, path):
    return [row_of(shared, path, family, PORT) for family in FAMILIES]


def is_picked(shared, path):
    """Whether both families' users are sent there just now: on a machine with much to do, a replica
    is late now and then, and so under suspicion."""
    before = rows_of(shared, path)
    time.sleep(0.02)
    return all(now["picks"] > then["picks"] for then, now in zip(before, rows_of(shared, path)))


def check_hurt(shared, path, fault, kinds, timeout_s, fault_s):
    """Users who never stop asking: each is hurt once at most, by an error of these kinds, and no
    connect fails. The loads' accounts, and the replica's rows before, amid and after the fault."""
    loads = [start(shared, path, family, duration=60 * SLOW, timeout_ms=int(1000 * timeout_s))
             for family in FAMILIES]
    time.sleep(SECONDS)
    eventually(lambda: is_picked(shared, path), "users are sent to the replica", 30)
    rows = [rows_of(shared, path)]
    with fault(shared.server[path[1], PORT]):
        for _ in range(2):
            time.sleep(fault_s / 2)
            rows.append(rows_of(shared, path))
    time.sleep(SECONDS)
    results = [load.stop() for load in loads]
    for result in results:
        what = (f"{fault.__name__}: {result['errors']}, {result['replicas']} answered; "
                f"{result['error_log'][:8]}")
        check(path[1] in result["replicas"] and not result["connect_failed"], what)
        wrong = {kind for kind, count in result["errors"].items() if count} - set(kinds)
        check(not wrong and result["failed"] <= USERS, what)
    return results, zip(*rows)


def check_killed(shared, path):
    """Whom it was answering is hurt; who comes is refused, and sent on unawares, or not sent there at
    all any more, where a probe was faster."""
    _, rows = check_hurt(shared, path, killed, ("short", "reset"), 1.2 * SLOW, SECONDS)
    for before, amid, after in rows:
        check(hits(after) > hits(before) or after["picks"] == amid["picks"],
              f"killed, and nobody met it: {before}, {amid}, {after}")


def check_frozen(shared, path):
    """It accepts still, and is silent for longer than users wait, but not for twice as long."""
    results, _ = check_hurt(shared, path, frozen, ("timeout", "short", "reset"), 1.2 * SLOW, 2.0 * SLOW)
    for result in results:
        check(result["errors"]["timeout"], f"frozen, and nobody met it: {result['errors']}")


def all_faults(shared, column, path):
    why = reason_of(shared, Cell(column, "replace", *path, 4, "tcp"))
    if why:
        raise Skip(why)
    check_hidden(shared, path, rst)
    check_hidden(shared, path, black_hole)
    check_killed(shared, path)
    settled(shared)
    check_frozen(shared, path)


def add_path(column, *path):
    def run(shared):
        if shared.column != column:
            start_agents(shared, column)
            shared.column = column
            settled(shared)
        all_faults(shared, column, path)

    run.__name__ = f"{column}_{path[0]}_to_{path[1]}".replace("-", "_")
    case(run)


for each_column in COLUMNS:
    add_column(each_column, add_path, CLIENTS)

if __name__ == "__main__":
    choose_cases()
    main(setup, settled)
