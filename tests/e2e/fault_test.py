#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""What a client feels of a failing replica: nothing, as long as the connection does not exist yet
and one replica is left that takes it; and no request is ever read by two replicas, whatever fails.

Each fault of tests/lib/faults.py, at a replica of this node and of the other, for clients in a pod,
outside and on the node, over both families. Probes ask another port, so that only packets can tell; the faults
that come after the handshake are met by probes of the server's own port as well."""

import contextlib
import os
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import SLOW, case, check, check_equal, eventually, main  # noqa: E402
from faults import AFTER, CONNECT, black_hole, icmp, flapping, rst  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Load, Nginx, Server, check_no_errors, load, spread_flows  # noqa: E402

PORT = 8080
COUNT = 200              # connects of one client while a fault lasts
STORM = int(os.environ.get("FAULT_CONNECTS", 100000))
PROBE = {"periodSeconds": 1, "timeoutSeconds": 1}
USERS = 8


def new_app(lab, name, number, probe_port):
    app = App(lab, name, number, [Port("http", 80, PORT)])
    app.probe = {"httpGet": {"path": "/health", "port": probe_port}, **PROBE}
    return app


@contextlib.contextmanager
def setup():
    """`blind`: near and far, probed at a port where nothing fails; `crowd`: four likewise;
    `probed`: two whose probes meet what clients meet."""
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, server={}, client=lab.add_pod(lab.node1, "client"))
        shared.blind, shared.crowd = new_app(lab, "blind", 10, 80), new_app(lab, "crowd", 11, 80)
        shared.probed = new_app(lab, "probed", 12, PORT)
        for name, node, app in (("near", lab.node1, shared.blind),
                                ("far", lab.node2, shared.blind),
                                ("crowd1", lab.node1, shared.crowd),
                                ("crowd2", lab.node1, shared.crowd),
                                ("crowd3", lab.node2, shared.crowd),
                                ("crowd4", lab.node2, shared.crowd),
                                ("near2", lab.node1, shared.probed),
                                ("far2", lab.node2, shared.probed)):
            pod = lab.add_pod(node, name)
            spread_flows(pod)
            Nginx(pod)
            shared.server[name] = Server(pod, PORT, logged=True)
            app.add(pod)
        shared.apps = (shared.blind, shared.crowd, shared.probed)
        shared.clients = (shared.client, lab.outside, lab.node1)
        for app in shared.apps:
            app.write()
        for node in lab.nodes:
            node.start_sluiced()
        for node in lab.nodes:
            for app in shared.apps:
                eventually(lambda: app.applied(node), f"{app.name} applied")
        wait_ready(shared)
        yield shared


def wait_ready(shared):
    """Every replica is where it was before: nothing of a fault is left."""
    node = shared.lab.node1
    eventually(lambda: all(row["state"] == "ready" for row in node.replicas()),
               "all replicas are ready again", 60)


def settled(shared):
    """No request at two replicas, nor twice at one; every count back to 0."""
    wait_ready(shared)
    for node in shared.lab.nodes:
        node.assert_clean()
    seen = {}
    for name, server in shared.server.items():
        for request in server.ids():
            check(request not in seen, f"request {request} was read by {name} and "
                                       f"{seen.get(request)}")
            seen[request] = name
        server.forget_ids()


def failures_of(shared, server):
    """Connects that failed at this replica, as node1 counts them, over both families."""
    return sum(shared.lab.node1.replica(address, PORT)["connect_failures"]
               for address in (server.pod.ip4, server.pod.ip6))


def start(space, app, family=4, **options):
    return Load(space, app.target(family), connections=USERS, ids=True, **options)


def ask(space, app, family=4, **options):
    return start(space, app, family, **options).result()


# ---- before the connection exists: nobody feels anything -----------------------------------------
def check_hidden(shared, name, place):
    """One of two replicas fails; no client may notice, and all are served by the other."""
    bad = shared.server[place]
    before = failures_of(shared, bad)
    with CONNECT[name](bad):
        for space in shared.clients:
            for family in (4, 6):
                what = f"{name} at {place}, IPv{family} from {space.name}"
                many = {"duration": 0.5} if name == "flapping" else {"count": COUNT}
                result = ask(space, shared.blind, family, **many)
                check_no_errors(result, what)
                connect = result["connect_us"]
                print(f"    {what}: connect p50 {connect['p50']} us, p99 {connect['p99']} us")
                # Only a SYN that the client itself repeats takes a second.
                check(connect["p99"] < 900000 * SLOW,
                      f"{what}: p99 of connect is {connect['p99']} us")
                if name != "flapping":
                    check(place not in result["replicas"], f"{what}: {result['replicas']}")
    if name != "link_down":  # a SYN that vanished is a failure after a second
        eventually(lambda: failures_of(shared, bad) > before, f"{name} at {place}: somebody met it")


def hidden(name):
    def run(shared):
        for place in ("near", "far"):
            check_hidden(shared, name, place)
            wait_ready(shared)
    run.__name__ = f"nobody_feels_{name}"
    return case(run)


for fault in CONNECT:
    hidden(fault)


@case
def with_the_agent_dead(shared):
    """Refusals are still met in the kernel; a SYN that vanishes costs the client its own repeat,
    a second, and no more."""
    node, bad = shared.lab.node1, shared.server["near"]
    node.agent.kill()
    for fault in (rst, black_hole):
        with fault(bad):
            for space in shared.clients:
                result = ask(space, shared.blind, count=40, timeout_ms=10000)
                check_no_errors(result, f"{fault.__name__} from {space.name}, agent killed")
    node.start_sluiced()


@case
def when_all_refuse_so_does_the_vip(shared):
    """No retry goes in circles: the client gets the refusal that it would get from one replica."""
    servers = [shared.server[name] for name in ("near", "far")]
    with rst(servers[0]), rst(servers[1]):
        for space in shared.clients:
            for family in (4, 6):
                result = ask(space, shared.blind, family, count=20)
                check_equal(result["errors"]["refused"], 20, f"refused, of 20: {result['errors']}")


@case
def storm_with_one_replica_left(shared):
    """Three of four replicas fail, each in its own way; every connect of a storm finds the fourth
    one, or one of the three in a good moment."""
    kinds = {"crowd2": flapping, "crowd3": icmp, "crowd4": black_hole}
    with contextlib.ExitStack() as over:
        for name, fault in kinds.items():
            over.enter_context(fault(shared.server[name]))
        loads = {f"IPv{family} from {space.name}":
                 start(space, shared.crowd, family, count=STORM // 4 + 1, end="mix",
                       timeout_ms=20000)
                 for space in shared.clients for family in (4, 6)}
        results = {what: one.result(280) for what, one in loads.items()}
    begun = sum(result["requests"] for result in results.values())
    failed = sum(result["connect_failed"] for result in results.values())
    print(f"    {begun} connects, {failed} failed, connect p99 "
          f"{[result['connect_us']['p99'] for result in results.values()]} us")
    for what, result in results.items():
        check_no_errors(result, f"storm, {what}")
    check(begun >= STORM, f"only {begun} connects")
    for name in kinds:
        check(failures_of(shared, shared.server[name]), f"nobody met {name}")


# ---- after it: who is hurt, and that nobody else is ----------------------------------------------
def through(shared, fault, server, seconds=1.5, **options):
    """Accounts of all clients over a time in whose middle the fault lasts so long."""
    loads = [start(space, shared.probed, family, duration=3 * seconds, **options)
             for space in shared.clients for family in (4, 6)]
    time.sleep(seconds)
    with fault(server):
        time.sleep(seconds)
    results = [one.result() for one in loads]
    for result in results:
        check(result["ok"] > 0, f"nothing was answered: {result['errors']}")
        check_equal(result["connect_failed"], 0,
                    f"connects that failed, among the errors {result['errors']}")
    return results


def errors_of(results, *expected):
    """How many there were; all of these kinds."""
    errors = {}
    for result in results:
        for kind, count in result["errors"].items():
            if count:
                errors[kind] = errors.get(kind, 0) + count
    check(errors.keys() <= set(expected), f"errors {errors}, expected only {expected}")
    return sum(errors.values())


def at_both_places(shared, name, check_results, **options):
    for place in ("near2", "far2"):
        server = shared.server[place]
        check_results(through(shared, AFTER[name], server, **options), place)
        wait_ready(shared)


@case
def a_kill_hurts_those_it_was_answering(shared):
    """Once each: whoever asks again gets another replica."""
    def check_results(results, place):
        hurt = errors_of(results, "short", "reset")
        print(f"    {place}: {hurt} answers cut off")
        check(hurt <= USERS * len(results), f"{place}: {hurt} hurt")

    for name in ("near2", "far2"):
        shared.server[name].control("delay 2000")
    at_both_places(shared, "killed", check_results)
    for name in ("near2", "far2"):
        shared.server[name].control("delay 0")


@case
def a_freeze_holds_those_it_met(shared):
    """The kernel accepts for a stopped process: only probes tell. Each user is held once at most,
    and what was sent to the frozen replica is read there and nowhere else."""
    def check_results(results, place):
        held = errors_of(results, "timeout", "reset", "short")
        print(f"    {place}: {held} held longer than they would wait")
        check(held <= USERS * len(results), f"{place}: {held} held")

    at_both_places(shared, "frozen", check_results, timeout_ms=1200 * SLOW)


@case
def a_slow_replica_is_no_failure(shared):
    node = shared.lab.node1
    def check_results(results, place):
        check_equal(errors_of(results), 0, f"{place}: errors")
        check_equal(failures_of(shared, shared.server[place]), before[place], f"{place}: failures")

    before = {place: failures_of(shared, shared.server[place]) for place in ("near2", "far2")}
    at_both_places(shared, "slow", check_results)
    check(node.agent.running(), "the agent runs")


@case
def an_answer_is_never_asked_again(shared):
    """5xx reach the client as they are, and no request is sent twice for their sake."""
    def check_results(results, place):
        wrong = errors_of(results, "status")
        check(wrong, f"{place}: no client saw a 503")
        noted = sum(len(server.ids()) for server in shared.server.values())
        check_equal(noted, wrong + sum(result["ok"] for result in results), f"{place}: requests")
        for server in shared.server.values():
            server.forget_ids()

    for server in shared.server.values():
        server.forget_ids()
    at_both_places(shared, "erring", check_results)


if __name__ == "__main__":
    main(setup, settled)
