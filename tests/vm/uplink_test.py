#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Uplinks of other kinds than a plain wire: bonds, a VLAN on a trunk, and network cards with real
drivers, with our XDP program, or somebody else's in front of our TC programs. Each case has a lab of
its own."""

import contextlib
import json
import os
import re
import subprocess
import sys
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import Skip, case, check, check_equal, eventually, main  # noqa: E402
from process import built  # noqa: E402
from servers import Load, check_no_errors  # noqa: E402
import traffic  # noqa: E402
import wires  # noqa: E402

NATIVE, GENERIC = "xdpdrv", "xdpgeneric"
MODES = {NATIVE: 1, GENERIC: 2}     # as `ip` tells them: XDP_ATTACHED_* of linux/if_link.h


@contextlib.contextmanager
def setup():
    yield types.SimpleNamespace()


@contextlib.contextmanager
def uplink(wire, *options):
    """The lab with its four services, node1 having this uplink and its agent these options; all counts
    are right at its end."""
    with traffic.roads(both=False, options=options, wires={"node1": wire}) as shared:
        yield shared
        traffic.settled(shared)


def exchange(shared):
    """All that crosses the uplink."""
    traffic.exchange_bodies(shared, "local", clients=("outside",))
    traffic.exchange_bodies(shared, "remote")
    for family in traffic.FAMILIES:
        traffic.exchange_udp(shared, "outside", "remote", family, sizes=(512,))


# ---- bonds and tags --------------------------------------------------------------------
def active_leg(node):
    text = node.run("cat", "/proc/net/bonding/uplink0")
    return re.search(r"^Currently Active Slave: (\w+)$", text, re.MULTILINE).group(1)


@case
def bond_active_backup(_):
    """The leg in use fails under open connections, and none of them does."""
    with uplink(wires.bond("active-backup")) as shared:
        exchange(shared)
        node, fabric = shared.lab.node1, shared.lab.fabric
        check("no_xdp: uplink0: a bond" in node.agent.log(), "XDP at a bond")
        active = active_leg(node)
        running = Load(shared.lab.outside, shared.tcp["remote"].target(), connections=4, count=400,
                       timeout_ms=traffic.PATIENCE_MS, path="/16k")
        eventually(lambda: node.live_flows(("TCP",)), "flows under way")
        fabric.ip(f"link set node1-{active.removeprefix('leg')} down")
        check_no_errors(running.result(), "while a leg failed")
        check(active_leg(node) != active, f"{active} is still in use")


@case
def bond_balance_xor(_):
    with uplink(wires.bond("balance-xor")) as shared:
        exchange(shared)


@case
def vlan_on_a_trunk(_):
    with uplink(wires.vlan) as shared:
        exchange(shared)


# ---- drivers ---------------------------------------------------------------------------
def attached_mode(node):
    """How an XDP program hangs on uplink0; 0: none."""
    link = json.loads(node.run("ip", "-j", "link", "show", "dev", "uplink0"))[0]
    return link.get("xdp", {}).get("mode", 0)


def passed():
    """What the foreign program has counted, on all CPUs."""
    dump = subprocess.run(["bpftool", "-j", "map", "dump", "name", "vmtest_passed"], check=True,
                          capture_output=True, text=True).stdout
    return int.from_bytes((int(byte, 16) for byte in json.loads(dump)[0]["value"]), "little")


@contextlib.contextmanager
def foreign_xdp(node, mode, may_lack):
    """Somebody's XDP program in front of ours."""
    try:
        node.run("ip", "link", "set", "dev", "uplink0", mode, "obj", built("tests/vm/pass.bpf.o"),
                 "sec", "xdp")
    except AssertionError as error:
        if may_lack and "not support" in str(error):
            raise Skip(f"this kernel's driver has no native XDP: {error}") from None
        raise
    check_equal(attached_mode(node), MODES[mode], "mode of the XDP program")
    yield
    node.run("ip", "link", "set", "dev", "uplink0", mode, "off")


def steer_behind_xdp(driver, mode, may_lack=False):
    with uplink(wires.card(driver), "--xdp", "off") as shared:
        node = shared.lab.node1
        with foreign_xdp(node, mode, may_lack):
            before = passed()
            exchange(shared)
            check(passed() > before, "the XDP program saw nothing")
        check_equal(attached_mode(node), 0, "mode once it is gone")
        traffic.exchange_bodies(shared, "remote", clients=("outside",))


@case
def virtio_net_native_xdp(_):
    steer_behind_xdp("virtio_net", NATIVE)


@case
def e1000e_generic_xdp(_):
    steer_behind_xdp("e1000e", GENERIC)


@case
def vmxnet3_native_xdp(_):
    """Its driver has native XDP since 6.6."""
    steer_behind_xdp("vmxnet3", NATIVE, may_lack=True)


def ours_in_front(driver, may_lack=False):
    """By itself, since the driver can."""
    with uplink(wires.card(driver)) as shared:
        node = shared.lab.node1
        if may_lack and not attached_mode(node):
            check("no_xdp: uplink0: its driver has no native XDP" in node.agent.log(),
                  "the log does not say why")
            raise Skip("this kernel's driver has no native XDP")
        check_equal(attached_mode(node), MODES[NATIVE], "mode of our XDP program")
        exchange(shared)
        check(node.counter("xdp") > 1000, f"XDP sent {node.counter('xdp')} packets on")
        node.agent.stop()
        node.start_sluiced("--xdp", "off")
        check_equal(attached_mode(node), 0, "mode once it is off")
        traffic.exchange_bodies(shared, "remote", clients=("outside",))


@case
def virtio_net_our_xdp(_):
    ours_in_front("virtio_net")


@case
def vmxnet3_our_xdp(_):
    ours_in_front("vmxnet3", may_lack=True)


@case
def e1000e_has_no_xdp(_):
    with uplink(wires.card("e1000e"), "--xdp", "on") as shared:
        check_equal(attached_mode(shared.lab.node1), 0, "mode of an XDP program")
        check("error no_xdp: uplink0: its driver has no native XDP" in shared.lab.node1.agent.log(),
              "the log does not say why")
        exchange(shared)


if __name__ == "__main__":
    main(setup)
