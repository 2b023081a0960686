# SPDX-License-Identifier: GPL-2.0-only
"""Devices other than the uplink over which the nodes of traffic.roads() reach each other's pods:
KINDS names them, overlay() puts one in place of the direct routes. With join(), two more services
behind them, for what goes wrong there."""

import contextlib
import json
import os
import subprocess
import types

from case import SLOW, Skip, check, check_equal, eventually
from faults import black_hole, icmp, link_down, rst
from manifest import App, Port
from process import Process
from servers import Server, check_no_errors, load, wait_listening
import traffic

LIB = os.path.dirname(os.path.abspath(__file__))
DEVICE = "over0"
MTU = 1380          # of pods: leaves room for every header below
ODD = 8081          # the port of the server whose answers hang
WG_PORT, TUN_PORT = 51820, 51821


class Kind:
    """`device`: what `ip` is told. `hop`: how another node's pods are routed over it; `address`
    and `prefix`: whether it has addresses of a network of its own."""

    def __init__(self, device, families=(4, 6), hop="via {inner}", own_address=True):
        self.device, self.families = device, families
        self.hop, self.own_address = hop, own_address

    def prepare(self, node, there):
        """What is to be done between the device's birth and its going up."""


class Wireguard(Kind):
    def __init__(self):
        super().__init__("link add over0 type wireguard", hop="")

    def prepare(self, node, there):
        keys = {}
        for one in (node, there):
            path = f"{node.lab.dir}/{one.name}.wg"
            if not os.path.exists(path):
                with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600),
                          encoding="ascii") as file:
                    subprocess.run(["wg", "genkey"], stdout=file, check=True)
            keys[one] = path
        with open(keys[there], encoding="ascii") as file:
            peer = subprocess.run(["wg", "pubkey"], stdin=file, capture_output=True, text=True,
                                  check=True).stdout.strip()
        node.run("wg", "set", DEVICE, "listen-port", WG_PORT, "private-key", keys[node],
                 "peer", peer, "allowed-ips", "0.0.0.0/0,::/0",
                 "endpoint", f"{there.ip4}:{WG_PORT}")


class Tun(Kind):
    def __init__(self):
        super().__init__("tuntap add dev over0 mode tun", hop="")

    def prepare(self, node, there):
        process = Process(node.inside(["python3", "-B", f"{LIB}/tun_relay.py", DEVICE, node.ip4,
                                       there.ip4, TUN_PORT]),
                          f"{node.lab.dir}/{node.name}-tun.log", subprocess.PIPE)
        node.lab.processes.append(process)
        check_equal(process.popen.stdout.readline().decode().strip(), "up", process.log())


KINDS = {
    "vxlan": Kind("link add over0 type vxlan id 42 dstport 4789 local {here4} remote {there4} "
                  "dev uplink0"),
    "ipip": Kind("link add over0 type ipip local {here4} remote {there4} dev uplink0", (4,)),
    # As Calico has it: one device for all nodes, the route names the node; the device's own
    # address is one of the node's pods' range.
    "ipip_nbma": Kind("link add over0 type ipip local {here4} dev uplink0", (4,),
                      "via {there4} onlink", own_address=False),
    "ip6tnl": Kind("link add over0 type ip6tnl mode any local {here6} remote {there6} "
                   "encaplimit none dev uplink0"),
    "gre": Kind("link add over0 type gre local {here4} remote {there4} dev uplink0"),
    "wireguard": Wireguard(),
    "tun": Tun(),
}


def other(node):
    return next(one for one in node.lab.nodes if one is not node)


def _make(node, kind):
    there = other(node)
    try:
        node.ip(kind.device.format(here4=node.ip4, there4=there.ip4, here6=node.ip6,
                                   there6=there.ip6))
    except AssertionError as error:
        raise Skip(f"this kernel cannot make the device: {error}") from None
    kind.prepare(node, there)
    if kind.own_address:
        node.ip(f"addr add 10.200.0.{node.number}/24 dev {DEVICE}",
                f"addr add fd20::{node.number}/64 dev {DEVICE} nodad" if 6 in kind.families else "")
    else:
        node.ip(f"addr add 10.{node.number}.0.1/32 dev {DEVICE}")
    node.ip(f"link set {DEVICE} up")


def route(node, kind):
    """The other node's pods over the device, from now on."""
    there = other(node)
    hop4 = kind.hop.format(inner=f"10.200.0.{there.number}", there4=there.ip4)
    hop6 = kind.hop.format(inner=f"fd20::{there.number}", there4="")
    node.ip(f"route replace {there.pods4} dev {DEVICE} {hop4}",
            f"route replace {there.pods6} dev {DEVICE} {hop6}" if 6 in kind.families else "")


def route_directly(node):
    there = other(node)
    node.ip(f"route replace {there.pods4} via {there.ip4} dev uplink0",
            f"route replace {there.pods6} via {there.ip6} dev uplink0")


@contextlib.contextmanager
def devices(lab, kind):
    """The devices, and no route over them yet."""
    made = []
    try:
        for node in lab.nodes:
            made.append(node)
            _make(node, kind)
        yield
    finally:
        for node in made:
            route_directly(node)
            node.run("ip", "link", "del", DEVICE, fail=False)


@contextlib.contextmanager
def overlay(lab, kind):
    """Each node reaches the pods of the other one through a device of that kind."""
    with devices(lab, kind):
        for node in lab.nodes:
            route(node, kind)
        wait_routed(lab.node1)
        yield


def wait_routed(node):
    """Until the agent has its program there: nothing is sent there before."""
    eventually(lambda: f"attach: {DEVICE} " in last_line(node, DEVICE),
               f"{node.name} takes {DEVICE} for a fabric device")


def last_line(node, word):
    """The last line of the agent's log with this word."""
    lines = [line for line in node.agent.log().splitlines() if f" {word} " in line]
    return lines[-1] if lines else ""


# ---- what goes wrong behind it -------------------------------------------------------------------
def join(shared):
    """Another pod on node2; `behind`: the test servers of both pods there; `odd`: a server that
    leaves answers unfinished."""
    lab = shared.lab
    pod = lab.add_pod(lab.node2, "remote2")
    shared.behind = App(lab, "behind", 30, [Port("api", 80, 8080)])
    shared.server = Server(pod)
    odd = pod.spawn("python3", "-B", f"{LIB}/odd_server.py", ODD)
    wait_listening(pod, ODD, odd)
    shared.odd = App(lab, "odd", 31, [Port("odd", 80, ODD)])
    shared.odd.probe = {"tcpSocket": {"port": ODD}, "periodSeconds": 1}
    shared.behind.own_pods = False
    for app, pods in ((shared.behind, (lab.pods["remote"], pod)), (shared.odd, (pod,))):
        for one in pods:
            app.add(one)
        app.write()
    for one in lab.pods.values():
        one.ip(f"link set eth0 mtu {MTU}")
        one.node.ip(f"link set {one.veth} mtu {MTU}")
    for app in (shared.behind, shared.odd):
        eventually(lambda: app.applied(lab.node1), f"{app.name} applied")


def _charged(shared):
    pod = shared.server.pod
    return sum(shared.lab.node1.replica(address, 8080)["connect_failures"]
               for address in (pod.ip4, pod.ip6))


def check_retries(shared, families, faults=(rst, icmp, black_hole, link_down), count=40):
    """One of two replicas behind the device refuses, or is silent: nobody feels it."""
    for fault in faults:
        before = _charged(shared)
        with fault(shared.server):
            for client in traffic.CLIENTS:
                for family in families:
                    what = f"{fault.__name__}, {client} over IPv{family}"
                    result = load(shared.client[client], shared.behind.target(family),
                                  connections=4, count=count, timeout_ms=20000)
                    check_no_errors(result, what)
                    check_equal(list(result["replicas"]), ["remote"], f"{what}: who answered")
                    p99 = result["connect_us"]["p99"]
                    print(f"    {what}: connect p50 {result['connect_us']['p50']} us, p99 {p99} us")
                    check(p99 < 900000 * SLOW, f"{what}: p99 of connect is {p99} us")
        eventually(lambda: _charged(shared) > before, f"{fault.__name__}: somebody met it")


def check_resets(shared, families, count=5):
    """The port of a replica behind the device refuses: whoever waits for it learns so."""
    server = types.SimpleNamespace(pod=shared.server.pod, port=ODD)
    node, waiting = shared.lab.node1, []
    for client in traffic.CLIENTS:
        for family in families:
            vip = shared.odd.vip4 if family == 4 else shared.odd.vip6
            process = Process(shared.client[client].inside(
                ["python3", "-B", f"{LIB}/wait_client.py", vip, 80, "/hang", count]),
                f"{shared.lab.dir}/{client}-wait.log", subprocess.PIPE)
            shared.lab.processes.append(process)
            check_equal(process.popen.stdout.readline().decode().strip(), "up", process.log())
            waiting.append((f"{client} over IPv{family}", process))
    with rst(server):
        for what, process in waiting:
            out, _ = process.popen.communicate(timeout=20 * SLOW)
            check_equal(json.loads(out)["ends"], {"ConnectionResetError": count}, what)
    for address in (server.pod.ip4, server.pod.ip6):
        eventually(lambda: node.replica(address, ODD)["state"] == "ready", "it is back", 30)
