#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Doubt in lists of endpoints: who leaves one together with most others stays until the hold is
over, a list names it again, or its probe fails."""

import contextlib
import os
import re
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Nginx, check_no_errors, load  # noqa: E402

FOR_EVER = "3600"  # no case waits for its end


@contextlib.contextmanager
def setup():
    with Lab(nodes=1) as lab:
        shared = types.SimpleNamespace(lab=lab, node=lab.node1, nginx={})
        shared.client = lab.add_pod(lab.node1, "client")
        shared.app = App(lab, "web", 10)
        for i in range(4):
            pod = lab.add_pod(lab.node1, f"web{i}")
            shared.nginx[pod.name] = Nginx(pod)
            shared.app.add(pod)
        shared.all = list(shared.app.replicas)
        yield shared


def settled(shared):
    shared.node.assert_clean()


def begin(shared, hold):
    """All replicas listed and ready, and an agent that holds for so many seconds."""
    if shared.node.agent:
        shared.node.agent.kill()
    shared.app.replicas = list(shared.all)
    shared.app.write()
    shared.node.start_sluiced("--endpoint-hold", hold)
    eventually(lambda: shared.app.applied(shared.node), "all applied")
    eventually(lambda: states(shared) == {one.pod.name: "ready" for one in shared.all},
               "all ready")
    return len(events(shared))


def shrink(shared, *indexes):
    """The list names these alone."""
    shared.app.replicas = [shared.all[i] for i in indexes]
    shared.app.write()


def rows(shared):
    """{pod: [rows of both families]}"""
    names = {address: one.pod.name for one in shared.all
             for address in (one.pod.ip4, one.pod.ip6)}
    found = {one.pod.name: [] for one in shared.all}
    for row in shared.node.replicas(shared.app.service):
        found[names[row["address"]]].append(row)
    return found


def states(shared):
    """{pod: its state, "held" in place of ready, "mixed" when the families differ}"""
    result = {}
    for name, both in rows(shared).items():
        seen = {("held" if row["state"] == "ready" else f"held {row['state']}") if row["held"]
                else row["state"] for row in both} or {"down"}
        result[name] = seen.pop() if len(seen) == 1 else "mixed"
    return result


def wait_states(shared, *expected, deadline=10):
    wanted = {one.pod.name: state for one, state in zip(shared.all, expected)}
    try:
        eventually(lambda: states(shared) == wanted, "states", deadline)
    except AssertionError:
        raise AssertionError(f"states {states(shared)}, expected {wanted}") from None


def events(shared):
    """Events of holds: [(kind, text)]."""
    return [(event["event"], event["text"]) for event in shared.node.sluice("event", "show")
            if event["event"].startswith("endpoints_")]


def said(shared, since, kind, text):
    """Both families' lists say the same."""
    eventually(lambda: events(shared)[since:].count((kind, text)) == 2,
               f"{kind}: {text}; said: {events(shared)[since:]}")


def check_serving(shared, what):
    for family in (4, 6):
        result = load(shared.client, shared.app.target(family), connections=4, count=100)
        check_no_errors(result, f"{what}, IPv{family}")


def held_by_metric(shared):
    text = shared.node.http("/metrics")
    return int(re.search(r'^sluice_replicas_held\{service="default/web",port="http"\} (\d+)$',
                         text, re.M).group(1))


@case
def an_emptied_list_keeps_serving(shared):
    since = begin(shared, FOR_EVER)
    check_equal(held_by_metric(shared), 0, "held at first")
    shrink(shared)
    wait_states(shared, "held", "held", "held", "held")
    before = {row["address"]: row["picks"] for both in rows(shared).values() for row in both}
    check_serving(shared, "with an empty list")
    for both in rows(shared).values():
        for row in both:
            check(row["picks"] > before[row["address"]], f"{row['address']} is picked as before")
            check(row["last_good_probe_s"] < 60, f"{row['address']} is probed: {row}")
    said(shared, since, "endpoints_doubted",
         "4 of 4 endpoints left the list at once: they stay for 3600 s")
    check_equal(held_by_metric(shared), 8, "held by the metric")
    status = shared.node.http("/status")
    check_equal(status.count('"held": true'), 8, "held by /status")
    check("endpoints_doubted default/web port http: 4 of 4" in shared.node.agent.log(), "the log")


@case
def a_list_that_names_them_again(shared):
    since = begin(shared, FOR_EVER)
    shrink(shared)
    wait_states(shared, "held", "held", "held", "held")
    before = {row["address"]: row["picks"] for both in rows(shared).values() for row in both}
    shrink(shared, 0, 1, 2)
    wait_states(shared, "ready", "ready", "ready", "held")
    said(shared, since, "endpoints_settled", "3 back in the list")
    shrink(shared, 0, 1, 2, 3)
    wait_states(shared, "ready", "ready", "ready", "ready")
    said(shared, since, "endpoints_settled", "1 back in the list")
    after = {row["address"]: row["picks"] for both in rows(shared).values() for row in both}
    check_equal(after, before, "the rows are the same")
    check_equal(held_by_metric(shared), 0, "held by the metric")


@case
def half_of_a_list_is_held_and_less_is_not(shared):
    since = begin(shared, FOR_EVER)
    shrink(shared, 0, 1, 2)
    wait_states(shared, "ready", "ready", "ready", "down")
    check_equal(events(shared)[since:], [], "events of one that leaves")
    shrink(shared, 0, 1, 2, 3)
    wait_states(shared, "ready", "ready", "ready", "ready")
    shrink(shared, 2)
    wait_states(shared, "held", "held", "ready", "held")
    said(shared, since, "endpoints_doubted",
         "3 of 4 endpoints left the list at once: they stay for 3600 s")
    for one in shared.all:
        one.terminating = True
    shrink(shared, 0, 1, 2, 3)
    wait_states(shared, "draining", "draining", "draining", "draining")
    shrink(shared)  # they said that they end
    wait_states(shared, "down", "down", "down", "down")
    for one in shared.all:
        one.terminating = False
    check_equal(len(events(shared)[since:]), 4, f"events: {events(shared)[since:]}")


@case
def the_hold_is_over(shared):
    since = begin(shared, "3")
    began = time.monotonic()
    shrink(shared, 1)
    said(shared, since, "endpoints_doubted",
         "3 of 4 endpoints left the list at once: they stay for 3 s")
    wait_states(shared, "down", "ready", "down", "down", deadline=30)
    check(time.monotonic() - began >= 3, f"held for {time.monotonic() - began:.1f} s")
    said(shared, since, "endpoints_settled", "3 gone: the list lacks it still")
    check_serving(shared, "with the one that is left")
    check_equal(held_by_metric(shared), 0, "held by the metric")


@case
def one_that_dies_leaves_at_once(shared):
    since = begin(shared, FOR_EVER)
    shrink(shared)
    wait_states(shared, "held", "held", "held", "held")
    nginx = shared.nginx[shared.all[0].pod.name]
    nginx.kill()
    wait_states(shared, "down", "held", "held", "held")
    said(shared, since, "endpoints_settled", "1 gone: fails its probe, or no route")
    check_serving(shared, "with the others")
    nginx.start()
    time.sleep(1)  # of probes, were there any
    wait_states(shared, "down", "held", "held", "held")
    shrink(shared, 0, 1, 2, 3)
    wait_states(shared, "ready", "ready", "ready", "ready")


@case
def a_service_that_is_gone_holds_nobody(shared):
    begin(shared, FOR_EVER)
    shared.app.remove()
    eventually(lambda: not [row for row in shared.node.replicas() if row["state"] != "down"],
               "all are gone")
    check_equal([row for row in shared.node.replicas() if row["held"]], [], "held")
    shared.app.write()


@case
def no_input_is_refused_for_those_that_are_held(shared):
    """A replica stands behind seven service-ports at most, held or named."""
    since = begin(shared, FOR_EVER)
    shrink(shared)
    wait_states(shared, "held", "held", "held", "held")
    wide = App(shared.lab, "wide", 11, [Port(f"p{i}", 80 + i, 80) for i in range(7)])
    wide.replicas = list(shared.all)
    wide.apply()
    eventually(lambda: [text for kind, text in events(shared)[since:]
                        if kind == "endpoints_settled"] ==
               ["8 endpoints left their lists: no room to keep them"], "no room is said")
    check_equal([row for row in shared.node.replicas() if row["held"]], [], "held")
    for port in (0, 6):
        check_no_errors(load(shared.client, wide.target(port=port), connections=4, count=100),
                        f"by port {port}")
    wide.remove()


@case
def a_new_agent_believes_its_list(shared):
    since = begin(shared, FOR_EVER)
    shrink(shared)
    wait_states(shared, "held", "held", "held", "held")
    eventually(lambda: len(events(shared)[since:]) == 2, "both families' doubts are said")
    shared.node.agent.kill()
    check_serving(shared, "without an agent")
    shared.node.start_sluiced("--endpoint-hold", FOR_EVER)
    wait_states(shared, "down", "down", "down", "down")
    check_equal([kind for kind, _ in events(shared)[since:]], ["endpoints_doubted"] * 2, "events")


@case
def one_whose_link_is_gone_leaves_at_once(shared):
    begin(shared, FOR_EVER)
    shrink(shared)
    wait_states(shared, "held", "held", "held", "held")
    shared.node.ip(f"link set {shared.all[3].pod.veth} down")
    wait_states(shared, "held", "held", "held", "down")
    check_serving(shared, "with the others")
    shared.lab.del_pod(shared.all[3].pod)


if __name__ == "__main__":
    main(setup, settled)
