#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""ICMP errors through the VIP: path MTU discovery in both directions wherever on the way the MTU is
smaller, closed ports, and packets whose time ran out. Every error that a client or a replica hears
is looked at on the wire: its checksums are right, and it speaks of nobody whom its receiver has not
talked to."""

import contextlib
import json
import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from manifest import App, Port  # noqa: E402
from process import Space  # noqa: E402
from servers import check_no_errors, load  # noqa: E402
import traffic  # noqa: E402

LIB = f"{os.path.dirname(os.path.abspath(__file__))}/../lib"
MTU = 1300
SIZE = 1000000
CLIENTS = ("pod", "outside", "node")
CLOSED = 9  # a port that nobody listens on
ROUTER4, ROUTER6 = "192.168.50.200", "fd50::200"


@contextlib.contextmanager
def setup():
    with traffic.roads() as shared:
        lab = shared.lab
        shared.client["node"] = lab.node1
        shared.closed = {}
        for number, place in enumerate(traffic.PLACES):
            app = App(lab, f"{place}-closed", 30 + number, [Port("closed", 53, CLOSED, "UDP")])
            app.own_pods = False
            app.add(lab.pods[place])
            app.apply()
            shared.closed[place] = app
        shared.router = add_router(lab)
        yield shared


def add_router(lab):
    """A router on the segment of the uplinks, which goes nowhere until routes name it."""
    router = Space(lab, "router")
    lab.fabric.run("ip", "netns", "add", router.ns)
    lab.fabric.ip(f"link add router type veth peer name uplink0 netns {router.ns}",
                  "link set router master br0 up")
    router.sysctl(net__ipv6__conf__all__accept_dad=0, net__ipv6__conf__default__accept_dad=0,
                  net__ipv4__conf__all__rp_filter=1, net__ipv4__ip_forward=1,
                  net__ipv6__conf__all__forwarding=1, net__ipv4__conf__all__send_redirects=0,
                  net__ipv4__conf__uplink0__send_redirects=0)
    router.ip("link set lo up", "link set uplink0 up", f"addr add {ROUTER4}/24 dev uplink0",
              f"addr add {ROUTER6}/64 dev uplink0 nodad",
              f"route add 10.96.0.0/16 via {lab.node1.ip4}",
              f"route add fd96::/64 via {lab.node1.ip6}",
              *(f"route add {pods} via {via}" for node in lab.nodes for pods, via in
                ((node.pods4, node.ip4), (node.pods6, node.ip6))))
    # IPv6 has no switch for redirects: they would teach nodes the way past the router.
    router.run("ip6tables", "-A", "OUTPUT", "-p", "icmpv6", "--icmpv6-type", "redirect",
               "-j", "DROP")
    return router


# ---- what is seen of errors -------------------------------------------------------------------

@contextlib.contextmanager
def watched(space):
    """Yields a function that returns all ICMP errors seen in the namespace so far."""
    process = space.spawn("python3", "-B", "-u", f"{LIB}/icmp_watch.py")
    start = len(process.log())
    eventually(lambda: "ready" in process.log()[start:], "the watch is ready")

    def seen():
        return [json.loads(line) for line in process.log()[start:].splitlines()
                if line.startswith("{")]
    try:
        yield seen
    finally:
        process.kill()
        space.lab.processes.remove(process)


def check_errors(errors, strangers, what):
    """`strangers`: prefixes of addresses that none may speak of."""
    for error in errors:
        check(error["good"], f"{what}: a wrong checksum: {error}")
        for end in ("src", "dst", "quoted_src", "quoted_dst"):
            check(not error[end].startswith(strangers), f"{what}: untranslated: {error}")


def replicas_of(shared):
    """Of whom no client may hear."""
    return tuple(address for place in traffic.PLACES
                 for address in (shared.lab.pods[place].ip4, shared.lab.pods[place].ip6))


def vips_of(shared):
    """Of which no replica may hear."""
    return tuple(vip for apps in (shared.tcp, shared.udp) for app in apps.values()
                 for vip in (app.vip4, app.vip6))


# ---- smaller MTUs on the way --------------------------------------------------------------------

@contextlib.contextmanager
def routes(space, *lines):
    """Routes (`ip route replace` lines), taken back at the end by adding what was there."""
    before = {}
    for line in lines:
        target = line.split()[0]
        family = "-6" if ":" in target else "-4"
        before[target] = (family, space.run("ip", family, "route", "show", target).strip())
        space.run("ip", family, "route", "replace", *line.split())
    try:
        yield
    finally:
        for target, (family, line) in before.items():
            space.run("ip", family, "route", "del", target)
            if line:
                space.run("ip", family, "route", "replace", *line.split())


def pods_of(node):
    return node.pods4, node.pods6


def on_route_to_node2(shared):
    """node1 itself knows that the way to node2 is narrow."""
    node1, node2 = shared.lab.nodes
    return routes(node1, *(f"{pods} via {via} mtu {MTU}" for pods, via in
                           zip(pods_of(node2), (node2.ip4, node2.ip6))))


@contextlib.contextmanager
def at_a_router_to_node2(shared):
    node1, node2 = shared.lab.nodes
    with routes(shared.router, *(f"{pods} via {via} mtu {MTU}" for pods, via in
                                 zip(pods_of(node2), (node2.ip4, node2.ip6)))), \
            routes(node1, *(f"{pods} via {via}" for pods, via in
                            zip(pods_of(node2), (ROUTER4, ROUTER6)))):
        yield


@contextlib.contextmanager
def on_another_device_to_node2(shared):
    """A fabric device of its own, whose MTU is less than the uplink's."""
    node1, node2 = shared.lab.nodes
    node1.ip(f"link add fab0 type veth peer name fab0 netns {node2.ns}")
    for node in (node1, node2):
        node.ip(f"link set fab0 mtu {MTU} up", f"addr add 192.168.60.{node.number}/24 dev fab0",
                f"addr add fd60::{node.number}/64 dev fab0 nodad")
    try:
        with routes(node1, f"{node2.pods4} via 192.168.60.2", f"{node2.pods6} via fd60::2"), \
                routes(node2, f"{node1.pods4} via 192.168.60.1", f"{node1.pods6} via fd60::1"):
            yield
    finally:
        node1.ip("link del fab0")


def on_route_to_pod(name):
    def arrangement(shared):
        pod = shared.lab.pods[name]
        return routes(shared.lab.node1, *(f"{address} dev {pod.veth} mtu {MTU}" for address in
                                          (f"{pod.ip4}/32", f"{pod.ip6}/128")))
    return arrangement


def on_route_to_outside(shared):
    outside = shared.lab.outside
    return routes(shared.lab.node1, *(f"{address} dev uplink0 mtu {MTU}" for address in
                                      (f"{outside.ip4}/32", f"{outside.ip6}/128")))


@contextlib.contextmanager
def at_a_router_to_outside(shared):
    outside = shared.lab.outside
    both = f"{outside.ip4}/32", f"{outside.ip6}/128"
    with routes(shared.router, *(f"{address} dev uplink0 mtu {MTU}" for address in both)), \
            routes(shared.lab.node1, *(f"{address} via {via}" for address, via in
                                       zip(both, (ROUTER4, ROUTER6)))):
        yield


UP, DOWN = "up", "down"

# Where the MTU is smaller, in which direction that matters, and for whom.
ARRANGEMENTS = (
    (on_route_to_node2, UP, (("pod", "remote"), ("outside", "remote"), ("node", "remote"))),
    (at_a_router_to_node2, UP, (("pod", "remote"), ("outside", "remote"), ("node", "remote"))),
    (on_another_device_to_node2, UP, (("pod", "remote"), ("outside", "remote"))),
    (on_route_to_pod("local"), UP, (("pod", "local"), ("outside", "local"))),
    (on_route_to_pod("client"), DOWN, (("pod", "local"), ("pod", "remote"))),
    (on_route_to_outside, DOWN, (("outside", "local"), ("outside", "remote"))),
    (at_a_router_to_outside, DOWN, (("outside", "local"), ("outside", "remote"))),
)
NAMES = ("the_route_to_node2", "a_router_to_node2", "another_device_to_node2",
         "the_route_to_a_local_replica", "the_route_to_a_client_pod", "the_route_to_the_outside",
         "a_router_to_the_outside")


def await_routes(node):
    """The agent follows routes with a delay: waits until it knows the MTUs that they have."""
    def known():
        narrow = {one["dev"] for family in ("-4", "-6")
                  for one in json.loads(node.run("ip", "-j", "-d", family, "route", "show"))
                  if one["protocol"] != "115" and "mtu" in str(one.get("metrics"))}
        devices = {one["ifindex"] for one in json.loads(node.run("ip", "-j", "link", "show"))
                   if one["ifname"] in narrow}
        return devices == {row["formatted"]["key"]
                           for row in node.sluice("bpf", "dump", "route_mtus")}
    eventually(known, f"the agent of {node.name} knows the MTUs of routes")


def learnt(space, address):
    """The path MTU that a namespace has learnt towards an address; None: none."""
    words = space.run("ip", "route", "get", address).split()
    if "expires" not in words or "mtu" not in words:
        return None
    return int(words[words.index("mtu") + 1])


def forget(spaces):
    for space in spaces:
        for family in ("-4", "-6"):
            space.run("ip", family, "route", "flush", "cache")


def sender(shared, direction, client, place, family):
    """Who must learn the path MTU, and the address that it sends to."""
    if direction == UP:
        app = shared.tcp[place]
        return shared.client[client], app.vip4 if family == 4 else app.vip6
    peer = shared.client[client]
    if (client, place) == ("outside", "remote"):
        peer = shared.lab.node1
    return shared.lab.pods[place], peer.ip4 if family == 4 else peer.ip6


TRANSFERS = {UP: {"post": SIZE},
             DOWN: {"path": f"/bytes/{SIZE}", "pattern": True, "expect_bytes": SIZE}}


def transfer(shared, client, place, family, direction):
    """A megabyte, over a connection of its own."""
    result = load(shared.client[client], shared.tcp[place].target(family, traffic.API),
                  connections=1, count=1, timeout_ms=traffic.PATIENCE_MS, **TRANSFERS[direction])
    check_no_errors(result, f"{client} to {place} over IPv{family}, {direction}")
    check_equal(list(result["replicas"]), [place], "who answered")


def measured(name, arrangement, direction, ways):
    def function(shared):
        lab = shared.lab
        spaces = [*shared.client.values(), *lab.pods.values()]
        with arrangement(shared), contextlib.ExitStack() as stack:
            heard = {space: stack.enter_context(watched(space))
                     for space in (lab.outside, *lab.pods.values())}
            await_routes(lab.node1)
            for client, place in ways:
                for family in traffic.FAMILIES:
                    forget(spaces)
                    transfer(shared, client, place, family, direction)
                    space, address = sender(shared, direction, client, place, family)
                    # The node's own client is told by its route to the VIP.
                    if client != "node" or arrangement is not on_route_to_node2:
                        check_equal(learnt(space, address), MTU, f"{client} to {place} over "
                                    f"IPv{family}: the path MTU learnt")
                    transfer(shared, client, place, family, UP if direction == DOWN else DOWN)
            for space, errors in heard.items():
                check_errors(errors(), replicas_of(shared) if space in shared.client.values()
                             else vips_of(shared), f"{name}: {space.name}")
        forget(spaces)
        await_routes(lab.node1)

    function.__name__ = f"smaller_mtu_on_{name}"
    return function


for each_name, each in zip(NAMES, ARRANGEMENTS):
    case(measured(each_name, *each))


@case
def smaller_mtus_without_offload(shared):
    """Who is to answer is handed single packets with all their checksums, not yet unsummed segments."""
    lab = shared.lab
    devices = [(lab.outside, "uplink0"), (lab.node2, "uplink0"), (lab.pods["remote"], "eth0"),
               (lab.node2, lab.pods["remote"].veth)]
    with lab.without_offload(devices):
        for arrangement, direction in ((on_route_to_node2, UP), (on_route_to_outside, DOWN)):
            smaller = measured("offload", arrangement, direction, (("outside", "remote"),))
            smaller(shared)


# ---- other errors ---------------------------------------------------------------------------------

def icmp_client(space, *argv):
    return json.loads(space.run("python3", "-B", f"{LIB}/icmp_client.py", *argv))


def vips(app):
    return app.vip4, app.vip6


@case
def a_closed_port_refuses_datagrams(shared):
    with watched(shared.lab.outside) as heard:
        for client in CLIENTS:
            for place in traffic.PLACES:
                for vip in vips(shared.closed[place]):
                    found = icmp_client(shared.client[client], "refused", vip, 53)
                    check_equal(found, {"errno": "ECONNREFUSED"}, f"{client} to {vip} ({place})")
        errors = [one for one in heard() if one["type"] in (1, 3)]
        check(len(errors) >= 4, f"too few errors seen: {errors}")
        check_errors(errors, replicas_of(shared), "closed ports")
        for error in errors:
            check(error["src"] in {vip for app in shared.closed.values() for vip in vips(app)},
                  f"the VIP says it: {error}")


@case
def time_runs_out_on_the_way(shared):
    """One hop too few: the node before the replica's pod says so, and is named."""
    lab = shared.lab
    for client in CLIENTS:
        for place in traffic.PLACES:
            for family, vip in zip(traffic.FAMILIES, vips(shared.udp[place])):
                if (client, place) == ("node", "local"):
                    continue  # no hop is between them
                hops = 2 if (client, place) == ("pod", "remote") else 1
                found = icmp_client(shared.client[client], "expired", vip, 53, hops)
                offender = lab.node1 if place == "local" else lab.node2
                what = f"{client} to {vip} ({place})"
                check_equal((found.get("type"), found.get("code")),
                            (11, 0) if family == 4 else (3, 0), f"{what}: {found}")
                if client == "outside" or place == "remote":
                    check_equal(found["offender"], offender.ip4 if family == 4 else offender.ip6,
                                what)


@case
def a_client_that_closed_its_socket_is_heard_of(shared):
    """The replica learns that its answer met a closed port: through the VIP, as without one."""
    for client in ("pod", "outside"):
        for place in traffic.PLACES:
            pod = shared.lab.pods[place]
            for family, vip in zip(traffic.FAMILIES, vips(shared.udp[place])):
                with watched(pod) as heard:
                    def told():
                        shared.client[client].run(
                            "python3", "-c", "import socket, sys\n"
                            "v6 = ':' in sys.argv[1]\n"
                            "sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, "
                            "socket.SOCK_DGRAM)\n"
                            "sock.connect((sys.argv[1], 53))\nsock.send(b'bye')\nsock.close()\n",
                            vip)
                        return [one for one in heard() if not one["out"]]
                    errors = eventually(told, f"{place} hears of {client}'s closed port", 10, 0.3)
                check_errors(errors, tuple(vips(shared.udp[place])), f"{client} to {place}")
                seen = pod.ip4 if family == 4 else pod.ip6
                check_equal({one["quoted_src"] for one in errors}, {seen}, "who sent it")
    check(shared.lab.node1.sluice("status")[0]["counters"]["icmp_errors"] > 0, "they are counted")


@case
def on_the_fast_path(shared):
    """Packets go past the node's stack, and so must the errors about them: connection tracking has not
    seen the flows. Into a pod there is no MTU, and no hop is counted."""
    node = shared.lab.node1
    node.agent.stop()
    node.start_sluiced("--fast-path")
    try:
        eventually(lambda: all(app.applied(node) for apps in (shared.tcp, shared.udp, shared.closed)
                               for app in apps.values()), "applied again")
        for arrangement, direction, ways in (
                (on_route_to_node2, UP, (("pod", "remote"), ("outside", "remote"))),
                (at_a_router_to_node2, UP, (("pod", "remote"), ("outside", "remote"))),
                (on_route_to_outside, DOWN, (("outside", "local"), ("outside", "remote"))),
                (at_a_router_to_outside, DOWN, (("outside", "local"), ("outside", "remote")))):
            measured("fast path", arrangement, direction, ways)(shared)
        for test in (a_closed_port_refuses_datagrams, a_client_that_closed_its_socket_is_heard_of):
            test(shared)
        check(node.sluice("status")[0]["counters"]["fast_path"] > 0, "flows take the fast path")
    finally:
        node.agent.stop()
        node.start_sluiced()


@case
def ping_a_vip(shared):
    """Its node answers, for nobody else serves it."""
    for client in CLIENTS:
        for app in shared.tcp.values():
            for vip in vips(app):
                text = shared.client[client].run("ping", "-c", "2", "-i", "0.2", "-W", "5",
                                                 "-s", "1400", vip)
                check("2 received" in text, f"{client} pings {vip}: {text}")


@case
def ping_a_pod(shared):
    """ICMP that is no error, and not for a VIP, passes."""
    for pod in (shared.lab.pods["local"], shared.lab.pods["remote"]):
        for address in (pod.ip4, pod.ip6):
            shared.client["pod"].run("ping", "-c", "1", "-W", "5", address)


if __name__ == "__main__":
    main(setup, traffic.settled)
