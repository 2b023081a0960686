# SPDX-License-Identifier: GPL-2.0-only
"""Pods on a bridge, as the CNI plugins `bridge` and flannel make them: for Lab(pod_type=BridgePod).

The node's bridge cni0 has the first address of its pods' range; a pod has an address of that range
and a default route to the bridge. Pods of one node reach each other without the node's router, so
connection tracking sees their answers only where br_netfilter hands it bridged packets."""

import os
import subprocess

from case import Skip
from lab import CLIENT_SYSCTLS, COMMON_SYSCTLS, Pod

BRIDGE = "cni0"


def build_bridge(node):
    """Once for a node, before its first pod."""
    if BRIDGE in node.run("ip", "-o", "link", "show", "type", "bridge"):
        return
    subprocess.run(["modprobe", "-q", "br_netfilter"], check=False)
    if not os.path.isdir("/proc/sys/net/bridge"):
        raise Skip("this kernel has no br_netfilter")
    node.ip(f"link add {BRIDGE} type bridge mcast_snooping 0",
            f"addr add 10.{node.number}.0.1/24 dev {BRIDGE}",
            f"addr add fd10:{node.number}::1/64 dev {BRIDGE} nodad",
            f"link set {BRIDGE} up")
    node.sysctl(**{"net__bridge__bridge-nf-call-iptables": 1,
                   "net__bridge__bridge-nf-call-ip6tables": 1})


class BridgePod(Pod):
    def build(self):
        build_bridge(self.node)
        subprocess.run(["ip", "netns", "add", self.ns], check=True)
        self.sysctl(**COMMON_SYSCTLS, **CLIENT_SYSCTLS)
        self.node.ip(f"link add {self.veth} type veth peer name eth0 netns {self.ns}",
                     f"link set {self.veth} master {BRIDGE} up")
        self.ip("link set lo up", "link set eth0 up",
                f"addr add {self.ip4}/24 dev eth0",
                f"addr add {self.ip6}/64 dev eth0 nodad",
                f"route add default via 10.{self.node.number}.0.1",
                f"route add default via fd10:{self.node.number}::1")
