#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The agent's own life: warm start, manifests good and bad, interfaces that come and go, idle
flows, metrics and status, and leaving without a trace."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import Skip, case, check, check_equal, eventually, main  # noqa: E402
from held import Held  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from process import built  # noqa: E402
from servers import Nginx, check_no_errors, load  # noqa: E402

BAD_MANIFESTS = {
    "syntax.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: broken\n",
    "port.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: broken, namespace: default,\n"
                 "  labels: {service.kubernetes.io/service-proxy-name: sluice}}\n"
                 "spec: {clusterIP: 10.96.0.77, ports: [{port: 99999}]}\n",
}


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab)
        shared.client = lab.add_pod(lab.node1, "client")
        shared.app = App(lab, "web", 10)
        for node in lab.nodes:
            pod = lab.add_pod(node, f"web{node.number}")
            Nginx(pod)
            shared.app.add(pod)
        shared.app.write()
        for node in lab.nodes:
            node.start_sluiced()
            eventually(lambda: shared.app.applied(node), "web applied")
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean()


def check_serving(shared, space=None, what="requests"):
    for family in (4, 6):
        result = load(space or shared.client, shared.app.target(family), connections=4, count=100)
        check_no_errors(result, f"{what}, IPv{family}")


def metric(node, name):
    return next(float(line.split()[-1]) for line in node.http("/metrics").splitlines()
                if line.startswith(f"{name} "))


def event_kinds(node):
    return [event["event"] for event in node.sluice("event", "show")]


@case
def warm_start(shared):
    """A killed agent leaves the programs; a held connection and new ones go on without it."""
    node = shared.lab.node1
    held = [Held(shared.client, shared.app, family) for family in (4, 6)]
    before = [one.ask() for one in held]
    check(all(answer.startswith("ok web") for answer in before), f"answers {before}")
    node.agent.kill()
    check_serving(shared, what="while no agent runs")
    check_equal([one.ask() for one in held], before, "held connections without an agent")
    check(node.replicas(), "the CLI shows nothing without an agent")
    node.start_sluiced()
    check_equal([one.ask() for one in held], before, "held connections after the restart")
    starts = [event for event in node.sluice("event", "show") if event["event"] == "agent_start"]
    check("adopted" in starts[-1]["text"], f"the last start was {starts[-1]['text']!r}")
    check_serving(shared, what="after the restart")
    for one in held:
        one.close()


@case
def routes_that_changed_meanwhile(shared):
    """What is adopted is asked for anew: a route that went while no agent ran, and came back."""
    node, there = shared.lab.node1, shared.lab.node2
    far = shared.app.replicas[1].pod.ip4
    node.agent.kill()
    node.ip(f"route del {there.pods4} via {there.ip4}")
    node.start_sluiced()
    check_equal(node.replica(far)["state"], "down", "state of a replica to which there is no route")
    result = load(shared.client, shared.app.target(), connections=4, count=40)
    check_no_errors(result, "while there is no route")
    check_equal(list(result["replicas"]), ["web1"], "who answered")
    node.agent.kill()
    node.ip(f"route add {there.pods4} via {there.ip4}")
    node.start_sluiced()
    eventually(lambda: node.replica(far)["state"] == "ready", "ready again")


@case
def changed_while_the_agent_was_away(shared):
    """What the manifests say at the start is what is in force then."""
    node = shared.lab.node1
    node.agent.kill()
    dropped = shared.app.replicas.pop()
    shared.app.write()
    node.start_sluiced()
    eventually(lambda: shared.app.applied(node), "the smaller service is applied")
    check_serving(shared)
    shared.app.replicas.append(dropped)
    shared.app.apply()


@case
def a_bad_manifest_changes_nothing(shared):
    node, app = shared.lab.node1, shared.app
    for name, text in BAD_MANIFESTS.items():
        refused = event_kinds(node).count("config_refused")
        shared.lab.manifests.put_text(name, text)
        eventually(lambda: event_kinds(node).count("config_refused") > refused,
                   f"{name} is refused")
        check(f"{name}:" in node.agent.log(), f"the log does not name {name}")
        check(app.applied(node), "the previous state is not in force")
        check_serving(shared, what=f"with {name} in the directory")
        shared.lab.manifests.remove(name)
    app.replicas[0].weight = 250
    app.apply()
    app.replicas[0].weight = None
    app.apply()


@case
def more_addresses_than_there_is_room_for(shared):
    """Node ports take a row for each address of the node: too many are no bad input, and when some go
    all is well again."""
    node, lab = shared.lab.node1, shared.lab
    app = App(lab, "ports", 12, [Port(f"p{n}", 1000 + n, 80, node_port=31000 + n) for n in range(120)])
    app.write()
    refused = metric(node, "sluice_config_refused_total")
    served = len(node.sluice("service", "show"))
    addresses = [f"198.18.0.{n}/32" for n in range(1, 151)]
    eventually(lambda: len(node.sluice("service", "show")) > served, "its ports are served")
    try:
        node.ip(*(f"addr add {address} dev lo" for address in addresses))
        eventually(lambda: "after a change of this node's addresses the desired state cannot be applied: "
                   "the table of " in node.agent.log(), "it is said")
        check_serving(shared, what="with too many addresses")
        check("applied, at all addresses" not in node.agent.log(), "it is said that there is room")
    finally:
        node.ip(*(f"addr del {address} dev lo" for address in addresses))
    eventually(lambda: "applied, at all addresses" in node.agent.log(), "applied again")
    check_equal(node.agent.log().count("cannot be applied"), 1, "how often it was said")
    check_equal((metric(node, "sluice_config_refused_total"), metric(node, "sluice_config_stale")),
                (refused, 0), "refused inputs")
    app.remove()
    eventually(lambda: len(node.sluice("service", "show")) == served, "gone again")


@case
def interfaces_come_and_go(shared):
    """A client pod and a replica pod made while the agent runs; both go again."""
    lab, app = shared.lab, shared.app
    for round_number in range(3):
        client = lab.add_pod(lab.node1, f"newclient{round_number}")
        server = lab.add_pod(lab.node1, f"newweb{round_number}")
        Nginx(server)
        app.add(server)
        app.apply()
        for family in (4, 6):
            def served():
                result = load(client, app.target(family), connections=4, count=100,
                              timeout_ms=1000)
                return not result["failed"] and server.name in result["replicas"]
            eventually(served, f"the new pods talk, IPv{family}")
        app.drop(server)
        app.apply()
        for pod in (client, server):
            lab.del_pod(pod)
        check_serving(shared, what="after the pods went")
    names = lab.node1.run(built("tests/e2e/hooks")) + lab.node1.run("tc", "qdisc", "show")
    check("newclient" not in names, f"hooks left: {names}")


@case
def silence(shared):
    """A silent connection lives by default; idleTimeout of a DestinationRule ends it."""
    node, lab = shared.lab.node1, shared.lab
    short = App(lab, "short", 11)
    short.own_pods = False
    short.replicas = shared.app.replicas[:1]
    short.traffic_policy = {"connectionPool": {"tcp": {"idleTimeout": "2s"}}}
    short.write()
    eventually(lambda: short.applied(node), "short applied")
    long_held, short_held = Held(shared.client, shared.app), Held(shared.client, short)
    try:
        check(long_held.ask().startswith("ok web"), "the long one is answered")
        check(short_held.ask().startswith("ok web"), "the short one is answered")
        eventually(lambda: not [flow for flow in node.sluice("flow", "show", "--all")
                                if flow["service"] == short.service], "the flow is forgotten", 20)
        check_equal(short_held.ask(), "ConnectionResetError", "a forgotten connection")
        check(long_held.ask().startswith("ok web"), "the long one is answered after the silence")
    finally:
        for one in (long_held, short_held):
            one.close()
    short.remove()


@case
def status_and_metrics(shared):
    check_serving(shared)
    node = shared.lab.node1
    for path in ("/healthz", "/readyz", "/status", "/metrics"):
        check_equal(node.http_status(path), 200, path)
    json.loads(node.http("/status"))
    check_equal(node.http_status("/nonsense"), 404, "/nonsense")
    text = node.http("/metrics")
    for address in (one.pod.ip4 for one in shared.app.replicas):
        check(address in text, f"no metric of replica {address}")
    try:
        done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                              capture_output=True, check=False)
    except FileNotFoundError:
        raise Skip("promtool is not installed (package prometheus)") from None
    check_equal((done.returncode, done.stderr.strip()), (0, ""), "promtool check metrics")


@case
def doctor_looks_where_our_programs_are(shared):
    """The lab's nodes have no default route: the uplink is known by what is attached to it."""
    node = shared.lab.node1
    node.ip("link set uplink0 mtu 1400")
    try:
        rows = {row["check"]: row for row in node.sluice("doctor")}
        check_equal((rows["mtu"]["status"], rows["program_order"]["status"]), ("warn", "ok"),
                    f"status of mtu and program_order in {rows}")
        check("uplink 1400, pod interfaces up to 1500" in rows["mtu"]["found"], f"{rows['mtu']}")
    finally:
        node.ip("link set uplink0 mtu 1500")


def told_since(node, seq, kind):
    return [event for event in node.sluice("event", "show")
            if event["seq"] > seq and event["event"] == kind]


def last_seq(node):
    return node.sluice("event", "show")[-1]["seq"]


@case
def events_tell_of_replicas_and_panic(shared):
    """A Service with one replica: it joins, fails, is back, leaves, and joins again."""
    node, lab = shared.lab.node1, shared.lab
    pod = lab.add_pod(node, "told1")
    nginx = Nginx(pod)
    app = App(lab, "told", 12)
    app.add(pod)

    def told(seq, kind, *texts):
        """Once for each family; the addresses of whom."""
        eventually(lambda: len(told_since(node, seq, kind)) >= 2, f"two events {kind}", 10)
        events = told_since(node, seq, kind)
        check_equal({event["service"] for event in events}, {app.service}, kind)
        check({event["text"] for event in events} <= set(texts), f"{kind}: {events}")
        return sorted(event["address"] or "" for event in events)

    both = sorted((pod.ip4, pod.ip6))
    for texts in ((f"default/{pod.name}",), (f"default/{pod.name}", "came back")):
        seq = last_seq(node)
        app.apply()
        check_equal(told(seq, "replica_add", *texts), both, "who joined")
        eventually(lambda: all(node.replica(one)["state"] == "ready" for one in both), "ready")
        nginx.kill()
        check_equal(told(seq, "panic", "no replica is healthy: new flows go to all that serve"),
                    ["", ""], "panic")
        check_equal(told_since(node, seq, "panic_end"), [], "panic_end while nobody is healthy")
        nginx.start()
        check_equal(told(seq, "panic_end", "a replica is healthy again"), ["", ""], "panic_end")
        check_equal(told_since(node, seq, "replica_del"), [], "replica_del while it is listed")
        app.drop(pod)
        app.apply()
        check_equal(told(seq, "replica_del", "no service has it any more"), both, "who left")
        app.add(pod)
    app.remove()
    lab.del_pod(pod)


@case
def the_last_event_of_an_agent_is_that_it_stopped(shared):
    """The ring outlives it. An agent that was killed says nothing."""
    node = shared.lab.node1
    seq = last_seq(node)
    node.agent.kill()
    check_equal(told_since(node, seq, "agent_stop"), [], "of an agent that was killed")
    node.start_sluiced()
    node.agent.popen.send_signal(signal.SIGTERM)
    check_equal(node.agent.popen.wait(10), 0, "exit status after SIGTERM")
    check_equal(event_kinds(node)[-1], "agent_stop", "the last event")
    check_equal(len(told_since(node, seq, "agent_stop")), 1, "agent_stop")
    check_serving(shared, what="after the agent stopped")
    node.start_sluiced()


@case
def a_second_agent_is_refused(shared):
    """Two agents on one bpffs directory would fight: the second must say so and end."""
    node = shared.lab.node1
    first = node.agent
    second = node.start_sluiced("--listen", "127.0.0.1:9912", ready=False)
    node.agent = first
    try:
        eventually(lambda: not second.running(), "the second agent ends")
    finally:
        second.kill()
    check(second.popen.returncode != 0, "the second agent ended with status 0")
    check_serving(shared)


@case
def unload_leaves_nothing(shared):
    """After --unload the node is as before: no pins, no programs, and VIPs lead nowhere."""
    node = shared.lab.node1
    check_serving(shared)
    node.agent.popen.send_signal(signal.SIGTERM)
    check_equal(node.agent.popen.wait(10), 0, "exit status after SIGTERM")
    time.sleep(0.2)
    check_serving(shared, what="after SIGTERM")
    node.assert_clean()
    check_equal(node.unload(), [], "left by --unload")
    result = load(shared.client, shared.app.target(), connections=1, count=1, timeout_ms=300)
    check_equal(result["ok"], 0, "requests to the VIP after --unload")
    node.start_sluiced()
    eventually(lambda: shared.app.applied(node), "applied again")
    check_serving(shared, what="loaded again")


if __name__ == "__main__":
    main(setup, settled)
