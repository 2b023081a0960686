# SPDX-License-Identifier: GPL-2.0-only
"""What the end-to-end benches share: whether the machine is quiet, and how a result is said
beside the number to beat (scripts/bench collects those lines)."""

import collections
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
LAST_CPU = os.cpu_count() - 1
TURNS = 300


def progress(text):
    print(text, file=sys.stderr, flush=True)


def busy_seconds():
    """CPU seconds that all CPUs together have worked: user, nice, system, irq, softirq."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, stat.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def idle_share(seconds=0.2):
    """How busy the machine is with nothing of ours to do, 0 to 1."""
    before, began = busy_seconds(), time.monotonic()
    time.sleep(seconds)
    return min(1.0, (busy_seconds() - before) / (time.monotonic() - began) / os.cpu_count())


def _echo(source, sink):
    os.sched_setaffinity(0, {LAST_CPU})
    while os.read(source, 1):
        os.write(sink, b".")


def ping_us():
    """Median round trip of one byte between processes on the first and the last CPU. What it costs
    to wake another CPU differs several-fold between machines, and on some between minutes."""
    there, back = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(there[1])
        _echo(there[0], back[1])
        os._exit(0)
    os.close(there[0])
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    trips = []
    for _ in range(TURNS):
        began = time.perf_counter_ns()
        os.write(there[1], b".")
        os.read(back[0], 1)
        trips.append((time.perf_counter_ns() - began) / 1000)
    os.sched_setaffinity(0, own)
    for fd in (there[1], *back):
        os.close(fd)
    os.waitpid(child, 0)
    return statistics.median(trips)


def target(what, got, limit, at_least=False, unit="", digits=2, noisy=False):
    """One line: a result, the number to beat, and whether it was. A noisy one proves nothing."""
    met = got >= limit if at_least else got <= limit
    verdict = "met" if met else "MISSED"
    print(f"target: {what} | {'>=' if at_least else '<='} {limit:g}{unit} | "
          f"{got:.{digits}f}{unit} | {f'unclear, noisy: {verdict.lower()}' if noisy else verdict}")


def _sampled(argv, by):
    """Runs a command under perf; [(`by`, share in %)], the largest first, [] without perf."""
    if not shutil.which("perf"):
        return []
    with tempfile.NamedTemporaryFile(prefix="sluice-perf-") as data:
        done = subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-F", "999",
                               "-o", data.name, *argv], capture_output=True, check=False)
        if done.returncode:
            return []
        report = subprocess.run(["perf", "report", "-i", data.name, "--stdio", "--sort", by],
                                capture_output=True, text=True, check=False).stdout
    shares = collections.Counter()  # a program that was loaded several times has several symbols
    for share, name in re.findall(r"^ +([\d.]+)% +(?:\[.\] )?(\S+)", report, re.MULTILINE):
        shares[re.sub(r"^bpf_prog_[0-9a-f]{16}_", "bpf: ", name)] += float(share)
    return shares.most_common()


def profile(argv, rows=12, by="symbol"):
    """Lines for a table: where the CPU time of this command went; [] without perf."""
    return [f"  {share:5.1f} %  {name}" for name, share in _sampled(argv, by)[:rows]]


def profile_of(pid, seconds, rows=6):
    """The same of a process that runs, from now on for so long, by program and library."""
    return profile(["-p", str(pid), "sleep", str(seconds)], rows, "dso")


def in_turns(rounds, names, sample):
    """[{name: sample(name)}], one of each configuration a round; each round begins with another one."""
    taken = []
    for number in range(rounds):
        taken.append({})
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken[-1][name] = one = sample(name)
            progress(f"  round {number + 1}/{rounds}  {name:26} {one['short']:8.0f} conn/s "
                     f"{one['kept']:8.0f} req/s  ping {one['ping']:.0f} us, "
                     f"{one['idle']:.0%} busy before")
    return taken
