# SPDX-License-Identifier: GPL-2.0-only
"""What runs in the pods: nginx as replica, the test server, the load client."""

import json
import os
import signal
import socket
import subprocess

from case import SLOW, check, check_equal, eventually
from process import built

TIMEOUT_MS = 5000   # of one request, where a case says nothing else

NGINX = """\
worker_processes 1;
error_log {dir}/error.log;
pid {dir}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    sendfile_max_chunk 4k;
    client_max_body_size 1m;
    {zone}
    server {{
        listen 80 backlog=4096;
        listen [::]:80 backlog=4096;
        root {dir}/www;
        default_type text/plain;
        add_header X-Replica {name} always;
        add_header X-Client $remote_addr always;
        location / {{ {limit} }}
        location /16k {{ limit_rate 320k; {limit} }}
        location /health {{
            if (-f {dir}/unhealthy) {{ return 503; }}
            return 200 "yes\\n";
        }}
    }}
}}
"""


def pattern(size):
    """The body that net.h calls pattern."""
    period = bytes(ord("a") + i for i in range(23))
    return (period * (size // 23 + 1))[:size]


class Nginx:
    """A real nginx in a pod. `rate`: requests/s that it serves, the others queue (limit_req), as
    a model server with a batch does; None: as fast as it can. /16k takes
    40 ms besides."""

    def __init__(self, pod, rate=None, queue=2000):
        self.pod = pod
        self.dir = f"{pod.lab.dir}/{pod.name}"
        os.makedirs(f"{self.dir}/www", exist_ok=True)
        for name, body in (("index.html", f"replica {pod.name}\n".encode()),
                           ("60k", pattern(60000)), ("16k", pattern(16384))):
            with open(f"{self.dir}/www/{name}", "wb") as file:
                file.write(body)
        zone = limit = ""
        if rate:
            zone = f"limit_req_zone $hostname zone=queue:1m rate={rate}r/s;"
            limit = f"limit_req zone=queue burst={queue};"
        with open(f"{self.dir}/nginx.conf", "w", encoding="utf-8") as file:
            file.write(NGINX.format(dir=self.dir, name=pod.name, zone=zone, limit=limit))
        self.process = None
        self.start()

    def start(self):
        self.process = self.pod.spawn("nginx", "-c", f"{self.dir}/nginx.conf", "-p", self.dir,
                                      "-e", f"{self.dir}/error.log", "-g", "daemon off;")
        wait_listening(self.pod, 80, self.process)

    def stop(self):
        """As Kubernetes ends a container that knows how: open requests are finished."""
        self.process.popen.send_signal(signal.SIGQUIT)
        self.process.popen.wait(20)

    def kill(self):
        self.process.kill()

    def healthy(self, value):
        path = f"{self.dir}/unhealthy"
        if value:
            os.unlink(path)
        else:
            with open(path, "w", encoding="ascii"):
                pass


class Server:
    """tests/e2e/server.c in a pod. `logged`: it notes the id of each request it reads."""

    def __init__(self, pod, port=8080, service_us=0, jitter_us=0, slots=None, logged=False):
        self.pod, self.port, self.service_us = pod, port, service_us
        path = f"{pod.lab.dir}/{pod.name}-{port}"
        self.control_path, self.ids_path = f"{path}.control", f"{path}.ids"
        self.options = ["--name", pod.name, "--port", port, "--service-us", service_us,
                        "--jitter-us", jitter_us, "--control", self.control_path]
        self.options += ["--slots", slots] if slots else []
        self.options += ["--log", self.ids_path] if logged else []
        self.process = None
        self.start()

    def start(self):
        self.process = self.pod.spawn(built("tests/e2e/server"), *self.options)
        wait_listening(self.pod, self.port, self.process)

    def kill(self):
        self.process.kill()

    def toggle_health(self):
        self.process.signal(signal.SIGUSR1)

    def control(self, command):
        """One of the commands of tests/e2e/server.h, done when this returns."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            control.settimeout(10)
            control.connect(self.control_path)
            control.sendall(command.encode())
            check_equal(control.recv(64), b"ok", f"{self.pod.name}: {command}")

    def listens(self):
        return is_listening(self.pod, self.port)

    def queue_is_full(self):
        """Whether the kernel drops the next SYN (tcp_conn_request: more wait than may)."""
        line = self.pod.run("ss", "-Hltn", "sport", "=", f":{self.port}").split()
        return bool(line) and int(line[1]) > int(line[2])

    def ids(self):
        """The ids of all requests that it has read since the last forget_ids()."""
        with open(self.ids_path, encoding="ascii") as file:
            return file.read().split()

    def forget_ids(self):
        os.truncate(self.ids_path, 0)


def is_listening(pod, port):
    return f":{port} " in pod.run("ss", "-Hltn")


def wait_listening(pod, port, process):
    def listening():
        check(process.running(), f"{pod.name}: {process.argv}: {process.log()}")
        return is_listening(pod, port)
    eventually(listening, f"{pod.name} listens on port {port}", 10)


class Load:
    """tests/e2e/load.c under way."""

    def __init__(self, space, target, cpu=None, **options):
        argv = ["taskset", "-c", cpu] if cpu is not None else []
        argv += [built("tests/e2e/load"), "--target", target]
        options = {"timeout_ms": int(TIMEOUT_MS * SLOW), **options}
        for name, value in options.items():
            if value is not None and value is not False:
                argv.append(f"--{name.replace('_', '-')}")
                argv += [] if value is True else [value]
        self.process = space.spawn(*argv, stdout=subprocess.PIPE)
        self.name = space.name

    def lines(self):
        """Each line of the report as it comes; the last one is the account of the whole run."""
        for line in self.process.popen.stdout:
            yield json.loads(line)

    def result(self, timeout=120):
        out, _ = self.process.popen.communicate(timeout=timeout * SLOW)
        check(self.process.popen.returncode == 0,
              f"load in {self.name}: exit status {self.process.popen.returncode}: "
              f"{self.process.log()[-500:]}")
        return json.loads(out.splitlines()[-1])

    def stop(self):
        """Ends it early, once its open requests are done."""
        self.process.signal(signal.SIGTERM)
        return self.result()


def load(space, target, **options):
    """Runs the load client to its end and returns its account."""
    return Load(space, target, **options).result()


def spread_flows(pod):
    """What comes to the pod is spread over all CPUs by flow, as a network card's queues do it. Between
    veths alone, the packets of one flow are on two CPUs at once now and then, and one connection in some
    100 000 is an unheard() one: more than a case of many connections can bear, whose good outcome is
    that none fails. (A node's own processes are spread so for what comes from outside alone.) Not for
    cases that use ports again at once: what is sent in order, by two CPUs, may arrive in another."""
    path = f"/sys/class/net/{pod.device}/queues/rx-0/rps_cpus"
    cpus = min(os.cpu_count(), 32)
    subprocess.run(["ip", "netns", "exec", pod.ns,      # it mounts this namespace's own /sys
                    "sh", "-c", f"[ ! -e {path} ] || echo {(1 << cpus) - 1:x} > {path}"], check=True)


def unheard(result):
    """Connections that were reset before the first byte of an answer, which a race in the server's kernel
    does, balancer or not: where the last ACK of a handshake and the request behind it are handled on two
    CPUs at once, a look-up without a lock may come between the end of the request socket and the begin of
    the connection (inet_ehash_insert()), find neither, and answer the request by an RST: once in some
    100 000 to a million connections on 6.18."""
    return sum(one["kind"] == "reset" and one["connected"] and not one["replica"]
               for one in result["error_log"])


def check_no_errors(result, what, kernel_resets=0):
    """`kernel_resets`: how many unheard() ones there may be."""
    check(result["failed"] <= min(kernel_resets, unheard(result)) and result["ok"] > 0,
          f"{what}: {result['ok']} good, {result['failed']} failed: {result['errors']}, "
          f"{result['error_log'][:3]}")
