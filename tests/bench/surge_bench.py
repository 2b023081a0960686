#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""A surge of twelve times what the replicas can do, behind Sluice and its peers, in turns.

Four replicas of two slots and a fixed time a request, which work off their queue in order, as model
servers do: also what its client has given up. One client asks at half of what they can do, all the
time; another one surges for 20 s, every request on a connection of its own. Each balancer is told
to keep a replica at as many connections as it has slots, where it can be told.

served, refused, gave up: shares of the surge (refused: an error at once; gave up: none within the
clients' patience). p99 of what was served. Back to normal: from the end of the surge until the
first client sees no more errors than before and twice its former p95 at most, for a second.
"""

import argparse
import os
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, f"{HERE}/../lib"]

from account import progress  # noqa: E402
from servers import Load  # noqa: E402
from show import Follower, quantile_ms  # noqa: E402
import peers  # noqa: E402

SLOTS, SERVICE_US = 2, 50000
CAPACITY = peers.REPLICAS * SLOTS * 1000000 // SERVICE_US   # requests/s
TIMES, NORMAL = 12, 0.5
PATIENCE_S, WINDOW_MS, NORMAL_FOR_MS = 2, 250, 1000
SLACK_MS = 20                       # of a p95, for a machine that is not quiet
# The waiting line of Sluice: in the table once connections can wait for a full replica.
WAITING = {"Sluice, when-full: wait": peers.start_sluice_waiting}
WITH_WAITING = False


def back_to_normal(windows, surge_ms, seconds):
    """Milliseconds from the end of the surge to the first NORMAL_FOR_MS in which all is as it was;
    None when there are none."""
    def p95_ms(window):
        return quantile_ms(dict(window["histogram"]), 0.95)

    before = [one for one in windows if one["at_ms"] < surge_ms and one["ok"]]
    limit = SLACK_MS + 2 * statistics.median(p95_ms(one) for one in before)
    errors = max(one["errors"] for one in before)
    end_ms = surge_ms + seconds * 1000
    since = end_ms
    for one in windows:
        if one["at_ms"] > end_ms and (one["errors"] > errors or p95_ms(one) > limit):
            since = one["at_ms"]
        elif one["at_ms"] >= since + NORMAL_FOR_MS:
            return since - end_ms
    return None


def surge(world, seconds, before_s, after_s):
    """(account of the surge, what the first client reported every WINDOW_MS)."""
    options = {"timeout_ms": PATIENCE_S * 1000}
    normal = Follower(Load(world.clients[0], world.app.target(), rate=int(NORMAL * CAPACITY),
                           duration=before_s + seconds + after_s, progress=WINDOW_MS, **options))
    time.sleep(before_s)
    account = Load(world.clients[1], world.app.target(), rate=TIMES * CAPACITY, duration=seconds,
                   **options).result(seconds + 60)
    return account, normal.lines()


def sample(start_peer, seconds, before_s, after_s):
    with peers.new_world(slots=SLOTS, service_us=SERVICE_US, patience_s=PATIENCE_S,
                         cap=SLOTS, queue=int(CAPACITY * PATIENCE_S / 2)) as world:
        start_peer(world)
        peers.warm(world)
        account, windows = surge(world, seconds, before_s, after_s)
    offered = account["requests"] + account["overrun"]
    gave_up = account["errors"]["timeout"] + account["overrun"]
    return {"served": account["ok"] / offered, "gave_up": gave_up / offered,
            "refused": (account["failed"] - gave_up) / offered,
            "of_capacity": account["ok"] / (CAPACITY * seconds),
            "p99": account["request_us"]["p99"] / 1000,
            "back": back_to_normal(windows, before_s * 1000, seconds)}


def take(rounds, names, starts, options):
    """{peer: [sample of each round]}, the first one another each round."""
    taken = {}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            one = sample(starts[name], options.seconds, options.before, options.after)
            taken.setdefault(name, []).append(one)
            progress(f"  round {number + 1}/{rounds}  {name:24} {one['served']:.1%} served, p99 "
                     f"{one['p99']:.0f} ms, back after {one['back']} ms")
    return taken


def back_text(samples, after_s):
    """The median; a round that never came back is longer than all others."""
    times = [one["back"] if one["back"] is not None else float("inf") for one in samples]
    middle = statistics.median_high(times)
    return f"> {after_s:g}" if middle == float("inf") else f"{middle / 1000:.2f}"


def print_table(taken, after_s):
    print(f"{'':25}{'served':>9}{'refused':>9}{'gave up':>9}{'served, x':>11}{'p99 of the':>12}"
          f"{'back to':>11}")
    print(f"{'':25}{'':27}{'capacity':>11}{'served, ms':>12}{'normal, s':>11}")
    for name, samples in taken.items():
        def middle(key):
            return statistics.median(one[key] for one in samples)
        print(f"{name:25}{middle('served'):9.1%}{middle('refused'):9.1%}{middle('gave_up'):9.1%}"
              f"{middle('of_capacity'):11.2f}{middle('p99'):12.0f}"
              f"{back_text(samples, after_s):>11}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 3)))
    parser.add_argument("--seconds", type=float, default=20, help="of surge (default 20)")
    parser.add_argument("--before", type=float, default=3, help="seconds (default 3)")
    parser.add_argument("--after", type=float, default=20, help="seconds (default 20)")
    options = parser.parse_args()
    starts, lacking = peers.available()
    if WITH_WAITING:
        starts |= WAITING
    taken = take(options.rounds, list(starts), starts, options)
    print_table({name: taken[name] for name in starts}, options.after)
    print(f"{peers.REPLICAS} replicas of {SLOTS} slots and {SERVICE_US // 1000} ms: {CAPACITY} "
          f"requests/s; clients wait {PATIENCE_S} s; {options.rounds} rounds", *lacking, sep="\n")


if __name__ == "__main__":
    main()
