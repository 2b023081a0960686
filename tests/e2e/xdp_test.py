#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""XDP at the uplink: what it sends on by itself arrives as if TC had sent it, what it leaves to TC
does too, and it comes and goes without a broken connection. On veths, which `--xdp on` allows; real
drivers are the business of tests/vm/uplink_test.py."""

import contextlib
import json
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from faults import CONNECT  # noqa: E402
from manifest import App, Port  # noqa: E402
from process import built  # noqa: E402
from servers import Load, Nginx, Server, check_no_errors, load  # noqa: E402
import traffic  # noqa: E402
import wires  # noqa: E402

STORM = 20000
ON = ("--xdp", "on")
PATIENCE_MS = 20000


@contextlib.contextmanager
def setup():
    """The four services of traffic.py, and `crowd`: one replica on node1, two on node2, whose probes
    ask a port where nothing fails."""
    with traffic.roads(both=False, options=ON, wires={"node1": wires.veth_for_xdp}) as shared:
        lab = shared.lab
        shared.crowd, shared.server = App(lab, "crowd", 30, [Port("http", 80, 8080)]), {}
        shared.crowd.probe = {"httpGet": {"path": "/health", "port": 80}, "periodSeconds": 1}
        for name, node in (("near", lab.node1), ("far1", lab.node2), ("far2", lab.node2)):
            pod = lab.add_pod(node, name)
            Nginx(pod)
            shared.server[name] = Server(pod, logged=True)
            shared.crowd.add(pod)
        shared.crowd.write()
        eventually(lambda: shared.crowd.applied(lab.node1), "crowd applied")
        yield shared


def settled(shared):
    wait_ready(shared)
    traffic.settled(shared)


def wait_ready(shared):
    eventually(lambda: all(row["state"] == "ready" for row in shared.lab.node1.replicas()),
               "all replicas are ready", 30)


@contextlib.contextmanager
def accelerated(node, at_least):
    """XDP sends at least so many packets on meanwhile."""
    before = node.counter("xdp")
    yield
    sent = node.counter("xdp") - before
    check(sent >= at_least, f"XDP sent {sent} packets on, expected {at_least} at least")


def hook(node, device="uplink0"):
    """Who is at XDP of a device: its name and mode (1: native); None: nobody."""
    return next(((one["name"], one["mode"]) for one in node.xdp_hooks()
                 if one["interface"] == device), None)


def link_row(node, name="uplink0-xdp"):
    return next((row for row in node.sluice("bpf", "show") if row["name"] == name), None)


def doctor_row(node):
    rows = json.loads(node.run(built("sluice"), "-j", "--bpffs", node.bpffs, "doctor", fail=False))
    return next(row for row in rows if row["check"] == "xdp")


def restart(node, *options):
    node.agent.stop()
    node.start_sluiced(*options)


# ---- packets -----------------------------------------------------------------------------------
def one_way(place, family):
    def exchange(shared):
        # Requests, answers and what acknowledges them, in both directions.
        with accelerated(shared.lab.node1, 3000 if place == "remote" else 0):
            traffic.exchange_tcp(shared, "outside", place, family)
        with accelerated(shared.lab.node1, 50 if place == "remote" else 0):
            traffic.exchange_udp(shared, "outside", place, family)
        traffic.exchange_tcp(shared, "pod", place, family, count=50)

    exchange.__name__ = f"{place}_replica_v{family}"
    case(exchange)


for each_place in traffic.PLACES:
    for each_family in traffic.FAMILIES:
        one_way(each_place, each_family)


@case
def local_replicas_are_tc_s(shared):
    before = shared.lab.node1.counter("xdp")
    traffic.exchange_bodies(shared, "local", clients=("outside",))
    check_equal(shared.lab.node1.counter("xdp"), before, "packets sent on by XDP")


@case
def the_storm(shared):
    """Short connections that end in every way, over both families, and every count is 0 again."""
    app = shared.tcp["remote"]
    with accelerated(shared.lab.node1, 2 * STORM):
        loads = [Load(shared.lab.outside, app.target(family, traffic.API), connections=16,
                      count=STORM // 2, end="mix", timeout_ms=PATIENCE_MS) for family in (4, 6)]
        for one in loads:
            check_no_errors(one.result(120), "the storm")


def connect_fault(name, place):
    def hidden(shared):
        bad, retries = shared.server[place], shared.lab.node1.counter("retries")
        with CONNECT[name](bad):
            for family in (4, 6):
                result = load(shared.lab.outside, shared.crowd.target(family), connections=8,
                              count=200, ids=True)
                check_no_errors(result, f"{name} at {place}, IPv{family}")
                check(bad.pod.name not in result["replicas"], f"{bad.pod.name} answered")
        check(shared.lab.node1.counter("retries") > retries, "nothing was retried")
        seen = [request for server in shared.server.values() for request in server.ids()]
        check_equal(len(seen), len(set(seen)), "requests, each at one replica")
        for server in shared.server.values():
            server.forget_ids()

    hidden.__name__ = f"{name}_at_{place}_is_hidden"
    case(hidden)


for each_fault in ("rst", "icmp", "black_hole"):
    for each_place in ("near", "far1"):
        connect_fault(each_fault, each_place)


# ---- the program comes and goes -----------------------------------------------------------------
@case
def what_the_cli_says(shared):
    node = shared.lab.node1
    check_equal(hook(node), ("uplink", 1), "at XDP of uplink0")
    row = link_row(node)
    check_equal((row["kind"], row["interface"], row["hook"]), ("link", "uplink0", "xdp"),
                "`bpf show`")
    row = doctor_row(node)
    check_equal((row["status"], row["found"]), ("ok", "native at uplink0"), "`doctor`")
    check('sluice_xdp_total' in node.http("/metrics"), "no sluice_xdp_total")
    check('sluice_program_runs_total{program="uplink"}' in node.http("/metrics"),
          "no run count of the program")


def keep_asking(shared, **options):
    return Load(shared.lab.outside, shared.tcp["remote"].target(4, traffic.API), connections=8,
                keepalive=True, timeout_ms=PATIENCE_MS, path="/bytes/1000", **options)


@case
def restarts_under_traffic(shared):
    """The program is replaced in place, by the same link."""
    node = shared.lab.node1
    before = link_row(node)
    running = keep_asking(shared, duration=6)
    for _ in range(3):
        restart(node, *ON)
    check_no_errors(running.result(), "over three restarts")
    after = link_row(node)
    check_equal(after["id"], before["id"], "the link's id")
    check(after["program_id"] != before["program_id"], "the program is the old one")


@case
def without_an_agent(shared):
    """Established and new connections go on, by XDP as before; and the neighbours that XDP's packets
    are sent to are confirmed, by those few that TC sends."""
    node = shared.lab.node1
    node.sysctl(net__ipv4__neigh__uplink0__base_reachable_time_ms=1000,
                net__ipv4__neigh__uplink0__delay_first_probe_time=1)
    node.agent.kill()
    with accelerated(node, 1000):
        check_no_errors(keep_asking(shared, duration=8).result(), "without an agent")
    for address in (shared.lab.node2.ip4, shared.lab.outside.ip4):
        entry = json.loads(node.run("ip", "-s", "-j", "neigh", "show", "to", address))[0]
        check(entry["confirmed"] <= 5, f"{address} was not confirmed while it was used: {entry}")
    node.start_sluiced(*ON)


@case
def auto_spares_a_veth(shared):
    """What another namespace sends out of a veth may lack its checksum."""
    node = shared.lab.node1
    running = keep_asking(shared, duration=6)
    restart(node)
    check_equal((hook(node), link_row(node)), (None, None), "at XDP of uplink0")
    check("no_xdp: uplink0: a veth" in node.agent.log(), "the log does not say why")
    row = doctor_row(node)
    check_equal((row["status"], row["found"]), ("info", "not used at uplink0 (a veth)"),
                "`doctor`")
    restart(node, "--xdp", "off")
    check_equal(hook(node), None, "at XDP of uplink0")
    restart(node, *ON)
    check_equal(hook(node), ("uplink", 1), "at XDP of uplink0")
    check_no_errors(running.result(), "while it went and came back")


@case
def an_uplink_goes(shared):
    node = shared.lab.node1
    node.ip("link add extra0 type veth peer name extra1", "link set extra0 up",
            "link set extra1 up")
    restart(node, *ON, "--uplinks", "uplink0,extra0")
    check_equal(hook(node, "extra0"), ("uplink", 1), "at XDP of extra0")
    node.ip("link del extra0")
    eventually(lambda: not link_row(node, "extra0-xdp"), "the pin of extra0 is gone")
    restart(node, *ON)


@case
def somebody_elses_program_stays(shared):
    """Ours is not there then, and TC does all."""
    node = shared.lab.node1
    node.agent.stop()
    check_equal(node.unload(), [], "left by --unload")
    check_equal(hook(node), None, "at XDP of uplink0 after --unload")
    node.run("ip", "link", "set", "dev", "uplink0", "xdpdrv", "obj",
             built("tests/vm/pass.bpf.o"), "sec", "xdp")
    node.start_sluiced(*ON)
    check_equal(hook(node), ("vmtest_pass", 1), "at XDP of uplink0")
    check("no_xdp: uplink0: another program is there (vmtest_pass" in node.agent.log(),
          "the log does not say why")
    row = doctor_row(node)
    check_equal(row["status"], "warn", "`doctor`")
    check("uplink0 (vmtest_pass" in row["found"], f"`doctor` found {row['found']}")
    row = link_row(node, "vmtest_pass")
    check_equal((row["kind"], row["interface"], row["hook"]), ("other", "uplink0", "xdp"),
                "`bpf show`")
    eventually(lambda: shared.tcp["remote"].applied(node), "remote applied")
    traffic.exchange_bodies(shared, "remote", clients=("outside",))
    check_equal(node.counter("xdp"), 0, "packets sent on by our XDP program")
    node.agent.stop()
    check_equal(node.unload(), [], "left by --unload")
    check_equal(hook(node), ("vmtest_pass", 1), "at XDP of uplink0 after --unload")
    node.run("ip", "link", "set", "dev", "uplink0", "xdpdrv", "off")
    node.start_sluiced(*ON)
    check_equal(hook(node), ("uplink", 1), "at XDP of uplink0 once it is free")


if __name__ == "__main__":
    main(setup, settled)
