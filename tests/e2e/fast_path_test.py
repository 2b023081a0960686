#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""--fast-path: every way from a client to a replica and back while the node forwards nothing, faults
of replicas, a storm, and an agent that dies, comes back, or comes back without the option."""

import contextlib
import os
import sys
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from bridge import BridgePod  # noqa: E402
from case import case, check, check_equal, eventually, main  # noqa: E402
from faults import black_hole, icmp, link_down, rst  # noqa: E402
from manifest import App, Port  # noqa: E402
from servers import Load, Server, check_no_errors, load  # noqa: E402
import traffic  # noqa: E402

OPTION = "--fast-path"
MEGABYTES = 4 << 20
ALL_LOCAL = 3  # replicas of `many` on node1, and one more on node2
# Where replies of a flow are translated, by (client, place).
HOOKS = {("pod", "local"): "fast-pod", ("pod", "remote"): "fast-pod",
         ("outside", "local"): "fast-uplink", ("outside", "remote"): "fabric"}


@contextlib.contextmanager
def setup():
    with traffic.roads(options=(OPTION,)) as shared:
        lab = shared.lab
        shared.many = App(lab, "many", 40, [Port("http", 80, 8080)])
        shared.servers = []
        for i in range(ALL_LOCAL + 1):
            pod = lab.add_pod(lab.node1 if i < ALL_LOCAL else lab.node2, f"many{i}")
            shared.servers.append(Server(pod))
            shared.many.add(pod)
        shared.many.apply()
        yield shared


@contextlib.contextmanager
def nothing_forwarded(node):
    """What the node's own stack would have to forward is dropped, and what its bridge would, but for
    neighbour discovery."""
    neighbours = ("FORWARD", "-p", "icmpv6", "-j", "ACCEPT")
    node.run("ip6tables", "-I", *neighbours)
    for tables in ("iptables", "ip6tables"):
        node.run(tables, "-P", "FORWARD", "DROP")
    try:
        yield
    finally:
        for tables in ("iptables", "ip6tables"):
            node.run(tables, "-P", "FORWARD", "ACCEPT")
        node.run("ip6tables", "-D", *neighbours)


def hooks(node, app, live=False):
    """The hooks of an app's flows, finished ones that linger included."""
    show = ("flow", "show", app.service) if live else ("flow", "show", "-a", app.service)
    return {flow["hook"] for flow in node.sluice(*show)}


def doctor(node):
    return next(row for row in node.sluice("doctor") if row["check"] == "fast_path")


def counter(node, name):
    return node.sluice("status")[0].get("counters", {}).get(name)


def every_way(shared):
    for (client, place), hook in HOOKS.items():
        for family in traffic.FAMILIES:
            traffic.exchange_tcp(shared, client, place, family)
            traffic.exchange_udp(shared, client, place, family)
        shown = hooks(shared.lab.node1, shared.tcp[place]) | hooks(shared.lab.node1,
                                                                   shared.udp[place])
        check(hook in shown, f"{client} to {place}: hooks {shown}, expected {hook}")


def megabytes(shared):
    for (client, place) in HOOKS:
        for family in traffic.FAMILIES:
            target = shared.tcp[place].target(family, traffic.API)
            for options in ({"path": f"/bytes/{MEGABYTES}", "expect_bytes": MEGABYTES},
                            {"post": MEGABYTES}):
                result = load(shared.client[client], target, connections=2, count=4,
                              timeout_ms=traffic.PATIENCE_MS, **options)
                check_no_errors(result, f"{client} to {target}: {options}")


@case
def every_way_past_the_stack(shared):
    with nothing_forwarded(shared.lab.node1):
        every_way(shared)
        megabytes(shared)


@case
def checksums_without_offload(shared):
    with shared.lab.without_offload():
        every_way(shared)


@case
def replicas_that_refuse_or_swallow(shared):
    """No client notices that one of four does."""
    with nothing_forwarded(shared.lab.node1):
        for fault in (rst, icmp, black_hole):
            for server in (shared.servers[0], shared.servers[-1]):
                with fault(server):
                    for client in traffic.CLIENTS:
                        for family in traffic.FAMILIES:
                            result = load(shared.client[client], shared.many.target(family),
                                          connections=8, count=200)
                            check_no_errors(result, f"{fault.__name__} at {server.pod.name}, "
                                                    f"{client} over IPv{family}")


@case
def a_dead_replica(shared):
    """One's interface is gone: who waits for it is reset by us, for it says nothing any more. The
    others are killed: who waits hears so from their own kernels."""
    node, servers = shared.lab.node1, shared.servers
    waiting = [Load(shared.client[client], shared.many.target(family), connections=8, count=8,
                    path="/hang", timeout_ms=30000)
               for client in traffic.CLIENTS for family in traffic.FAMILIES]
    eventually(lambda: len(node.live_flows(("TCP",))) == 32, "32 clients wait")
    unplugged = servers[0].pod
    held = sum(node.replica(address, 8080)["inflight"] for address in (unplugged.ip4, unplugged.ip6))
    check(held > 0, "nobody waits for it")
    resets = counter(node, "resets")
    with link_down(servers[0]):
        eventually(lambda: counter(node, "resets") == resets + held, f"{held} resets")
        for client in traffic.CLIENTS:
            check_no_errors(load(shared.client[client], shared.many.target(), count=200), client)
    for server in servers:
        server.kill()
    for one in waiting:
        errors = one.result()["errors"]
        check_equal((errors["timeout"], sum(errors.values())), (0, 8), f"ends {errors}")
    for server in servers:
        server.start()
    for server in servers:
        eventually(lambda: node.replica(server.pod.ip4, 8080)["state"] == "ready", server.pod.name)


@case
def storm(shared):
    """Connections that end in every way there is, from everywhere at once."""
    with nothing_forwarded(shared.lab.node1):
        loads = [Load(shared.client[client], shared.many.target(family), connections=16, count=5000,
                      end="mix", timeout_ms=traffic.PATIENCE_MS)
                 for client in traffic.CLIENTS for family in traffic.FAMILIES]
        for one in loads:
            check_no_errors(one.result(), "storm")
    check(counter(shared.lab.node1, "fast_path") > 10000, "flows on the fast path")


@case
def a_cap_takes_the_stack(shared):
    """The replica's owner counts at the egress hook, which the fast path skips."""
    node = shared.lab.node1
    shared.many.annotations = {"sluice.dev/max-connections-per-replica": "50"}
    shared.many.apply()
    capped = shared.servers[0].pod
    eventually(lambda: node.replica(capped.ip4, 8080)["fast_path"] is False, "no fast path")
    before = counter(node, "fast_path_declined")
    running = Load(shared.client["pod"], shared.many.target(), connections=4, count=4, path="/hang",
                   timeout_ms=3000)
    eventually(lambda: len(node.live_flows(("TCP",))) == 4, "4 clients wait")
    check("pod" in hooks(node, shared.many, live=True), "no flow by the stack")
    check(sum(row["owned"] for row in node.replicas(shared.many.service)) > 0, "nobody owns")
    running.stop()
    check(counter(node, "fast_path_declined") > before, "fast_path_declined stands still")
    shared.many.annotations = {}
    shared.many.apply()
    eventually(lambda: node.replica(capped.ip4, 8080)["fast_path"] is True, "the fast path again")


@case
def a_replica_of_the_nodes_own_takes_the_stack(shared):
    """hostNetwork: there is no pod interface to put packets into."""
    node = shared.lab.node1
    check_equal(doctor(node)["status"], "ok", doctor(node)["found"])
    host = types.SimpleNamespace(name="host", node=node, ip4=node.ip4, ip6=node.ip6)
    app = App(shared.lab, "host", 41, [Port("http", 80, 8081)])
    app.add(host)
    server = Server(types.SimpleNamespace(lab=shared.lab, name="host", spawn=node.spawn,
                                          run=node.run), port=8081)
    app.apply()
    for family in traffic.FAMILIES:
        check_no_errors(load(shared.client["pod"], app.target(family), count=100), "hostNetwork")
    check_equal(hooks(node, app), {"pod"}, "hooks")
    check("behind no veth" in doctor(node)["found"], doctor(node)["found"])
    check("behind no veth" in node.agent.log(), "the log does not say why")
    server.kill()
    app.remove()


# argv: source address, VIP, port. Sends a SYN with that source.
SYN_FROM = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as sock:
    sock.bind((sys.argv[1], 0))
    sock.setblocking(False)
    sock.connect_ex((sys.argv[2], int(sys.argv[3])))
    sock.setblocking(True)
    sock.settimeout(0.5)
    try:
        sock.recv(1)
        print("answered")
    except socket.timeout:
        print("silence")
    except OSError as error:
        print(error.strerror)
"""


@case
def an_address_of_somebody_elses_takes_the_stack(shared):
    """Answers go to whom the node's routes know by it, not to where the SYN came from."""
    node, client, victim = shared.lab.node1, shared.client["pod"], shared.servers[0].pod
    vips = {4: shared.many.vip4, 6: shared.many.vip6}
    for family, address in ((4, f"{victim.ip4}/32"), (6, f"{victim.ip6}/128")):
        fast, declined = counter(node, "fast_path"), counter(node, "fast_path_declined")
        nodad = "" if family == 4 else " nodad"
        client.ip(f"addr add {address} dev lo{nodad}")
        try:
            client.run("python3", "-c", SYN_FROM, address.split("/")[0], vips[family], "80")
        finally:
            client.ip(f"addr del {address} dev lo")
        check_equal(counter(node, "fast_path"), fast, f"flows on the fast path, IPv{family}")
        check(counter(node, "fast_path_declined") > declined, f"none declined, IPv{family}")


@contextlib.contextmanager
def smaller_mtu(shared, mtu):
    """On the ways out of node1: to the outside client, and to the other node's pods."""
    node, other, outside = shared.lab.node1, shared.lab.node2, shared.lab.outside
    ways = [(f"{outside.ip4}/32", ""), (f"{outside.ip6}/128", ""),
            (other.pods4, f"via {other.ip4}"), (other.pods6, f"via {other.ip6}")]
    node.ip(*(f"route replace {to} {via} dev uplink0 mtu {mtu}" for to, via in ways))
    try:
        yield
    finally:
        node.ip(*(f"route del {to}" for to, via in ways),
                *(f"route add {to} {via}" for to, via in ways if via))
        for space in (*shared.lab.pods.values(), outside):  # what they have learnt
            for family in traffic.FAMILIES:
                space.run("ip", f"-{family}", "route", "flush", "cache")


@case
def a_smaller_mtu_on_the_way_out(shared):
    """No router compares lengths there: we do, and tell the sender."""
    too_big = shared.lab.node1.sluice("status")[0]["drops"]["too_big"]
    with smaller_mtu(shared, 1300):
        for client, place in (("outside", "local"), ("pod", "remote")):
            for family in traffic.FAMILIES:
                for options in ({"path": "/bytes/600000", "expect_bytes": 600000},
                                {"post": 600000}):
                    result = load(shared.client[client],
                                  shared.tcp[place].target(family, traffic.API), connections=2,
                                  count=4, timeout_ms=traffic.PATIENCE_MS, **options)
                    check_no_errors(result, f"{client} to {place} over IPv{family}: {options}")
    check(shared.lab.node1.sluice("status")[0]["drops"]["too_big"] > too_big, "nobody was told")


@contextlib.contextmanager
def under_load(shared):
    """Short connections and kept-alive ones meanwhile, none of which may fail."""
    loads = [Load(shared.client[client], shared.many.target(family), connections=4, duration=60,
                  keepalive=keepalive, timeout_ms=traffic.PATIENCE_MS)
             for client in traffic.CLIENTS for family in traffic.FAMILIES
             for keepalive in (False, True)]
    try:
        yield loads
    finally:
        for one in loads:
            check_no_errors(one.stop(), one.name)


@case
def a_dead_agent(shared):
    node = shared.lab.node1
    with nothing_forwarded(node), under_load(shared):
        node.agent.kill()
        for client in traffic.CLIENTS:
            check_no_errors(load(shared.client[client], shared.many.target(), count=500), client)
        node.start_sluiced(OPTION)


@case
def with_and_without_the_option(shared):
    """Open flows keep to their way; new ones take the one that is in force."""
    node = shared.lab.node1
    with under_load(shared):
        for options in ((), (OPTION,), (), (OPTION,)):
            node.agent.stop()
            node.start_sluiced(*options)
            before = counter(node, "fast_path")
            check_no_errors(load(shared.client["pod"], shared.many.target(), count=500), options)
            check_equal(counter(node, "fast_path") > before, bool(options), f"new ones, {options}")
        live = hooks(node, shared.many, live=True)
        check({"fast-pod", "fast-uplink"} <= live, f"hooks of live flows {live}")


@case
def by_clsact(shared):
    """The same where the kernel has no tcx."""
    node = shared.lab.node1
    node.agent.stop()
    check_equal(node.unload(), [], "left by --unload")
    node.start_sluiced(OPTION, env={"SLUICE_FORCE_CLSACT": "1"})
    for app in (*shared.tcp.values(), *shared.udp.values(), shared.many):
        eventually(lambda: app.applied(node), f"{app.name} applied")
    with nothing_forwarded(node):
        every_way(shared)


@case
def pods_on_a_bridge(_):
    """The agent finds out behind which port of it a pod is."""
    with traffic.roads(options=(OPTION,), pod_type=BridgePod) as shared:
        with nothing_forwarded(shared.lab.node1):
            every_way(shared)
            megabytes(shared)
        traffic.settled(shared)


if __name__ == "__main__":
    main(setup, traffic.settled)
