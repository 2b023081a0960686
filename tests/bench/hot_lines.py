# SPDX-License-Identifier: GPL-2.0-only
"""Which source lines of Sluice's programs the CPUs spend their time at, under real load: samples
of perf matched with the kernel's own line table (jit_lines.c). Nothing where there is no perf."""

import bisect
import collections
import os
import re
import shutil
import subprocess
import tempfile

from process import ROOT, built

SAMPLES_PER_S = 4999


def _line_table(node, name):
    """([offset], [where]) of a pinned program, by offset."""
    rows = []
    for line in node.run(built("tests/bench/jit_lines"),
                         f"{node.bpffs}/progs/{name}").splitlines():
        offset, where = line.split(" ", 1)
        path, text = where.split(":", 1)
        number, _, text = text.partition(" ")
        rows.append((int(offset, 16), f"{os.path.relpath(path, ROOT)}:{number}  {text.strip()}"))
    rows.sort()
    return [row[0] for row in rows], [row[1] for row in rows]


def _samples(data, name):
    """{offset into the program: samples}."""
    text = subprocess.run(["perf", "script", "-i", data, "-F", "ip,sym,symoff"],
                          capture_output=True, text=True, check=False).stdout
    offsets = re.findall(rf"bpf_prog_[0-9a-f]{{16}}_{name}\+0x([0-9a-f]+)", text)
    return collections.Counter(int(offset, 16) for offset in offsets)


def sampled(node, names, seconds, load, rows=8):
    """Runs `load()`, which takes `seconds`, and returns lines for a table, `rows` a program."""
    lines = []
    if not shutil.which("perf"):
        return lines
    with tempfile.NamedTemporaryFile(prefix="sluice-perf-") as data:
        with subprocess.Popen(["perf", "record", "-q", "-a", "-e", "cpu-clock", "-F",
                               str(SAMPLES_PER_S), "-o", data.name, "sleep", str(seconds)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            load()
        for name in names:
            offsets, wheres = _line_table(node, name)
            found = collections.Counter()
            for offset, count in _samples(data.name, name).items():
                found[wheres[max(bisect.bisect_right(offsets, offset) - 1, 0)]] += count
            lines += [f"  {name}: {count / found.total():4.0%}  {where[:80]}"
                      for where, count in found.most_common(rows)]
    return lines
