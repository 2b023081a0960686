# SPDX-License-Identifier: GPL-2.0-only
"""The frame of an e2e test file: cases, checks, deadlines.

A file defines `setup()`, a context manager that yields what its cases share, and
functions marked @case that take it. main() runs them in order and prints one line
each: "ok NAME", "FAIL NAME" or "skip NAME: WHY". A file may give a check that
follows every case (`after`). Exit status: 0, or 1 when a case failed.
"""

import os
import sys
import time
import traceback

CASES = []
# How many times longer than on a real machine things may take: an emulated one sets it.
SLOW = float(os.environ.get("SLUICE_SLOW", "1"))


class Skip(Exception):
    """Raised by a case that this machine cannot run; the text says why."""


def skipped(name, why):
    """A check of a case that cannot be made here, while the case goes on: a line that is counted."""
    print(f"skip {name}: {why}", flush=True)


def case(function):
    CASES.append(function)
    return function


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def check_equal(actual, expected, what):
    check(actual == expected, f"{what}: {actual!r}, expected {expected!r}")


def eventually(probe, what, deadline=10.0, interval=0.02):
    """Polls `probe` until it returns something true, and returns that."""
    deadline *= SLOW
    end = time.monotonic() + deadline
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        time.sleep(interval)


def _run(function, shared, after):
    began = time.monotonic()
    try:
        function(shared)
        if after:
            after(shared)
    except Skip as why:
        print(f"skip {function.__name__}: {why}", flush=True)
        return True
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        print(f"FAIL {function.__name__}: {why[:1200]}", flush=True)
        traceback.print_exc(file=sys.stdout)
        if hasattr(shared, "lab"):
            shared.lab.dump()
        sys.stdout.flush()
        return False
    print(f"ok {function.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def main(setup, after=None):
    wanted = sys.argv[1:]
    unknown = set(wanted) - {function.__name__ for function in CASES}
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    if os.geteuid():
        for function in CASES:
            print(f"skip {function.__name__}: needs root for network namespaces")
        sys.exit(0)
    good = True
    try:
        with setup() as shared:
            for function in CASES:
                if not wanted or function.__name__ in wanted:
                    good &= _run(function, shared, after)
    except AssertionError as error:
        print(f"FAIL {os.path.basename(sys.argv[0])}: {error}")
        good = False
    sys.exit(0 if good else 1)
