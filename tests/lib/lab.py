# SPDX-License-Identifier: GPL-2.0-only
"""A small cluster of network namespaces, gone again when the `with` ends.

    outside ---+                 192.168.50.100, fd50::100
               | uplink segment (a bridge in `fabric`)
    node1 -----+---- node2       192.168.50.1, .2; fd50::1, ::2; device uplink0
      |                |
      +- pods          +- pods   10.1.0.0/24, 10.2.0.0/24; fd10:1::/64, fd10:2::/64

A pod hangs on its node by a veth, routed as /32 and /128 as Calico and the cloud
CNIs do: every host end has the same MAC, and the pod has a permanent neighbour
entry for its gateway. Nodes forward, with strict rp_filter and the rule
`ctstate INVALID -j DROP` in FORWARD; there is no default route on a node. Outside
reaches VIPs (10.96/16, 203.0.113/24, fd96::/64) through node1, and pods directly,
for the runs without a balancer. 192.168.51.0/24 is routed to `outside` and
swallowed there: addresses that never answer.
"""

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile

from case import check, eventually
from manifest import Manifests
from node import Node
from process import Space, built

GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAY4 = "169.254.1.1"
GATEWAY6 = "fe80::ecee:eeff:feee:eeee"
BPFFS = "/sys/fs/bpf"

COMMON_SYSCTLS = {
    "net__ipv4__conf__all__rp_filter": 1, "net__ipv4__conf__default__rp_filter": 1,
    "net__ipv6__conf__all__accept_dad": 0, "net__ipv6__conf__default__accept_dad": 0,
    "net__ipv6__conf__default__accept_ra": 0,
}
CLIENT_SYSCTLS = {
    "net__ipv4__ip_local_port_range": "10000 65000", "net__ipv4__tcp_tw_reuse": 1,
}


class Pod(Space):
    """A namespace with one address of each family on a veth to its node."""

    device = "eth0"

    def __init__(self, lab, node, name):
        super().__init__(lab, name)
        self.node = node
        number = node.take_pod_number()
        self.ip4 = f"10.{node.number}.0.{number}"
        self.ip6 = f"fd10:{node.number}::{number:x}"
        self.veth = f"veth-{name}"[:15]

    def build(self):
        subprocess.run(["ip", "netns", "add", self.ns], check=True)
        self.sysctl(**COMMON_SYSCTLS, **CLIENT_SYSCTLS)
        self.node.ip(f"link add {self.veth} address {GATEWAY_MAC} type veth "
                     f"peer name eth0 netns {self.ns}",
                     f"link set {self.veth} up")
        self.ip("link set lo up", "link set eth0 up",
                f"addr add {self.ip4}/32 dev eth0",
                f"addr add {self.ip6}/128 dev eth0 nodad",
                f"neigh add {GATEWAY4} lladdr {GATEWAY_MAC} dev eth0 nud permanent",
                f"neigh add {GATEWAY6} lladdr {GATEWAY_MAC} dev eth0 nud permanent",
                f"route add {GATEWAY4} dev eth0 scope link",
                f"route add default via {GATEWAY4} dev eth0",
                f"route add default via {GATEWAY6} dev eth0")
        self.node.ip(f"route add {self.ip4}/32 dev {self.veth}",
                     f"route add {self.ip6}/128 dev {self.veth}")

    def established(self, port, pid="self"):
        """TCP connections to `port` of this pod that are established, both families; `pid`: a
        process in it, whose view of /proc/net spares a fork."""
        count = 0
        for family in ("tcp", "tcp6"):
            with open(f"/proc/{pid}/net/{family}", encoding="ascii") as table:
                next(table)
                for line in table:
                    field = line.split(None, 4)
                    count += field[3] == "01" and int(field[1].rpartition(":")[2], 16) == port
        return count


def veth_wire(fabric, space):
    """Gives `space` its device uplink0, the other end of which is in the bridge of `fabric`. A Lab
    takes any function of this form (tests/lib/wires.py has more)."""
    fabric.ip(f"link add {space.name} type veth peer name uplink0 netns {space.ns}",
              f"link set {space.name} master br0 up")
    space.ip("link set uplink0 up")


class Lab:
    """`wires`: {"node1": how its uplink is made}, for those that are no plain veth. `pod_type`: how
    pods hang on their nodes, a class derived from Pod."""

    def __init__(self, nodes=2, prefix=None, wires=None, pod_type=Pod):
        self.wires = wires or {}
        self.pod_type = pod_type
        self.prefix = prefix or f"sl{os.urandom(3).hex()}"
        self.dir = tempfile.mkdtemp(prefix=f"{self.prefix}-")
        os.chmod(self.dir, 0o755)
        self.manifests = Manifests(f"{self.dir}/manifests")
        self.processes = []
        self.pods = {}
        self.fabric = Space(self, "fabric")
        self.outside = Space(self, "outside")
        self.outside.ip4, self.outside.ip6 = "192.168.50.100", "fd50::100"
        self.nodes = [Node(self, number) for number in range(1, nodes + 1)]
        self.node1, self.node2 = self.nodes[0], self.nodes[-1]
        self.kept = False
        self.leaks = []

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # also when started by `&`
        atexit.register(self.down)
        try:
            self._build()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.down()
        check(kind or not self.leaks, "left behind: " + "; ".join(self.leaks))

    def _build(self):
        spaces = [self.fabric, self.outside, *self.nodes]
        subprocess.run(["ip", "-batch", "-"], check=True, text=True,
                       input="".join(f"netns add {space.ns}\n" for space in spaces))
        mount_bpffs()
        self.fabric.ip("link add br0 type bridge mcast_snooping 0", "link set br0 up")
        for space in spaces[1:]:
            space.sysctl(**COMMON_SYSCTLS)
            space.ip("link set lo up")
            self.wires.get(space.name, veth_wire)(self.fabric, space)
        self._build_outside()
        for node in self.nodes:
            node.build()

    def _build_outside(self):
        gateway = self.node1
        self.outside.sysctl(**CLIENT_SYSCTLS)
        self.outside.ip(
            *(f"addr add 192.168.50.{host}/24 dev uplink0" for host in range(100, 120)),
            f"addr add {self.outside.ip6}/64 dev uplink0 nodad",
            f"route add 10.96.0.0/16 via {gateway.ip4}",
            f"route add 203.0.113.0/24 via {gateway.ip4}",
            f"route add fd96::/64 via {gateway.ip6}",
            "route add blackhole 192.168.51.0/24",
            *(f"route add {node.pods4} via {node.ip4}" for node in self.nodes),
            *(f"route add {node.pods6} via {node.ip6}" for node in self.nodes))

    def add_pod(self, node, name):
        pod = self.pod_type(self, node, name)
        self.pods[name] = pod
        pod.build()
        return pod

    def del_pod(self, pod):
        """The pod's namespace, its interface and all that runs in it."""
        for process in [one for one in self.processes if self._lives_in(one, pod)]:
            process.kill()
            self.processes.remove(process)
        subprocess.run(["ip", "netns", "del", pod.ns], check=True)
        del self.pods[pod.name]

    @staticmethod
    def _lives_in(process, space):
        return f"--net=/run/netns/{space.ns}" in process.argv

    @contextlib.contextmanager
    def without_offload(self, devices=None):
        """Senders fill in every checksum themselves: on these [(space, name)], else on all of pods and
        uplinks."""
        devices = devices or [
            *((pod, "eth0") for pod in self.pods.values()),
            *((pod.node, pod.veth) for pod in self.pods.values()),
            *((space, "uplink0") for space in (*self.nodes, self.outside))]
        for space, device in devices:
            space.run("ethtool", "-K", device, "tx", "off")
        try:
            yield
        finally:
            for space, device in devices:
                space.run("ethtool", "-K", device, "tx", "on", "tso", "on", "gso", "on")

    def dump(self, lines=8):
        """The kernel's accounts and the ends of all logs, for a failed case."""
        for node in self.nodes:
            if os.path.isdir(node.bpffs):
                print(f"--- {node.name}", json.dumps(node.sluice("status")), sep="\n    ")
        for path, process in {one.log_path: one for one in self.processes}.items():
            tail = process.log().splitlines()[-lines:]
            if tail:
                print(f"--- {os.path.basename(path)}", *tail, sep="\n    ")

    def keep(self, state_path):
        """Leaves everything running when this program ends, and notes where it is."""
        self.kept = True
        with open(state_path, "w", encoding="utf-8") as state:
            json.dump({"prefix": self.prefix, "dir": self.dir,
                       "bpffs": [node.bpffs for node in self.nodes],
                       "agents": {node.name: {"argv": node.agent.argv, "log": node.agent.log_path}
                                  for node in self.nodes}}, state)

    def down(self):
        """Ends and removes all of it; what should not have been there goes to `leaks`. A second
        Ctrl-C does not stop it half-way."""
        atexit.unregister(self.down)
        if self.kept:
            return
        before = [(number, signal.signal(number, signal.SIG_IGN))
                  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        try:
            self._remove()
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def _remove(self):
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()
        for node in self.nodes:
            self.leaks += node.unload()
        self.leaks += remove_spaces(self.prefix)
        shutil.rmtree(self.dir, ignore_errors=True)


def mount_bpffs():
    if not os.path.ismount(BPFFS):
        subprocess.run(["mount", "-t", "bpf", "-o", "mode=700", "bpf", BPFFS], check=True)


def kill_and_wait(pid, deadline=10):
    """Ends a process, somebody else's child perhaps, with all that it holds open."""
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        ended, _, _ = select.select([handle], [], [], deadline)
        check(ended, f"process {pid} does not end")
    finally:
        os.close(handle)


def remove_spaces(prefix):
    """Deletes the namespaces of a lab, with whatever still runs in them; returns a line for each
    process that did."""
    leaks = []
    for ns in sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else []:
        if not ns.startswith(f"{prefix}-"):
            continue
        pids = subprocess.run(["ip", "netns", "pids", ns], capture_output=True, text=True,
                              check=False).stdout.split()
        for pid in map(int, pids):
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8") as cmdline:
                    name = cmdline.read().replace("\0", " ").strip()
                kill_and_wait(pid)
                leaks.append(f"process {pid} ({name}) in {ns}")
            except (ProcessLookupError, FileNotFoundError):
                pass
        subprocess.run(["ip", "netns", "del", ns], check=False)
    return leaks


def remove_kept(state_path):
    """Takes down a lab that was left by keep()."""
    with open(state_path, encoding="utf-8") as file:
        state = json.load(file)
    remove_spaces(state["prefix"])
    for bpffs in state["bpffs"]:
        subprocess.run([built("sluiced"), "--unload", "--bpffs", bpffs], check=False)
    eventually(lambda: not any(os.path.isdir(path) for path in state["bpffs"]),
               "bpffs directories of the lab gone")
    shutil.rmtree(state["dir"], ignore_errors=True)
    os.unlink(state_path)
