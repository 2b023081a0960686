# SPDX-License-Identifier: GPL-2.0-only
"""A node of the lab: a router namespace, and the agent that runs on it."""

import json
import os
import re
import subprocess

from case import check, eventually
from process import Space, built

LISTEN = "127.0.0.1:9911"
LIVE_PHASES = ("claimed", "syn", "open", "parked")


class Node(Space):
    def __init__(self, lab, number):
        super().__init__(lab, f"node{number}")
        self.number = number
        self.ip4 = f"192.168.50.{number}"
        self.ip6 = f"fd50::{number}"
        self.pods4 = f"10.{number}.0.0/24"
        self.pods6 = f"fd10:{number}::/64"
        self.bpffs = f"/sys/fs/bpf/sluice-{lab.prefix}-{self.name}"
        self.agent = None
        self.last_pod_number = 1

    def take_pod_number(self):
        self.last_pod_number += 1
        return self.last_pod_number

    def build(self):
        for tables in ("iptables", "ip6tables"):
            self.run(tables, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID",
                     "-j", "DROP")
        self.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1,
                    net__ipv4__conf__all__send_redirects=0,
                    net__ipv4__conf__default__send_redirects=0,
                    net__netfilter__nf_conntrack_tcp_timeout_time_wait=5)
        others = [node for node in self.lab.nodes if node is not self]
        self.ip(f"addr add {self.ip4}/24 dev uplink0",
                f"addr add {self.ip6}/64 dev uplink0 nodad",
                f"route add 192.168.51.0/24 via {self.lab.outside.ip4}",
                *(f"route add {node.pods4} via {node.ip4}" for node in others),
                *(f"route add {node.pods6} via {node.ip6}" for node in others))

    # ---- the agent -----------------------------------------------------------------
    def start_sluiced(self, *options, env=None, ready=True):
        """Lists of endpoints are believed at once unless `options` hold them: cases shorten
        them and look what happens."""
        if "--endpoint-hold" not in options:
            options = ("--endpoint-hold", "0", *options)
        self.agent = self.spawn(
            built("sluiced"), "--manifests", self.lab.manifests.dir, "--bpffs", self.bpffs,
            "--listen", LISTEN, "--node-name", self.name, "--pod-interfaces", "veth*",
            "--uplinks", "uplink0", *options, env=env)
        if ready:
            self.wait_ready()
        return self.agent

    def wait_ready(self):
        def ready():
            check(self.agent.running(), f"{self.name}: sluiced ended: {self.agent.log()[-2000:]}")
            return self.http_status("/readyz") == 200
        eventually(ready, f"{self.name}: sluiced answers /readyz with 200", 20, 0.05)

    def http(self, path):
        return self.run("curl", "-sS", "-m", "5", f"http://{LISTEN}{path}")

    def configs_applied(self):
        """How many desired states its agent has put into force; None: none answers."""
        found = re.search(r"^sluice_config_applied_total (\d+)$",
                          self.run("curl", "-s", "-m", "5", f"http://{LISTEN}/metrics", fail=False)
                          or "", re.M)
        return int(found[1]) if found else None

    def http_status(self, path):
        text = self.run("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}",
                        f"http://{LISTEN}{path}", fail=False)
        return int(text or 0)

    def sluice(self, *argv):
        """Runs the CLI with JSON output; returns what it printed, decoded."""
        return json.loads(self.run(built("sluice"), "-j", "--bpffs", self.bpffs, *argv) or "[]")

    def doctor(self):
        """The rows of `doctor`, whatever it thinks of the node."""
        return json.loads(self.run(built("sluice"), "-j", "--bpffs", self.bpffs, "doctor",
                                   fail=False))

    def replicas(self, service=None):
        """The rows of `replica show`, of one service or of all."""
        return [row for row in self.sluice("replica", "show")
                if service in (None, row["service"])]

    def replica(self, address, port=80):
        """The row of one replica; of state "absent" when the kernel does not hold it."""
        absent = {"state": "absent", "inflight": 0, "owned": 0}
        return next((row for row in self.replicas()
                     if (row["address"], row["port"]) == (address, port)), absent)

    def live_flows(self, protocols=("TCP", "UDP")):
        return [flow for flow in self.sluice("flow", "show")
                if flow["state"] in LIVE_PHASES and flow["protocol"] in protocols]

    def counted(self, protocols=("TCP", "UDP")):
        """The replicas whose counts are not 0."""
        return [row for row in self.replicas()
                if (row["inflight"] or row["owned"]) and row["protocol"] in protocols]

    def xdp_hooks(self):
        """The programs at XDP of this node's interfaces, anybody's."""
        hooks = []
        for link in json.loads(self.run("ip", "-j", "-d", "link", "show")):
            for one in link.get("xdp", {}).get("attached", []) or [link.get("xdp")]:
                if one and one.get("prog"):
                    hooks.append({"interface": link["ifname"], "mode": one["mode"],
                                  **one["prog"]})
        return hooks

    def counter(self, name):
        """One of the datapath's counters, of include/sluice/names.h."""
        return self.sluice("status")[0]["counters"].get(name, 0)

    # ---- clean states ----------------------------------------------------------------
    def assert_clean(self, deadline=60, protocols=("TCP",)):
        """Every count back to 0 and no flow live, once the traffic has ended. UDP has no end but
        its timeout of 120 s: one case waits for that."""
        if not os.path.isdir(self.bpffs):
            return
        try:
            eventually(lambda: not self.live_flows(protocols) and not self.counted(protocols),
                       "clean", deadline, 0.2)
        except AssertionError:
            flows = self.live_flows(protocols)
            raise AssertionError(f"{self.name}: {len(flows)} live flows, e.g. {flows[:3]}; "
                                 f"counts not 0: {self.counted(protocols)}") from None

    def unload(self):
        """`sluiced --unload`; returns a line for each trace of Sluice that it left."""
        if not os.path.exists(f"/run/netns/{self.ns}"):
            return []
        done = subprocess.run(
            self.inside([built("sluiced"), "--unload", "--bpffs", self.bpffs]),
            capture_output=True, text=True, check=False)
        left = self.traces()
        if done.returncode:
            left.append(f"{self.name}: --unload: exit status {done.returncode}: {done.stderr}")
        return left

    def traces(self):
        """What of Sluice can be found on this node: pins, qdiscs, programs at hooks."""
        left = []
        if not os.path.exists(f"/run/netns/{self.ns}"):
            return left
        if os.path.isdir(self.bpffs):
            pins = sorted(os.listdir(self.bpffs))
            left.append(f"{self.name}: {self.bpffs} holds {pins}")
        for line in self.run("tc", "qdisc", "show").splitlines():
            if "clsact" in line:
                left.append(f"{self.name}: {line}")
        left += [f"{self.name}: tcx {line}" for line in
                 self.run(built("tests/e2e/hooks")).splitlines()]
        left += [f"{self.name}: XDP {hook}" for hook in self.xdp_hooks()
                 if hook["name"] == "uplink"]
        if "sluice0" in self.run("ip", "-o", "link", "show"):
            left.append(f"{self.name}: interface sluice0")
        return left
