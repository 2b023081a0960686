# SPDX-License-Identifier: GPL-2.0-only
"""Who balances in the benches of faults and surges: Sluice, kube-proxy's rules, HAProxy, Envoy,
each set up as its operators would for replicas that may fail or be full, before the same replicas.

All run on the client's node. The proxies hold the VIP and speak HTTP; they may check, eject and
ask again by a clock as fast: checks every 100 ms, 100 ms to connect, 5 failures to an ejection.
A peer that is not installed is left out of the table, and the table says so."""

import json
import os
import shutil
import subprocess

from case import check_equal, eventually
from lab import Lab
from manifest import App, Port
from process import ROOT
from servers import Server, load, wait_listening
import kubeproxy

PORT, REPLICAS = 8080, 4
PROBE = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1, "timeoutSeconds": 1,
         "failureThreshold": 3}
OUTLIERS = {"consecutive5xxErrors": 5, "interval": "1s", "baseEjectionTime": "30s",
            "maxEjectionPercent": 100}

HAPROXY = """\
global
    nbthread {threads}
    maxconn 8000
defaults
    mode http
    timeout connect 100ms
    timeout client 60s
    timeout server 60s
    timeout queue {queue_ms}ms
    option abortonclose
    retries 3
    option redispatch 1
listen llm
    bind {vip}:80
    balance leastconn
    option httpchk GET /health
    default-server check inter 100ms fall 3 observe layer7 error-limit 5 on-error mark-down{cap}
{servers}
"""


class World:
    """A lab of one node with four replicas and two clients, and nobody balancing yet. `slots` and
    `service_us`: how many requests a replica serves at a time, and how long each takes."""

    def __init__(self, lab, slots=None, service_us=0, patience_s=2, cap=None, queue=0):
        self.lab, self.node = lab, lab.node1
        self.patience_s = patience_s    # of the clients; half of it may be spent in a queue
        self.cap = cap                  # connections that a replica shall have at most; None: any
        self.queue = queue              # requests that may wait for that in a proxy
        self.clients = [lab.add_pod(self.node, f"client{i}") for i in range(2)]
        # One client alone takes nobody out, whatever it sees: the first one has two addresses.
        self.sources = f"{self.clients[0].ip4},{self._second_address(self.clients[0])}"
        self.app = App(lab, "llm", 10, [Port("http", 80, PORT)])
        self.app.probe = PROBE
        self.app.traffic_policy = {"outlierDetection": OUTLIERS}
        self.servers = []
        for i in range(REPLICAS):
            pod = lab.add_pod(self.node, f"llm-{i}")
            self.servers.append(Server(pod, PORT, slots=slots, service_us=service_us, logged=True))
            self.app.add(pod)

    def _second_address(self, pod):
        address = f"10.{self.node.number}.0.{self.node.take_pod_number()}"
        pod.ip(f"addr add {address}/32 dev eth0")
        self.node.ip(f"route add {address}/32 dev {pod.veth}")
        return address

    def hold_vip(self):
        """For a proxy on the node, with ports enough to connect from."""
        self.node.ip(f"addr add {self.app.vip4}/32 dev lo")
        self.node.sysctl(net__ipv4__ip_local_port_range="10000 65000", net__ipv4__tcp_tw_reuse=1)

    def path(self, name):
        return f"{self.lab.dir}/{name}"


def new_world(**options):
    return _Worlds(options)


class _Worlds:
    """A lab and its world, for a `with`."""

    def __init__(self, options):
        self.lab, self.options = Lab(nodes=1), options

    def __enter__(self):
        return World(self.lab.__enter__(), **self.options)

    def __exit__(self, *why):
        return self.lab.__exit__(*why)


# ---- each of them: sets itself up in a world -----------------------------------------------------
def start_iptables(world):
    kubeproxy.install(world.node, [world.app])


def start_haproxy(world):
    servers = "".join(f"    server r{i} {server.pod.ip4}:{PORT}\n"
                      for i, server in enumerate(world.servers))
    cap = f" maxconn {world.cap}" if world.cap else ""
    with open(world.path("haproxy.cfg"), "w", encoding="utf-8") as file:
        file.write(HAPROXY.format(threads=os.cpu_count(), vip=world.app.vip4, servers=servers,
                                  queue_ms=world.patience_s * 500, cap=cap))
    world.hold_vip()
    wait_listening(world.node, 80,
                   world.node.spawn("haproxy", "-db", "-f", world.path("haproxy.cfg")))


def _envoy_cluster(world):
    cluster = {
        "name": "llm", "type": "STATIC", "connect_timeout": "0.1s", "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {"cluster_name": "llm", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": server.pod.ip4,
                                                         "port_value": PORT}}}}
            for server in world.servers]}]},
        "outlier_detection": {"consecutive_5xx": OUTLIERS["consecutive5xxErrors"],
                              "interval": OUTLIERS["interval"],
                              "base_ejection_time": OUTLIERS["baseEjectionTime"],
                              "max_ejection_percent": OUTLIERS["maxEjectionPercent"]}}
    if world.cap:
        total = world.cap * len(world.servers)
        cluster["circuit_breakers"] = {"thresholds": [
            {"max_connections": total, "max_requests": total + world.queue,
             "max_pending_requests": world.queue}]}
    return cluster


def _envoy_config(world):
    """As Istio sets it up, but for the time to connect, which is 10 s there. It asks again on 503,
    too: a request may be read twice."""
    route = {"match": {"prefix": "/"},
             "route": {"cluster": "llm", "timeout": "60s", "retry_policy": {
                 "retry_on": "connect-failure,refused-stream,retriable-status-codes",
                 "retriable_status_codes": [503], "num_retries": 2,
                 "retry_host_predicate": [{
                     "name": "envoy.retry_host_predicates.previous_hosts",
                     "typed_config": {"@type": "type.googleapis.com/envoy.extensions.retry.host."
                                               "previous_hosts.v3.PreviousHostsPredicate"}}],
                 "host_selection_retry_max_attempts": 5}}}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager."
                 "v3.HttpConnectionManager",
        "stat_prefix": "llm", "generate_request_id": False,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "llm", "domains": ["*"], "routes": [route]}]}}
    listener = {"name": "llm",
                "address": {"socket_address": {"address": world.app.vip4, "port_value": 80}},
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager}]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [_envoy_cluster(world)]}}


def envoy_path():
    """None where scripts/get-envoy has not got one."""
    done = subprocess.run([f"{ROOT}/scripts/get-envoy", "--path"], capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() or None


def start_envoy(world):
    with open(world.path("envoy.json"), "w", encoding="utf-8") as file:
        json.dump(_envoy_config(world), file)
    world.hold_vip()
    wait_listening(world.node, 80, world.node.spawn(
        envoy_path(), "--concurrency", os.cpu_count(), "--disable-hot-restart", "-l", "off",
        "-c", world.path("envoy.json")))


def start_sluice(world):
    if world.cap:
        world.app.annotations["sluice.dev/max-connections-per-replica"] = str(world.cap)
    world.app.write()
    world.node.start_sluiced()
    eventually(lambda: world.app.applied(world.node), "sluiced steers the service")
    eventually(lambda: all(row["state"] == "ready" for row in world.node.replicas()), "all ready")


def start_sluice_waiting(world):
    """SYNs that find no room wait for it in the kernel."""
    world.app.annotations["sluice.dev/when-full"] = "wait"
    start_sluice(world)


OURS = "Sluice"
PEERS = {OURS: start_sluice, "iptables random": start_iptables, "HAProxy leastconn": start_haproxy,
         "Envoy": start_envoy}


def available():
    """(peers that can be started here, a line for each one that cannot)."""
    lacking = {}
    if not shutil.which("haproxy"):
        lacking["HAProxy leastconn"] = "not installed (make deps)"
    if not envoy_path():
        lacking["Envoy"] = "not there (scripts/get-envoy gets one)"
    return ({name: start for name, start in PEERS.items() if name not in lacking},
            [f"without {name}: {why}" for name, why in lacking.items()])


def warm(world):
    """All four replicas are reached; nothing is cold or still being checked."""
    def all_serve():
        result = load(world.clients[0], world.app.target(), connections=4, count=100)
        return result["failed"] == 0 and len(result["replicas"]) == REPLICAS
    eventually(all_serve, "all replicas serve", 10)
    check_equal([server for server in world.servers if not server.process.running()], [], "dead")
