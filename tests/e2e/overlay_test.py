#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Overlay mode beside kube-proxy's rules, as iptables and as nftables: taking over breaks no connection,
and whoever Sluice does not steer is served as before."""

import json
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

import words  # noqa: E402
from case import check, check_equal, eventually, main  # noqa: E402
from overlay import (Traffic, ask, hold, in_both_modes, kill, label, picks,  # noqa: E402
                     served_by, service_row, setup, start)
from process import built  # noqa: E402
from servers import load  # noqa: E402

HALF_OPEN = 0            # offset of sl_kernel.half_open
HALF_OF_TABLE = 131072   # SL_FLOW_SETS * SL_FLOW_WAYS / 2


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
