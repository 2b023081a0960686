#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Active probes: what a failing replica does to its state, and that a replica which should get
no new connection gets none. By httpGet and tcpSocket; nginx answers no gRPC health checks, so
those are left to tests/unit, which ask a server of their own."""

import contextlib
import os
import signal
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App  # noqa: E402
from servers import Nginx, check_no_errors, load  # noqa: E402


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, nginx={})
        shared.client = lab.add_pod(lab.node1, "client")
        shared.app = App(lab, "web", 10)
        shared.app.probe = {"httpGet": {"path": "/health", "port": 80}, "periodSeconds": 1,
                            "timeoutSeconds": 1, "failureThreshold": 2}
        for i in range(4):
            pod = lab.add_pod(lab.nodes[i % 2], f"web{i}")
            shared.nginx[pod.name] = Nginx(pod)
            shared.app.add(pod)
        shared.app.write()
        for node in lab.nodes:
            node.start_sluiced()
            eventually(lambda: shared.app.applied(node), "web applied")
        yield shared


def settled(shared):
    wait_states(shared, shared.app.replicas, ("ready",))
    for node in shared.lab.nodes:
        node.assert_clean()


def states_of(shared, one):
    """Of both addresses of a replica, for the node that steers."""
    return {shared.lab.node1.replica(address)["state"] for address in (one.pod.ip4, one.pod.ip6)}


def wait_states(shared, replicas, states):
    """Both addresses of these replicas are in one of `states` for the node that steers."""
    for one in replicas:
        for address in (one.pod.ip4, one.pod.ip6):
            eventually(lambda: shared.lab.node1.replica(address)["state"] in states,
                       f"{one.pod.name} ({address}) is {' or '.join(states)}", 20)


def who_serves(shared):
    served = set()
    for family in (4, 6):
        for space in (shared.client, shared.lab.outside):
            result = load(space, shared.app.target(family), connections=8, count=200)
            check_no_errors(result, f"IPv{family} from {space.name}")
            served |= set(result["replicas"])
    return served


def check_left_out(shared, *names):
    everyone = {one.pod.name for one in shared.app.replicas}
    check_equal(who_serves(shared), everyone - set(names), "who serves")


def one_on(shared, node):
    return next(one for one in shared.app.replicas if one.pod.node is node)


@case
def all_serve_when_all_are_well(shared):
    wait_states(shared, shared.app.replicas, ("ready",))
    check_left_out(shared)


@case
def answer_503_means_down(shared):
    for node in shared.lab.nodes:
        one = one_on(shared, node)
        nginx = shared.nginx[one.pod.name]
        nginx.healthy(False)
        wait_states(shared, [one], ("down",))
        check_left_out(shared, one.pod.name)
        nginx.healthy(True)
        wait_states(shared, [one], ("ready",))
        check_left_out(shared)


@case
def a_stopped_server_is_suspect_at_once(shared):
    """Stopped, it still accepts connections: only the missing answers tell."""
    for node in shared.lab.nodes:
        one = one_on(shared, node)
        server = shared.nginx[one.pod.name].process
        began = time.monotonic()
        server.signal(signal.SIGSTOP)
        try:
            wait_states(shared, [one], ("suspect", "down"))
            print(f"    {one.pod.name} ({node.name}) suspect after "
                  f"{(time.monotonic() - began) * 1000:.0f} ms")
            check_left_out(shared, one.pod.name)
        finally:
            server.signal(signal.SIGCONT)
        wait_states(shared, [one], ("ready",))
        check_left_out(shared)


@case
def a_refusing_port_means_down(shared):
    for node in shared.lab.nodes:
        one = one_on(shared, node)
        shared.nginx[one.pod.name].kill()
        began = time.monotonic()
        wait_states(shared, [one], ("down",))
        print(f"    {one.pod.name} ({node.name}) down after "
              f"{(time.monotonic() - began) * 1000:.0f} ms")
        check_left_out(shared, one.pod.name)
        shared.nginx[one.pod.name].start()
        wait_states(shared, [one], ("ready",))


@case
def a_pod_that_is_not_ready_gets_nothing_new(shared):
    one = shared.app.replicas[0]
    one.ready = False
    shared.app.write()
    wait_states(shared, [one], ("down",))
    check_left_out(shared, one.pod.name)
    one.ready = True
    shared.app.write()
    wait_states(shared, [one], ("ready",))
    check_left_out(shared)


@case
def drained_by_hand(shared):
    """`sluice replica drain` and `undrain` on the node that steers."""
    one = shared.app.replicas[0]
    node = shared.lab.node1
    for command, state in (("drain", "draining"), ("undrain", "ready")):
        for address in (f"{one.pod.ip4}:80", f"[{one.pod.ip6}]:80"):
            node.sluice("replica", command, address)
        wait_states(shared, [one], (state,))
        check_left_out(shared, *([one.pod.name] if state == "draining" else []))


@case
def panic_picks_among_all(shared):
    """When every probe fails and the servers still serve, traffic goes on, loudly."""
    for nginx in shared.nginx.values():
        nginx.healthy(False)
    wait_states(shared, shared.app.replicas, ("down",))
    check_left_out(shared)
    events = [event["event"] for event in shared.lab.node1.sluice("event", "show")]
    check("panic" in events, f"no panic among the events: {sorted(set(events))}")
    for nginx in shared.nginx.values():
        nginx.healthy(True)
    wait_states(shared, shared.app.replicas, ("ready",))


@case
def tcp_socket_asks_the_port_alone(shared):
    """Whatever the server would answer over HTTP; a port that refuses is down, and back again."""
    app, nginx = App(shared.lab, "socket", 20), {}
    app.probe = {"tcpSocket": {"port": 80}, "periodSeconds": 1}
    for node in shared.lab.nodes:
        pod = shared.lab.add_pod(node, f"socket{node.number}")
        nginx[pod.name] = Nginx(pod)
        nginx[pod.name].healthy(False)
        app.add(pod)
    app.apply(shared.lab.node1)
    wait_states(shared, app.replicas, ("ready",))
    time.sleep(1)  # 10 probes of the node's own replica: httpGet takes 3 bad ones for down
    for one in app.replicas:
        check_equal(states_of(shared, one), {"ready"}, f"{one.pod.name} whose /health answers 503")
        nginx[one.pod.name].kill()
        wait_states(shared, [one], ("down",))
        result = load(shared.client, app.target(), connections=4, count=50)
        check_no_errors(result, f"without {one.pod.name}")
        check(one.pod.name not in result["replicas"], f"served by {result['replicas']}")
        nginx[one.pod.name].start()
        wait_states(shared, [one], ("ready",))
    app.remove()
    for one in app.replicas:
        eventually(lambda: states_of(shared, one) <= {"absent", "down"}, f"{one.pod.name} is gone")


@case
def a_service_without_replicas_refuses(shared):
    empty = App(shared.lab, "empty", 30)
    empty.apply()
    for family in (4, 6):
        for space in (shared.client, shared.lab.outside):
            def refused():
                result = load(space, empty.target(family), connections=1, count=10,
                              timeout_ms=1000)
                return result["errors"]["refused"] == 10 and result["duration_s"] < 1
            eventually(refused, f"IPv{family} from {space.name}: connection refused, at once", 5)
    empty.remove()


if __name__ == "__main__":
    main(setup, settled)
