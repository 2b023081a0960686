#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""`sluiced --unload` where not all is as an agent left it: pins gone, or hidden, another directory, a pin
that cannot be removed; and links at other interfaces than their pins say, or of names that no pin can
have. Over tcx, and over clsact."""

import contextlib
import os
import shutil
import subprocess
import sys
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import Skip, case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App  # noqa: E402
from process import built  # noqa: E402
from servers import Nginx, check_no_errors, load  # noqa: E402

WAYS = {"tcx": None, "clsact": {"SLUICE_FORCE_CLSACT": "1"}}


@contextlib.contextmanager
def setup():
    with Lab(nodes=1) as lab:
        shared = types.SimpleNamespace(lab=lab, node=lab.node1)
        shared.client = lab.add_pod(shared.node, "client")
        pod = lab.add_pod(shared.node, "web")
        Nginx(pod)
        shared.app = App(lab, "web", 10)
        shared.app.add(pod)
        shared.app.write()
        yield shared


def settled(shared):
    if shared.node.agent:
        shared.node.agent.kill()
        shared.node.agent = None
    check_equal(shared.node.unload(), [], "left by --unload")


def each_way(function):
    """A case over tcx and over clsact."""
    for way, env in WAYS.items():
        def run(shared, env=env):
            shared.node.start_sluiced(env=env)
            eventually(lambda: shared.app.applied(shared.node), "applied")
            function(shared)
        run.__name__, run.__doc__ = f"{function.__name__}_{way}", function.__doc__
        case(run)


def unload(node, *options, bpffs=None, prefix=()):
    """The exit status and the log."""
    done = subprocess.run(
        node.inside([*prefix, built("sluiced"), "--unload", "--bpffs", bpffs or node.bpffs, *options]),
        capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def start_at_tcx(shared, *options):
    """Starts an agent; a kernel that has no tcx skips the case."""
    shared.node.start_sluiced(*options)
    if not shared.node.run(built("tests/e2e/hooks")):
        settled(shared)
        raise Skip("this kernel has no tcx (before 6.6)")


def check_served(shared, what):
    for space in (shared.client, shared.node):
        check_no_errors(load(space, shared.app.target(), connections=2, count=20), what)


@each_way
def pins_that_are_gone(shared):
    """Whatever holds what is left, it goes: programs, pair and routes."""
    node = shared.node
    node.agent.kill()
    shutil.rmtree(node.bpffs)
    check(node.traces(), "nothing is left to be removed")
    status, log = unload(node)
    check_equal((status, node.traces()), (0, []), f"exit status, and what is left: {log}")
    check("nothing found" not in log, log)
    status, log = unload(node)
    check(status == 0 and "nothing found" in log, f"the second time: {status}: {log}")


@case
def pins_that_are_hidden(shared):
    """A bpf file system over that of the pins: nobody's word that all is gone."""
    node, place = shared.node, f"{shared.lab.dir}/bpf"
    start_at_tcx(shared)
    settled(shared)
    os.mkdir(place)
    subprocess.run(["mount", "-t", "bpf", "bpf", place], check=True)
    try:
        node.start_sluiced("--bpffs", f"{place}/pins")
        node.agent.kill()
        before = node.traces()
        subprocess.run(["mount", "-t", "bpf", "bpf", place], check=True)
        try:
            status, log = unload(node, bpffs=f"{place}/pins")
            check(status == 1 and "not seen here" in log, f"{status}: {log}")
            check_equal(node.traces(), before, "what is there")
        finally:
            subprocess.run(["umount", place], check=True)
        status, log = unload(node, bpffs=f"{place}/pins")
        check_equal((status, node.traces()), (0, []), f"exit status, and what is left: {log}")
    finally:
        subprocess.run(["umount", place], check=True)


@each_way
def another_directory(shared):
    """What another agent's pins hold stays, whether that agent runs or not."""
    node = shared.node
    before = node.run("ip", "-o", "link", "show", "dev", "sluice0").split(":")[0], node.traces()
    other = f"{node.bpffs}-other"
    for running in (True, False):
        if running:
            os.mkdir(other)  # gone by the second time
        status, log = unload(node, bpffs=other)
        check_equal(status, 0, f"exit status: {log}")
        check(f"pins are below {node.bpffs}\n" in log, f"it does not say whose the pair is: {log}")
        check_equal((node.run("ip", "-o", "link", "show", "dev", "sluice0").split(":")[0],
                     node.traces()), before, f"what is there, agent running: {running}")
        check_served(shared, f"agent running: {running}")
        node.agent.kill()


@case
def a_link_that_cannot_be_removed(shared):
    """The others are, and the first failure is reported."""
    node = shared.node
    start_at_tcx(shared)
    node.agent.kill()
    obstacle = f"{node.bpffs}/links/none-ingress"
    os.mkdir(obstacle)  # bpffs lists the newest first
    try:
        status, log = unload(node)
        check_equal(status, 1, f"exit status: {log}")
        check(f"cannot remove all of {node.bpffs}" in log, log)
        check_equal(node.run(built("tests/e2e/hooks")), "", "programs at hooks")
    finally:
        os.rmdir(obstacle)


@case
def an_interface_that_took_anothers_name(shared):
    """A link is trusted by where it is, not by its pin's name."""
    node = shared.node
    start_at_tcx(shared)
    node.ip("link add veth-a type veth peer name peer-a", "link set veth-a up")
    pin = f"{node.bpffs}/links/veth-a-ingress"  # the last that sluiced does for a new interface
    eventually(lambda: os.path.exists(pin), "veth-a attached")
    node.agent.kill()
    try:
        node.ip("link set veth-a down", "link set veth-a name other-a",
                "link add veth-a type veth peer name peer-b", "link set veth-a up")
        row = next(row for row in node.doctor() if row["check"] == "stale_links")
        check(row["status"] == "warn" and pin in row["found"] and
              "sluice0" not in row["found"], f"{row}")
        node.start_sluiced()
        hooks = node.run(built("tests/e2e/hooks")).splitlines()
        check_equal({line for line in hooks if "-a " in line},
                    {"veth-a ingress 1", "veth-a egress 1"}, "programs there")
        row = next(row for row in node.doctor() if row["check"] == "stale_links")
        check_equal(row["status"], "ok", f"{row}")
    finally:
        node.ip("link del other-a", "link del veth-a")


@case
def an_interface_with_a_dot_in_its_name(shared):
    """VLANs have one; bpffs takes none."""
    node = shared.node
    start_at_tcx(shared)
    node.agent.kill()
    node.ip("link add up.7 type veth peer name up.8", "link set up.7 up")
    try:
        node.start_sluiced("--uplinks", "uplink0,up.7")
        hooks = node.run(built("tests/e2e/hooks"))
        check("up.7 ingress 1" in hooks and "up.7 egress 1" in hooks, hooks)
        node.agent.kill()
        row = next(row for row in node.doctor() if row["check"] == "stale_links")
        check_equal(row["status"], "ok", f"{row}")
        node.start_sluiced("--uplinks", "uplink0,up.7")
        check_equal(node.run(built("tests/e2e/hooks")), hooks, "programs after a restart")
        node.agent.kill()
        node.start_sluiced()
        check("up.7" not in node.run(built("tests/e2e/hooks")), "it is no uplink any more")
    finally:
        node.ip("link del up.7")


@case
def without_root(shared):
    node = shared.node
    node.start_sluiced()
    node.agent.kill()
    status, log = unload(node, prefix=("setpriv", "--reuid", "65534", "--clear-groups",
                                       "--bounding-set", "-all"))
    check(status == 1 and "(root is needed)" in log, f"{status}: {log}")


@case
def a_start_with_too_few_capabilities(shared):
    """It says which are missing, before it makes anything; those that it names are enough."""
    node = shared.node
    for options, missing in (("-all,+bpf,+net_admin", "CAP_PERFMON, CAP_NET_RAW"),
                             ("-all,+bpf,+perfmon,+net_raw", "CAP_NET_ADMIN")):
        agent = node.spawn("setpriv", "--bounding-set", options, built("sluiced"), "--manifests",
                           shared.lab.manifests.dir, "--bpffs", node.bpffs)
        check(agent.popen.wait(20) != 0, f"it started with {options}")
        check(f"this process lacks {missing}; " in agent.log(), agent.log())
        check_equal(node.traces(), [], "left by it")
    node.agent = node.spawn("setpriv", "--bounding-set", "-all,+bpf,+perfmon,+net_admin,+net_raw",
                            built("sluiced"), "--manifests", shared.lab.manifests.dir, "--bpffs",
                            node.bpffs, "--pod-interfaces", "veth*", "--uplinks", "uplink0",
                            "--node-name", node.name)
    node.wait_ready()
    eventually(lambda: shared.app.applied(node), "applied")
    check_served(shared, "without root's other capabilities")
    check_equal(node.agent.log().count(" error "), 2, f"of {node.agent.log()}: those of the starts before")


@case
def a_dot_in_the_directorys_name(shared):
    node = shared.node
    bpffs = f"{node.bpffs}.d"
    agent = node.spawn(built("sluiced"), "--manifests", shared.lab.manifests.dir, "--bpffs", bpffs)
    check(agent.popen.wait(20) != 0, "it started")
    check(f"cannot make {bpffs}" in agent.log() and "no dots" in agent.log(), agent.log())


if __name__ == "__main__":
    main(setup, settled)
