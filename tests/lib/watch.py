# SPDX-License-Identifier: GPL-2.0-only
"""Looks at what really passes the interfaces of a lab (tests/e2e/watch.c in each namespace): checksums,
and that no address is seen where it must not be; and at the kernel's own counts of what it refused."""

import json
import os
import signal
import subprocess

from case import check, check_equal
from process import built

# What the kernel counts, by namespace, of packets whose addresses it does not like.
REFUSALS = {"/proc/net/netstat": ("IPReversePathFilter", "InNoRoutes", "InCsumErrors"),
            "/proc/net/snmp": ("InAddrErrors", "InCsumErrors"),
            "/proc/net/snmp6": ("Ip6InNoRoutes", "Ip6InAddrErrors", "Udp6InCsumErrors")}


class Watch:
    """From `with` to stop(): what passes in these spaces. Ports below are told apart, others not."""

    def __init__(self, spaces, ports):
        self.spaces = list(spaces)
        self.ports = ",".join(map(str, ports))
        self.processes = []

    def __enter__(self):
        for space in self.spaces:
            process = space.spawn(built("tests/e2e/watch"), "--ports", self.ports,
                                  stdout=subprocess.PIPE)
            self.processes.append(process)
            check_equal(process.popen.stdout.readline(), b"ready\n", f"watch in {space.name}")
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.stop()

    def stop(self):
        """{space's name: its rows}, as watch.c prints them. Ends the watch."""
        seen = {}
        for space, process in zip(self.spaces, self.processes):
            process.signal(signal.SIGTERM)
            out, _ = process.popen.communicate(timeout=30)
            check(out, f"watch in {space.name}: {process.log()[-500:]}")
            seen[space.name] = json.loads(out)["rows"]
        return seen


def check_sums(seen):
    """Every checksum is right, wherever the packet was seen."""
    for space, rows in seen.items():
        bad = [row for row in rows if row["bad_ip"] or row["bad_l4"]]
        check(not bad, f"wrong checksums in {space}: {bad[:3]}")


def end(row, way):
    """(ADDRESS, PORT, PROTOCOL) of either end of a row: way "s" or "d"."""
    return row[{"s": "src", "d": "dst"}[way]], row[f"{way}port"], row["protocol"]


def leaks(seen, nodes, pods, outside, vips, replicas):
    """A line for each kind of packet with an address that it must not have where it was seen.
    `vips` and `replicas`: sets of (ADDRESS, PORT, PROTOCOL). Replicas talk to clients through VIPs
    only; the agents' probes come from their nodes' own addresses."""
    found = []

    def judge(space, row, what):
        found.append(f"{what} in {space}, {row['way']} {row['device']}: {row['protocol']} "
                     f"{row['src']}:{row['sport']} > {row['dst']}:{row['dport']}, "
                     f"{row['packets']} packets")

    outsiders = {row["src"] for row in seen[outside.name] if row["way"] == "out"}
    of_pods = {address for pod in pods for address in (pod.ip4, pod.ip6)}
    of_nodes = {address for node in nodes for address in (node.ip4, node.ip6)}
    inside = {pod.name for pod in pods}
    for space, rows in seen.items():
        for row in rows:
            if row["device"] == "lo":
                continue
            src, dst = end(row, "s"), end(row, "d")
            to_pod = (row["way"] == "in" and space in inside) or (
                row["way"] == "out" and row["device"].startswith("veth"))
            leaving = row["way"] == "out" and row["device"] == "uplink0" and space != outside.name
            if (to_pod or leaving) and dst in vips:
                judge(space, row, "a packet to a VIP that was not translated")
            if src in replicas and (
                    (to_pod and row["dst"] in of_pods) or row["dst"] in outsiders - of_nodes):
                if to_pod or leaving or space == outside.name:
                    judge(space, row, "a reply with its replica's address")
            if row["device"] == "sluice0" and row["way"] == "in" and src in replicas:
                judge(space, row, "a reply to the node with its replica's address")
            if leaving and row["src"] in outsiders - of_nodes and dst in replicas:
                judge(space, row, "an outside client's own address on the way to a replica")
    return found


def refusals(spaces):
    """{(space's name, counter): value}."""
    counts = {}
    for space in spaces:
        for path, names in REFUSALS.items():
            for name, value in _counters(space.run("cat", path)):
                if name in names:
                    key = space.name, f"{os.path.basename(path)} {name}"
                    counts[key] = counts.get(key, 0) + value
    return counts


def _counters(text):
    """(name, value) of /proc/net/snmp (a line of names, then one of values) or snmp6."""
    lines = [line.split() for line in text.splitlines()]
    if all(len(line) == 2 for line in lines):
        yield from ((name, int(value)) for name, value in lines)
        return
    for names, values in zip(lines[::2], lines[1::2]):
        yield from zip(names[1:], map(int, values[1:]))


def martians():
    """Packets that any namespace of this machine called martians: one count for all."""
    with open("/proc/net/stat/rt_cache", encoding="ascii") as file:
        names, *cpus = [line.split() for line in file]
    return sum(int(cpu[names.index(name)], 16) for cpu in cpus
               for name in ("in_martian_dst", "in_martian_src"))
