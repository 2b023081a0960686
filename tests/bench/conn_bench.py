#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Real connections through a node's two veths, with and without balancers, in turns.

A client pod and a pod that holds the addresses of eight replicas, on one node. One server
process answers for all eight, so that runs differ in the way there and not in how many
processes share a CPU. Client on the first CPU, server on the last. Every sample gets a new
lab: nothing (TIME_WAIT, conntrack, flows) is left of the one before. The p50 of a request is
taken one at a time on one connection, both ends on one CPU: no wake-up of another CPU in it.

"rules": the node's FORWARD chain holds `ctstate INVALID -j DROP`, as kube-proxy installs it,
and so connection tracking. Ratios are taken within a round; printed are medians over rounds.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import types

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, f"{HERE}/../lib"]

from account import (LAST_CPU, busy_seconds, idle_share, in_turns, ping_us,  # noqa: E402
                     target)
from case import eventually  # noqa: E402
from hot_lines import sampled  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Load, Server, check_no_errors, wait_listening  # noqa: E402
import kubeproxy  # noqa: E402

REPLICAS, SOURCES, CONNECTIONS = 8, 8, 32
PORT = 8080
NOISY_PING, NOISY_IDLE = 1.5, 0.15  # times the usual ping; share of CPU that is not ours

HAPROXY = """\
global
    nbthread {threads}
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen llm
    bind {vip}:80
    balance leastconn
{servers}
"""


class World:
    """One lab with the service, nobody balancing yet."""

    def __init__(self, lab):
        self.lab, self.node = lab, lab.node1
        self.client = lab.add_pod(self.node, "client")
        self.pod = lab.add_pod(self.node, "replicas")
        self.sources = [self.client.ip4] + [self.add_address(self.client).ip4
                                            for _ in range(SOURCES - 1)]
        self.server = Server(self.pod, PORT)
        subprocess.run(["taskset", "-acp", str(LAST_CPU), str(self.server.process.pid)],
                       check=True, stdout=subprocess.DEVNULL)
        self.app = App(lab, "llm", 10, [Port("http", 80, PORT)])
        for _ in range(REPLICAS):
            self.app.add(self.add_address(self.pod))

    def add_address(self, pod):
        """One more address of each family for this pod, in the shape of a pod of its own."""
        number = self.node.take_pod_number()
        one = types.SimpleNamespace(name=f"llm-{number}", node=self.node,
                                    ip4=f"10.{self.node.number}.0.{number}",
                                    ip6=f"fd10:{self.node.number}::{number:x}")
        pod.ip(f"addr add {one.ip4}/32 dev eth0", f"addr add {one.ip6}/128 dev eth0 nodad")
        self.node.ip(f"route add {one.ip4}/32 dev {pod.veth}",
                     f"route add {one.ip6}/128 dev {pod.veth}")
        return one

    def drop_rules(self):
        for tables in ("iptables", "ip6tables"):
            self.node.run(tables, "-F", "FORWARD")


# ---- who balances: each returns the address that clients go to --------------------------------
def direct(world):
    return f"{world.app.replicas[0].pod.ip4}:{PORT}"


def direct_bare(world):
    world.drop_rules()
    return direct(world)


def iptables(world):
    kubeproxy.install(world.node, [world.app])
    return world.app.target()


def haproxy(world):
    servers = "".join(f"    server r{i} {one.pod.ip4}:{PORT}\n"
                      for i, one in enumerate(world.app.replicas))
    path = f"{world.lab.dir}/haproxy.cfg"
    with open(path, "w", encoding="utf-8") as file:
        file.write(HAPROXY.format(threads=os.cpu_count(), vip=world.app.vip4, servers=servers))
    world.node.ip(f"addr add {world.app.vip4}/32 dev lo")
    world.node.sysctl(net__ipv4__ip_local_port_range="10000 65000")
    wait_listening(world.node, 80, world.node.spawn("haproxy", "-db", "-f", path))
    return world.app.target()


def sluice(world, *options):
    world.app.write()
    world.node.start_sluiced(*options)
    eventually(lambda: world.app.applied(world.node), "sluiced steers the service")
    return world.app.target()


def sluice_bare(world):
    world.drop_rules()
    return sluice(world)


def sluice_fast(world):
    return sluice(world, "--fast-path")


def sluice_fast_bare(world):
    world.drop_rules()
    return sluice_fast(world)


OURS, HAPROXY_RULES = "Sluice, rules", "HAProxy leastconn, rules"
FAST = "Sluice, fast path, rules"
CONFIGS = {"direct": direct_bare, "direct, rules": direct, "iptables random, rules": iptables,
           HAPROXY_RULES: haproxy, "Sluice": sluice_bare, OURS: sluice,
           "Sluice, fast path": sluice_fast_bare, FAST: sluice_fast}
BASE = {name: "direct, rules" if name.endswith("rules") else "direct" for name in CONFIGS}


# ---- one sample ----------------------------------------------------------------------------------
def drive(world, where, cpu, seconds, **options):
    """Runs the load client; returns its account, with the CPU seconds of the whole machine."""
    before = busy_seconds()
    account = Load(world.client, where, cpu=cpu, duration=seconds, source=",".join(world.sources),
                   **options).result()
    account["cpu_s"] = busy_seconds() - before
    check_no_errors(account, where, kernel_resets=1 + account["requests"] // 10000)
    return account


def sample(name, seconds):
    with Lab(nodes=1) as lab:
        world = World(lab)
        where = CONFIGS[name](world)
        drive(world, where, 0, 0.2, connections=CONNECTIONS)
        pings, idle = [ping_us()], idle_share()
        short = drive(world, where, 0, seconds, connections=CONNECTIONS)
        kept = drive(world, where, 0, seconds / 2, connections=CONNECTIONS, keepalive=True)
        single = drive(world, where, LAST_CPU, seconds / 3, connections=1, keepalive=True)
        pings.append(ping_us())
    return {"short": short["ok"] / short["duration_s"], "kept": kept["ok"] / kept["duration_s"],
            "cpu": short["cpu_s"] / short["ok"] * 1e5, "p50": single["request_us"]["p50"],
            "ping": max(pings), "idle": idle}


# ---- where the time of Sluice goes -------------------------------------------------------------
@contextlib.contextmanager
def bpf_stats():
    """The kernel counts and times the runs of all BPF programs, for a while."""
    path = "/proc/sys/kernel/bpf_stats_enabled"
    with open(path, encoding="ascii") as file:
        before = file.read()
    with open(path, "w", encoding="ascii") as file:
        file.write("1")
    try:
        yield
    finally:
        with open(path, "w", encoding="ascii") as file:
            file.write(before)


def program_runs(node):
    """{program: (runs, ns)} so far."""
    runs = {}
    for name in sorted(os.listdir(f"{node.bpffs}/progs")):
        shown = json.loads(node.run("bpftool", "-j", "prog", "show", "pinned",
                                    f"{node.bpffs}/progs/{name}"))
        runs[name] = (shown.get("run_cnt", 0), shown.get("run_time_ns", 0))
    return runs


def profile(world, where, **options):
    """({program: (runs, ns)} of this load, requests)."""
    before = program_runs(world.node)
    requests = drive(world, where, 0, 1, connections=CONNECTIONS, **options)["ok"]
    return {name: (runs - before[name][0], ns - before[name][1])
            for name, (runs, ns) in program_runs(world.node).items()}, requests


def print_profile():
    """What a request runs of Sluice's programs: one sample more, with the kernel's statistics."""
    with bpf_stats(), Lab(nodes=1) as lab:
        world = World(lab)
        where = sluice(world)
        profiles = (("short connection", *profile(world, where)),
                    ("kept-alive request", *profile(world, where, keepalive=True)))
        lines = sampled(world.node, ("from_pod", "to_pod"), 2,
                        lambda: drive(world, where, 0, 2, connections=CONNECTIONS))
    print("\nin Sluice's programs (kernel.bpf_stats_enabled=1; its clock is part of the ns)")
    for what, programs, requests in profiles:
        for name, (runs, ns) in programs.items():
            if runs * 100 > requests:
                print(f"  {what}: {name:12} {runs / requests:5.1f} runs of {ns / runs:4.0f} ns")
        total = sum(ns for _, ns in programs.values()) / requests
        print(f"  {what}: together {total / 1000:.2f} us, {total / 1e4:.2f} CPU s per 100 k")
    if lines:
        print("\nof short connections, by source line (perf; a sample lands where the CPU waits "
              "for memory,\nor at a program's first line, where it waits for the code)", *lines,
              sep="\n")


# ---- the account ---------------------------------------------------------------------------------
def noise(taken):
    """{number of a noisy round: what was wrong with it}."""
    usual = statistics.median(one["ping"] for row in taken for one in row.values())
    said = {}
    for number, row in enumerate(taken):
        ping = max(one["ping"] for one in row.values())
        idle = max(one["idle"] for one in row.values())
        if ping > NOISY_PING * usual or idle > NOISY_IDLE:
            said[number] = (f"round {number + 1} was noisy: ping {ping:.0f} us (usual "
                            f"{usual:.0f}), {idle:.0%} of the CPUs busy before a sample")
    return said


def median(rows, name, key, base=None, form=lambda own, other: own / other):
    """Over rounds; with `base`, of what `form` makes of this sample and the round's other one."""
    return statistics.median(row[name][key] if base is None else
                             form(row[name][key], row[base][key]) for row in rows)


def difference(own, other):
    return own - other


def print_table(rows, names):
    print(f"{'':26}{'short connections':>24}{'kept-alive':>24}{'CPU s per 100 k':>20}"
          f"{'request':>16}")
    print(f"{'':26}{'per s':>8}{'x bare':>8}{'x base':>8}{'per s':>8}{'x bare':>8}{'x base':>8}"
          f"{'conn.':>10}{'extra':>10}{'p50 us':>8}{'added':>8}")
    for name in names:
        base = BASE[name]
        cells = [f"{name:26}"]
        for key in ("short", "kept"):
            cells.append(f"{median(rows, name, key):8.0f}{median(rows, name, key, 'direct'):8.2f}"
                         f"{median(rows, name, key, base):8.2f}")
        cells.append(f"{median(rows, name, 'cpu'):10.2f}"
                     f"{median(rows, name, 'cpu', base, difference):10.2f}")
        cells.append(f"{median(rows, name, 'p50'):8.0f}"
                     f"{median(rows, name, 'p50', base, difference):8.0f}")
        print("".join(cells))
    print("x bare: ratio to `direct`; x base, extra, added: against direct with the same rules")


def print_rounds(taken):
    """How far rounds are apart."""
    for key, what in (("short", "short connections"), ("kept", "kept-alive"), ("cpu", "CPU")):
        ratios = (f"{row[OURS][key] / row[BASE[OURS]][key]:.2f}" for row in taken)
        print(f"{OURS} / {BASE[OURS]}, {what}, by round: {' '.join(ratios)}")


def print_targets(rows, names, noisy):
    base = BASE[OURS]
    for key, what, limit in (("short", "short connections/s", 0.95),
                             ("kept", "kept-alive requests/s", 1.0)):
        target(f"{what}, Sluice / direct under the same rules", median(rows, OURS, key, base),
               limit, at_least=True, noisy=noisy)
        target(f"{what}, Sluice on the fast path / direct under the same rules",
               median(rows, FAST, key, base), 1.0, at_least=True, noisy=noisy)
    target("extra CPU per 100 k connections on the fast path",
           median(rows, FAST, "cpu", base, difference), 0.1, unit=" s", noisy=noisy)
    extra = median(rows, OURS, "cpu", base, difference)
    target("extra CPU per 100 k connections", extra, 0.1, unit=" s", noisy=noisy)
    if HAPROXY_RULES in names:
        theirs = median(rows, HAPROXY_RULES, "cpu", base, difference)
        target("extra CPU, Sluice / HAProxy", extra / theirs, 0.06, noisy=noisy)
    target("added latency per request, p50", median(rows, OURS, "p50", base, difference), 10,
           unit=" us", digits=0, noisy=noisy)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    parser.add_argument("--seconds", type=float, default=3.0,
                        help="of short connections; kept-alive ones half as long (default 3)")
    parser.add_argument("--without-haproxy", action="store_true")
    options = parser.parse_args()
    names = [name for name in CONFIGS if not (options.without_haproxy and name == HAPROXY_RULES)]
    taken = in_turns(options.rounds, names, lambda name: sample(name, options.seconds))
    noisy = noise(taken)
    quiet = [row for number, row in enumerate(taken) if number not in noisy]
    few = len(quiet) * 2 < len(taken)
    rows = taken if few else quiet
    print_table(rows, names)
    for line in noisy.values():
        print(line)
    print(f"medians over {len(rows)} of {len(taken)} rounds" +
          (": too few were quiet to leave the noisy ones out" if few and noisy else ""))
    print_rounds(taken)
    print_profile()
    print_targets(rows, names, noisy=few)


if __name__ == "__main__":
    main()
