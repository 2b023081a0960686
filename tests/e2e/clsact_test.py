#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Both ways of attaching: tcx where the kernel has it, clsact when it is forced; the same
traffic over both, and nothing left after --unload."""

import contextlib
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import Skip, case, check, check_equal, main  # noqa: E402
from process import built  # noqa: E402
import traffic  # noqa: E402


@contextlib.contextmanager
def setup():
    with traffic.roads(env={"SLUICE_FORCE_CLSACT": "1"}) as shared:
        yield shared


def clsact_devices(node):
    return {line.split()[4] for line in node.run("tc", "qdisc", "show").splitlines()
            if "clsact" in line}


def tcx_devices(node):
    return {line.split()[0] for line in node.run(built("tests/e2e/hooks")).splitlines()}


@case
def clsact_carries_all_traffic(shared):
    node = shared.lab.node1
    hooked = {"uplink0", "sluice0", *(pod.veth for pod in shared.lab.pods.values() if pod.node is node)}
    check_equal(clsact_devices(node), hooked, "devices with clsact")
    check_equal(tcx_devices(node), set(), "devices with tcx")
    traffic.exchange_everything(shared)


@case
def unload_removes_clsact(shared):
    node = shared.lab.node1
    node.agent.stop()
    check(clsact_devices(node), "the filters are gone with the agent")
    check_equal(node.unload(), [], "left by --unload")


@case
def tcx_is_the_first_choice(shared):
    node = shared.lab.node1
    if not tcx_devices(shared.lab.node2):
        raise Skip("this kernel has no tcx (before 6.6)")
    node.start_sluiced()
    check_equal(clsact_devices(node), set(), "devices with clsact")
    check("uplink0" in tcx_devices(node), "no tcx program on uplink0")
    for place in traffic.PLACES:
        traffic.exchange_tcp(shared, "pod", place, 4)
    node.agent.stop()
    check_equal(node.unload(), [], "left by --unload")


if __name__ == "__main__":
    main(setup, traffic.settled)
