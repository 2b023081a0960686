#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Slow start: a replica that joins others, or comes back, takes a growing share of the picks,
and an agent that is replaced meanwhile goes on with it."""

import contextlib
import os
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Load, Server, check_no_errors  # noqa: E402

USERS = 60


@contextlib.contextmanager
def setup():
    with Lab(nodes=1) as lab:
        shared = types.SimpleNamespace(lab=lab, client=lab.add_pod(lab.node1, "client"))
        shared.app = App(lab, "model", 10, [Port("http", 80, 8080)])
        shared.app.traffic_policy = warmup("6s")
        shared.servers = {}
        for i in range(3):
            add(shared, f"model{i}")
        shared.app.write()
        lab.node1.start_sluiced()
        eventually(lambda: shared.app.applied(lab.node1), "model applied")
        yield shared


def warmup(duration):
    return {"loadBalancer": {"warmup": {"duration": duration, "minimumPercent": 10}}}


def add(shared, name):
    pod = shared.lab.add_pod(shared.lab.node1, name)
    shared.servers[name] = Server(pod, service_us=50000)
    shared.app.add(pod)
    return pod


def rows(shared):
    """{pod: row} of the IPv4 replicas."""
    names = {one.pod.ip4: one.pod.name for one in shared.app.replicas}
    return {names[row["address"]]: row for row in shared.lab.node1.replicas(shared.app.service)
            if row["address"] in names}


def state(shared, name):
    return rows(shared)[name]["state"]


def settled(shared):
    shared.lab.node1.assert_clean()


def events(shared, address):
    return [event["text"] for event in shared.lab.node1.sluice("event", "show")
            if event["event"] == "replica_state" and event["address"] == address]


@case
def a_cold_start_is_not_slow(shared):
    eventually(lambda: {row["state"] for row in rows(shared).values()} == {"ready"}, "all ready")
    check(all(row["warming_percent"] is None for row in rows(shared).values()), "none warms")


@case
def one_that_joins_grows_into_its_share(shared):
    load = Load(shared.client, shared.app.target(), connections=USERS, duration=120)
    eventually(lambda: sum(row["inflight"] for row in rows(shared).values()) >= USERS - 6,
               "steady load")
    pod = add(shared, "late")
    shared.app.write()
    eventually(lambda: "late" in rows(shared), "late joined", interval=0.005)
    slow, all_of_it = [], []
    deadline = time.monotonic() + 60
    while state(shared, "late") == "warming" and time.monotonic() < deadline:
        now = rows(shared)
        share = now["late"]["warming_percent"]
        others = sum(now[f"model{i}"]["inflight"] for i in range(3)) / 3
        if share is not None and others:
            (slow if share < 40 else all_of_it).append((share, now["late"]["inflight"] / others))
        time.sleep(0.05)
    print(f"    share, in-flight by others': {slow[:2]} ... {slow[-1:]} ... {all_of_it[-2:]}")
    check(slow and all_of_it, "it was warming for a while")
    check(slow[0][0] < 40, f"it begins small: {slow[0]}")
    check(sum(part for _, part in slow) / len(slow) < 0.5,
          f"it takes less than half of a peer's while it warms: {slow}")
    check_equal([share for share, _ in slow + all_of_it],
                sorted(share for share, _ in slow + all_of_it), "shares grow")
    eventually(lambda: state(shared, "late") == "ready", "late ready")
    eventually(lambda: rows(shared)["late"]["inflight"] >= USERS / 4 - 4, "a full share")
    check_no_errors(load.stop(), "closed loop")
    said = events(shared, pod.ip4)
    check("slow start of 6 s" in said and "slow start is over" in said, f"events: {said}")


@case
def one_that_comes_back_is_slow_and_survives_the_agent(shared):
    shared.app.traffic_policy = warmup("10m")
    shared.app.apply()
    server = shared.servers["late"]
    server.kill()
    eventually(lambda: state(shared, "late") == "down", "late down")
    server.start()
    eventually(lambda: state(shared, "late") == "warming", "late warming")
    check_equal({state(shared, f"model{i}") for i in range(3)}, {"ready"}, "the others")
    shared.lab.node1.agent.kill()
    check_equal(state(shared, "late"), "warming", "without an agent")
    shared.lab.node1.start_sluiced()
    eventually(lambda: shared.app.applied(shared.lab.node1), "applied again")
    time.sleep(0.5)  # a few turns of the agent's clock
    check_equal(state(shared, "late"), "warming", "with the next agent")
    shared.app.traffic_policy = None
    shared.app.apply()
    eventually(lambda: state(shared, "late") == "ready", "ready without slow start")


@case
def the_last_good_probe_is_in_the_row(shared):
    """Each of many: no change of state would tell of it."""
    def ages():
        return [row["last_good_probe_s"] for row in rows(shared).values()]

    eventually(lambda: None not in ages() and max(ages()) < 0.5, "each was good a moment ago")
    server = shared.servers["late"]
    server.kill()
    try:
        eventually(lambda: rows(shared)["late"]["last_good_probe_s"] > 1, "late's grows old")
        eventually(lambda: min(ages()) < 0.5, "the others' do not")
    finally:
        server.start()
    eventually(lambda: state(shared, "late") == "ready", "late ready")


if __name__ == "__main__":
    main(setup, settled)
