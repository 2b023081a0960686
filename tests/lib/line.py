# SPDX-License-Identifier: GPL-2.0-only
"""Servers with a number of places (tests/e2e/slots.c), and crowds of clients that want them."""

import json
import os
import subprocess

from case import SLOW, check
from process import built
from servers import wait_listening

CLIENT = f"{os.path.dirname(os.path.abspath(__file__))}/line_client.py"


class Slots:
    """The server, in a pod. Its account is asked for from its node, whose address has no cap."""

    def __init__(self, pod, port=8080):
        self.pod, self.port = pod, port
        self.process = None
        self.start()

    def start(self):
        spared = [word for node in self.pod.lab.nodes for address in (node.ip4, node.ip6)
                  for word in ("--spare", address)]
        self.process = self.pod.spawn(built("tests/e2e/slots"), "--name", self.pod.name,
                                      "--port", self.port, *spared)
        wait_listening(self.pod, self.port, self.process)

    def restart(self):
        self.process.kill()
        self.start()

    def account(self):
        return json.loads(self.pod.node.run("python3", "-c", ASK, self.pod.ip4, self.port))


ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as sock:
    sock.sendall(b"account\\n")
    print(sock.makefile().readline())
"""


class Crowd:
    """line_client.py under way: `clients` connects to a service, each with `word`."""

    def __init__(self, space, app, clients, word, spacing_ms=0, patience_s=20):
        address, _, port = app.target().rpartition(":")
        self.name, self.clients = space.name, clients
        self.process = space.spawn("python3", CLIENT, address, port, clients, word, spacing_ms,
                                   patience_s * SLOW, stdout=subprocess.PIPE)
        self.hold = word == "hold"

    def result(self, timeout=120):
        """What became of each client, in the order in which they were connected."""
        out = self.process.popen.stdout
        lines = [json.loads(out.readline()) for _ in range(self.clients)]
        if not self.hold:
            self.process.popen.wait(timeout * SLOW)
        return lines

    def close(self):
        """Ends those that hold."""
        self.process.stop()


def check_served(clients, what):
    failed = [one for one in clients if one["error"]]
    check(clients and not failed, f"{what}: {len(failed)} of {len(clients)} failed: {failed[:3]}")
