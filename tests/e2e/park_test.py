#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The waiting line: more clients than places on three nodes, none of whom is refused; who is served
when; a service that starts from nothing."""

import contextlib
import os
import signal
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import SLOW, case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from line import Crowd, Slots, check_served  # noqa: E402
from manifest import App, Port  # noqa: E402

CAP, REPLICAS, CLIENTS = 4, 6, 200
PATIENCE_S = 60


@contextlib.contextmanager
def setup():
    with Lab(nodes=3) as lab:
        shared = types.SimpleNamespace(lab=lab, slots=[])
        shared.clients = [lab.add_pod(node, f"client{node.number}") for node in lab.nodes]
        shared.app = App(lab, "line", 10, [Port("slots", 80, 8080)])
        shared.app.annotations = {"sluice.dev/max-connections-per-replica": str(CAP),
                                  "sluice.dev/when-full": "wait", "sluice.dev/when-none": "wait"}
        for i in range(REPLICAS):
            pod = lab.add_pod(lab.nodes[i % 3], f"replica{i}")
            shared.slots.append(Slots(pod))
            shared.app.add(pod)
        shared.app.write()
        for node in lab.nodes:
            node.start_sluiced()
            eventually(lambda: shared.app.applied(node), f"line applied on {node.name}")
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean()
        check_equal(parked(node), 0, f"{node.name}: parked")
        for row in node.replicas(shared.app.service):
            check((row["state"], row["ejections"], row["connect_failures"]) == ("ready", 0, 0),
                  f"{node.name}: {row}")
    for slots in shared.slots:
        check(slots.account()["peak"] <= CAP, f"{slots.pod.name}: {slots.account()}")


def parked(node):
    return sum(row["parked"] for row in node.sluice("service", "show"))


def hold_all(shared):
    """Clients that take every place there is, and keep it."""
    crowd = Crowd(shared.clients[0], shared.app, CAP * REPLICAS, "hold")
    eventually(lambda: sum(slots.account()["now"] for slots in shared.slots) == CAP * REPLICAS,
               "every place is taken")
    return crowd


def inversions(clients):
    """How many of those that had to wait were overtaken by one who began later."""
    served = sorted(clients, key=lambda one: one["connected"])
    overtaken, first = 0, None
    for one in reversed(served):
        overtaken += first is not None and one["begun"] > first
        first = one["begun"] if first is None else min(first, one["begun"])
    return overtaken


def shares(crowds):
    """How many of each crowd were served until the first crowd was through."""
    end = min(crowd[-1]["connected"] for crowd in crowds)
    return [sum(one["connected"] <= end for one in crowd) for crowd in crowds]


def serve_all(shared):
    """As many clients as wait on each node, all of them in line before the first place is free.
    Returns how many of each node's were served until one node's were through."""
    holders = hold_all(shared)
    crowds = [Crowd(space, shared.app, CLIENTS, "20-80", 0.5, PATIENCE_S)
              for space in shared.clients]
    eventually(lambda: all(parked(node) == CLIENTS for node in shared.lab.nodes), "all wait", 30)
    metrics = shared.lab.node1.http("/metrics")
    check(f'sluice_parked_connections{{service="default/line",port="slots"}} {CLIENTS}\n'
          in metrics, metrics)
    begun = time.monotonic()
    holders.close()
    results = [crowd.result() for crowd in crowds]
    for space, clients in zip(shared.clients, results):
        check_served(clients, space.name)
        overtaken = inversions(clients)
        check(overtaken <= CLIENTS // 20, f"{space.name}: {overtaken} of {CLIENTS} were overtaken")
    took = max(clients[-1]["connected"] for clients in results) - begun
    print(f"    shares {shares(results)}, overtaken {[inversions(one) for one in results]}, "
          f"{took:.2f} s; {3 * CLIENTS * 0.05 / CAP / REPLICAS:.2f} s with no place ever empty")
    return shares(results)


@case
def all_are_served_in_order_and_in_equal_shares(shared):
    """Shares are a matter of chance, and where agents must wait for a CPU, of that: more is looked
    at until they are equal enough."""
    total, rounds = [0, 0, 0], 0
    while not rounds or (max(total) > 1.2 * sum(total) / 3 or min(total) < 0.8 * sum(total) / 3):
        check(rounds < 5, f"shares {total} after {rounds} rounds")
        total = [sum(pair) for pair in zip(total, serve_all(shared))]
        rounds += 1
    for slots in shared.slots:
        check_equal(slots.account()["peak"], CAP, f"{slots.pod.name}: most at once")


@case
def outside_clients_wait_too(shared):
    """Through source NAT, for replicas of all nodes."""
    check_served(Crowd(shared.lab.outside, shared.app, CLIENTS, 20, 0, PATIENCE_S).result(),
                 "outside")


@case
def a_place_that_frees_is_taken_soon(shared):
    holders = hold_all(shared)
    waiting = [Crowd(space, shared.app, 1, 0, 0, PATIENCE_S) for space in shared.clients]
    eventually(lambda: [parked(node) for node in shared.lab.nodes] == [1, 1, 1], "one each waits")
    eventually(lambda: [flow["state"] for node in shared.lab.nodes for flow in node.live_flows()]
               .count("parked") == 3, "parked flows in `flow show`")
    time.sleep(1)
    freed = time.monotonic()
    holders.close()
    for crowd in waiting:
        one = crowd.result()[0]
        check_served([one], crowd.name)
        print(f"    {crowd.name}: {1000 * (one['connected'] - freed):.0f} ms after")


@case
def who_gives_up_leaves_and_lets_others_through(shared):
    """A client that closes its socket in line says nothing; its place is spent when its turn comes,
    at no cost of the next one's."""
    holders = hold_all(shared)
    gone = Crowd(shared.clients[0], shared.app, 5, "hold", 0, PATIENCE_S)
    eventually(lambda: parked(shared.lab.node1) == 5, "five wait")
    gone.close()
    next_one = Crowd(shared.clients[0], shared.app, 1, 0, 0, PATIENCE_S)
    eventually(lambda: parked(shared.lab.node1) == 6, "a sixth waits")
    holders.close()
    check_served(next_one.result(), "the next one")


def refused_for_full(node):
    return node.sluice("status")[0]["drops"]["full"]


@case
def a_line_has_an_end(shared):
    shared.app.traffic_policy = {"connectionPool": {"http": {"http1MaxPendingRequests": 10}}}
    shared.app.apply()
    eventually(lambda: all(row["max_parked"] == 10 for node in shared.lab.nodes
                           for row in node.sluice("service", "show")), "ten may wait")
    holders = hold_all(shared)
    before = refused_for_full(shared.lab.nodes[1])
    crowd = Crowd(shared.clients[1], shared.app, 30, 0, 0, PATIENCE_S)
    eventually(lambda: parked(shared.lab.nodes[1]) == 10, "ten wait")
    eventually(lambda: refused_for_full(shared.lab.nodes[1]) >= before + 20, "twenty are refused")
    holders.close()
    refused = [one for one in crowd.result() if one["error"]]
    check_equal([one["error"] for one in refused], ["ECONNREFUSED"] * 20, "the others")
    check(all(one["connected"] - one["begun"] < 1 * SLOW for one in refused), "refused at once")
    shared.app.traffic_policy = None
    shared.app.apply()
    eventually(lambda: all(row["max_parked"] > 10 for node in shared.lab.nodes
                           for row in node.sluice("service", "show")), "more may wait")


@case
def with_agents_dead_they_live_by_retransmits(shared):
    holders = hold_all(shared)
    crowd = Crowd(shared.clients[1], shared.app, 10, 0, 0, PATIENCE_S)
    eventually(lambda: parked(shared.lab.nodes[1]) == 10, "ten wait")
    for node in shared.lab.nodes:
        node.agent.signal(signal.SIGKILL)
        node.agent.popen.wait(10)
    holders.close()
    check_served(crowd.result(), "with the agents dead")
    for slots in shared.slots:
        check(slots.account()["peak"] <= CAP, f"{slots.pod.name}: {slots.account()}")
    for node in shared.lab.nodes:
        node.start_sluiced()


@case
def from_nothing(shared):
    """No replica at all: connects wait, and are served as soon as there is one."""
    app = App(shared.lab, "cold", 20, [Port("slots", 80, 8080)])
    app.annotations = {"sluice.dev/when-none": "wait"}
    app.apply()
    for node in shared.lab.nodes:
        eventually(lambda: any(row["service"] == app.service
                               for row in node.sluice("service", "show")), "cold applied")
    crowd = Crowd(shared.clients[0], app, 20, 0, 0, PATIENCE_S)
    outside = Crowd(shared.lab.outside, app, 20, 0, 0, PATIENCE_S)
    eventually(lambda: parked(shared.lab.node1) == 40, "they wait")
    time.sleep(1)
    pod = shared.lab.add_pod(shared.lab.node2, "first")
    Slots(pod)
    app.add(pod)
    app.apply()
    applied = time.monotonic()
    clients = crowd.result() + outside.result()
    check_served(clients, "from nothing")
    late = max(one["connected"] for one in clients) - applied
    print(f"    the last of 40 was connected {1000 * late:.0f} ms after its replica was known")
    check(late < 5 * SLOW, f"{late:.1f} s")
    app.remove()
    for node in shared.lab.nodes:
        eventually(lambda: not any(row["service"] == app.service and row["state"] != "down"
                                   for row in node.replicas()), "gone", 30)
        eventually(lambda: not node.replicas(app.service), "forgotten", 60)


if __name__ == "__main__":
    main(setup, settled)
