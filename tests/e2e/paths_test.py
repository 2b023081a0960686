#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""What the matrix of paths (matrix_test.py) leaves out: node ports and load-balancer addresses, clients
on equal ports, checksums without offload, and traffic that is not ours."""

import os
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, main  # noqa: E402
from servers import check_no_errors, load  # noqa: E402
import traffic  # noqa: E402
import watch  # noqa: E402


@case
def load_balancer_address(shared):
    for place in traffic.PLACES:
        target = f"{shared.tcp[place].load_balancer}:80"
        result = load(shared.lab.outside, target, connections=4, count=100)
        check_no_errors(result, f"{place}: {target}")
        check_equal(list(result["replicas"]), [place], "who answered")


@case
def node_port(shared):
    node = shared.lab.node1
    for place in traffic.PLACES:
        for address in (node.ip4, f"[{node.ip6}]"):
            target = f"{address}:{shared.tcp[place].ports[0].node_port}"
            result = load(shared.lab.outside, target, connections=4, count=100, path="/60k",
                          pattern=True, expect_bytes=60000)
            check_no_errors(result, f"{place}: {target}")
            check_equal(list(result["replicas"]), [place], "who answered")
        for address in (node.ip4, node.ip6):
            port = shared.udp[place].ports[0].node_port
            account = traffic.converse(shared.lab.outside, address, port)
            check_equal((account["lost"], list(account["servers"])), (0, [place]),
                        f"UDP {address} port {port}")


@case
def many_client_addresses_and_equal_ports(shared):
    """Twenty clients that use the same few ports: source NAT keeps them apart."""
    sources = ",".join(f"192.168.50.{host}" for host in range(100, 120))
    result = load(shared.lab.outside, shared.tcp["remote"].target(4, traffic.API), connections=100,
                  count=4000, source=sources, ports="5000-5400", end="rst")
    check_no_errors(result, "20 clients on the same ports")


@case
def checksums_without_offload(shared):
    lab = shared.lab
    with lab.without_offload():
        with watch.Watch((*lab.nodes, *lab.pods.values()), (53, 80, 8080)) as watched:
            traffic.exchange_everything(shared)
            seen = watched.stop()
        watch.check_sums(seen)
        summed = sum(row["packets"] - row["partial"] for rows in seen.values() for row in rows)
        check(summed > 10000, f"only {summed} packets carried a whole checksum")


@case
def other_traffic_is_left_alone(shared):
    """What is not for a VIP passes as before, also to the replicas themselves."""
    pod, outside = shared.client["pod"], shared.lab.outside
    for place in traffic.PLACES:
        replica = shared.lab.pods[place]
        for target in (f"{replica.ip4}:80", f"[{replica.ip6}]:80"):
            for space in (pod, outside):
                check_no_errors(load(space, target, connections=8, count=200, path="/60k",
                                     pattern=True, expect_bytes=60000), target)
    picks = sum(row["picks"] for row in shared.lab.node1.replicas())
    load(pod, f"{shared.lab.pods['local'].ip4}:80", connections=1, count=10)
    check_equal(sum(row["picks"] for row in shared.lab.node1.replicas()), picks, "picks")
    check(pod.run("ping", "-c", "1", "-W", "2", shared.lab.pods["remote"].ip4), "ping")


if __name__ == "__main__":
    main(traffic.roads, traffic.settled)
