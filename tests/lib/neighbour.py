# SPDX-License-Identifier: GPL-2.0-only
"""Somebody else's BPF programs at the hooks of a node (tests/e2e/neighbour.bpf.c), and what each of them
saw since the last look."""

import contextlib
import json
import os
import shutil

from process import built

KINDS = ("to_vip", "from_vip", "to_replica", "from_replica")


class Neighbours:
    """All of one lab's; a directory in bpffs holds them."""

    def __init__(self, lab):
        self.dir = f"/sys/fs/bpf/{lab.prefix}-neighbours"
        self.count = 0
        os.mkdir(self.dir)

    def close(self):
        shutil.rmtree(self.dir)

    def load(self, node, program):
        """A copy of its own, with a map of its own: its directory."""
        self.count += 1
        home = f"{self.dir}/{self.count}"
        os.mkdir(home)
        node.run("bpftool", "prog", "loadall", built("tests/e2e/neighbour.bpf.o"), home, "type",
                 "classifier", "pinmaps", home)
        return home, f"{home}/{program}"


class Neighbour:
    """`where`: "first" or "last" at tcx, a priority for a clsact filter. `ends`: it ends the chain."""

    def __init__(self, all_of_them, node, device, direction, where, ends=False):
        self.node, self.device, self.direction = node, device, direction
        self.home, pin = all_of_them.load(node, "neighbour_ok" if ends else "neighbour_next")
        self.filter = None
        if where in ("first", "last"):
            node.run(built("tests/e2e/hooks"), "attach", device, direction, where, pin,
                     f"{self.home}/link")
            return
        node.run("tc", "qdisc", "add", "dev", device, "clsact", fail=False)  # there already?
        self.filter = ("dev", device, direction, "prio", where)
        node.run("tc", "filter", "add", *self.filter, "handle", "1", "bpf", "da", "object-pinned",
                 pin)

    def detach(self):
        if self.filter:
            self.node.run("tc", "filter", "del", *self.filter)
        shutil.rmtree(self.home)

    def seen(self):
        """What it saw since the last call."""
        rows = json.loads(self.node.run("bpftool", "-j", "map", "dump", "pinned",
                                        f"{self.home}/seen"))
        now = {kind: row["formatted"]["value"] for kind, row in zip(KINDS, rows)}
        before, self.before = getattr(self, "before", dict.fromkeys(KINDS, 0)), now
        return {kind: now[kind] - before[kind] for kind in KINDS if now[kind] > before[kind]}


@contextlib.contextmanager
def neighbours(lab):
    """Yields a function that attaches one; all are gone after it."""
    all_of_them = Neighbours(lab)
    attached = []

    def attach(*place, **options):
        attached.append(Neighbour(all_of_them, *place, **options))
        return attached[-1]
    try:
        yield attach
    finally:
        for one in attached:
            if os.path.isdir(one.home):
                one.detach()
        all_of_them.close()
        for device in {(one.node, one.device) for one in attached if one.filter}:
            if not device[0].run("tc", "filter", "show", "dev", device[1], "ingress") and \
               not device[0].run("tc", "filter", "show", "dev", device[1], "egress"):
                device[0].run("tc", "qdisc", "del", "dev", device[1], "clsact", fail=False)


def order(node, device, direction):
    """Names of the programs at a tcx hook, in running order."""
    return node.run(built("tests/e2e/hooks"), "order", device, direction).split()
