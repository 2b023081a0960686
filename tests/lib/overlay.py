# SPDX-License-Identifier: GPL-2.0-only
"""A service in overlay mode beside kube-proxy's rules, as iptables and as nftables. Node 1 has an agent,
node 2 has none; each case begins with kube-proxy alone."""

import contextlib
import functools
import time
import types

import kubeproxy
from case import CASES, check, check_equal, eventually
from held import HeldSet
from lab import Lab
from manifest import App
from servers import Load, Nginx, check_no_errors, load


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
