# SPDX-License-Identifier: GPL-2.0-only
"""Connections that say nothing until they are asked to (hold_client.py)."""

import os
import subprocess

from case import check, check_equal

HOLD_CLIENT = f"{os.path.dirname(os.path.abspath(__file__))}/hold_client.py"


class Held:
    """A connection that says nothing until ask()."""

    def __init__(self, space, app, family=4):
        address = app.vip4 if family == 4 else app.vip6
        self.name = f"{space.name} over IPv{family}"
        self.popen = subprocess.Popen(
            space.inside(["python3", HOLD_CLIENT, address, app.ports[0].port]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self):
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()
        return self.popen.stdout.readline().strip()

    def close(self):
        self.popen.stdin.close()
        self.popen.stdout.close()
        self.popen.wait(10)


class HeldSet:
    """Several of them, which must go on answering as they first did."""

    def __init__(self, spaces, app, families=(4, 6), each=1):
        self.held = [Held(space, app, family)
                     for space in spaces for family in families for _ in range(each)]
        self.first = [one.ask() for one in self.held]
        for one, answer in zip(self.held, self.first):
            check(answer.startswith("ok "), f"{one.name}: {answer!r}")

    def check(self, what):
        for one, answer in zip(self.held, self.first):
            check_equal(one.ask(), answer, f"a connection of {one.name}, {what}")

    def close(self):
        for one in self.held:
            one.close()
