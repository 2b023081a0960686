#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The faults of tests/lib/faults.py without Sluice: that a client behind kube-proxy's random pick
feels each of them, in the way that its name says, and nothing any more once it is over."""

import contextlib
import os
import sys
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, main  # noqa: E402
from faults import CONNECT, FAULTS, SLOW_MS  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Load, Server, check_no_errors, load  # noqa: E402
import kubeproxy  # noqa: E402

# What a client sees of it. A node sends few ICMP errors to one address: the others are silence. And
# one that is back before connect() has let go of its socket is lost on the client (tcp_v6_err).
FELT = {"rst": {"refused"}, "icmp": {"refused", "timeout"}, "black_hole": {"timeout"},
        "closed": {"refused"}, "queue_full": {"timeout"}, "flapping": {"refused"},
        "link_down": {"unreachable", "timeout"}, "frozen": {"timeout"}, "killed": {"refused"},
        "slow": set(), "erring": {"status"}}


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, servers=[], client=lab.add_pod(lab.node1, "client"))
        shared.app = App(lab, "web", 10, [Port("http", 80, 8080)])
        for node in lab.nodes:
            pod = lab.add_pod(node, f"web{node.number}")
            shared.servers.append(Server(pod, logged=True))
            shared.app.add(pod)
        kubeproxy.install(lab.node1, [shared.app])
        yield shared


def ask(shared, space, family, **options):
    return load(space, shared.app.target(family), connections=4, **options)


# How to ask while a fault lasts: enough to meet it, and not to wait long where it is silence.
DURING = {"flapping": {"duration": 0.5}, "slow": {"count": 40}}
ALWAYS = {"count": 40, "timeout_ms": 300}


@case
def each_fault_is_felt_and_ends(shared):
    check_equal(FELT.keys(), FAULTS.keys(), "faults that this test knows")
    for name, fault in FAULTS.items():
        for server, space, family in zip(shared.servers, (shared.client, shared.lab.outside),
                                         (6, 4)):
            what = f"{name} at {server.pod.name}, IPv{family} from {space.name}"
            with fault(server):
                result = ask(shared, space, family, **DURING.get(name, ALWAYS))
            kinds = {kind for kind, count in result["errors"].items() if count}
            check(kinds <= FELT[name] and bool(kinds) == bool(FELT[name]),
                  f"{what}: {result['errors']}, expected {FELT[name]}")
            if name in CONNECT:
                check_equal(result["connect_failed"], result["failed"],
                            f"{what}: connects that failed, of all that did")
            if name == "slow":
                check(result["request_us"]["max"] >= SLOW_MS * 1000, f"{what}: not slow")
            check_no_errors(ask(shared, space, family, count=40), f"after {what}")


@case
def a_kill_cuts_answers_off(shared):
    server = shared.servers[0]
    with contextlib.ExitStack() as over:
        over.enter_context(FAULTS["slow"](server))
        running = Load(shared.client, shared.app.target(), connections=8, count=40)
        while server.pod.established(server.port, server.process.pid) < 2:
            pass
        over.enter_context(FAULTS["killed"](server))
        errors = running.result()["errors"]
    check(errors["short"] + errors["reset"] >= 2, f"requests cut off: {errors}")


@case
def every_request_is_noted_by_its_server(shared):
    """The ids: every one of them is in one log, whatever became of the answers."""
    for server in shared.servers:
        server.forget_ids()
    results = [load(space, shared.app.target(family), connections=8, count=500, ids=True)
               for space in (shared.client, shared.lab.outside) for family in (4, 6)]
    noted = [request for server in shared.servers for request in server.ids()]
    check_equal(len(noted), sum(result["ok"] for result in results), "requests noted")
    check_equal(len(set(noted)), len(noted), "different ids")


if __name__ == "__main__":
    main(setup)
