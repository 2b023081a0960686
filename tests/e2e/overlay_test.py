#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Overlay mode beside kube-proxy's rules, as iptables and as nftables: taking over and giving back break
no connection, and whoever Sluice does not steer is served as before. Node 1 has an agent, node 2
has none. Each case begins with kube-proxy alone."""

import contextlib
import functools
import json
import os
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

import kubeproxy  # noqa: E402
import words  # noqa: E402
from case import CASES, check, check_equal, eventually, main  # noqa: E402
from held import HeldSet  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App  # noqa: E402
from process import built  # noqa: E402
from servers import Load, Nginx, check_no_errors, load  # noqa: E402

HALF_OPEN = 0            # offset of sl_kernel.half_open
HALF_OF_TABLE = 131072   # SL_FLOW_SETS * SL_FLOW_WAYS / 2


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, node=lab.node1, mode=None)
        shared.client = lab.add_pod(lab.node1, "client")
        shared.far = lab.add_pod(lab.node2, "far")  # a client on the node without an agent
        shared.clients = [shared.client, lab.outside]
        shared.app = App(lab, "web", 10)
        for node in lab.nodes:
            add_replica(shared, node, f"web{node.number}")
        yield shared


def add_replica(shared, node, name):
    pod = shared.lab.add_pod(node, name)
    Nginx(pod)
    shared.app.add(pod)
    return pod


def in_both_modes(function):
    """Registers a case for each of kube-proxy's modes."""
    for mode in kubeproxy.MODES:
        @functools.wraps(function)
        def run(shared, mode=mode):
            begin(shared, mode)
            try:
                with contextlib.ExitStack() as shared.stack:
                    function(shared)
                shared.node.assert_clean()
            finally:
                end(shared)
        run.__name__ = f"{function.__name__}_{mode}"
        CASES.append(run)
    return function


def begin(shared, mode):
    if shared.mode:
        for node in shared.lab.nodes:
            kubeproxy.remove(node, shared.mode)
    shared.mode = mode
    write(shared, None)


def end(shared):
    if shared.node.agent:
        shared.node.agent.kill()
        shared.node.agent = None
    check_equal(shared.node.unload(), [], "left by --unload")


def write(shared, steer, namespace=None):
    """The Service's label, its Namespace's, and what kube-proxy makes of its endpoints."""
    shared.app.overlay(steer)
    shared.app.write()
    labels = {"sluice.dev/steer": namespace} if namespace else {}
    shared.lab.manifests.put("namespace", [{"apiVersion": "v1", "kind": "Namespace",
                                            "metadata": {"name": "default", "labels": labels}}])
    for node in shared.lab.nodes:
        kubeproxy.install(node, [shared.app], shared.mode)


def service_row(shared):
    rows = [row for row in shared.node.sluice("service", "show")
            if row["service"] == shared.app.service]
    return rows[0] if rows else {"vips": [], "handed_back": False, "mode": None}


def label(shared, steer, namespace=None):
    """Changes the labels and waits until the kernel has it."""
    write(shared, steer, namespace)
    steered = "enabled" in (steer, namespace) and steer != "disabled"
    eventually(lambda: bool(service_row(shared)["vips"]) == steered,
               f"steered: {steered}, by the labels {steer} and {namespace}")


def start(shared, steer=None):
    shared.node.start_sluiced()
    if steer:
        label(shared, steer)
        eventually(lambda: shared.app.applied(shared.node), "web applied")


def kill(shared):
    shared.node.agent.kill()


def picks(shared):
    return sum(row["picks"] for row in shared.node.replicas())


def ask(shared, spaces=None, what="requests", count=20):
    for space in spaces or shared.clients:
        for family in (4, 6):
            check_no_errors(load(space, shared.app.target(family), connections=2, count=count),
                            f"{what}: {space.name} over IPv{family}")


def served_by(shared, sluice, what):
    """New connections from all clients of node 1 succeed, and are Sluice's, or none of them is."""
    before = picks(shared)
    ask(shared, what=what)
    grown = picks(shared) - before
    asked = 20 * 2 * len(shared.clients)
    check(grown >= asked if sluice else grown == 0,
          f"{what}: {grown} picks for {asked} connections, steered: {sluice}")


def hold(shared, spaces=None, each=1):
    """Connections that are asked at each step of a case, to its end."""
    held = HeldSet(spaces or shared.clients, shared.app, each=each)
    shared.stack.callback(held.close)
    return held


class Traffic:
    """50 requests of 40 ms a second from each client, for each family, until finish()."""

    def __init__(self, shared, spaces=None, **options):
        self.loads = [Load(space, shared.app.target(family), rate=50, duration=300, path="/16k",
                           pattern=True, expect_bytes=16384, **options)
                      for space in spaces or shared.clients for family in (4, 6)]
        for one in self.loads:
            shared.stack.callback(one.process.kill)
        time.sleep(0.3)

    def finish(self, what):
        time.sleep(0.3)
        for one in self.loads:
            check_no_errors(one.stop(), f"{what}: {one.name}")


@in_both_modes
def connections_from_before_live_on(shared):
    """Translated by kube-proxy's connection tracking: Sluice has no entry of them and lets them pass,
    whatever comes and goes around them."""
    held = hold(shared, each=3)
    start(shared)
    held.check("once Sluice was started")
    label(shared, "enabled")
    eventually(lambda: shared.app.applied(shared.node), "web applied")
    served_by(shared, True, "with the label")
    passed = shared.node.sluice("status")[0]["counters"].get("passed_midflow", 0)
    held.check("once the label was there")
    counted = shared.node.sluice("status")[0]["counters"]["passed_midflow"]
    check(counted > passed, f"passed_midflow: {passed}, then {counted}")
    kill(shared)
    held.check("without the agent")
    served_by(shared, True, "without the agent")
    shared.node.start_sluiced()
    label(shared, None)
    held.check("once the label was gone")
    served_by(shared, False, "without the label")
    shared.node.agent.kill()
    check_equal(shared.node.unload(), [], "left by --unload")
    held.check("once Sluice was gone")


@in_both_modes
def labels_come_and_go_under_load(shared):
    """Per Service, per Namespace, opted out; the agent killed while it steers, and back."""
    start(shared)
    traffic = Traffic(shared)
    for service, namespace in (("enabled", None), (None, None), (None, "enabled"),
                               ("disabled", "enabled"), ("enabled", "enabled"), (None, None)):
        label(shared, service, namespace)
        steered = "enabled" in (service, namespace) and service != "disabled"
        if steered:
            eventually(lambda: shared.app.applied(shared.node), "web applied")
        served_by(shared, steered, f"Service {service}, Namespace {namespace}")
        if steered:
            kill(shared)
            served_by(shared, steered, f"no agent, Service {service}, Namespace {namespace}")
            shared.node.start_sluiced()
    traffic.finish("labels come and go")


@in_both_modes
def flows_of_ours_outlive_the_label(shared):
    """What Sluice steers it goes on steering, the label gone, the agent dead or restarted."""
    start(shared, "enabled")
    held = hold(shared, each=2)
    label(shared, None)
    held.check("once the label was gone")
    kill(shared)
    held.check("without the agent")
    shared.node.start_sluiced()
    held.check("after the restart")
    served_by(shared, False, "without the label")


@in_both_modes
def hand_back_under_load(shared):
    """Nobody notices; afterwards kube-proxy serves, over the agent's death, its restart and changes of
    the manifests, until it is undone."""
    start(shared, "enabled")
    traffic = Traffic(shared)
    row, = shared.node.sluice("hand-back", "web", "--timeout", "30s")
    check_equal((row["handed_back"], row["flows_left"], row["inflight"]), (True, 0, 0), f"{row}")
    check(service_row(shared)["handed_back"], "service show does not say so")
    check("sluice_service_handed_back{service=\"default/web\",port=\"http\"} 1" in
          shared.node.http("/metrics"), "the metric does not say so")
    served_by(shared, False, "handed back")
    kill(shared)
    served_by(shared, False, "handed back, without the agent")
    shared.node.start_sluiced()
    shared.app.load_balancer = "203.0.113.10"
    joined = add_replica(shared, shared.lab.node1, f"late-{shared.mode}")
    label(shared, "enabled")
    eventually(lambda: shared.app.applied(shared.node), "web applied")
    row = service_row(shared)
    check(row["handed_back"] and len(row["vips"]) == 3, f"with one more VIP and replica: {row}")
    served_by(shared, False, "handed back, with one more VIP and replica")
    shared.node.sluice("hand-back", "--undo", "web")
    served_by(shared, True, "undone")
    check(not service_row(shared)["handed_back"], "service show after --undo")
    traffic.finish("hand-back")
    shared.app.load_balancer = None
    shared.app.drop(joined)
    label(shared, "enabled")
    shared.lab.del_pod(joined)


@in_both_modes
def hand_back_with_the_agent_dead_then_unload_under_load(shared):
    """The way to get rid of Sluice without anybody's notice."""
    start(shared, "enabled")
    kill(shared)
    shared.node.agent = None
    traffic = Traffic(shared)
    row, = shared.node.sluice("hand-back", "default/web", "--timeout", "30s")
    check_equal(row["flows_left"], 0, f"{row}")
    check_equal(shared.node.unload(), [], "left by --unload")
    traffic.finish("hand-back, then --unload")


@in_both_modes
def hand_back_at_its_deadline_breaks_nothing(shared):
    start(shared, "enabled")
    held = hold(shared)
    said = shared.node.run(built("sluice"), "--bpffs", shared.node.bpffs, "hand-back", "web",
                           "--timeout", "500ms", fail=False)
    check("handed back" in said and "flows left" in said, said)
    served_by(shared, False, "handed back")
    held.check("handed back with flows left")
    label(shared, None)
    label(shared, "enabled")
    check(not service_row(shared)["handed_back"], "handed back still, though the label was off")
    eventually(lambda: shared.app.applied(shared.node), "web applied")
    served_by(shared, True, "the label off and on again")
    held.check("taken over again")


@in_both_modes
def unload_under_load_costs_open_flows_alone(shared):
    """Without hand-back: connections of that moment break; those of kube-proxy's and later ones do
    not."""
    held = hold(shared)
    start(shared, "enabled")
    loads = Traffic(shared, timeout_ms=1000).loads
    kill(shared)
    shared.node.agent = None
    check_equal(shared.node.unload(), [], "left by --unload")
    time.sleep(2.5)  # those of the moment have waited for their second, and a second of others is over
    for one in loads:
        result = one.stop()
        end_ms = result["duration_s"] * 1000
        late = [error for error in result["error_log"] if error["at_ms"] > end_ms - 1000]
        check(result["ok"] > 50 and not late, f"{one.name}: {result['ok']} good, late: {late[:3]}")
    held.check("once Sluice was gone")


@in_both_modes
def a_full_table_leaves_syns_to_kube_proxy(shared):
    start(shared, "enabled")
    held = hold(shared)
    with words.added(f"{shared.node.bpffs}/kernel", HALF_OPEN, HALF_OF_TABLE):
        served_by(shared, False, "the table is full")
        kill(shared)
        served_by(shared, False, "the table is full, without the agent")
        held.check("while the table is full")
    counted = shared.node.sluice("status")[0]["counters"]["passed_full"]
    check(counted >= 160, f"passed_full: {counted}")
    served_by(shared, True, "the table has room again")


@in_both_modes
def a_node_without_an_agent_is_as_before(shared):
    """Node 2's pods call the VIP by its kube-proxy, and get replicas of both nodes; its replica serves
    clients of node 1 all along."""
    held = hold(shared, [shared.far], each=4)
    start(shared)
    traffic = Traffic(shared, [shared.far, *shared.clients])
    for steer in ("enabled", None, "enabled"):
        label(shared, steer)
        held.check(f"label {steer} on node 1")
        ask(shared, [shared.far], f"label {steer} on node 1")
    eventually(lambda: shared.app.applied(shared.node), "web applied")
    kill(shared)
    held.check("node 1's agent dead")
    result = load(shared.client, shared.app.target(), connections=8, count=100)
    check_equal(sorted(result["replicas"]), ["web1", "web2"], "replicas of both nodes serve")
    traffic.finish("a node without an agent")
    check_equal(shared.lab.node2.traces(), [], "Sluice on node 2")


@in_both_modes
def the_nodes_own_clients_stay_with_kube_proxy(shared):
    node, gateway = shared.node, shared.lab.outside
    routes = f"default via {gateway.ip4}", f"default via {gateway.ip6}"
    node.ip(*(f"route add {route}" for route in routes))  # a VIP must lead somewhere before DNAT
    shared.stack.callback(lambda: node.ip(*(f"route del {route}" for route in routes)))
    held = hold(shared, [node])
    start(shared, "enabled")
    before = picks(shared)
    ask(shared, [node], "the node's own clients")
    held.check("taken over")
    kill(shared)
    ask(shared, [node], "the node's own clients, without the agent")
    check_equal(picks(shared), before, "picks for the node's own clients")
    row = service_row(shared)
    check_equal((row["mode"], row["node_clients_steered"]), ("overlay", False), "service show")
    text = node.run(built("sluice"), "--bpffs", node.bpffs, "service", "show")
    check("kube-proxy serves them" in text, text)
    said = json.loads(node.run(built("sluice"), "-j", "--bpffs", node.bpffs, "doctor", fail=False))
    own, = [row for row in said if row["check"] == "own_clients"]
    check("hostNetwork" in own["found"], f"doctor: {own}")


if __name__ == "__main__":
    main(setup)
