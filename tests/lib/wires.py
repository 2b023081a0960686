# SPDX-License-Identifier: GPL-2.0-only
"""Uplinks that are no plain veth, for Lab(wires=...): each function makes uplink0 of a space and joins
its other end to the bridge of `fabric`. Raises Skip where the kernel lacks the kind."""

import subprocess

from case import Skip
from lab import veth_wire
from nics import pair_of
from process import built

VLAN = 7


def _make(space, line):
    try:
        space.ip(line)
    except AssertionError as error:
        raise Skip(f"this kernel cannot make the device: {error}") from None


def bond(mode):
    """Two legs, leg0 and leg1, in a bond of that mode. Only one leg of active-backup is in use: the
    bridge sees both. The other modes need a bond at the other end too."""
    def wire(fabric, space):
        _make(space, f"link add uplink0 type bond mode {mode} miimon 100")
        master = "br0"
        if mode != "active-backup":
            master = space.name
            fabric.ip(f"link add {master} type bond mode {mode} miimon 100")
        for leg in (0, 1):
            outer = f"{space.name}-{leg}"
            fabric.ip(f"link add {outer} type veth peer name leg{leg} netns {space.ns}",
                      f"link set {outer} master {master}", f"link set {outer} up")
            space.ip(f"link set leg{leg} master uplink0", f"link set leg{leg} up")
        if master != "br0":
            fabric.ip(f"link set {master} master br0 up")
        space.ip("link set uplink0 up")
    return wire


def vlan(fabric, space):
    """A trunk, and a VLAN on it; the bridge's end takes the tag off again."""
    fabric.ip(f"link add {space.name}-trunk type veth peer name trunk0 netns {space.ns}",
              f"link set {space.name}-trunk up",
              f"link add link {space.name}-trunk name {space.name} type vlan id {VLAN}",
              f"link set {space.name} master br0 up")
    space.ip("link set trunk0 up")
    _make(space, f"link add link trunk0 name uplink0 type vlan id {VLAN}")
    space.ip("link set uplink0 up")


def veth_for_xdp(fabric, space):
    """A veth that is fit for XDP."""
    veth_wire(fabric, space)
    fit_for_xdp(fabric, space)


def fit_for_xdp(fabric, space):
    """Makes the veth of `space` one on which XDP works as on a network card: the other end finishes
    its checksums, which XDP cannot see to be missing, and has an XDP program itself, without which it
    loses what XDP sends (GRO alone does not help, on Linux 6.18)."""
    fabric.run("ethtool", "-K", space.name, "tx", "off")
    fabric.run("ip", "-force", "link", "set", "dev", space.name, "xdpdrv", "obj",
               built("tests/vm/pass.bpf.o"), "sec", "xdp")


def card(driver):
    """A network card, whose like at the other end of the wire is in the bridge. Both go back to
    this network namespace when the lab's are deleted."""
    near, far = pair_of(driver)

    def wire(fabric, space):
        for one, to, name in ((near, space, "uplink0"), (far, fabric, space.name)):
            subprocess.run(["ip", "link", "set", one.name, "down"], check=True)
            subprocess.run(["ip", "link", "set", one.name, "name", name, "netns", to.ns],
                           check=True)
        fabric.ip(f"link set {space.name} master br0 up")
        space.ip("link set uplink0 up")
    return wire
