#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""`sluice hand-back` against pinned maps with known content and no agent: the one word it writes, what
it waits for, how it ends."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from cli import setup  # noqa: E402

ADMIN_WORD = slice(2 * 28, 2 * 32)  # sl_vip.admin in a row of `pinned vips`
LLM_VIPS = {1, 2}                   # rows of default/llm's two variants
JOINED = 15                         # of the VIP that `pinned join` adds
LLM_FLOWS = 3                       # of pinned.h: open, half-open, spilled


def handed_back(shared):
    """The rows whose word says so; nothing else of any row may have changed."""
    rows = shared.cli.pinned("vips").split()
    for row, (now, before) in enumerate(zip(rows, shared.before)):
        check_equal(now[:ADMIN_WORD.start], before[:ADMIN_WORD.start], f"row {row} of vips")
    return {row for row, text in enumerate(rows) if int(text[ADMIN_WORD], 16)}


def shown(shared):
    return {row["service"] for row in shared.cli.json("service", "show") if row["handed_back"]}


def said(shared):
    return [(event["service"], event["value"], event["text"])
            for event in shared.cli.json("event", "show") if event["event"] == "hand_back"]


@contextlib.contextmanager
def undone(shared, *service):
    """What the case handed back is Sluice's again after it."""
    try:
        yield
    finally:
        for name in service:
            shared.cli.text("hand-back", "--undo", name)
    check_equal(handed_back(shared), set(), "handed back after --undo")
    check_equal(shown(shared), set(), "service show after --undo")


@case
def it_writes_one_word_and_says_so(shared):
    shared.before = shared.cli.pinned("vips").split()
    with undone(shared, "llm"):
        row, = shared.cli.json("hand-back", "llm", "--timeout", "0")
        check_equal((row["service"], row["handed_back"], row["flows_left"], row["inflight"]),
                    ("default/llm", True, LLM_FLOWS, 4), "the answer")
        check_equal(handed_back(shared), LLM_VIPS, "rows of vips")
        check_equal(shown(shared), {"default/llm"}, "service show")
        text = shared.cli.text("service", "show", "llm")
        check("handed back" in text and "hand-back --undo default/llm" in text, text)
        check_equal(said(shared), [("default/llm", LLM_FLOWS, "new flows are kube-proxy's; Sluice's "
                                    "own go on"),
                                   ("default/llm", LLM_FLOWS, "given back with flows left, which go "
                                    "on")], "events")
    check_equal(said(shared)[-1][2], "undone: new flows are Sluice's again", "the last event")


@case
def at_the_deadline_it_says_what_is_left(shared):
    with undone(shared, "default/llm"):
        done = shared.cli.run("-j", "hand-back", "default/llm", "--timeout", "300ms")
        check_equal(done.returncode, 1, f"exit status; stderr {done.stderr}")
        check(f"{LLM_FLOWS} flows are left" in done.stderr, done.stderr)
        row, = json.loads(done.stdout)
        check(row["handed_back"] and 0.3 <= row["waited_s"] < 5, f"{row}")
        check_equal(handed_back(shared), LLM_VIPS, "rows of vips")


@case
def ctrl_c_ends_the_waiting_alone(shared):
    with undone(shared, "default/llm"):
        process = shared.cli.start("-j", "hand-back", "default/llm", stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        eventually(lambda: shown(shared), "handed back")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        check_equal(process.returncode, 1, f"exit status; stderr {err}")
        check_equal(json.loads(out)[0]["flows_left"], LLM_FLOWS, f"{out}")
        check_equal(handed_back(shared), LLM_VIPS, "rows of vips")


@contextlib.contextmanager
def waiting(shared):
    """default/llm is handed back, by a command that waits for its flows."""
    process = shared.cli.start("hand-back", "default/llm", "--timeout", "1h",
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: said(shared)[-1][2].startswith("new flows"), "handed back")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


def join(shared, *word):
    """A VIP more with that word, as an agent leaves it that had begun to apply a change before; without
    a word it is gone again."""
    shared.cli.pinned("join" if word else "leave", *word)
    shared.before = shared.cli.pinned("vips").split()


@case
def a_vip_that_joins_meanwhile_is_handed_back_too(shared):
    with undone(shared, "default/llm"), waiting(shared):
        time.sleep(0.5)     # beyond the first look
        join(shared, "0")
        eventually(lambda: handed_back(shared) == LLM_VIPS | {JOINED}, "the new VIP too")
        join(shared)


def joins_in_the_middle(shared, word, back, *words):
    """Runs `hand-back`, while which the VIP joins with that word. Tries again when it was too late."""
    for _ in range(10):
        join(shared)
        shared.cli.text("hand-back", "default/llm", *back)
        events = len(said(shared))
        process = shared.cli.start("hand-back", "default/llm", *words, stdout=subprocess.DEVNULL)
        eventually(lambda: len(said(shared)) > events, "the command said what it does")
        join(shared, word)
        in_time = process.poll() is None
        check_equal(process.wait(10), 0, f"exit status of {words}")
        if in_time:
            return
    raise AssertionError(f"{words} is always over before the VIP joins")


@case
def a_vip_that_joins_at_once_is_as_the_others(shared):
    """Without waiting: the command looks once more after a moment."""
    now, undo = ("--timeout", "0"), ("--undo",)
    with undone(shared, "default/llm"):
        joins_in_the_middle(shared, "0", undo, *now)
        check_equal(handed_back(shared), LLM_VIPS | {JOINED}, "rows of vips")
        joins_in_the_middle(shared, "1", now, *undo)
        check_equal(handed_back(shared), set(), "rows of vips")
        join(shared)


@case
def who_waits_leaves_another_ones_undo_alone(shared):
    with waiting(shared):
        eventually(lambda: shown(shared), "handed back")
        time.sleep(0.5)     # beyond the first look, which is for an agent in the middle of a change
        shared.cli.text("hand-back", "--undo", "default/llm")
        time.sleep(0.5)
        check_equal(handed_back(shared), set(), "rows of vips")


@case
def replace_mode_takes_force(shared):
    done = shared.cli.run("hand-back", "prod/embed", "--timeout", "0")
    check_equal(done.returncode, 1, "exit status")
    check("replace mode" in done.stderr and "--force" in done.stderr, done.stderr)
    check_equal(handed_back(shared), set(), "rows of vips")
    with undone(shared, "prod/embed"):
        text = shared.cli.text("hand-back", "--force", "prod/embed", "--timeout", "0")
        check("refused" in text, text)
        check_equal(handed_back(shared), {0}, "rows of vips")
        check_equal([text for service, _, text in said(shared) if service == "prod/embed"][0],
                    "new flows are refused; Sluice's own go on", "the event")


@case
def what_cannot_be_handed_back(shared):
    for words, status, what in (
            (("nosuch",), 1, "steers no service"), (("default/old",), 1, "no VIP"),
            ((), 2, "which service"), (("llm", "embed"), 2, "too many"),
            (("llm", "--timeout", "soon"), 2, "not a duration"), (("llm", "--now"), 2, "--now")):
        done = shared.cli.run("hand-back", *words)
        check_equal(done.returncode, status, f"exit status of {words}; stderr {done.stderr}")
        check(what in done.stderr, f"{words}: {done.stderr}")
    check_equal(handed_back(shared), set(), "rows of vips")


@case
def undo_without_need_changes_nothing(shared):
    before = len(said(shared))
    row, = shared.cli.json("hand-back", "--undo", "llm")
    check_equal(row["handed_back"], False, f"{row}")
    check_equal(len(said(shared)), before, "events")


@case
def it_ends_when_the_last_flow_does(shared):
    """The last case: the maps hold no flow after it. On a terminal it shows how far it is."""
    master, terminal = pty.openpty()
    with undone(shared, "default/llm"):
        process = shared.cli.start("-j", "hand-back", "default/llm", "--timeout", "1h",
                                   stdout=subprocess.PIPE, stderr=terminal)
        seen = ""
        while f"{LLM_FLOWS} flows left" not in seen:
            seen += os.read(master, 4096).decode()
        check("s to go" in seen, seen)
        check(process.poll() is None, "did not wait")
        shared.cli.pinned("end")
        out, _ = process.communicate(timeout=10)
        check_equal(process.returncode, 0, f"exit status, said {out}")
        check_equal(json.loads(out)[0]["flows_left"], 0, f"{out}")
        check_equal(said(shared)[-1][1:], (0, "given back: no flow is left"), "the last event")
    os.close(terminal)
    os.close(master)


if __name__ == "__main__":
    main(setup)
