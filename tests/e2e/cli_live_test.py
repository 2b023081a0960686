#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The CLI's commands that go on until they are stopped: event watch and top, in pipes and on
terminals."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from cli import setup  # noqa: E402


@contextlib.contextmanager
def started(cli, *words, **options):
    process = cli.start(*words, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def read_until(stream, text, deadline=5):
    """What a pipe or terminal says, up to and beyond `text`. Reads the descriptor, unbuffered."""
    seen, end = "", time.monotonic() + deadline
    while text not in seen:
        left = end - time.monotonic()
        check(left > 0 and select.select([stream], [], [], left)[0], f"no {text!r} in {seen!r}")
        seen += os.read(stream if isinstance(stream, int) else stream.fileno(), 65536).decode()
    return seen


def catches_signals(process):
    """Whether the process has blocked SIGINT: then it is past its start."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status_file:
        blocked = re.search(r"SigBlk:\s*(\w+)", status_file.read()).group(1)
    return int(blocked, 16) & (1 << (signal.SIGINT - 1))


def started_watch(cli):
    return started(cli, "-j", "event", "watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@case
def event_watch_follows(shared):
    with started_watch(shared.cli) as process:
        eventually(lambda: catches_signals(process), "the watch runs")
        shared.cli.pinned("append", "veth-one", "1")
        began = time.monotonic()
        out = read_until(process.stdout, "veth-one")
        check(time.monotonic() - began < 1, "an event took more than a second")
        shared.cli.pinned("append", "veth-two", "2")
        out += read_until(process.stdout, "veth-two")
        process.send_signal(signal.SIGINT)
        out += process.stdout.read()
        check_equal(process.wait(5), 0, "exit status after Ctrl-C")
    check_equal([row["text"] for row in json.loads(out)], ["veth-one", "veth-two", "veth-two"],
                "events")


@case
def event_watch_counts_what_it_lost(shared):
    with started_watch(shared.cli) as process:
        eventually(lambda: catches_signals(process), "the watch runs")
        process.send_signal(signal.SIGSTOP)
        shared.cli.pinned("append", "burst", "100")
        process.send_signal(signal.SIGCONT)
        err = read_until(process.stderr, "\n")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=5)
    check_equal(len(json.loads(out)), 64, "events shown: as many as the ring holds")
    check("36 events were overwritten" in err, err)


@case
def event_show_of_a_ring_that_went_round(shared):
    shared.cli.pinned("append", "burst", "100")
    rows = shared.cli.json("event", "show")
    check_equal(len(rows), 64, "events shown")
    seqs = [row["seq"] for row in rows]
    check_equal(seqs, list(range(seqs[0], seqs[0] + 64)), "in order, none twice")


@case
def top_shows_rates(shared):
    words = ("-j", "top", "-n", "2", "-d", "0.5")
    with started(shared.cli, *words, stdout=subprocess.PIPE) as process:
        out = read_until(process.stdout, "fd00:244::8")
        shared.cli.pinned("picks", "6", "100")
        out += process.communicate(timeout=10)[0]
    check_equal(process.returncode, 0, "exit status")
    rows = json.loads(out)
    check_equal(len(rows), 12, "2 rounds of 2 service-ports and 4 replicas")
    rates = [row["picks_per_s"] for row in rows if row["address"] == "10.244.0.5"]
    check(rates[0] == 0 and 100 < rates[1] <= 200.1, f"rates {rates}")
    whole = [row for row in rows if row["service"] == "default/llm" and row["address"] is None]
    check_equal([row["inflight"] for row in whole], [4, 4], "in flight of the service-port")
    text = shared.cli.text("top", "-n", "1", "-d", "0.1")
    check("1 of 2 ready" in text and "####" in text and "\033" not in text, text)


# ---- terminals ---------------------------------------------------------------------------


@contextlib.contextmanager
def on_terminal(cli, *words, env=None):
    """A command with a terminal of 24 x 80 as stdin and stdout, and the other end of it."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    before = termios.tcgetattr(theirs)
    env = {**os.environ, "TERM": "xterm", "NO_COLOR": "", **(env or {})}
    try:
        with started(cli, *words, stdin=theirs, stdout=theirs, env=env) as process:
            yield process, ours
            check_equal(termios.tcgetattr(theirs), before, "terminal modes afterwards")
    finally:
        os.close(ours)
        os.close(theirs)


@case
def top_gives_the_terminal_back(shared):
    for how in ("ctrl-c", "q"):
        with on_terminal(shared.cli, "top") as (process, ours):
            seen = read_until(ours, "fd00:244::8")
            check("\033[?1049h" in seen, "it does not use the alternate screen")
            if how == "q":
                os.write(ours, b"q")
            else:
                process.send_signal(signal.SIGINT)
            read_until(ours, "\033[?1049l")
            check_equal(process.wait(5), 0, f"exit status after {how}")


@case
def colour_is_for_terminals(shared):
    check("\033" not in shared.cli.text("replica", "show"), "colour in a pipe")
    with on_terminal(shared.cli, "replica", "show") as (process, ours):
        seen = read_until(ours, "fd00:244::8")
        process.wait(5)
    check("\033[32mready" in seen and "\033[33msuspect" in seen, seen)
    with on_terminal(shared.cli, "replica", "show", env={"NO_COLOR": "1"}) as (process, ours):
        seen = read_until(ours, "fd00:244::8")
    check("\033" not in seen, seen)


# The last case: it takes a pin away.
@case
def unload_ends_the_watch(shared):
    with started_watch(shared.cli) as process:
        eventually(lambda: catches_signals(process), "the watch runs")
        os.unlink(f"{shared.cli.bpffs}/event_head")
        out, err = process.communicate(timeout=5)
    check_equal((process.returncode, json.loads(out)), (1, []), "exit status and events")
    check("unloaded" in err, err)


main(setup)
