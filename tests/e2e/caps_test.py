#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Caps on connections, kept at the replicas' own nodes: six replicas of four places each on three
nodes, and clients on each of them who want more than there is."""

import contextlib
import os
import signal
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from line import Crowd, Slots, check_served  # noqa: E402
from manifest import App, Port  # noqa: E402

CAP, REPLICAS, CLIENTS = 4, 6, 60


@contextlib.contextmanager
def setup():
    with Lab(nodes=3) as lab:
        shared = types.SimpleNamespace(lab=lab, slots=[])
        shared.clients = [lab.add_pod(node, f"client{node.number}") for node in lab.nodes]
        shared.app = App(lab, "capped", 10, [Port("slots", 80, 8080)])
        shared.app.annotations = {"sluice.dev/max-connections-per-replica": str(CAP)}
        for i in range(REPLICAS):
            pod = lab.add_pod(lab.nodes[i % 3], f"replica{i}")
            shared.slots.append(Slots(pod))
            shared.app.add(pod)
        shared.app.write()
        for node in lab.nodes:
            node.start_sluiced()
            eventually(lambda: shared.app.applied(node), f"capped applied on {node.name}")
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean()
    for slots in shared.slots:
        check(slots.account()["peak"] <= CAP, f"{slots.pod.name}: {slots.account()}")
    check_no_blame(shared)


def check_no_blame(shared):
    """A full replica is neither ejected nor counted as failed, nor does its probe suffer."""
    for node in shared.lab.nodes:
        for row in node.replicas(shared.app.service):
            check((row["state"], row["ejections"], row["connect_failures"]) == ("ready", 0, 0),
                  f"{node.name}: {row}")


def hold_all(shared):
    """Clients that take every place there is, and keep it."""
    crowd = Crowd(shared.clients[0], shared.app, CAP * REPLICAS, "hold")
    eventually(lambda: sum(slots.account()["now"] for slots in shared.slots) == CAP * REPLICAS,
               "every place is taken")
    return crowd


@case
def never_one_too_many(shared):
    """More clients than places, from all nodes at once and for several rounds: some are refused,
    none is one too many, and no place stays empty."""
    refused = 0
    for _ in range(5):
        crowds = [Crowd(space, shared.app, CLIENTS, 50) for space in shared.clients]
        for crowd in crowds:
            clients = crowd.result()
            errors = {one["error"] for one in clients}
            check(errors <= {None, "ECONNREFUSED"}, f"errors {errors}")
            refused += sum(one["error"] is not None for one in clients)
    check(refused > 0, "nobody met a full replica")
    for slots in shared.slots:
        check_equal(slots.account()["peak"], CAP, f"{slots.pod.name}: most at once")
    told = sum(row["full"] for node in shared.lab.nodes
               for row in node.replicas(shared.app.service))
    check(told > 0, "no owner ever said no")


@case
def each_node_alone_may_use_all_places(shared):
    for space in (*shared.clients, shared.lab.outside):
        check_served(Crowd(space, shared.app, CAP * REPLICAS, 300).result(), space.name)
        eventually(lambda: not any(slots.account()["now"] for slots in shared.slots), "empty")
        for node in shared.lab.nodes:
            node.assert_clean()


@case
def full_replicas_refuse_at_once_and_probes_get_through(shared):
    crowd = hold_all(shared)
    for space in (*shared.clients, shared.lab.outside):
        for one in Crowd(space, shared.app, 3, "hold").result():
            check_equal(one["error"], "ECONNREFUSED", space.name)
            check(one["connected"] - one["begun"] < 0.5, f"{space.name}: {one}")
    owned = {row["address"]: row["owned"] for node in shared.lab.nodes
             for row in node.replicas(shared.app.service) if row["owned"]}
    check_equal(owned, {slots.pod.ip4: CAP for slots in shared.slots}, "owned")
    before = [slots.account()["spared"] for slots in shared.slots]
    time.sleep(2)
    for slots, n in zip(shared.slots, before):
        check(slots.account()["spared"] > n + 5, f"{slots.pod.name}: probes from its node")
    check_no_blame(shared)
    crowd.close()


@case
def one_that_ends_makes_room_for_one(shared):
    crowd = hold_all(shared)
    others = [Crowd(space, shared.app, 1, "hold") for space in shared.clients]
    for other in others:
        check_equal(other.result()[0]["error"], "ECONNREFUSED", "all is taken")
    crowd.close()
    for node in shared.lab.nodes:
        node.assert_clean()
    check_served(Crowd(shared.clients[1], shared.app, CAP * REPLICAS, 100).result(), "room again")


@case
def caps_are_kept_with_the_agents_dead(shared):
    for node in shared.lab.nodes:
        node.agent.signal(signal.SIGKILL)
        node.agent.popen.wait(10)
    crowds = [Crowd(space, shared.app, CLIENTS, 50) for space in shared.clients]
    served = sum(one["error"] is None for crowd in crowds for one in crowd.result())
    check(served >= CAP * REPLICAS, f"{served} served")
    for slots in shared.slots:
        check(slots.account()["peak"] <= CAP, f"{slots.pod.name}: {slots.account()}")
    for node in shared.lab.nodes:
        node.start_sluiced()


@case
def caps_come_and_go(shared):
    """A cap that is taken away sets everybody free, and leaves no count behind."""
    crowd = hold_all(shared)
    shared.app.annotations = {}
    shared.app.apply()
    eventually(lambda: not any(row["owned"] for node in shared.lab.nodes
                               for row in node.replicas(shared.app.service)), "none owned")
    more = Crowd(shared.clients[1], shared.app, 10, "hold")
    check_served(more.result(), "without a cap")
    more.close()
    crowd.close()
    for node in shared.lab.nodes:
        node.assert_clean()
    for slots in shared.slots:
        slots.restart()
    shared.app.annotations = {"sluice.dev/max-connections-per-replica": str(CAP)}
    shared.app.apply()


if __name__ == "__main__":
    main(setup, settled)
