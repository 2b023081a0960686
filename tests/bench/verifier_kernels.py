#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""What the verifier follows of each program, on this kernel and on those of vmtest/matrix that are
to work, each in a virtual machine: a table of programs by kernels. Below it: what is over its budget,
programs that a kernel did not load, and kernels that cannot be had. `tests/run verifier` is what fails
for a budget, here and there.

With --check it measures nothing, and fails when the table of docs/BENCHMARKS.md is not of the programs
that there are (`tests/run man`)."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.relpath(os.environ.get("O", f"{ROOT}/build"), ROOT)
STATS = [f"{BUILD}/tests/bench/verifier_stats", f"{BUILD}/bpf/sluice.bpf.o"]
ROW = re.compile(r"^(\w+) +(\d+) +(\d+)", re.MULTILINE)


def programs_there():
    """Of the skeleton, which takes neither root nor a kernel."""
    with open(f"{ROOT}/{BUILD}/sluice.skel.h", encoding="utf-8") as file:
        return set(re.findall(r"^\t\tstruct bpf_program \*(\w+);$", file.read(), re.M))


def check_table():
    with open(f"{ROOT}/docs/BENCHMARKS.md", encoding="utf-8") as file:
        section = file.read().split("## What the verifier follows\n")[1].split("\n## ")[0]
    table, there = {row[0] for row in ROW.findall(section)}, programs_there()
    for what, names in (("lacks", there - table), ("has, and there is not:", table - there)):
        if names:
            print(f"  the verifier's table in docs/BENCHMARKS.md {what} {', '.join(sorted(names))}: "
                  "run `make verifier-table`")
    return 0 if table == there and there else 1


def output(argv):
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def kernels():
    with open(f"{ROOT}/vmtest/matrix", encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return [row[0] for row in rows if row[-1] == "works"]


def in_guest(name):
    """(release, what verifier_stats printed there), or (None, why not)."""
    for argv in (["vmtest/get-qemu"], ["vmtest/get-kernel", name]):
        status, text = output(argv)
        if status:
            return None, text.strip().splitlines()[-1]
    status, text = output(["vmtest/run", name, "--", "sh", "-c", f"uname -r; {' '.join(STATS)}"])
    release, _, text = text.partition("\n")
    return (release, text) if ROW.search(text) else (None, f"exit status {status}: {text[-500:]}")


def main():
    columns, missing = [(os.uname().release, output(STATS)[1])], []
    for name in kernels():
        release, text = in_guest(name)
        if release:
            columns.append((release, text))
        else:
            missing.append(f"{name}: {text}")
    counts = [{program: (int(n), int(budget)) for program, n, budget in ROW.findall(text)}
              for _, text in columns]
    heads = [release.split("+")[0].split("-")[0] for release, _ in columns]
    print(f"{'program':14}", *(f"{head:>10}" for head in heads), f"{'budget':>10}")
    rows = {program: budget for one in counts for program, (_, budget) in one.items()}
    for program, budget in rows.items():
        print(f"{program:14}", *(f"{one[program][0] if program in one else '-':>10}" for one in counts),
              f"{budget:>10}")
    commit = output(["git", "describe", "--always", "--dirty"])[1].strip()
    print(f"commit {commit}, {output(['clang', '--version'])[1].splitlines()[0]}")
    for head, one in zip(heads, counts):
        for program, (n, budget) in one.items():
            if n > budget:
                print(f"OVER BUDGET: {program} on {head}")
        for program in sorted(programs_there() - one.keys()):
            print(f"NOT LOADED: {program} on {head}")
    for line in missing:
        print("not measured:", line)
    return 0 if counts[0] else 1


if __name__ == "__main__":
    sys.exit(check_table() if sys.argv[1:] == ["--check"] else main())
