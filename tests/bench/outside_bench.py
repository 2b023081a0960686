#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Real connections of an outside client to replicas on another node, through a node that gives them its
own address: iptables, Sluice at TC, Sluice with XDP at the uplink, in turns; and with no balancer, that
node being the router for both directions.

One pod on node2 holds the addresses of eight replicas. Client on the first CPU, server on the last. Every
sample gets a new lab. All have the same wire, on which XDP works (wires.veth_for_xdp): a veth, so what a
driver would do with XDP's frames is not in these numbers. Ratios are taken within a round; printed are
medians over rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import types

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, f"{HERE}/../lib"]

from account import LAST_CPU, busy_seconds, idle_share, in_turns, ping_us, target  # noqa: E402
from case import check, eventually  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Load, Server, check_no_errors  # noqa: E402
import kubeproxy  # noqa: E402
import wires  # noqa: E402

REPLICAS, CONNECTIONS, PORT = 8, 32, 8080


def make_app(lab):
    """The service: one server process for all of its addresses."""
    node = lab.node2
    pod = lab.add_pod(node, "replicas")
    server = Server(pod, PORT)
    subprocess.run(["taskset", "-acp", str(LAST_CPU), str(server.process.pid)], check=True,
                   stdout=subprocess.DEVNULL)
    app = App(lab, "llm", 10, [Port("http", 80, PORT)])
    for _ in range(REPLICAS):
        number = node.take_pod_number()
        one = types.SimpleNamespace(name=f"llm-{number}", node=node,
                                    ip4=f"10.{node.number}.0.{number}",
                                    ip6=f"fd10:{node.number}::{number:x}")
        pod.ip(f"addr add {one.ip4}/32 dev eth0", f"addr add {one.ip6}/128 dev eth0 nodad")
        node.ip(f"route add {one.ip4}/32 dev {pod.veth}",
                f"route add {one.ip6}/128 dev {pod.veth}")
        app.add(one)
    return app


# ---- who balances: each returns the address that the client goes to -----------------------------
def direct(lab, app):
    lab.outside.ip(f"route replace {lab.node2.pods4} via {lab.node1.ip4}")
    lab.node2.ip(f"route add {lab.outside.ip4}/32 via {lab.node1.ip4}")
    return f"{app.replicas[0].pod.ip4}:{PORT}"


def iptables(lab, app):
    kubeproxy.install(lab.node1, [app])
    return app.target()


def sluice(lab, app, mode="off"):
    app.write()
    lab.node1.start_sluiced("--xdp", mode)
    eventually(lambda: app.applied(lab.node1), "sluiced steers the service")
    return app.target()


def sluice_xdp(lab, app):
    return sluice(lab, app, "on")


TC, XDP, PEER = "Sluice, TC", "Sluice, XDP", "iptables random"
DIRECT = "direct, by the same node"
CONFIGS = {DIRECT: direct, PEER: iptables, TC: sluice, XDP: sluice_xdp}


# ---- one sample ----------------------------------------------------------------------------------
def drive(lab, where, seconds, **options):
    before = busy_seconds()
    account = Load(lab.outside, where, cpu=0, duration=seconds, connections=CONNECTIONS,
                   **options).result()
    account["cpu_s"] = busy_seconds() - before
    check_no_errors(account, where, kernel_resets=1 + account["requests"] // 10000)
    return account


def sample(name, seconds):
    with Lab(wires={"node1": wires.veth_for_xdp}) as lab:
        where = CONFIGS[name](lab, make_app(lab))
        drive(lab, where, 0.2)
        ping, idle = ping_us(), idle_share()
        short = drive(lab, where, seconds)
        kept = drive(lab, where, seconds, keepalive=True)
        large = drive(lab, where, seconds, keepalive=True, path="/bytes/60000")
        if name == XDP:
            check(lab.node1.counter("xdp") > kept["ok"], "XDP sent little on")
    return {"short": short["ok"] / short["duration_s"], "kept": kept["ok"] / kept["duration_s"],
            "large": large["ok"] / large["duration_s"], "cpu": kept["cpu_s"] / kept["ok"] * 1e5,
            "ping": ping, "idle": idle}


# ---- the account ---------------------------------------------------------------------------------
def median(taken, name, key, base=None):
    return statistics.median(row[name][key] / (row[base][key] if base else 1) for row in taken)


def print_table(taken):
    print(f"{'':26}{'short conn.':>20}{'kept-alive':>20}{'60 kB answers':>20}{'CPU s per':>12}")
    print(f"{'':26}" + f"{'per s':>10}{'x iptables':>10}" * 3 + f"{'100 k req.':>12}")
    for name in CONFIGS:
        cells = [f"{median(taken, name, key):10.0f}{median(taken, name, key, PEER):10.2f}"
                 for key in ("short", "kept", "large")]
        print(f"{name:26}" + "".join(cells) + f"{median(taken, name, 'cpu'):12.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    taken = in_turns(options.rounds, list(CONFIGS), lambda name: sample(name, options.seconds))
    print_table(taken)
    print(f"medians over {len(taken)} rounds")
    target("short connections/s of an outside client, Sluice with XDP / direct",
           median(taken, XDP, "short", DIRECT), 0.93, at_least=True)


if __name__ == "__main__":
    main()
