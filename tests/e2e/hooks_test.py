#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Other programs at our hooks, before and behind ours, at tcx and clsact: they keep running, see what
they ought to, and are left as they were when ours go. Node 1 has the agent, both services have
one replica: `local` on it, `remote` on node 2."""

import contextlib
import functools
import json
import os
import subprocess
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

import traffic  # noqa: E402
from case import Skip, case, check, check_equal, eventually, main  # noqa: E402
from neighbour import neighbours, order  # noqa: E402
from process import built  # noqa: E402
from servers import Load, check_no_errors, load  # noqa: E402

CLSACT = {"SLUICE_FORCE_CLSACT": "1"}
OUR_LAST = 0xbfff   # priority of our filter at a clsact egress


@contextlib.contextmanager
def setup():
    with traffic.roads(both=False) as shared:
        shared.node = shared.lab.node1
        shared.pod = shared.client["pod"]
        shared.tcx = bool(shared.node.run(built("tests/e2e/hooks")))
        stop(shared)
        yield shared


def needs_tcx(function):
    """Decorates a case."""
    @functools.wraps(function)
    def run(shared):
        if not shared.tcx:
            raise Skip("this kernel has no tcx (before 6.6)")
        function(shared)
    return run


def start(shared, *options, env=None):
    shared.node.start_sluiced(*options, env=env)
    for app in shared.tcp.values():
        eventually(lambda: app.applied(shared.node), f"{app.name} applied")


def stop(shared):
    if shared.node.agent:
        shared.node.agent.kill()
        shared.node.agent = None
    if os.path.isdir(shared.node.bpffs):
        shared.node.run(built("sluiced"), "--unload", "--bpffs", shared.node.bpffs)


@contextlib.contextmanager
def others(shared):
    """neighbours(), and no agent after it: nothing of anybody's is left."""
    try:
        with neighbours(shared.lab) as attach:
            yield attach
            if shared.node.agent:
                shared.node.assert_clean()
    finally:
        stop(shared)
    check_equal(shared.node.traces(), [], "left by us or by the test")


def doctor(shared):
    rows = json.loads(shared.node.run(built("sluice"), "-j", "--bpffs", shared.node.bpffs,
                                      "doctor", fail=False))
    return {row["check"]: row for row in rows}


def check_named(row, program, why):
    """Once; tc says of a program in a filter where it came from, too."""
    check(row["found"].count(program) == 1 and "(egress of 1)" in row["found"] and
          why in row["advice"], f"{row}")


def talk(shared, client="pod", place="local", what="requests"):
    check_no_errors(load(shared.client[client], shared.tcp[place].target(), connections=2, count=20),
                    f"{what}: {client} to {place}")


def saw(shared, expected, client="pod", place="local"):
    """A talk, then {neighbour: the kinds of packets that it must have seen, no others}."""
    for one in expected:
        one.seen()
    talk(shared, client, place)
    for one, kinds in expected.items():
        check_equal(set(one.seen()), set(kinds),
                    f"{client} to {place}: seen at {one.device} {one.direction}")


def attach_four(attach, shared, device, first, last):
    """One in front of ours and one behind it, in each direction."""
    return [attach(shared.node, device, direction, where)
            for direction in ("ingress", "egress") for where in (first, last)]


@case
@needs_tcx
def at_tcx_each_sees_its_side(shared):
    """At ingress who is behind us sees the replica, at egress who is before us; who pushed in on the
    other side sees the VIP, and doctor says that it is there."""
    with others(shared) as attach:
        start(shared)
        pod = attach_four(attach, shared, shared.pod.veth, "first", "last")
        uplink = attach_four(attach, shared, "uplink0", "first", "last")
        check_equal(order(shared.node, shared.pod.veth, "ingress"),
                    ["neighbour_next", "from_pod", "neighbour_next"], "order at ingress")
        check_equal(order(shared.node, shared.pod.veth, "egress"),
                    ["neighbour_next", "to_pod", "neighbour_next"], "order at egress")
        views = (("to_vip",), ("to_replica",), ("from_replica",), ("from_vip",))
        saw(shared, dict(zip(pod, views)))
        saw(shared, dict(zip(uplink, views)), client="outside")
        rows = doctor(shared)
        check_equal(rows["program_order"]["status"], "warn", "program_order")
        for place in (f"{shared.pod.veth} ingress", f"{shared.pod.veth} egress",
                      "uplink0 ingress", "uplink0 egress"):
            check(place in rows["program_order"]["found"], f"{place}: {rows['program_order']}")
        check_equal(rows["egress_order"]["status"], "warn", "egress_order")
        check("neighbour_next (egress of 2)" in rows["egress_order"]["found"],
              f"{rows['egress_order']}")


@case
@needs_tcx
def at_tcx_we_go_around_those_that_were_there(shared):
    with others(shared) as attach:
        pod = [attach(shared.node, shared.pod.veth, direction, "last")
               for direction in ("ingress", "egress")]
        start(shared)
        check_equal(order(shared.node, shared.pod.veth, "ingress"), ["from_pod", "neighbour_next"],
                    "order at ingress")
        check_equal(order(shared.node, shared.pod.veth, "egress"), ["neighbour_next", "to_pod"],
                    "order at egress")
        saw(shared, dict(zip(pod, (("to_replica",), ("from_replica",)))))
        check_equal(doctor(shared)["program_order"]["status"], "ok", "program_order")
        shared.node.agent.kill()
        saw(shared, dict(zip(pod, (("to_replica",), ("from_replica",)))))
        start(shared)
        check_equal(order(shared.node, shared.pod.veth, "ingress"), ["from_pod", "neighbour_next"],
                    "order after the restart")
        saw(shared, dict(zip(pod, (("to_replica",), ("from_replica",)))))


@case
@needs_tcx
def what_is_redirected_is_seen_before_us_alone(shared):
    """Source NAT: the client's packets go from our hook straight to the device, and so do the
    answers."""
    with others(shared) as attach:
        start(shared)
        uplink = attach_four(attach, shared, "uplink0", "first", "last")
        # Both ways pass the same uplink: as the client's packets come in and go on to the replica, so
        # do the replica's. At egress they are what we made of them.
        saw(shared, dict(zip(uplink, (("to_vip", "from_replica"), (),
                                      ("to_replica", "from_vip"), ("to_replica", "from_vip")))),
            client="outside", place="remote")


@case
@needs_tcx
def a_clsact_cni_beside_tcx(shared):
    """It sees the replica at ingress and the VIP at egress, although it ends its chain there; doctor
    names it."""
    with others(shared) as attach:
        cni = [attach(shared.node, shared.pod.veth, direction, 1, ends=True)
               for direction in ("ingress", "egress")]
        start(shared)
        saw(shared, dict(zip(cni, (("to_replica",), ("from_vip",)))))
        row = doctor(shared)["egress_order"]
        check_equal(row["status"], "info", f"{row}")
        check_named(row, "neighbour_ok", "VIP")
        shared.node.agent.kill()
        saw(shared, dict(zip(cni, (("to_replica",), ("from_vip",)))))


@case
def with_clsact_each_sees_its_side(shared):
    with others(shared) as attach:
        start(shared, env=CLSACT)
        pod = [attach(shared.node, shared.pod.veth, "ingress", 2),
               attach(shared.node, shared.pod.veth, "egress", 2),
               attach(shared.node, shared.pod.veth, "egress", OUR_LAST + 1)]
        uplink = [attach(shared.node, "uplink0", "ingress", 2),
                  attach(shared.node, "uplink0", "egress", 2),
                  attach(shared.node, "uplink0", "egress", OUR_LAST + 1)]
        views = (("to_replica",), ("from_replica",), ("from_vip",))
        saw(shared, dict(zip(pod, views)))
        saw(shared, dict(zip(uplink, views)), client="outside")
        rows = doctor(shared)
        check(f"{shared.pod.veth} egress" in rows["program_order"]["found"],
              f"{rows['program_order']}")
        check_equal(rows["egress_order"]["status"], "warn", f"{rows['egress_order']}")
        shared.node.agent.kill()
        saw(shared, dict(zip(pod, views)))


def connects(shared):
    """Whether a connect to the VIP succeeds within a second."""
    address, _, port = shared.tcp["local"].target().rpartition(":")
    done = subprocess.run(
        shared.pod.inside(["python3", "-c", "import socket, sys; "
                           "socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)",
                           address, port]), capture_output=True, check=False)
    return not done.returncode


def hidden_by(shared, attach, where):
    cni = attach(shared.node, shared.pod.veth, "egress", where, ends=True)
    check(not connects(shared), "a program that ends the chain before us hides nothing")
    row = doctor(shared)["egress_order"]
    check_equal(row["status"], "warn", f"{row}")
    check_named(row, "neighbour_ok", "TC_ACT_OK")
    cni.detach()
    talk(shared, what="once it is gone")


@case
def who_ends_the_chain_before_us_hides_replies(shared):
    """Nothing that we could mend: doctor says so."""
    if shared.tcx:
        with others(shared) as attach:
            start(shared)
            hidden_by(shared, attach, "first")
    with others(shared) as attach:
        start(shared, env=CLSACT)
        hidden_by(shared, attach, 2)


@case
@needs_tcx
def our_going_leaves_theirs_in_order(shared):
    """--unload, and an interface that loses its role; under load of what is none of ours."""
    with others(shared) as attach:
        theirs = [attach(shared.node, shared.pod.veth, direction, "last")
                  for direction in ("ingress", "egress")]
        start(shared)
        theirs += [attach(shared.node, shared.pod.veth, direction, "last", ends=True)
                   for direction in ("ingress",)]
        direct = Load(shared.pod, f"{shared.lab.pods['local'].ip4}:80", rate=100, duration=300)
        shared.node.agent.kill()
        # From now on its veth is none of the pod interfaces.
        start(shared, "--pod-interfaces", "cali*")
        for direction, names in (("ingress", ["neighbour_next", "neighbour_ok"]),
                                 ("egress", ["neighbour_next"])):
            eventually(lambda: order(shared.node, shared.pod.veth, direction) == names,
                       f"{direction} without us: "
                       f"{order(shared.node, shared.pod.veth, direction)}")
        shared.node.agent.kill()
        start(shared)
        stop(shared)
        for direction, names in (("ingress", ["neighbour_next", "neighbour_ok"]),
                                 ("egress", ["neighbour_next"])):
            check_equal(order(shared.node, shared.pod.veth, direction), names, "after --unload")
        for one in theirs:
            one.seen()
        check_no_errors(direct.stop(), "pod to pod, past the VIP")
        check_no_errors(load(shared.pod, f"{shared.lab.pods['local'].ip4}:80", count=20), "direct")
        check_equal([bool(one.seen()) for one in theirs], [True] * 3, "theirs run on")


@case
def our_going_leaves_their_filters(shared):
    with others(shared) as attach:
        cni = [attach(shared.node, shared.pod.veth, direction, prio)
               for direction in ("ingress", "egress") for prio in (1, 7)]
        start(shared, env=CLSACT)
        talk(shared)
        stop(shared)
        for one in cni:
            one.seen()
        check_no_errors(load(shared.pod, f"{shared.lab.pods['local'].ip4}:80", count=20), "direct")
        check_equal([bool(one.seen()) for one in cni], [True] * 4, "their filters run on")
        check("from_pod" not in shared.node.run("tc", "filter", "show", "dev", shared.pod.veth,
                                                "ingress"), "ours is there still")


if __name__ == "__main__":
    main(setup)
