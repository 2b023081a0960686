#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Outlier detection with real servers: who answers 503, or refuses, is taken out by the kernel, with
the agent dead too, and comes back; one client's bad luck takes out nobody; a success rate far
below the peers' does; so do late first bytes, where that is asked for."""

import contextlib
import os
import re
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from faults import slow  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Server  # noqa: E402

PORT = 8080
REPLICAS = 6


@contextlib.contextmanager
def setup():
    with Lab(nodes=1) as lab:
        node = lab.node1
        shared = types.SimpleNamespace(lab=lab, node=node, servers={}, seen=0, clients=[
            lab.add_pod(node, "chat"), lab.add_pod(node, "batch")])
        shared.app = App(lab, "llm", 10, [Port("http", 80, PORT)])
        shared.app.probe = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1}
        shared.app.probe_interval = "1s"  # a probe vouches for 2 s, however slow the machine
        for i in range(REPLICAS):
            pod = lab.add_pod(node, f"llm{i}")
            shared.servers[pod.name] = Server(pod, PORT)
            shared.app.add(pod)
        shared.bad = shared.app.replicas[0].pod
        set_ejection(shared, "4s")
        shared.app.write()
        node.start_sluiced()
        eventually(lambda: shared.app.applied(node), "llm applied")
        yield shared


def set_ejection(shared, base, consecutive=5):
    shared.app.traffic_policy = {"outlierDetection": {
        "consecutive5xxErrors": consecutive, "interval": "2s", "baseEjectionTime": base,
        "maxEjectionPercent": 50}}


def fail_each(shared, pod, number):
    """From now on each so many answers of a replica is a 503; 0: none."""
    server = shared.servers[pod.name]
    server.control(f"status {503 if number else 200}")
    server.control(f"each {number or 1}")


def ask(shared, client, number):
    """[(status, replica)] of so many requests, each on a connection of its own."""
    urls = [word for _ in range(number)
            for word in ("-o", "/dev/null", f"http://{shared.app.target()}/")]
    text = client.run("curl", "-sS", "-m", "20", "-H", "Connection: close", "-w",
                      "%{http_code} %header{x-replica}\\n", *urls)
    return [tuple(line.split()) for line in text.splitlines()]


def row(shared):
    return shared.node.replica(shared.bad.ip4, PORT)


def ejected_while_asked(shared, number=20):
    for client in shared.clients:
        ask(shared, client, number)
    return row(shared)["state"] == "ejected"


def events(shared, *kinds, pod=None):
    """Texts of events of these kinds about the bad replica (or `pod`) since forget_events()."""
    rows = [one for one in shared.node.sluice("event", "show") if one["seq"] > shared.seen]
    return [one["text"] for one in rows
            if one["event"] in kinds and one["address"] == (pod or shared.bad).ip4]


def forget_events(shared):
    shared.seen = max(one["seq"] for one in shared.node.sluice("event", "show"))


def is_back(shared):
    return row(shared)["state"] in ("ready", "warming")


def metric(shared, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$", shared.node.http("/metrics"), re.M)
    check(found, f"no metric {name}")
    return float(found.group(1))


@case
def one_client_alone_takes_out_nobody(shared):
    count = (f'sluice_replica_probe_latency_seconds_count{{service="default/llm",port="http",'
             f'replica="{shared.bad.ip4}:{PORT}",pod="default/{shared.bad.name}"}}')
    eventually(lambda: metric(shared, count) >= 1, "a probe was good")
    fail_each(shared, shared.bad, 1)
    forget_events(shared)

    def spared():
        statuses = {status for status, _ in ask(shared, shared.clients[0], 60)}
        check(statuses <= {"200", "503"}, f"statuses: {statuses}")
        return events(shared, "eject_spared")
    said = eventually(spared, "an ejection is considered", 30)
    check_equal(said[0], "5 of 5 answers were 5xx: one client's, its probe is good", "event")
    check_equal(row(shared)["state"], "ready", "state")
    check_equal(row(shared)["ejections"], 0, "ejections")


@case
def who_answers_503_is_out_for_a_while(shared):
    forget_events(shared)
    eventually(lambda: ejected_while_asked(shared), "ejected", 30)
    answers = ask(shared, shared.clients[1], 60)
    if row(shared)["state"] == "ejected":
        check_equal({status for status, _ in answers}, {"200"}, "statuses")
        check(shared.bad.name not in {name for _, name in answers}, "an ejected replica answered")
    fail_each(shared, shared.bad, 0)
    eventually(lambda: is_back(shared), "back by itself", 30)
    said = events(shared, "eject")
    check(said and re.fullmatch(r"5 of 5 answers were 5xx, 2 or more clients; for \d+ s", said[0]),
          f"events: {said}")
    end = eventually(lambda: events(shared, "eject_end"), "event of the end")
    check_equal(end[0], "its time is over", "event of the end")
    eventually(lambda: f"eject default/llm port http {shared.bad.ip4}:{PORT}: {said[0]}"
               in shared.node.agent.log(), "the log says the same")
    check(row(shared)["ejections"] >= 1, "ejections")
    check(metric(shared, "sluice_ejections_total") >= 1, "metric")
    check(metric(shared, "sluice_answers_5xx_total") >= 5, "metric")
    check(metric(shared, 'sluice_first_byte_seconds_count{service="default/llm",port="http"}') > 0,
          "metric")


@case
def the_kernel_ejects_with_the_agent_dead(shared):
    shared.node.agent.kill()
    before = len(shared.node.agent.log())
    forget_events(shared)
    fail_each(shared, shared.bad, 1)
    eventually(lambda: ejected_while_asked(shared), "ejected", 30)
    fail_each(shared, shared.bad, 0)
    eventually(lambda: is_back(shared), "back by itself", 40)
    said = events(shared, "eject")
    eventually(lambda: events(shared, "eject_end"), "event of the end")
    shared.node.start_sluiced()
    eventually(lambda: shared.app.applied(shared.node), "applied again")
    log = shared.node.agent.log()[before:]
    found = re.findall(r" eject default/llm port http \S+: (.*?)(?: \(\d+ s ago\))?\n", log)
    check_equal(found, said, "an agent says what it missed, and nothing that one has said before")
    check("s ago)" in log, "and how long ago it was")


@case
def a_good_probe_ends_what_refused_connects_began(shared):
    set_ejection(shared, "10m")
    shared.app.apply(shared.node)
    eventually(lambda: is_back(shared), "ready")
    shared.node.agent.kill()  # else its probe would be first to see it
    forget_events(shared)
    shared.servers[shared.bad.name].kill()
    eventually(lambda: ejected_while_asked(shared), "ejected", 30)
    check("connects failed" in events(shared, "eject")[0], f"{events(shared, 'eject')}")
    statuses = {status for client in shared.clients for status, _ in ask(shared, client, 20)}
    check_equal(statuses, {"200"}, "statuses")
    shared.servers[shared.bad.name].start()
    shared.node.start_sluiced()
    eventually(lambda: is_back(shared), "back at the first good probe", 30)
    check("a probe succeeded" in events(shared, "eject_end"), f"{events(shared, 'eject_end')}")


@contextlib.contextmanager
def asking(shared, loops):
    """So many requests of each client are under way all the time."""
    loads = [client.spawn("sh", "-c", "while :; do curl -s -o /dev/null -H 'Connection: close' "
                          f"'http://{shared.app.target()}/?[1-500]'; done")
             for client in shared.clients for _ in range(loops)]
    try:
        yield
    finally:
        for load in loads:
            load.kill()


@case
def a_success_rate_far_below_the_peers_ejects(shared):
    set_ejection(shared, "10m", consecutive=1000)
    shared.app.apply(shared.node)
    forget_events(shared)
    fail_each(shared, shared.bad, 2)
    # Each replica needs a hundred answers in an interval of two seconds, more on a slow machine.
    with asking(shared, 2):
        eventually(lambda: row(shared)["state"] == "ejected", "ejected", 60)
    said = events(shared, "eject")
    found = re.fullmatch(r"success rate (\d+)\.\d%, mean (\d+)\.\d%; for \d+ s", said[0])
    check(found and 30 <= int(found.group(1)) <= 70 and int(found.group(2)) > 80, f"{said}")
    fail_each(shared, shared.bad, 0)


@case
def far_later_first_bytes_eject_where_that_is_asked_for(shared):
    late = shared.app.replicas[1].pod  # the other one is still out: of six, three may go
    forget_events(shared)

    def answers():
        return metric(shared, 'sluice_first_byte_seconds_count{service="default/llm",port="http"}')

    def lateness():
        return shared.node.replica(late.ip4, PORT)["state"]
    # 80 ms in an interval of two seconds: 25 answers on one connection at a time, and 20 count.
    with slow(shared.servers[late.name], 80), asking(shared, 6):
        before, since = answers(), time.monotonic()
        eventually(lambda: answers() > before + 1000 and time.monotonic() > since + 6,
                   "three intervals pass", 60)
        check(lateness() != "ejected", "ejected for being slow, where nobody asked for it")
        shared.app.annotations = {"sluice.dev/latency-outliers": "2.5"}
        shared.app.write()
        eventually(lambda: lateness() == "ejected", "ejected", 60)
    check_equal(shared.node.sluice("service", "show")[0]["latency_outlier_factor"], 2.5, "factor")
    said = events(shared, "eject", pod=late)
    found = re.fullmatch(r"first byte after (\d+\.\d\d) s, median (\d+\.\d\d) s of [56]; "
                         r"for \d+ s", said[0])
    check(found and float(found.group(1)) >= 0.07 and
          float(found.group(1)) > 2.5 * float(found.group(2)), f"{said}")


if __name__ == "__main__":
    main(setup)
