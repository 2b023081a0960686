# SPDX-License-Identifier: GPL-2.0-only
"""The lab that `make demo` and `make lab` show: a model service of six nginx replicas of three
speeds on two nodes, two client pods and an outside client."""

import os
import shutil
import subprocess
import sys

from case import eventually
from manifest import App
from process import ROOT
from servers import Nginx

SPEEDS = (300, 150, 75)     # requests/s; what is beyond them queues
SPARE_SPEED = 300           # of the replica that joins
TOOLS = ("ip", "nsenter", "iptables", "ip6tables", "tc", "ethtool", "nginx", "curl", "make")
PROGRAMS = ("sluiced", "sluice", "tests/e2e/load", "tests/e2e/hooks")


def prepare():
    """Root, tools and an up-to-date build, or an explanation and the end."""
    name = os.path.basename(sys.argv[0])
    if os.geteuid():
        sys.exit(f"{name}: needs root, for network namespaces and BPF. Try: sudo make {name}")
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        sys.exit(f"{name}: not found: {', '.join(missing)}. Try: make deps")
    build = os.environ.get("O", "build")
    if subprocess.run(["make", "-s", "-C", ROOT, *(f"{build}/{one}" for one in PROGRAMS)],
                      check=False).returncode:
        sys.exit(f"{name}: the build failed")


class World:
    def __init__(self, lab):
        self.lab = lab
        self.clients = [lab.add_pod(lab.node1, "chat"), lab.add_pod(lab.node1, "batch"),
                        lab.outside]
        self.app = App(lab, "llm", 10)
        self.app.probe = {"httpGet": {"path": "/health", "port": 80}, "periodSeconds": 1}
        self.nginx, self.speed = {}, {}
        for node in lab.nodes:
            for speed in SPEEDS:
                self.add_replica(node, speed)

    def add_replica(self, node, speed):
        pod = self.lab.add_pod(node, f"llm-{len(self.nginx)}")
        self.nginx[pod.name] = Nginx(pod, rate=speed)
        self.speed[pod.name] = speed
        self.app.add(pod)
        return pod

    def del_replica(self, pod):
        self.app.drop(pod)
        self.nginx.pop(pod.name)
        self.lab.del_pod(pod)

    def open_connections(self, pod):
        return pod.established(80, self.nginx[pod.name].process.pid)

    def start_agents(self):
        self.app.write()
        for node in self.lab.nodes:
            node.start_sluiced()
            eventually(lambda: self.app.applied(node), f"{node.name} steers {self.app.name}")
