#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The node's own clients: processes in its network namespace that call VIPs nobody else serves. The
node has no default route, strict rp_filter everywhere, and drops INVALID packets in every chain."""

import contextlib
import json
import os
import signal
import sys
import time

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from bridge import BridgePod  # noqa: E402
from case import SLOW, case, check, check_equal, eventually, main  # noqa: E402
from hostnet import drop_invalid, dropped_by_rules  # noqa: E402
from manifest import App, Port  # noqa: E402
from process import built  # noqa: E402
from servers import Load, Server, check_no_errors, load  # noqa: E402
import traffic  # noqa: E402

DEVICE, PEER = "sluice0", "sluice1"
PROTOCOL = "115"


@contextlib.contextmanager
def setup():
    with traffic.roads() as shared:
        shared.node = shared.client["node"] = shared.lab.node1
        drop_invalid(shared.node, "INPUT", "OUTPUT")
        shared.before = dropped_by_rules(shared.node)
        yield shared


def settled(shared):
    traffic.settled(shared)
    check_equal(dropped_by_rules(shared.node), shared.before, "dropped by strict rules")


def routes(node, family=4, protocol=PROTOCOL):
    """{address: route} of ours."""
    text = node.run("ip", "-j", f"-{family}", "route", "show", "proto", protocol)
    return {one["dst"]: one for one in json.loads(text or "[]")}


def vips(shared, family=4):
    """All that are to be routed."""
    apps = (*shared.tcp.values(), *shared.udp.values())
    return {app.vip4 if family == 4 else app.vip6 for app in apps} | (
        {app.load_balancer for app in apps if app.load_balancer} if family == 4 else set())


def answers(shared, place="local", family=4, count=20):
    """Whether the node's own client is served there."""
    result = load(shared.node, shared.tcp[place].target(family), connections=2, count=count,
                  timeout_ms=2000)
    return result["failed"] == 0 and list(result["replicas"]) == [place]


def hooked(node):
    """Which end of the pair has programs, once for each."""
    lines = node.run(built("tests/e2e/hooks")).splitlines()
    return [line.split()[0] for line in lines if line.startswith("sluice")]


def number(node):
    return json.loads(node.run("ip", "-j", "link", "show", "dev", DEVICE))[0]["ifindex"]


def drops(node, reason):
    return node.sluice("status")[0]["drops"][reason]


def one_way(place, family):
    def tcp(shared):
        traffic.exchange_tcp(shared, "node", place, family)

    def udp(shared):
        traffic.exchange_udp(shared, "node", place, family)

    for function in (tcp, udp):
        function.__name__ = f"{function.__name__}_to_{place}_v{family}"
        case(function)


for each_place in traffic.PLACES:
    for each_family in traffic.FAMILIES:
        one_way(each_place, each_family)


@case
def load_balancer_address(shared):
    for place in traffic.PLACES:
        target = f"{shared.tcp[place].load_balancer}:80"
        result = load(shared.node, target, connections=4, count=100)
        check_no_errors(result, target)
        check_equal(list(result["replicas"]), [place], "who answered")


@case
def checksums_without_offload(shared):
    lab = shared.lab
    devices = [(pod, "eth0") for pod in lab.pods.values()]
    devices += [(pod.node, pod.veth) for pod in lab.pods.values()]
    devices += [(node, device) for node in lab.nodes for device in ("uplink0", DEVICE)]
    with lab.without_offload(devices):
        for place in traffic.PLACES:
            for family in traffic.FAMILIES:
                traffic.exchange_tcp(shared, "node", place, family, 50)
                traffic.exchange_udp(shared, "node", place, family)


@case
def refused_at_once(shared):
    """A port of a VIP that is no service's: the node's own client is told, and a pod too."""
    before = drops(shared.node, "no_port"), drops(shared.node, "not_nodes")
    for client in ("node", "pod"):
        for vip in (shared.tcp["local"].vip4, f"[{shared.tcp['local'].vip6}]"):
            began = time.monotonic()
            result = load(shared.client[client], f"{vip}:4444", connections=1, count=3)
            check_equal(result["errors"]["refused"], 3, f"{client}: {result}")
            check(time.monotonic() - began < 1 * SLOW, f"{client}: refused late")
    after = drops(shared.node, "no_port"), drops(shared.node, "not_nodes")
    check(after[0] >= before[0] + 6 and after[1] >= before[1] + 6, f"{before}, then {after}")


@case
def routes_are_these(shared):
    """One for each VIP's address, by the device, with the source that remote replicas can answer."""
    for family, source in ((4, shared.node.ip4), (6, shared.node.ip6)):
        found = routes(shared.node, family)
        check_equal(set(found), vips(shared, family), f"IPv{family}")
        for to, route in found.items():
            check_equal((route["dev"], route["prefsrc"], route["metrics"][0]["mtu"]),
                        (DEVICE, source, 1500), to)
    links = json.loads(shared.node.run("ip", "-j", "-d", "addr", "show", "dev", DEVICE))
    check_equal((links[0]["addr_info"], "NOARP" in links[0]["flags"], links[0]["address"]),
                ([], True, "02:73:6c:75:63:65"), "the device")
    check_equal(hooked(shared.node), [DEVICE], "hooks at the pair")


@case
def cli_says_who_is_steered(shared):
    for row in shared.node.sluice("service", "show"):
        check_equal(row["node_clients_steered"], True, row["service"])
    row = next(row for row in shared.node.sluice("doctor") if row["check"] == "own_clients")
    # Two dual-stack ports of TCP and one of UDP at two places, and a load balancer's address of each.
    check_equal((row["status"], row["found"].split()[0]), ("ok", "16"), f"{row}")


@case
def routes_follow_services(shared):
    """A new service, one that becomes overlay, one that goes."""
    lab, node = shared.lab, shared.node
    app = App(lab, "more", 40, [Port("http", 80, 80)])
    app.own_pods = False
    app.add(lab.pods["local"])
    app.apply(node)
    eventually(lambda: app.vip4 in routes(node) and app.vip6 in routes(node, 6), "routes are there")
    check_no_errors(load(node, app.target(4), connections=2, count=20), "served")
    text = open(f"{lab.manifests.dir}/more.yaml", encoding="utf-8").read()
    lab.manifests.put_text("more.yaml", text.replace(
        "service.kubernetes.io/service-proxy-name: sluice", "sluice.dev/steer: enabled"))
    eventually(lambda: app.vip4 not in routes(node) and app.vip6 not in routes(node, 6),
               "an overlay service has no route")
    app.write()
    eventually(lambda: app.vip4 in routes(node), "the route is back")
    app.remove()
    eventually(lambda: app.vip4 not in routes(node) and app.vip6 not in routes(node, 6),
               "routes are gone")
    check_equal(set(routes(node)), vips(shared), "the others")


@case
def a_route_stays_for_its_flows(shared):
    """A service goes while the node's own client waits for an answer, which it gets; then its route
    goes."""
    lab, node = shared.lab, shared.node
    Server(lab.pods["remote"], 8090, service_us=3000000)
    app = App(lab, "leaving", 41, [Port("http", 80, 8090)])
    app.own_pods = False
    app.add(lab.pods["remote"])
    app.apply(node)
    eventually(lambda: app.vip4 in routes(node), "the route is there")
    client = Load(node, app.target(4), connections=2, count=2, path="/bytes/60000", pattern=True,
                  expect_bytes=60000, timeout_ms=20000)
    eventually(lambda: len(node.live_flows(("TCP",))) == 2, "two wait")
    app.remove()
    eventually(lambda: app.vip6 not in routes(node, 6), "nobody needs the other family's route")
    check(app.vip4 in routes(node), "the route went before its flows")
    check_no_errors(client.result(), "after the service went")
    eventually(lambda: app.vip4 not in routes(node), "its route goes after them", 30)


@case
def a_route_stays_for_a_spilled_flow(shared):
    """One that did not fit into the flow table is looked for as well; the row of one that is over
    stays in the spill table, and holds nothing."""
    lab, node = shared.lab, shared.node
    app = App(lab, "spilling", 46, [Port("http", 80, 80)])
    app.own_pods = False
    app.add(lab.pods["local"])
    app.apply(node)
    eventually(lambda: app.vip4 in routes(node), "the route is there")
    node.run(built("tests/e2e/spill"), node.bpffs, app.vip4, "open")
    app.remove()
    eventually(lambda: app.vip6 not in routes(node, 6), "nobody needs the other family's route")
    check(app.vip4 in routes(node), "the route went before the spilled flow")
    node.run(built("tests/e2e/spill"), node.bpffs, app.vip4, "done")
    eventually(lambda: app.vip4 not in routes(node), "its route goes after it")


@case
def others_routes_are_left_alone(shared):
    """A route to a VIP that is somebody else's: it stays, it is said, and it is ours once it is gone."""
    lab, node = shared.lab, shared.node
    app = App(lab, "foreign", 42, [Port("http", 80, 80)])
    app.own_pods = False
    app.add(lab.pods["local"])
    node.ip(f"route add {app.vip4}/32 via {lab.outside.ip4} metric 50")
    app.apply(node)
    eventually(lambda: app.vip6 in routes(node, 6), "the other family has its route")
    check(app.vip4 not in routes(node), "a route beside somebody else's")
    check(f"VIP {app.vip4}: this node has a route" in node.agent.log(), "nothing is logged")
    row = next(row for row in node.sluice("doctor") if row["check"] == "own_clients")
    check(row["status"] == "warn" and app.vip4 in row["found"], f"{row}")
    node.ip(f"route del {app.vip4}/32")
    eventually(lambda: app.vip4 in routes(node), "the route is ours now")
    check_no_errors(load(node, app.target(4), connections=2, count=20), "served")
    app.remove()
    eventually(lambda: app.vip4 not in routes(node), "it is gone")


@case
def what_others_delete_comes_back(shared):
    node = shared.node
    vip = shared.tcp["local"].vip4
    node.ip(f"route del {vip}/32")
    eventually(lambda: vip in routes(node), "a route that was deleted")
    node.ip(f"link set {DEVICE} down")
    eventually(lambda: set(routes(node)) == vips(shared) and answers(shared), "after down")
    node.ip(f"link del {DEVICE}")
    eventually(lambda: set(routes(node)) == vips(shared) and
               set(routes(node, 6)) == vips(shared, 6), "routes after the device was deleted")
    eventually(lambda: answers(shared) and answers(shared, "remote", 6), "served as before")


def rename(node, device, name):
    """Before Linux 6.2 only what is down can be renamed, and an agent at work brings it up again."""
    command = (f"ip link set {device} down && ip link set {device} name {name} && echo renamed; "
               f"ip link set {name} up")
    eventually(lambda: "renamed" in node.run("sh", "-c", command, fail=False), f"{device} is {name}")


@case
def a_renamed_device_gets_its_name_back(shared):
    """It is known by its number, whichever end it is, both included."""
    node = shared.node
    before = number(node)
    for devices in ((DEVICE,), (PEER,), (DEVICE, PEER)):
        for device in devices:
            rename(node, device, f"vethx-{device}")
        eventually(lambda: "vethx-" not in node.run("ip", "-o", "link", "show"), "both have their names")
        eventually(lambda: set(routes(node)) == vips(shared) and hooked(node) == [DEVICE] and
                   answers(shared), f"served again after {devices} had another name")
        check_equal(number(node), before, "its number")
    check(f"interface {DEVICE} had been renamed vethx-{DEVICE}" in node.agent.log(), "nothing is logged")


@case
def ipv6_that_is_off_is_said_once(shared):
    """Its routes cannot be made: one line for each address, with the cause, however often routes
    change; and they come back with IPv6."""
    node = shared.node
    vip4, vip6 = shared.tcp["local"].vip4, shared.tcp["local"].vip6

    def said():
        return [line for line in node.agent.log().splitlines() if f"cannot route {vip6} " in line]

    for times in (1, 2):
        node.run("sysctl", "-qw", f"net.ipv6.conf.{DEVICE}.disable_ipv6=1")
        eventually(said, "it is said")
        for _ in range(3):  # each time all that lacks is tried again
            node.ip(f"route del {vip4}/32")
            eventually(lambda: vip4 in routes(node), "the IPv4 route is back")
        check_equal(len(said()), times, f"lines: {said()}")
        check("disable_ipv6" in said()[0], f"the cause: {said()}")
        check(answers(shared), "IPv4 goes on")
        node.run("sysctl", "-qw", f"net.ipv6.conf.{DEVICE}.disable_ipv6=0")
        eventually(lambda: set(routes(node, 6)) == vips(shared, 6), "the IPv6 routes are back")
    check(answers(shared, "remote", 6), "served as before")


@case
def vip_on_the_uplinks_subnet(shared):
    """ARP would find nobody there."""
    lab, node = shared.lab, shared.node
    app = App(lab, "near", 43, [Port("http", 80, 80)])
    app.own_pods = False
    app.load_balancer = "192.168.50.77"
    app.add(lab.pods["local"])
    app.add(lab.pods["remote"])
    app.apply(node)
    eventually(lambda: app.load_balancer in routes(node), "the route is there")
    result = load(node, f"{app.load_balancer}:80", connections=4, count=200)
    check_no_errors(result, "a VIP on the uplink's subnet")
    check_equal(sorted(result["replicas"]), ["local", "remote"], "who answered")
    app.remove()
    eventually(lambda: app.load_balancer not in routes(node), "it is gone")


@case
def resets(shared):
    """A replica's link goes while the node's own client waits: it is told at once."""
    lab, node = shared.lab, shared.node
    pod = lab.add_pod(node, "victim")
    server = Server(pod)
    app = App(lab, "victim", 44, [Port("api", 80, 8080)])
    app.add(pod)
    app.apply(node)
    server.control("delay 30000000")
    waiting = Load(node, app.target(4), connections=4, count=4, timeout_ms=20000)
    eventually(lambda: node.replica(pod.ip4, 8080)["inflight"] == 4, "four wait")
    began = time.monotonic()
    node.ip(f"link set {pod.veth} down")
    result = waiting.result()
    check_equal(result["errors"]["reset"], 4, f"{result}")
    check(time.monotonic() - began < 3 * SLOW, f"reset after {time.monotonic() - began} s")
    app.remove()
    lab.del_pod(pod)
    eventually(lambda: app.vip4 not in routes(node), "it is gone", 20)


@case
def waiting_line(shared):
    """Connects that find every replica full wait, and are sent on by the device when it is their turn."""
    lab, node = shared.lab, shared.node
    server = Server(lab.pods["local"], 8091)
    server.control("delay 50000")
    app = App(lab, "line", 45, [Port("api", 80, 8091)])
    app.own_pods = False
    app.annotations = {"sluice.dev/max-connections-per-replica": "1", "sluice.dev/when-full": "wait"}
    app.add(lab.pods["local"])
    app.apply(node)
    for family in (4, 6):
        check_no_errors(load(node, app.target(family), connections=6, count=24, timeout_ms=20000),
                        f"IPv{family}")
    parked = sum(row["parked"] for row in node.sluice("service", "show"))
    check_equal(parked, 0, "parked in the end")
    check(drops(node, "parked") >= 10, "nobody waited")
    app.remove()
    eventually(lambda: app.vip4 not in routes(node), "it is gone", 20)


@case
def on_a_bridge(shared):
    with traffic.roads(pod_type=BridgePod) as other:
        other.client["node"] = other.lab.node1
        drop_invalid(other.lab.node1, "INPUT", "OUTPUT")
        before = dropped_by_rules(other.lab.node1)
        for place in traffic.PLACES:
            traffic.exchange_bodies(other, place, clients=("node",))
            for vip in (other.udp[place].vip4, other.udp[place].vip6):
                account = traffic.converse(other.lab.node1, vip, 53, size=1400)
                check_equal((account["lost"], account["bad"], list(account["servers"])),
                            (0, 0, [place]), f"UDP to {vip}: {account}")
        traffic.settled(other)
        check_equal(dropped_by_rules(other.lab.node1), before, "dropped by strict rules")


@case
def agent_dead(shared):
    agent = shared.node.agent
    agent.signal(signal.SIGKILL)
    agent.popen.wait()
    for place in traffic.PLACES:
        for family in traffic.FAMILIES:
            traffic.exchange_tcp(shared, "node", place, family, 50)
            traffic.exchange_udp(shared, "node", place, family)


@case
def restart_takes_over(shared):
    """The pair and its routes are adopted, whatever one end is called by now; of a service that went
    meanwhile, the route goes."""
    node = shared.node
    before = number(node)
    if node.agent.running():
        node.agent.stop()
    node.ip(f"route add 10.96.0.99/32 dev {DEVICE} proto {PROTOCOL}")
    rename(node, PEER, "other1")
    node.start_sluiced("--pod-interfaces", "veth*,sluice*")  # whatever globs say, it is no pod's
    eventually(lambda: set(routes(node)) == vips(shared), "routes")
    check_equal(number(node), before, "the device's number")
    check(answers(shared) and answers(shared, "remote", 6), "served")
    check_equal(hooked(node), [DEVICE], "hooks at the pair")


@case
def a_start_that_fails_leaves_nothing(shared):
    """A device of that name which is not ours is not touched, and said; nor is one made in vain."""
    node = shared.node
    node.agent.stop()
    rename(node, DEVICE, "other0")
    check_equal(node.unload(), [], "left behind")
    check("other0" not in node.run("ip", "-o", "link", "show"), "a renamed pair was left")
    node.ip(f"link add {DEVICE} type bridge")
    failed = node.spawn(*node.agent.argv[2:])
    check(failed.popen.wait(20) != 0, "it started")
    check("is not Sluice's" in failed.log(), failed.log()[-500:])
    check("bridge" in node.run("ip", "-d", "link", "show", "dev", DEVICE), "it was touched")
    node.ip(f"link del {DEVICE}")
    failed = node.spawn(*node.agent.argv[2:], "--bpffs", f"{node.bpffs}/no/such")
    check(failed.popen.wait(20) != 0, "it started")
    check(DEVICE not in node.run("ip", "-o", "link", "show"), "the pair was left")
    node.start_sluiced()
    eventually(lambda: answers(shared), "served")


if __name__ == "__main__":
    main(setup, settled)
