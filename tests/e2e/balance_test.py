#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The pick: equal replicas share the load to within 2 flows, weights are followed, a slow
replica gets less work and not more queue."""

import contextlib
import os
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from process import built  # noqa: E402
from servers import Load, Server, check_no_errors  # noqa: E402

EQUAL = 32


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, client=lab.add_pod(lab.node1, "client"))
        shared.equal = App(lab, "equal", 10, [Port("http", 80, 8000)])
        for i in range(EQUAL):
            pod = lab.add_pod(lab.nodes[i % 2], f"equal{i}")
            Server(pod, 8000, service_us=100000, jitter_us=75000)
            shared.equal.add(pod)
        shared.weighted = App(lab, "weighted", 11, [Port("http", 80, 8080)])
        for weight in (100, 200, 400):
            pod = lab.add_pod(lab.node1, f"weight{weight}")
            Server(pod, service_us=20000)
            shared.weighted.add(pod, weight)
        shared.speeds = App(lab, "speeds", 12, [Port("http", 80, 8080)])
        for name, slots in (("fast", 8), ("slow", 2)):
            pod = lab.add_pod(lab.node1, name)
            Server(pod, service_us=20000, slots=slots)
            shared.speeds.add(pod)
        for app in (shared.equal, shared.weighted, shared.speeds):
            app.write()
        for node in lab.nodes:
            node.start_sluiced()
        for app in (shared.equal, shared.weighted, shared.speeds):
            eventually(lambda: app.applied(lab.node1), f"{app.name} applied")
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean()


def sample_inflight(node, app, seconds, after=1.0):
    """[{pod: in-flight}] over some seconds of steady load."""
    names = {one.pod.ip4: one.pod.name for one in app.replicas}
    time.sleep(after)
    lines = node.run(built("tests/e2e/inflight"), "--bpffs", node.bpffs, "--port",
                     app.ports[0].target, "--samples", int(seconds * 500), "--interval-us", 2000)
    samples = []
    for line in lines.splitlines():
        counts = dict(cell.split("=") for cell in line.split())
        samples.append({names[address]: int(count) for address, count in counts.items()
                        if address in names})
    return samples


def mean(samples, name):
    return sum(sample[name] for sample in samples) / len(samples)


def spread(sample):
    return max(sample.values()) - min(sample.values())


@case
def equal_replicas_stay_within_two(shared):
    """Under steady load: a sample counts when all users but two at most have a request in flight.
    Where the machine stops the client for some milliseconds, many requests end before it sends
    the next ones, and how the ends fall is not the pick's doing."""
    users = 5 * EQUAL
    for keepalive in (False, True):
        load = Load(shared.client, shared.equal.target(), connections=users, duration=5,
                    keepalive=keepalive)
        samples = sample_inflight(shared.lab.node1, shared.equal, 3)
        check_no_errors(load.result(), "closed loop")
        steady = [sample for sample in samples if sum(sample.values()) >= users - 2]
        spreads = [spread(sample) for sample in steady]
        print(f"    {len(steady)} of {len(samples)} samples are steady; largest - smallest "
              "in-flight:", {one: spreads.count(one) for one in sorted(set(spreads))},
              "the others':", sorted({spread(sample) for sample in samples} - set(spreads)))
        check(len(steady) >= 100, "a steady load")
        check(max(spreads) <= 2, f"in-flight {max(spreads)} apart (keepalive {keepalive})")


@case
def in_flight_follows_weights(shared):
    load = Load(shared.client, shared.weighted.target(), connections=70, duration=5)
    samples = sample_inflight(shared.lab.node1, shared.weighted, 3)
    result = load.result()
    check_no_errors(result, "closed loop")
    for weight in (100, 200, 400):
        got = mean(samples, f"weight{weight}")
        share = result["replicas"][f"weight{weight}"] / result["ok"]
        print(f"    weight {weight}: {got:.1f} in flight, {share:.3f} of requests")
        check(abs(got - weight / 10) <= 2, f"weight {weight}: {got:.1f} in flight of 70")
        check(abs(share - weight / 700) < 0.03, f"weight {weight}: {share:.3f} of requests")


@case
def a_slow_replica_gets_less_work_not_more_queue(shared):
    load = Load(shared.client, shared.speeds.target(), connections=24, duration=5)
    samples = sample_inflight(shared.lab.node1, shared.speeds, 3)
    result = load.result()
    check_no_errors(result, "closed loop")
    fast, slow = mean(samples, "fast"), mean(samples, "slow")
    ratio = result["replicas"]["fast"] / result["replicas"]["slow"]
    print(f"    in flight: fast {fast:.1f}, slow {slow:.1f}; requests fast : slow {ratio:.1f}")
    check(abs(fast - slow) <= 2, f"in-flight fast {fast:.1f}, slow {slow:.1f}")
    check(3 < ratio < 5, f"requests fast : slow {ratio:.1f}, the speeds are 4 : 1")


if __name__ == "__main__":
    main(setup, settled)
