#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The lab without Sluice: that its roads work, that its load client sees every kind of failure,
and that it goes without a trace. What fails here is not Sluice's fault."""

import contextlib
import os
import sys
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from process import built  # noqa: E402
from servers import Load, Nginx, Server, check_no_errors, load  # noqa: E402
import kubeproxy  # noqa: E402


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, client=lab.add_pod(lab.node1, "client"))
        shared.app = App(lab, "web", 10, [Port("http", 80, 80), Port("api", 8080, 8080)])
        for node in lab.nodes:
            pod = lab.add_pod(node, f"web{node.number}")
            Nginx(pod)
            Server(pod)
            shared.app.add(pod)
        shared.server = lab.pods["web1"]
        yield shared


@case
def pods_are_reached_directly(shared):
    for space in (shared.client, shared.lab.outside):
        for one in shared.app.replicas:
            for address in (one.pod.ip4, f"[{one.pod.ip6}]"):
                result = load(space, f"{address}:80", connections=4, count=100, path="/60k",
                              pattern=True, expect_bytes=60000)
                check_no_errors(result, f"{space.name} to {address}")
                check_equal(result["replicas"], {one.pod.name: 100}, "who answered")


@case
def kube_proxy_rules_spread_at_random(shared):
    kubeproxy.install(shared.lab.node1, [shared.app])
    for space in (shared.client, shared.lab.outside):
        for family in (4, 6):
            result = load(space, shared.app.target(family), connections=4, count=400)
            check_no_errors(result, f"{space.name}, IPv{family}")
            check(all(120 < count < 280 for count in result["replicas"].values()),
                  f"shares {result['replicas']}")
    kubeproxy.remove(shared.lab.node1)
    result = load(shared.client, shared.app.target(), connections=4, count=8, timeout_ms=300)
    check_equal(result["ok"], 0, "requests to the VIP when nobody serves it")


def only_error(shared, kind, target=None, **options):
    result = load(shared.client, target or f"{shared.server.ip4}:8080", connections=1, count=3,
                  timeout_ms=500 if kind == "timeout" else 5000, **options)
    check_equal({name: count for name, count in result["errors"].items() if count}, {kind: 3},
                f"errors of {options}")


@case
def load_tells_failures_apart(shared):
    only_error(shared, "refused", target=f"{shared.server.ip4}:81")
    only_error(shared, "reset", path="/rst")
    only_error(shared, "timeout", path="/hang")
    only_error(shared, "content", path="/bytes/100", expect_bytes=101)
    only_error(shared, "content", path="/", pattern=True)
    only_error(shared, "status", path="/missing", target=f"{shared.server.ip4}:80")
    only_error(shared, "timeout", target="192.168.51.1:80")


@case
def every_way_of_ending_works(shared):
    for end in ("server", "client", "both", "rst"):
        result = load(shared.client, f"{shared.server.ip4}:8080", connections=8, count=400,
                      end=end)
        check_no_errors(result, f"--end {end}")
    result = load(shared.client, f"{shared.server.ip4}:8080", connections=8, count=400,
                  end="abort")
    check_equal((result["aborted"], result["failed"]), (400, 0), "aborted, failed")


@case
def open_loop_keeps_its_rate(shared):
    result = load(shared.client, f"{shared.server.ip4}:8080", rate=200, duration=2)
    check_no_errors(result, "open loop")
    check(380 <= result["ok"] <= 401, f"{result['ok']} requests in 2 s at 200 a second")


@case
def a_killed_server_shows(shared):
    pod = shared.lab.add_pod(shared.lab.node1, "victim")
    server = Server(pod, service_us=4000000)
    running = Load(shared.client, f"{pod.ip4}:8080", connections=5, count=5)
    eventually(lambda: pod.established(8080, server.process.pid) == 5, "five requests are being answered")
    server.kill()
    errors = running.result()["errors"]
    check_equal(errors["short"] + errors["reset"], 5, "requests cut off")
    shared.lab.del_pod(pod)


@case
def half_open_connections_stay_half_open(shared):
    shared.lab.outside.run(built("tests/e2e/synflood"), "--target", f"{shared.server.ip4}:8080",
                           "--net", "192.168.51.0", "--count", 50, "--rate", 1000)
    eventually(lambda: len(shared.server.run("ss", "-Htn", "state", "syn-recv").splitlines()) == 50,
               "50 half-open connections at the server")


@case
def nothing_is_left(_shared):
    with Lab() as lab:
        Nginx(lab.add_pod(lab.node1, "short-lived"))
        prefix, directory = lab.prefix, lab.dir
        stray = lab.fabric.spawn("sleep", "1000")
        lab.processes.remove(stray)
        lab.down()
        check_equal(len(lab.leaks), 1, f"a stray process is found: {lab.leaks}")
        lab.leaks.clear()
        stray.popen.wait(5)
    left = [name for name in os.listdir("/run/netns") if name.startswith(prefix)]
    check_equal((left, os.path.exists(directory)), ([], False), "left behind")


if __name__ == "__main__":
    main(setup)
