#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""Conversations of unusual shapes, from a pod and from outside to replicas of this node and of the other
one, over both families: long UDP, empty datagrams, fragments, tagged frames, data in the SYN, ports
used again at once, half-closed connections, urgent data, small windows, large segments, and wires that
repeat and reorder. What needs hours or exact sequence numbers is in tests/bpf (sweep, flow, shapes)."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from faults import refuses_data  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Server, check_no_errors, load, wait_listening  # noqa: E402
import watch  # noqa: E402

SHAPES = f"{os.path.dirname(os.path.abspath(__file__))}/../lib/shapes.py"
TALK, PORT = 8090, 8080     # of shapes.py's server, and of server.c
HTTP, ECHO = 0, 2           # indices into an app's ports
FAST_OPEN = 0x607           # client, server, no cookies asked for, all listeners
PLACES = ("local", "remote")


@contextlib.contextmanager
def setup():
    """`local` and `remote`: a Service with one replica each; `pair`: one with a replica on each node."""
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, app={}, server={})
        shared.clients = [lab.add_pod(lab.node1, "client"), lab.outside]
        for number, (name, node) in enumerate((("local", lab.node1), ("remote", lab.node2),
                                               ("near", lab.node1), ("far", lab.node2))):
            pod = lab.add_pod(node, name)
            pod.sysctl(net__ipv4__tcp_fastopen=FAST_OPEN)
            shared.server[name] = Server(pod, PORT, logged=True)
            app = shared.app["pair" if number > 1 else name] = shared.app.get("pair") or App(
                lab, "pair" if number > 1 else name, 10 + number,
                [Port("http", 80, PORT), Port("talk", 90, TALK), Port("echo", 53, PORT, "UDP")])
            app.probe = {"tcpSocket": {"port": PORT}}
            app.add(pod)
            talk = pod.spawn("python3", SHAPES, "serve", TALK)
            wait_listening(pod, TALK, talk)
        for space in shared.clients:
            space.sysctl(net__ipv4__tcp_fastopen=FAST_OPEN)
        for app in shared.app.values():
            app.write()
        for node in lab.nodes:
            node.start_sluiced()
            for app in shared.app.values():
                eventually(lambda: app.applied(node), f"{app.name} applied")
        yield shared


def settled(shared):
    for node in shared.lab.nodes:
        node.assert_clean()


def shape(space, name, *argv):
    return json.loads(space.run("python3", SHAPES, name, *argv).splitlines()[-1])


def vip(app, family):
    return app.vip4 if family == 4 else app.vip6


def ways(shared, places=PLACES):
    """(what, client, app, address of its VIP) of each way."""
    for space in shared.clients:
        for place in places:
            for family in (4, 6):
                app = shared.app[place]
                yield f"{space.name} to {place}, IPv{family}", space, app, vip(app, family)


def drops(node, reason):
    return node.sluice("status")[0]["drops"][reason]


def picks(shared):
    return sum(row["picks"] for row in shared.lab.node1.replicas())


# ---- UDP -------------------------------------------------------------------------------------------
@case
def long_conversations(shared):
    """2000 datagrams of a full packet with 32 under way, as QUIC sends: one replica, none lost."""
    for what, space, app, address in ways(shared):
        before = picks(shared)
        result = shape(space, "long_talk", address, 53, 2000, 32, 1190)
        check_equal(result, {"back": 2000, "servers": [app.name]}, what)
        check_equal(picks(shared) - before, 1, f"{what}: picks")


@case
def a_port_that_is_used_again_keeps_its_replica(shared):
    """Until it has been silent for two minutes it is one conversation, whoever holds the socket."""
    for what, space, _, address in ways(shared, ["pair"]):
        first = shape(space, "long_talk", address, 53, 3, 1, 10, 7007)
        for _ in range(4):
            again = shape(space, "long_talk", address, 53, 3, 1, 10, 7007)
            check_equal(again, first, what)


@case
def datagrams_without_a_byte(shared):
    for what, space, _, address in ways(shared):
        check_equal(shape(space, "empty", address, 53, 3), ["", "", ""], what)


@case
def a_conversation_leaves_a_dead_replica(shared):
    """Its server is killed in the middle; the other one answers on the same socket."""
    for space in shared.clients:
        app = shared.app["pair"]
        process = space.spawn("python3", SHAPES, "steady", app.vip4, 53, 15, 200,
                              stdout=subprocess.PIPE)
        first = json.loads(process.popen.stdout.readline())[1]
        check(first in ("near", "far"), f"{space.name}: {first} answered")
        shared.server[first].kill()
        began = time.monotonic()
        lines = (json.loads(line) for line in process.popen.stdout)
        second = next((line[1] for line in lines if line and line[1]), None)
        print(f"    {space.name}: {first} killed, {second} answers {time.monotonic() - began:.1f} s later")
        check_equal(second, "far" if first == "near" else "near", "who answers")
        process.stop()
        shared.server[first].start()
        eventually(lambda: all(row["state"] == "ready" for row in shared.lab.node1.replicas()),
                   "ready again", 30)


@case
def fragments_are_dropped_by_name(shared):
    """First ones and others alike: each of three fragments of a datagram."""
    for what, space, _, address in ways(shared):
        before = drops(shared.lab.node1, "fragment")
        check_equal(shape(space, "fragments", address, 53, 4000, 2), 0, f"{what}: answers")
        check_equal(drops(shared.lab.node1, "fragment") - before, 6, f"{what}: fragments dropped")


# ---- TCP -------------------------------------------------------------------------------------------
@case
def data_in_the_syn(shared):
    """TCP Fast Open: each request is read by one replica; where it is refused, the client is told."""
    for what, space, app, address in ways(shared, ["pair"]):
        answers = shape(space, "fast_open", address, 80, 20, what.replace(" ", "_"))
        check(set(answers) <= {"near", "far"}, f"{what}: {answers}")
    passive = sum(fast_opens(shared.server[name].pod) for name in ("near", "far"))
    check(passive >= 40, f"{passive} connections were opened with data")
    settled(shared)
    bad = shared.server["near"]
    retries = shared.lab.node1.sluice("status")[0]["counters"]["retries"]
    with refuses_data(bad):
        for what, space, app, address in ways(shared, ["pair"]):
            answers = shape(space, "fast_open", address, 80, 20, "bad", what.replace(" ", "_"))
            check(set(answers) == {"far", "ConnectionRefusedError"}, f"{what}: {answers}")
    check_equal(shared.lab.node1.sluice("status")[0]["counters"]["retries"], retries, "retries")
    seen = [one for name in ("near", "far") for one in shared.server[name].ids()]
    check_equal(len(seen), len(set(seen)), "requests, each read once")


def fast_opens(pod):
    names, values = [line.split() for line in pod.run("cat", "/proc/net/netstat").splitlines()[:2]]
    return int(values[names.index("TCPFastOpenPassive")])


@case
def a_port_in_time_wait(shared):
    """One client port, used again as soon as it is free, while conntrack and the replica still
    remember: each connection is a generation of its own."""
    for what, space, app, _ in ways(shared, ["pair", *PLACES]):
        for end in ("server", "rst"):
            family = 6 if "IPv6" in what else 4
            before = picks(shared)
            result = load(space, app.target(family), connections=1, count=50, end=end,
                          ports="6006-6006")
            check_no_errors(result, f"{what}, ended by {end}")
            check(picks(shared) - before >= 50, f"{what}: {picks(shared) - before} picks")


@case
def half_closed(shared):
    for what, space, _, address in ways(shared):
        check_equal(shape(space, "half_close", address, 90, 1), ["got 60000", "", "got 60000"], what)


@case
def urgent_data(shared):
    for what, space, _, address in ways(shared):
        check(shape(space, "urgent", address, 90), what)


@case
def small_windows(shared):
    for what, space, _, address in ways(shared):
        check(shape(space, "tiny_window", address, 90), what)


@case
def large_segments(shared):
    """As the devices make them by themselves, up to 64 KiB."""
    for what, space, _, address in ways(shared):
        check_equal(shape(space, "bulk", address, 90, 20000000), ["got 20000000", True], what)


@contextlib.contextmanager
def big_tcp(lab):
    devices = [(pod, "eth0") for pod in lab.pods.values()]
    devices += [(pod.node, pod.veth) for pod in lab.pods.values()]
    devices += [(space, "uplink0") for space in (*lab.nodes, lab.outside)]

    def limit(size):
        for space, device in devices:
            space.ip(f"link set {device} gso_max_size {size} gro_max_size {size}")
    limit(180000)
    try:
        yield
    finally:
        limit(65536)


@case
def larger_than_64_kib(shared):
    """BIG TCP: packets whose length their IP header cannot say. This kernel's IPv6 is slow with them,
    also without us."""
    lab = shared.lab
    spaces = [lab.node1, *shared.clients]
    with big_tcp(lab), watch.Watch(spaces, (90, TALK)) as watched:
        for what, space, _, address in ways(shared):
            check_equal(shape(space, "bulk", address, 90, 3000000), ["got 3000000", True], what)
        seen = watched.stop()
    watch.check_sums(seen)
    large = {(row["src"] if row["way"] == "in" else row["dst"]) for rows in seen.values()
             for row in rows if row["largest"] > 0x10000 + 40}
    check(vip(shared.app["local"], 6) in large, f"no packet larger than 64 KiB from or to a VIP: {large}")


# ---- frames -----------------------------------------------------------------------------------------
TAGGED = """
import socket, sys
frame = bytes.fromhex(sys.argv[2])
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind((sys.argv[1], 0))
sock.send(frame)
"""


def tagged_syn(lab, app):
    """A SYN to a VIP, with a VLAN tag: a frame of another network that shares the cable. A bridge on
    its way may look at the IP header's checksum, nobody at TCP's."""
    link = json.loads(lab.node1.run("ip", "-j", "link", "show", "uplink0"))[0]
    words = [0x4500, 40, 1, 0x4000, 0x4006, 0,
             *(int.from_bytes(socket.inet_aton(one)[at:at + 2], "big")
               for one in (lab.outside.ip4, app.vip4) for at in (0, 2))]
    total = sum(words)
    words[5] = 0xffff - (total % 0x10000 + total // 0x10000)
    return (link["address"].replace(":", "") + "020000000001" + "81000007" + "0800" +
            "".join(f"{word:04x}" for word in words) +
            "13880050" "00000007" "00000000" "50020400" "00000000")


@case
def frames_of_a_vlan_are_not_ours(shared):
    """Whether the card takes the tag off or leaves it in the frame."""
    lab = shared.lab
    frame = tagged_syn(lab, shared.app["local"])
    for offload in ("on", "off"):
        lab.node1.run("ethtool", "-K", "uplink0", "rx-vlan-offload", offload, fail=False)
        before = picks(shared), lab.node1.sluice("status")[0]["drops"]
        lab.outside.run("python3", "-c", TAGGED, "uplink0", frame)
        check_equal((picks(shared), lab.node1.sluice("status")[0]["drops"]), before,
                    f"picks and drops, offload {offload}")
    plain = frame.replace("81000007", "", 1)
    before = picks(shared)
    lab.outside.run("python3", "-c", TAGGED, "uplink0", plain)
    eventually(lambda: picks(shared) > before, "the same frame without its tag opens a flow")


# An error about what the VIP sends on a connection that is open: MAC, tag, VIP.
TAGGED_ERROR = """
import socket, struct, sys
mac, tag = (bytes.fromhex(text) for text in sys.argv[1:3])
vip = sys.argv[3]

def total(data):
    n = sum(struct.unpack(f"!{len(data) // 2}H", data))
    n = (n >> 16) + (n & 0xffff)
    return ~(n + (n >> 16)) & 0xffff

def ip(src, dst, proto, length):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 1, 0x4000, 64, proto, 0,
                       socket.inet_aton(src), socket.inet_aton(dst))
    return head[:10] + struct.pack("!H", total(head)) + head[12:]

conn = socket.create_connection((vip, 80), 5)
own, port = conn.getsockname()
quote = ip(vip, own, 6, 1480) + struct.pack("!HHI", 80, port, 1)
icmp = struct.pack("!BBHHH", 3, 4, 0, 0, 1400) + quote
icmp = icmp[:2] + struct.pack("!H", total(icmp)) + icmp[4:]
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("uplink0", 0))
sock.send(mac + bytes.fromhex("020000000001") + tag + bytes.fromhex("0800") +
          ip(own, vip, 1, len(icmp)) + icmp)
"""


@case
def errors_of_a_vlan_are_not_ours(shared):
    """Translated, one would go on with its tag, and its own VLAN device would never see it."""
    node = shared.lab.node1
    link = json.loads(node.run("ip", "-j", "link", "show", "uplink0"))[0]

    def heard(tag):
        before = node.sluice("status")[0]["counters"]["icmp_errors"]
        shared.lab.outside.run("python3", "-c", TAGGED_ERROR, link["address"].replace(":", ""), tag,
                               shared.app["local"].vip4)
        return node.sluice("status")[0]["counters"]["icmp_errors"] - before

    check_equal((heard(""), heard("81000007")), (1, 0), "errors translated, untagged and tagged")


@contextlib.contextmanager
def jumbled(lab, space):
    """The wire between `space` and the bridge repeats and reorders. Its frames are those of a cable:
    checksums are in them, and none is larger than the MTU."""
    fabric = lab.fabric
    fabric.ip(f"link set {space.name} nomaster", "link add jumble0 type veth peer name jumble1",
              "link set jumble0 up", "link set jumble1 master br0 up")
    fabric.run("ethtool", "-K", "jumble1", "tx", "off", "tso", "off", "gso", "off")
    space.run("ethtool", "-K", "uplink0", "tx", "off", "tso", "off", "gso", "off")
    process = fabric.spawn("python3", SHAPES, "jumble", space.name, "jumble0")
    try:
        eventually(lambda: space.run("ping", "-c", "1", "-W", "1", lab.node1.ip4, fail=False).find(
            " 0% packet loss") > 0 or not process.running(), "the wire carries")
        yield
    finally:
        process.stop()
        fabric.ip("link del jumble0", f"link set {space.name} master br0")
        space.run("ethtool", "-K", "uplink0", "tx", "on", "tso", "on", "gso", "on")


@case
def repeated_and_reordered_segments(shared):
    """On the wire of the client, then on that of the remote replica."""
    lab = shared.lab
    for space, clients in ((lab.outside, [lab.outside]), (lab.node2, shared.clients)):
        with jumbled(lab, space):
            for what, client, app, address in ways(shared):
                if client not in clients:
                    continue
                for options in ({"path": "/bytes/60000", "pattern": True, "expect_bytes": 60000},
                                {"post": 60000}):
                    result = load(client, app.target(6 if "IPv6" in what else 4), connections=4,
                                  count=20, timeout_ms=20000, **options)
                    check_no_errors(result, f"{space.name}'s wire, {what}")
            settled(shared)
    reordered = sum(int(value) for name, value in _tcp_counters(shared.server["remote"].pod)
                    if name in ("TCPOFOQueue", "TCPDSACKOfoSent", "TCPDSACKOldSent"))
    check(reordered, "the wire spoiled nothing")


def _tcp_counters(space):
    names, values = [line.split() for line in space.run("cat", "/proc/net/netstat").splitlines()[:2]]
    return zip(names, values)


if __name__ == "__main__":
    main(setup, settled)
