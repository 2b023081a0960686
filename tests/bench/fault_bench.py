#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""What clients feel when one of four replicas fails, behind Sluice and its peers, in turns.

New connections at a fixed rate, one request each; a second after the first one the replica fails,
and stays so. Of the requests begun from then on: how long the good ones took, how many failed or
took longer than the client would wait, when the last of these was begun, and how many requests
were read by two replicas. Every sample has a lab of its own. Printed are medians over rounds, but
the sum where something is to be 0 (failed, read twice).
"""

import argparse
import contextlib
import os
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, f"{HERE}/../lib"]

from account import progress, target  # noqa: E402
from faults import CONNECT, FAULTS  # noqa: E402
from servers import Load, Server, load  # noqa: E402
from show import quantile_ms  # noqa: E402
import peers  # noqa: E402

RATE, PATIENCE_S, BEFORE_S = 200, 2, 1
SERVICE_US = 1000
NONE = "none"


def histogram_after(lines, seconds):
    """{microseconds: requests} of the reports that came later than that."""
    merged = {}
    for line in lines:
        if line["at_ms"] > seconds * 1000:
            for us, count in line["histogram"]:
                merged[us] = merged.get(us, 0) + count
    return merged


def begun_ms(error):
    """When a request that failed was begun, after the start of the load."""
    return error["at_ms"] - (PATIENCE_S * 1000 if error["kind"] == "timeout" else 0)


def read_twice(world):
    """Requests that more than one replica read."""
    noted = [set(server.ids()) for server in world.servers]
    return sum(len(ids) for ids in noted) - len(set().union(*noted))


def sample(start_peer, fault, seconds):
    with peers.new_world(service_us=SERVICE_US, patience_s=PATIENCE_S) as world:
        start_peer(world)
        peers.warm(world)
        running = Load(world.clients[0], world.app.target(), rate=RATE, duration=BEFORE_S + seconds,
                    timeout_ms=PATIENCE_S * 1000, progress=100, ids=True,
                       source=world.sources)
        time.sleep(BEFORE_S)
        if fault == NONE:
            *lines, account = running.lines()
        else:
            with FAULTS[fault](world.servers[0]):
                *lines, account = running.lines()
        time.sleep(0.2)  # a replica that was frozen reads what it was sent
        twice = read_twice(world)
    good = histogram_after(lines, BEFORE_S + 0.1)
    last = [begun_ms(error) - BEFORE_S * 1000 for error in account["error_log"]]
    return {"p50": quantile_ms(good, 0.5), "p99": quantile_ms(good, 0.99),
            "max": max(good, default=0) / 1000, "failed": account["failed"],
            "connect_failed": account["connect_failed"], "begun": account["requests"],
            "last": max(last, default=0), "twice": twice,
            "connect_max": PATIENCE_S * 1000 if account["connect_failed"] else
                           account["connect_us"]["max"] / 1000}


def refused_connect_us():
    """p50 of connect() through Sluice, one at a time, where three of four replicas refuse and
    nobody takes them out: probes ask another port and nothing is ejected."""
    with peers.new_world() as world, contextlib.ExitStack() as over:
        for server in world.servers:
            Server(server.pod, peers.PORT + 1)
        world.app.probe = {"httpGet": {"path": "/health", "port": peers.PORT + 1}}
        world.app.traffic_policy = None
        peers.start_sluice(world)
        for server in world.servers[1:]:
            over.enter_context(FAULTS["rst"](server))
        account = load(world.clients[0], world.app.target(), connections=1, count=2000)
    return account["connect_us"]["p50"] if not account["failed"] else float("inf")


def take(rounds, names, faults, seconds):
    """{(fault, peer): [sample of each round]}; peers in turns, the first one another each round."""
    taken = {}
    for number in range(rounds):
        for fault in faults:
            first = number % len(names)
            for name in names[first:] + names[:first]:
                one = sample(peers.PEERS[name], fault, seconds)
                taken.setdefault((fault, name), []).append(one)
                progress(f"  round {number + 1}/{rounds}  {fault:11} {name:18} "
                         f"p99 {one['p99']:7.1f} ms, {one['failed']} of {one['begun']} failed")
    return taken


def over(samples, key, fold=statistics.median):
    return fold(one[key] for one in samples)


def print_table(taken, faults, names):
    print(f"{'':12}{'':19}{'good requests, ms':>27}{'failed':>16}{'last failed':>13}{'read':>7}")
    print(f"{'fault':12}{'':19}{'p50':>9}{'p99':>9}{'max':>9}{'':>9}{'of':>7}{'begun, ms':>13}"
          f"{'twice':>7}")
    for fault in faults:
        for name in names:
            samples = taken[fault, name]
            failed = over(samples, "failed", sum)
            last = f"{over(samples, 'last', max):.0f}" if failed else "-"
            print(f"{fault if name == names[0] else '':12}{name:19}"
                  f"{over(samples, 'p50'):9.2f}{over(samples, 'p99'):9.2f}"
                  f"{over(samples, 'max'):9.1f}{failed:9d}{over(samples, 'begun', sum):7d}"
                  f"{last:>13}{over(samples, 'twice', sum):7d}")


def print_targets(taken, faults):
    """The numbers to beat that this bench can tell; no number of a machine's speed but the
    deadline's."""
    ours = {fault: taken[fault, peers.OURS] for fault in faults}
    before = [one for fault, samples in ours.items() if fault in CONNECT for one in samples]
    if before:
        failed, begun = over(before, "connect_failed", sum), over(before, "begun", sum)
        target("connects that succeed while one replica lives", 100 * (1 - failed / begun), 99.99,
               at_least=True, unit=" %")
    if "rst" in ours:
        target("connect where three of four replicas refuse, p50", refused_connect_us(), 50,
               unit=" us", digits=0)
    if "black_hole" in ours:
        target("connect where one replica is a black hole, longest",
               over(ours["black_hole"], "connect_max"), 60, unit=" ms", digits=0)
    target("requests read by two replicas",
           sum(over(samples, "twice", sum) for samples in ours.values()), 0, digits=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 3)))
    parser.add_argument("--seconds", type=float, default=3.0, help="that a fault lasts (default 3)")
    parser.add_argument("faults", nargs="*", metavar="FAULT",
                        help=f"default all: {' '.join([NONE, *FAULTS])}")
    options = parser.parse_args()
    faults = options.faults or [NONE, *FAULTS]
    if set(faults) - {NONE, *FAULTS}:
        parser.error(f"unknown fault among {faults}")
    names, lacking = peers.available()
    taken = take(options.rounds, list(names), faults, options.seconds)
    print_table(taken, faults, list(names))
    print(f"one of {peers.REPLICAS} replicas; {RATE} requests/s, of {SERVICE_US} us; clients wait "
          f"{PATIENCE_S} s and have two addresses; {options.rounds} rounds", *lacking, sep="\n")
    print_targets(taken, faults)


if __name__ == "__main__":
    main()
