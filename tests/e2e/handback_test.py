#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""`sluice hand-back` and --unload beside kube-proxy's rules, as iptables and as nftables: giving back breaks
no connection, and then kube-proxy serves."""

import os
import sys
import time

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import check, check_equal, eventually, main  # noqa: E402
from overlay import (Traffic, add_replica, hold, in_both_modes, kill, label,  # noqa: E402
                     served_by, service_row, setup, start)
from process import built  # noqa: E402
from servers import Load, check_no_errors  # noqa: E402


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
    eventually(lambda: "hand_back default/web" in shared.node.agent.log(), "the agent's log says so")
    traffic.finish("hand-back")
    shared.app.load_balancer = None
    shared.app.drop(joined)
    label(shared, "enabled")
    shared.lab.del_pod(joined)


@in_both_modes
def ports_are_used_again_across_hand_backs(shared):
    """A client with few ports, each of which is soon another connection's, by turns Sluice's and
    kube-proxy's: what is left of the one does not touch the other."""
    start(shared, "enabled")
    few = shared.client
    before = few.run("sysctl", "-n", "net.ipv4.ip_local_port_range").strip()
    few.sysctl(net__ipv4__ip_local_port_range="20000 20063")
    shared.stack.callback(lambda: few.sysctl(net__ipv4__ip_local_port_range=before))
    loads = [Load(few, shared.app.target(family), connections=4, duration=300, end="rst")
             for family in (4, 6)]
    for one in loads:
        shared.stack.callback(one.process.kill)
    for _ in range(4):
        shared.node.sluice("hand-back", "web", "--timeout", "0")
        time.sleep(0.3)
        shared.node.sluice("hand-back", "--undo", "web")
        time.sleep(0.3)
    for one in loads:
        result = one.stop()
        check_no_errors(result, one.name)
        check(result["ok"] > 300, f"{one.name}: only {result['ok']} requests: ports were not reused")


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


if __name__ == "__main__":
    main(setup)
