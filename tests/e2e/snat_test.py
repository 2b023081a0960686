#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Source-NAT ports: ranges that would mix up connections are refused at start, and when a range is used
up, clients are told at once and a counter says why. (How ports are chosen and rest: tests/bpf/snat_test.c;
twenty clients on the same ports: paths_test.py.)"""

import contextlib
import os
import subprocess
import sys
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from process import built  # noqa: E402
from servers import Nginx, check_no_errors, load  # noqa: E402

PORTS = 8


@contextlib.contextmanager
def setup():
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, node=lab.node1, app={})
        shared.pod = lab.add_pod(lab.node1, "client")
        for number, (name, node) in enumerate((("local", lab.node1), ("remote", lab.node2)), 10):
            pod = lab.add_pod(node, name)
            Nginx(pod)
            shared.app[name] = App(lab, name, number)
            shared.app[name].add(pod)
            shared.app[name].write()
        lab.node1.start_sluiced("--snat-ports", f"2000-{2000 + PORTS - 1}")
        for app in shared.app.values():
            eventually(lambda: app.applied(lab.node1), f"{app.name} applied")
        yield shared


def settled(shared):
    shared.node.assert_clean()


def refused(shared, ports):
    """What sluiced says when it is started with this range; it must have left no trace."""
    bpffs = f"{shared.node.bpffs}-refused"
    done = subprocess.run(
        shared.node.inside([built("sluiced"), "--manifests", shared.lab.manifests.dir, "--bpffs",
                            bpffs, "--listen", "127.0.0.1:9922", "--snat-ports", ports]),
        capture_output=True, text=True, timeout=20, check=False)
    check(done.returncode, f"{ports}: sluiced ended well")
    check(not os.path.exists(bpffs), f"{ports}: {bpffs} was made")
    return done.stderr


@case
def ranges_that_overlap_are_refused(shared):
    """With the ports of the node's own clients, with Kubernetes' node ports; and nonsense."""
    shared.node.sysctl(net__ipv4__ip_local_port_range="20000 29000")
    for ports in ("1024-20000", "29000-29999", "21000-22000", "1024-29999"):
        said = refused(shared, ports)
        check(f"{ports} overlaps the node's own ports 20000-29000" in said and
              "choose another range" in said, f"{ports}: {said}")
    shared.node.sysctl(net__ipv4__ip_local_port_range="40000 60999")
    for ports in ("1024-30000", "32767-39999", "30500-30600"):
        said = refused(shared, ports)
        check(f"{ports} overlaps Kubernetes' node ports 30000-32767" in said, f"{ports}: {said}")
    for ports in ("2000-1000", "0-100", "1024-65536", "1024", "x"):
        said = refused(shared, ports)
        check(f'--snat-ports "{ports}"' in said and "MIN-MAX" in said, f"{ports}: {said}")
    shared.node.sysctl(net__ipv4__ip_local_port_range="32768 60999")


def ports_row(node):
    return next(row for row in node.sluice("doctor") if row["check"] == "ports")


@case
def node_ports_in_the_range_are_said(shared):
    """Whatever range the cluster has for them: of those that Services do have, once in the log, and by
    `doctor`."""
    node = shared.node

    def said():
        return [line for line in node.agent.log().splitlines() if "among the source ports" in line]

    check_equal((said(), ports_row(node)["status"]), ([], "ok"), "before")
    app = App(shared.lab, "clash", 40, [Port("http", 80, 80, node_port=2003),
                                        Port("echo", 53, 8080, "UDP", node_port=2004),
                                        Port("other", 81, 80, node_port=2000 + PORTS)])
    app.own_pods = False
    app.add(shared.lab.pods["local"])
    app.apply(node)
    eventually(said, "it is said")
    app.add(shared.lab.pods["remote"])
    app.apply(node)
    check_equal(len(said()), 1, f"lines: {said()}")
    for text in (said()[0], ports_row(node)["found"]):
        check("2003/TCP" in text and "2004/UDP" in text and "2008" not in text, text)
    check_equal(ports_row(node)["status"], "warn", "the row")
    app.remove()
    eventually(lambda: ports_row(node)["status"] == "ok", "the row once it is gone")


def exhausted(shared):
    """As metrics say it."""
    name = 'sluice_drops_total{reason="snat_exhausted"} '
    return next(int(line[len(name):]) for line in shared.node.http("/metrics").splitlines()
                if line.startswith(name))


@case
def a_range_that_is_used_up(shared):
    """Each port serves one connection to the replica and then rests for a minute. Whoever finds none is
    refused at once; pods, and replicas of this node, need none."""
    lab = shared.lab
    before = exhausted(shared)
    for family in (4, 6):
        result = load(lab.outside, shared.app["remote"].target(family), connections=2,
                      count=PORTS + 20)
        check_equal((result["ok"], result["errors"]["refused"]), (PORTS, 20), f"IPv{family}: {result}")
        for space, name in ((shared.pod, "remote"), (lab.outside, "local")):
            check_no_errors(load(space, shared.app[name].target(family), connections=2, count=50),
                            f"{space.name} to {name}, IPv{family}")
    check_equal(exhausted(shared) - before, 40, "drops that the metrics tell")
    check_equal(shared.node.sluice("status")[0]["drops"]["snat_exhausted"], exhausted(shared),
                "drops that `sluice status` tells")


if __name__ == "__main__":
    main(setup, settled)
