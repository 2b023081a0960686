# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong with a replica, done to one tests/e2e/server.c in a pod of the lab.

Each fault is a context manager that takes the Server: the replica fails inside the `with`, and
is as before after it. Only the server's own port is touched: probes of another port of the pod
see nothing, so that a test can tell what packets alone bring about. FAULTS names them all.

Faults of the first kind, in CONNECT, meet a client before its connection exists: whoever may try
another replica can hide them. The others meet it afterwards.
"""

import contextlib
import itertools
import signal
import subprocess
import threading

from case import eventually

TABLE = "inet fault"
SLOW_MS = 300
FLAP_MS = 40


# ---- before the connection exists ----------------------------------------------------------------
def _meets_syns(server, verdict):
    """The rule by which the pod's own firewall meets new connections to the server's port."""
    return (f"add rule {TABLE} input tcp dport {server.port} "
            f"tcp flags & (syn | ack) == syn {verdict}\n")


@contextlib.contextmanager
def _firewall(server, rules=""):
    server.pod.run("nft", "-f", "-", text=f"add table {TABLE}\nadd chain {TABLE} input "
                   f"{{ type filter hook input priority 0; }}\n{rules}")
    try:
        yield
    finally:
        server.pod.run("nft", "delete", "table", *TABLE.split())


def _filtered(server, verdict):
    return _firewall(server, _meets_syns(server, verdict))


def rst(server):
    """Answers SYNs by RST, as a port does on which nobody listens."""
    return _filtered(server, "reject with tcp reset")


def refuses_data(server):
    """Answers those SYNs by RST that carry data (TCP Fast Open), so no probe's."""
    return _filtered(server, "meta length > 100 reject with tcp reset")


@contextlib.contextmanager
def icmp(server):
    """Answers SYNs by ICMP port unreachable, as often as is asked: the kernel's limit on ICMP
    would else make most of them silence."""
    server.pod.run("sysctl", "-eqw", *(f"net.{name}" for name in (
        "ipv4.icmp_ratelimit=0", "ipv6.icmp.ratelimit=0", "ipv4.icmp_msgs_per_sec=1000000",
        "ipv4.icmp_msgs_burst=10000")))
    with _filtered(server, "reject with icmpx type port-unreachable"):
        yield


def black_hole(server):
    """SYNs vanish."""
    return _filtered(server, "drop")


@contextlib.contextmanager
def closed(server):
    """The server stops listening and goes on with what it has accepted."""
    server.control("close")
    eventually(lambda: not server.listens(), f"{server.pod.name} does not listen")
    try:
        yield
    finally:
        server.control("listen")


@contextlib.contextmanager
def queue_full(server):
    """The server accepts nobody and its accept queue is full: SYNs vanish, though a process that
    is alive has the port open."""
    server.control("full")
    eventually(server.queue_is_full, f"{server.pod.name}: its accept queue is full")
    try:
        yield
    finally:
        server.control("listen")


@contextlib.contextmanager
def flapping(server, period_ms=FLAP_MS):
    """Refuses for so long, accepts for so long, and so on. By the firewall: a socket that stops
    listening resets those who have half shaken hands with it, and that is another fault."""
    lines = itertools.cycle((_meets_syns(server, "reject with tcp reset"),
                             f"flush chain {TABLE} input\n"))
    over = threading.Event()

    def flap(nft):
        while not over.wait(period_ms / 1000):
            nft.stdin.write(next(lines))
            nft.stdin.flush()

    with _firewall(server), subprocess.Popen(
            server.pod.inside(["nft", "-i"]), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            text=True) as nft:
        thread = threading.Thread(target=flap, args=(nft,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextlib.contextmanager
def link_down(server):
    """The pod's interface is down on its node, and so its routes are gone: from another node its
    address is unreachable by ICMP."""
    pod, node = server.pod, server.pod.node
    node.ip(f"link set {pod.veth} down")
    try:
        yield
    finally:
        node.ip(f"link set {pod.veth} up",
                f"route replace {pod.ip4}/32 dev {pod.veth}",
                f"route replace {pod.ip6}/128 dev {pod.veth}")


# ---- after it ------------------------------------------------------------------------------------
@contextlib.contextmanager
def frozen(server):
    """SIGSTOP: the kernel goes on accepting for it, and nobody answers."""
    server.process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.signal(signal.SIGCONT)


@contextlib.contextmanager
def killed(server):
    """SIGKILL, in the middle of whatever it was answering; another is started in the end."""
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextlib.contextmanager
def slow(server, milliseconds=SLOW_MS):
    """The first byte of each answer comes so much later."""
    before = server.service_us
    server.control(f"delay {before + milliseconds * 1000}")
    try:
        yield
    finally:
        server.control(f"delay {before}")


@contextlib.contextmanager
def erring(server, status=503):
    """Every request is answered at once, and by an error."""
    server.control(f"status {status}")
    try:
        yield
    finally:
        server.control("status 200")


CONNECT = {one.__name__: one for one in (rst, icmp, black_hole, closed, queue_full, flapping,
                                         link_down)}
AFTER = {one.__name__: one for one in (frozen, killed, slow, erring)}
FAULTS = {**CONNECT, **AFTER}
