#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Open flows of a dead replica: who waits for it learns so at once when its link is gone, on other evidence when a second witness agrees, and not at all when it is
rather ourselves who failed, or while a freeze holds."""

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

import cgroup  # noqa: E402
from case import Skip, case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App  # noqa: E402
from process import Process  # noqa: E402
from servers import Load, check_no_errors, wait_listening  # noqa: E402

LIB = f"{os.path.dirname(os.path.abspath(__file__))}/../lib"
PROBE = {"httpGet": {"path": "/health", "port": 80}, "periodSeconds": 1, "timeoutSeconds": 1,
         "failureThreshold": 2}


class Odd:
    """tests/lib/odd_server.py in a pod."""

    def __init__(self, pod):
        self.pod = pod
        self.start()

    def start(self):
        self.process = self.pod.spawn("python3", "-B", f"{LIB}/odd_server.py", 80)
        wait_listening(self.pod, 80, self.process)


class Waiting:
    """`count` connections that wait for an answer to `path`."""
    running = []

    def __init__(self, space, target, path="/hang", count=5):
        address, port = target
        self.count = count
        self.process = Process(
            space.inside(["python3", "-B", f"{LIB}/wait_client.py", address, port, path, count]),
            f"{space.lab.dir}/{space.name}-wait.log", subprocess.PIPE)
        space.lab.processes.append(self.process)
        self.running.append(self)
        line = self.process.popen.stdout.readline().decode().strip()
        check_equal(line, "up", f"waiting clients in {space.name}: {self.process.log()}")

    def ends(self, deadline=15):
        out, _ = self.process.popen.communicate(timeout=deadline)
        return json.loads(out)

    def check_reset(self, began, what, deadline=15):
        result = self.ends(deadline)
        check_equal(result["ends"], {"ConnectionResetError": self.count}, what)
        print(f"    {what}: {(max(result['times']) - began) * 1000:.0f} ms")

    def check_alive(self, what):
        check(self.process.running(), f"{what}: an end came: {self.process.log()}")

    def leave(self):
        self.process.kill()

    @classmethod
    def leave_all(cls):
        """Those of a case that failed too."""
        while cls.running:
            cls.running.pop().leave()


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, node=lab.node1, servers={})
        shared.client = lab.add_pod(lab.node1, "client")
        shared.app = App(lab, "odd", 10)
        shared.app.probe = PROBE
        shared.app.annotations = {"sluice.dev/reset-after": "8s"}
        for i in range(5):  # most of them on the other node
            add_replica(shared, lab.nodes[(i + 1) % 2], f"odd{i}")
        shared.app.write()
        for node in lab.nodes:
            node.start_sluiced()
            eventually(lambda: shared.app.applied(node), "odd applied")
        settled(shared)
        yield shared


def add_replica(shared, node, name):
    pod = shared.lab.add_pod(node, name)
    shared.servers[name] = Odd(pod)
    return shared.app.add(pod)


def wait_states(shared, pods, states, deadline=20):
    for pod in pods:
        for address in (pod.ip4, pod.ip6):
            eventually(lambda: shared.node.replica(address)["state"] in states,
                       f"{pod.name} ({address}) is {' or '.join(states)}", deadline)


def settled(shared):
    """Everybody well, every count 0 again, the table clean."""
    Waiting.leave_all()
    wait_states(shared, [one.pod for one in shared.app.replicas], ("ready",))
    for node in shared.lab.nodes:
        node.assert_clean()


def pods_of(shared, node):
    return [one.pod for one in shared.app.replicas if one.pod.node is node]


@contextlib.contextmanager
def only(shared, *pods):
    """All others are drained on the node that steers, so that new flows go to these."""
    others = [one.pod for one in shared.app.replicas if one.pod not in pods]

    def drain(command):
        for pod in others:
            for address in (f"{pod.ip4}:80", f"[{pod.ip6}]:80"):
                shared.node.sluice("replica", command, address)
    drain("drain")
    try:
        yield
    finally:
        drain("undrain")


def wait_everywhere(shared, pod, path="/hang"):
    """Clients of both families, in a pod and outside, that wait for this replica."""
    wait_states(shared, [pod], ("ready",))
    with only(shared, pod):
        waiting = {f"IPv{family} from {space.name}":
                   Waiting(space, (shared.app.vip4 if family == 4 else shared.app.vip6, 80), path)
                   for family in (4, 6) for space in (shared.client, shared.lab.outside)}
    held = sum(shared.node.replica(address)["inflight"] for address in (pod.ip4, pod.ip6))
    check(held >= 20, f"{pod.name} has {held} flows in flight")
    return waiting


def events(shared, kind, after=0):
    return [event for event in shared.node.sluice("event", "show")
            if event["event"] == kind and event["seq"] > after]


def last_event(shared):
    return max(event["seq"] for event in shared.node.sluice("event", "show"))


def check_all_reset(shared, pod, waiting, began, mark, what, deadline=15):
    for name, one in waiting.items():
        one.check_reset(began, f"{what}, {name}", deadline)
    found = [event for event in events(shared, "reset", mark)
             if event["address"] in (pod.ip4, pod.ip6)]
    check_equal(sorted(event["address"] for event in found), sorted((pod.ip4, pod.ip6)),
                f"resets of {pod.name} in the ring: {found}")
    for event in found:
        check(event["text"].startswith("10 flows: "), f"event {event}")
    return found


# ---- hard evidence ---------------------------------------------------------------------


@case
def the_port_refuses(shared):
    """Its listener is gone, what it accepted hangs: nobody would tell those clients."""
    for node in shared.lab.nodes:
        pod = pods_of(shared, node)[0]
        server = shared.servers[pod.name]
        waiting, mark, began = wait_everywhere(shared, pod), last_event(shared), time.time()
        server.process.signal(signal.SIGUSR2)
        found = check_all_reset(shared, pod, waiting, began, mark, f"{pod.name} refuses")
        check("its port refuses" in found[0]["text"], f"evidence {found[0]}")
        # The replica's end was told as well: nothing of them is open there.
        eventually(lambda: pod.established(80, server.process.pid) == 0,
                   f"no connection is open at {pod.name}")
        server.process.kill()
        server.start()
        settled(shared)


@case
def a_server_that_shuts_down_well(shared):
    """Its listener is gone, its clients are served to the end: not one flow is lost."""
    pod = pods_of(shared, shared.node)[0]
    server = shared.servers[pod.name]
    waiting, mark = wait_everywhere(shared, pod, "/stream"), last_event(shared)
    server.process.signal(signal.SIGUSR2)
    wait_states(shared, [pod], ("down",))
    time.sleep(3.5)  # longer than a port that refuses is given
    for name, one in waiting.items():
        one.check_alive(f"{name}, streaming")
        one.leave()
    check_equal(events(shared, "reset", mark), [], "resets")
    server.process.kill()
    server.start()


@contextlib.contextmanager
def rules(node, *rule):
    """Of iptables, on a node's own packets; mended at the end."""
    tables = ("iptables", "ip6tables")
    for table in tables:
        node.run(table, "-I", "OUTPUT", "-p", "tcp", "--dport", "80", "-j", *rule)
    try:
        yield
    finally:
        for table in tables:
            node.run(table, "-D", "OUTPUT", "-p", "tcp", "--dport", "80", "-j", *rule)


@case
def a_firewall_refuses(shared):
    """For all replicas, which are well: by ICMP, and by an RST as if it were theirs."""
    clients = Waiting(shared.client, (shared.app.vip4, 80), "/hang", 20)
    mark = last_event(shared)
    for rule in (("REJECT",), ("REJECT", "--reject-with", "tcp-reset")):
        with rules(shared.node, *rule):
            time.sleep(3.5)
        clients.check_alive(f"clients behind {rule}")
        wait_states(shared, [one.pod for one in shared.app.replicas], ("ready",))
    check_equal(events(shared, "reset", mark), [], "resets")
    clients.leave()


@case
def a_probe_on_another_port(shared):
    """It is a sidecar's: that it refuses says nothing of the port that serves."""
    app = App(shared.lab, "sidecar", 21)
    app.probe = {"tcpSocket": {"port": 81}, "periodSeconds": 1}
    pod = shared.lab.add_pod(shared.node, "sidecar")
    Odd(pod)
    side = pod.spawn("python3", "-B", f"{LIB}/odd_server.py", 81)
    wait_listening(pod, 81, side)
    app.add(pod)
    app.apply(shared.node)
    wait_states(shared, [pod], ("ready",))
    mark = last_event(shared)
    waiting = Waiting(shared.client, (app.vip4, 80))
    side.kill()
    wait_states(shared, [pod], ("down",))
    time.sleep(3)
    waiting.check_alive("clients of the port that serves")
    check_equal(events(shared, "reset", mark), [], "resets")
    waiting.leave()
    app.remove()
    eventually(lambda: not shared.node.replicas(app.service) or
               not shared.node.counted(), "nothing counts any more", 20)
    shared.lab.del_pod(pod)


@case
def the_link_goes_down(shared):
    pod = pods_of(shared, shared.node)[0]
    waiting, mark, began = wait_everywhere(shared, pod), last_event(shared), time.time()
    shared.node.ip(f"link set {pod.veth} down")
    try:
        found = check_all_reset(shared, pod, waiting, began, mark, "link down")
        check(pod.veth in found[0]["text"], f"evidence {found[0]}")
        wait_states(shared, [pod], ("down",))
    finally:
        shared.node.ip(f"link set {pod.veth} up",
                       f"route replace {pod.ip4}/32 dev {pod.veth}",
                       f"route replace {pod.ip6}/128 dev {pod.veth}")


@case
def the_pod_is_gone(shared):
    """Its endpoint left first: that alone resets nothing. Then its interface goes."""
    replica = add_replica(shared, shared.node, "brief")
    pod = replica.pod
    shared.app.apply(shared.node)
    wait_states(shared, [pod], ("ready",))
    waiting = wait_everywhere(shared, pod)
    shared.app.drop(pod)
    shared.app.apply(shared.node)
    time.sleep(0.5)
    for name, one in waiting.items():
        one.check_alive(f"{name}, whose endpoint left its slice")
    began, mark = time.time(), last_event(shared)
    shared.node.ip(f"link del {pod.veth}")
    check_all_reset(shared, pod, waiting, began, mark, "pod gone")
    shared.lab.del_pod(pod)


@case
def a_service_that_keeps_its_flows(shared):
    """sluice.dev/on-eject: keep: down, and not one of its flows is touched."""
    app = App(shared.lab, "kept", 20)
    app.probe, app.annotations = PROBE, {"sluice.dev/on-eject": "keep"}
    pod = shared.lab.add_pod(shared.node, "kept")
    server = Odd(pod)
    app.add(pod)
    app.apply(shared.node)
    wait_states(shared, [pod], ("ready",))
    mark = last_event(shared)
    waiting = Waiting(shared.client, (app.vip4, 80))
    server.process.signal(signal.SIGUSR2)
    wait_states(shared, [pod], ("down",))
    time.sleep(1)
    waiting.check_alive("kept")
    check_equal(events(shared, "reset", mark), [], "resets")
    waiting.leave()
    app.remove()
    eventually(lambda: not shared.node.replicas(app.service) or
               not shared.node.counted(), "nothing counts any more", 20)
    shared.lab.del_pod(pod)


# ---- soft evidence -----------------------------------------------------------------------


@case
def a_stopped_server_and_its_cpu_counter(shared):
    """It still accepts and acknowledges; only its probes and its pod's CPU time tell."""
    replica = next(one for one in shared.app.replicas if one.pod.node is shared.node)
    pod, server = replica.pod, shared.servers[replica.pod.name].process
    replica.uid = f"{os.urandom(4).hex()}-1111-2222-3333-444444444444"
    shared.app.apply(shared.node)
    with cgroup.pod(replica.uid, server.pid) as path:
        if not path:
            raise Skip("no cgroup version 2")
        before = open_at(shared, pod)
        waiting, mark, began = wait_everywhere(shared, pod), last_event(shared), time.time()
        server.signal(signal.SIGSTOP)
        try:
            wait_states(shared, [pod], ("down",))
            print(f"    down after {(time.time() - began) * 1000:.0f} ms")
            found = check_all_reset(shared, pod, waiting, began, mark, "stopped", 20)
            check("used no CPU" in found[0]["text"], f"evidence {found[0]}")
        finally:
            server.signal(signal.SIGCONT)
    eventually(lambda: open_at(shared, pod) <= before, "its end was told", 20)


def open_at(shared, pod):
    """Connections of clients, not of probes, that are open at the replica's end."""
    clients = [address for space in (shared.client, shared.lab.outside)
               for address in (space.ip4, space.ip6)]
    peers = pod.run("ss", "-Htn", "state", "established", "sport", "=", ":80")
    return {line.split()[-1] for line in peers.splitlines()
            if any(f":{one}]:" in line or f"[{one}]:" in line for one in clients)}


@case
def a_server_without_probes_that_streams(shared):
    """Down by its probes it may be, but its clients are served: not one flow is lost."""
    pod = pods_of(shared, shared.node)[0]
    server = shared.servers[pod.name].process
    waiting, mark = wait_everywhere(shared, pod, "/stream"), last_event(shared)
    server.signal(signal.SIGUSR1)
    try:
        wait_states(shared, [pod], ("down",))
        time.sleep(9)  # longer than sluice.dev/reset-after
        for name, one in waiting.items():
            one.check_alive(f"{name}, streaming")
        check_equal(events(shared, "reset", mark), [], "resets")
    finally:
        server.signal(signal.SIGUSR1)
        for one in waiting.values():
            one.leave()


@case
def a_stopped_server_and_silence(shared):
    """Nothing is known of its CPU time: its flows were silent for sluice.dev/reset-after."""
    pod = pods_of(shared, shared.lab.node2)[0]
    server = shared.servers[pod.name].process
    waiting, mark, began = wait_everywhere(shared, pod), last_event(shared), time.time()
    server.signal(signal.SIGSTOP)
    try:
        found = check_all_reset(shared, pod, waiting, began, mark, "silent", 40)
        check("no byte of any flow" in found[0]["text"], f"evidence {found[0]}")
    finally:
        server.signal(signal.SIGCONT)


# ---- ourselves first ---------------------------------------------------------------------


@contextlib.contextmanager
def nothing_happens(shared):
    """Load and streams go on meanwhile; nobody is left out or reset, and a doubt is said."""
    mark = last_event(shared)
    streams = Waiting(shared.client, (shared.app.vip4, 80), "/stream", 20)
    try:
        traffic = Load(shared.client, shared.app.target(), rate=50, duration=7,
                       path="/health")
        yield
        check_no_errors(traffic.result(), "requests meanwhile")
        streams.check_alive("streams")
    finally:
        streams.leave()
    time.sleep(1)
    said = [event for event in shared.node.sluice("event", "show") if event["seq"] > mark]
    doubts = [event for event in said if event["event"] == "doubt"]
    check(doubts, f"no doubt among {said}")
    print(f"    {[event['text'] for event in doubts]}")
    # A machine this busy makes real servers fall silent too, but not for long, and not then.
    check_equal([event for event in said if event["event"] in ("reset", "panic") or
                 event["state"] == "down" or
                 (event["state"] == "suspect" and any(0 <= at(event) - at(one) < 0.9 for one in doubts))],
                [], "what happened to replicas")


def at(event):
    return datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()


@case
def the_agent_stands_still(shared):
    with nothing_happens(shared):
        shared.node.agent.signal(signal.SIGSTOP)
        time.sleep(4)
        shared.node.agent.signal(signal.SIGCONT)


@case
def the_agent_is_starved(shared):
    """It runs for 2 ms of each second."""
    with nothing_happens(shared):
        with cgroup.starved(f"sluice-{shared.lab.prefix}", shared.node.agent.pid, 2) as path:
            if not path:
                raise Skip("no cgroup with the controller cpu")
            time.sleep(5)


@case
def the_fabric_is_cut(shared):
    """Most replicas fall silent at once, and they are well: it is our cable."""
    pod = pods_of(shared, shared.lab.node2)[0]
    with only(shared, pod):
        streams = Waiting(shared.client, (shared.app.vip4, 80), "/stream", 20)
    mark = last_event(shared)
    shared.lab.fabric.ip("link set node2 down")
    try:
        eventually(lambda: events(shared, "doubt", mark), "doubt is said")
        time.sleep(4)
        states = {one.pod.name: shared.node.replica(one.pod.ip4)["state"]
                  for one in shared.app.replicas}
        check_equal(set(states.values()), {"ready"}, f"states in doubt: {states}")
    finally:
        shared.lab.fabric.ip("link set node2 up")
    print(f"    {[event['text'] for event in events(shared, 'doubt', mark)]}")
    settled_states = [one.pod for one in shared.app.replicas]
    wait_states(shared, settled_states, ("ready",))
    time.sleep(2)
    streams.check_alive("streams over the cut")
    check_equal(events(shared, "reset", mark), [], "resets")
    streams.leave()


@case
def an_agent_that_starts_behind_a_firewall(shared):
    """It has seen nobody well; an earlier one has."""
    shared.app.annotations["sluice.dev/reset-after"] = "1s"
    shared.app.apply(shared.node)
    clients, mark = Waiting(shared.client, (shared.app.vip4, 80), "/hang", 20), last_event(shared)
    shared.node.agent.kill()
    with rules(shared.node, "DROP"):
        shared.node.start_sluiced()
        eventually(lambda: events(shared, "doubt", mark), "doubt is said")
        time.sleep(14)  # it is over, and all are down for more than a second
        check_equal({shared.node.replica(one.pod.ip4)["state"] for one in shared.app.replicas},
                    {"down"}, "states")
        clients.check_alive("clients of servers that are well")
        check_equal(events(shared, "reset", mark), [], "resets")
    clients.leave()
    shared.app.annotations["sluice.dev/reset-after"] = "8s"
    shared.app.apply(shared.node)


# ---- freeze ------------------------------------------------------------------------------


@case
def a_freeze_holds_resets_up(shared):
    pod = pods_of(shared, shared.node)[0]
    server = shared.servers[pod.name]
    frozen = shared.node.sluice("freeze", "--for", "1h")
    check(frozen[0]["frozen"] and frozen[0]["seconds_left"] == 3600, f"said {frozen}")
    status = shared.node.sluice("status")[0]
    check(status["frozen"] and 3500 < status["frozen_s"] <= 3600, f"status {status}")
    waiting, mark = wait_everywhere(shared, pod), last_event(shared)
    server.process.signal(signal.SIGUSR2)
    wait_states(shared, [pod], ("down",))
    time.sleep(1)
    for name, one in waiting.items():
        one.check_alive(f"{name}, in a freeze")
    check_equal(events(shared, "reset", mark), [], "resets in a freeze")
    began = time.time()
    shared.node.sluice("unfreeze")
    check(not shared.node.sluice("status")[0]["frozen"], "frozen still")
    check_all_reset(shared, pod, waiting, began, mark, "after the freeze")
    said = [event["text"] for event in events(shared, "freeze")]
    check("3600 s" in said[-2] and "on again" in said[-1], f"events {said}")
    server.process.kill()
    server.start()


if __name__ == "__main__":
    main(setup, settled)
