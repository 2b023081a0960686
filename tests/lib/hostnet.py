# SPDX-License-Identifier: GPL-2.0-only
"""Pods in the network of their node (hostNetwork), and what strict rules find to drop."""

from process import Space


class HostPod(Space):
    """To an App and to servers it is a pod: its addresses are its node's."""

    device = "uplink0"

    def __init__(self, node, name):
        super().__init__(node.lab, name)
        self.ns = node.ns
        self.node = node
        self.ip4, self.ip6 = node.ip4, node.ip6


def drop_invalid(space, *chains):
    """Packets that connection tracking calls INVALID are dropped in these chains, as kube-proxy has it
    in FORWARD; but not IPv6 redirects, which a node sends where a pod is given itself, for there is
    no switch for them, and which no pod heeds."""
    for chain in chains:
        space.run("ip6tables", "-w", "-A", chain, "-p", "icmpv6", "--icmpv6-type", "redirect",
                  "-j", "ACCEPT")
    for tables in ("iptables", "ip6tables"):
        for chain in chains:
            space.run(tables, "-w", "-A", chain, "-m", "conntrack", "--ctstate", "INVALID",
                      "-j", "DROP")


def dropped_by_rules(space):
    """What strictness has cost in this namespace: {what: packets}."""
    found = {}
    for tables in ("iptables", "ip6tables"):
        chain = None
        for line in space.run(tables, "-w", "-xvnL").splitlines():
            chain = line.split()[1] if line.startswith("Chain") else chain
            if "ctstate INVALID" in line:
                found[f"{tables} {chain}"] = int(line.split()[0])
    for line in space.run("nstat", "-asz", "TcpExtIPReversePathFilter", "IpInAddrErrors",
                          "Ip6InAddrErrors").splitlines():
        if not line.startswith("#"):
            name, value = line.split()[:2]
            found[name] = int(value)
    return found
