# SPDX-License-Identifier: GPL-2.0-only
"""A run of the demo: drives load, watches replicas, draws the table, sums up."""

import statistics
import sys
import threading
import time

from servers import Load

TTY = sys.stdout.isatty()
ERROR_PAUSE_MS = 100  # a user whose request failed asks again, but not at once
COLOURS = {"ready": "32", "down": "31", "suspect": "33", "draining": "33", "warming": "36"}


def paint(text, colour):
    return f"\033[{colour}m{text}\033[0m" if TTY and colour else text


def quantile_ms(histogram, share):
    """Of {microseconds: requests}."""
    wanted, seen = share * sum(histogram.values()), 0
    for us, count in sorted(histogram.items()):
        seen += count
        if seen > wanted:
            return us / 1000
    return 0.0


class Follower:
    """Reads what a load client reports as it comes, so that it never waits for a reader."""

    def __init__(self, load):
        self.read = []
        self.thread = threading.Thread(target=lambda: self.read.extend(load.lines()), daemon=True)
        self.thread.start()

    def lines(self):
        """All of them once the load is over, but the account of the whole."""
        self.thread.join()
        return self.read[:-1]


class Meter:
    """What all load clients of a run report, second by second and in the end."""

    def __init__(self, loads):
        self.lock = threading.Lock()
        self.ok = self.errors = 0
        self.recent = {}
        self.totals = []
        self.threads = [threading.Thread(target=self._follow, args=(load,), daemon=True)
                        for load in loads]
        for thread in self.threads:
            thread.start()

    def _follow(self, load):
        for line in load.lines():
            with self.lock:
                if "requests" in line:
                    self.totals.append(line)
                    continue
                self.ok += line["ok"]
                self.errors += line["errors"]
                for us, count in line["histogram"]:
                    self.recent[us] = self.recent.get(us, 0) + count

    def take(self):
        """(requests, errors, p95 in ms) since the last call."""
        with self.lock:
            taken = self.ok, self.errors, quantile_ms(self.recent, 0.95)
            self.ok = self.errors = 0
            self.recent = {}
        return taken

    def account(self):
        """{ok, failed, p50, p95, p99} of the whole run, once it is over."""
        for thread in self.threads:
            thread.join()
        histogram = {}
        for total in self.totals:
            for us, count in total["histogram"]:
                histogram[us] = histogram.get(us, 0) + count
        return {"ok": sum(total["ok"] for total in self.totals),
                "failed": sum(total["failed"] for total in self.totals),
                **{name: quantile_ms(histogram, share)
                   for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}}


class Run:
    """`seconds` of closed-loop load from `users` users; `events`: [(second, text, function)]."""

    def __init__(self, title, world, rows, seconds, users, events):
        self.title, self.world, self.rows = title, world, rows
        self.seconds, self.events = seconds, list(events)
        self.spreads, self.drawn, self.total_errors = [], 0, 0
        each = users // len(world.clients)
        self.loads = [Load(space, world.app.target(), connections=each, duration=seconds + 1,
                           error_pause_ms=ERROR_PAUSE_MS, path="/16k", progress=1000,
                           timeout_ms=20000, end="client")
                      for space in world.clients]
        self.meter = Meter(self.loads)

    def go(self):
        began, tick, note = time.monotonic(), 1, ""
        print(paint(f"\n{self.title}", "1"))
        while True:
            now = time.monotonic() - began
            if self.events and now >= self.events[0][0]:
                _, note, act = self.events.pop(0)
                note = f"{now:.0f} s: {note}"
                act()
            if now >= tick:
                self.draw(int(now), note)
                tick += 1
            if now >= self.seconds:
                break
            self.sample_spread()
            time.sleep(0.1)
        account = self.meter.account()
        account["spread"] = statistics.mean(self.spreads) if self.spreads else 0.0
        return account

    def sample_spread(self):
        """sd/mean of the open connections of the replicas that live, counted in their pods."""
        open_now = [self.world.open_connections(one.pod) for one in self.world.app.replicas
                    if self.world.nginx[one.pod.name].process.running()]
        if sum(open_now):
            self.spreads.append(statistics.pstdev(open_now) / statistics.mean(open_now))

    def draw(self, second, note):
        ok, errors, p95 = self.meter.take()
        self.total_errors += errors
        rows = self.rows()
        if TTY:
            self.draw_table(rows, f"  {second} s: {ok} requests/s, p95 {p95:.0f} ms, "
                                  f"{self.total_errors} errors so far", note)
            return
        cells = "  ".join(f"{row['name']}={row['inflight']}" +
                          ("" if row["state"] in ("ready", "") else f"({row['state']})")
                          for row in rows)
        fresh = f"  <- {note}" if note.startswith(f"{second} ") else ""
        print(f"{second:3d} s  {ok:5d} req/s  p95 {p95:6.0f} ms  errors {self.total_errors:4d}  "
              f"in flight: {cells}{fresh}", flush=True)

    def draw_table(self, rows, status, note):
        lines = [f"  {'replica':9} {'node':6} {'req/s it can':>12}  {'state':9} {'picks/s':>8}  "
                 "in flight"]
        for row in rows:
            state = paint(f"{row['state']:9}", COLOURS.get(row["state"]))
            bar = "#" * min(row["inflight"], 40)
            lines.append(f"  {row['name']:9} {row['node']:6} {row['speed']:>12}  {state} "
                         f"{row['picks']:>8}  {row['inflight']:3d} {bar}")
        lines += [status, f"  {paint(note, '1')}"]
        if self.drawn:
            print(f"\033[{self.drawn}A", end="")
        print("\n".join(f"\033[K{line}" for line in lines) + "\033[J", flush=True)
        self.drawn = len(lines)


def summary(ours, theirs):
    """The two accounts side by side."""
    lines = ["", paint(f"{'':24}{'Sluice':>12}{'kube-proxy rules':>20}", "1")]
    for label, key, form in (("requests answered", "ok", "{:.0f}"), ("failed", "failed", "{:.0f}"),
                             ("p50", "p50", "{:.1f} ms"), ("p95", "p95", "{:.1f} ms"),
                             ("p99", "p99", "{:.1f} ms"),
                             ("spread of in-flight", "spread", "{:.2f}")):
        lines.append(f"{label:24}{form.format(ours[key]):>12}{form.format(theirs[key]):>20}")
    lines.append("spread: standard deviation / mean of the open connections of living replicas")
    return "\n".join(lines)
