# SPDX-License-Identifier: GPL-2.0-only
"""Both ends of conversations of unusual shapes, run inside namespaces by tests/e2e/shapes_test.py.

shapes.py serve PORT             a server that does what a connection's first line says (Talk)
shapes.py NAME ADDRESS PORT ...  a client: the function of that name; prints its result in JSON
"""

import json
import os
import select
import socket
import socketserver
import sys
import time

BODY = 60000
PATIENCE = 15 * float(os.environ.get("SLUICE_SLOW", "1"))


def pattern(size, start=0):
    period = bytes(ord("a") + i for i in range(23))
    return (period * (size // 23 + 2))[start % 23:start % 23 + size]


# ---- the server ----------------------------------------------------------------------------------
class Talk(socketserver.StreamRequestHandler):
    """take N       reads so many bytes of pattern, answers "got N" or "bad"
    after-eof S    reads up to the client's end, waits S seconds, answers "got N"
    fin-first      ends its own side at once, and counts what still comes; `last` tells how much
    inline N       reads N bytes, urgent ones among them, and sends them back
    pour N         sends so many bytes of pattern"""

    last = 0

    def handle(self):
        verb, *argument = self.rfile.readline().decode().split()
        getattr(self, verb.replace("-", "_"))(*map(int, argument))

    def take(self, size):
        self.say("got %d" % size if self.rfile.read(size) == pattern(size) else "bad")

    def after_eof(self, seconds):
        body = self.rfile.read()
        time.sleep(seconds)
        self.say("got %d" % len(body) if body == pattern(len(body)) else "bad")

    def fin_first(self):
        self.request.shutdown(socket.SHUT_WR)
        Talk.last = len(self.rfile.read())

    def tell_last(self):
        self.say("got %d" % Talk.last)

    def inline(self, size):
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.say("go")
        self.wfile.write(self.rfile.read(size))

    def pour(self, size):
        self.wfile.write(pattern(size))

    def say(self, text):
        self.wfile.write(text.encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A probe, which resets what it has opened."""


def serve(port):
    Server(("::", int(port)), Talk).serve_forever()


# ---- TCP clients -----------------------------------------------------------------------------------
def connect(address, port, first_line, receive_buffer=None):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.settimeout(PATIENCE)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect((address, int(port)))
    sock.sendall(first_line.encode() + b"\n")
    return sock


def read_all(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


def half_close(address, port, seconds):
    """Each side ends first once, is silent, and the other goes on."""
    sock = connect(address, port, f"after-eof {seconds}")
    sock.sendall(pattern(BODY))
    sock.shutdown(socket.SHUT_WR)
    first = read_all(sock).decode()
    sock = connect(address, port, "fin-first")
    ended = sock.recv(1)
    time.sleep(int(seconds))
    sock.sendall(pattern(BODY))
    sock.close()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        last = read_all(connect(address, port, "tell-last")).decode()
        if last == f"got {BODY}\n":
            break
    return [first.strip(), ended.decode(), last.strip()]


def urgent(address, port):
    sock = connect(address, port, "inline 1001")
    answers = sock.makefile("rb")
    answers.readline()
    sock.sendall(pattern(500))
    sock.send(b"!", socket.MSG_OOB)
    sock.sendall(pattern(500))
    return answers.read(1001).decode() == (pattern(500) + b"!" + pattern(500)).decode()


def tiny_window(address, port):
    """A reader with a buffer of 2 KiB who takes a little at a time."""
    sock = connect(address, port, f"pour {BODY}", receive_buffer=2048)
    return b"".join(iter(lambda: sock.recv(700), b"")) == pattern(BODY)


def bulk(address, port, size):
    """So much up, then so much down: segments as large as the devices take them."""
    size = int(size)
    sock = connect(address, port, f"take {size}")
    sock.sendall(pattern(size))
    up = read_all(sock).decode().strip()
    return [up, read_all(connect(address, port, f"pour {size}")) == pattern(size)]


def fast_open(address, port, count, *identity):
    """HTTP requests that go out with the SYN; the names of who answered, or the error."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    answers = []
    for i in range(int(count)):
        with socket.socket(family) as sock:
            sock.settimeout(PATIENCE)
            try:
                sock.sendto(f"GET /close HTTP/1.1\r\nX-Request-Id: {'-'.join(identity)}-{i}\r\n\r\n".encode(),
                            socket.MSG_FASTOPEN, (address, int(port)))
                head = read_all(sock).decode()
                answers.append(head.partition("X-Replica: ")[2].split()[0])
            except OSError as error:
                answers.append(type(error).__name__)
    return answers


# ---- UDP clients -----------------------------------------------------------------------------------
def datagrams(address, port, source_port=0, timeout=PATIENCE):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.settimeout(timeout)
    sock.bind(("", int(source_port)))
    sock.connect((address, int(port)))
    return sock


def empty(address, port, count):
    """Datagrams without a byte: the payloads that came back."""
    sock = datagrams(address, port)
    payloads = []
    for _ in range(int(count)):
        sock.send(b"")
        payloads.append(sock.recv(65535).partition(b"\n")[2].decode())
    return payloads


def long_talk(address, port, count, window, size, source_port=0):
    """`count` datagrams with `window` of them under way, as QUIC sends; all come back, in any order."""
    count, window, size = int(count), int(window), int(size)
    sock = datagrams(address, port, source_port, timeout=1)
    servers, back, sent = set(), set(), 0
    idle_until = time.monotonic() + PATIENCE
    while len(back) < count and time.monotonic() < idle_until:
        while sent < count and sent - len(back) < window:
            sock.send(b"%d," % sent + pattern(size))
            sent += 1
        try:
            head, _, echo = sock.recv(65535).partition(b"\n")
        except TimeoutError:
            break
        number, _, body = echo.partition(b",")
        if body == pattern(size):
            back.add(int(number))
            servers.add(head.decode().split()[0])
            idle_until = time.monotonic() + PATIENCE
    return {"back": len(back), "servers": sorted(servers)}


def steady(address, port, seconds, interval_ms):
    """One conversation, a datagram at a time: a line [second, server] whenever another one answers;
    null: nobody did."""
    sock = datagrams(address, port, timeout=int(interval_ms) / 1000)
    began, seen = time.monotonic(), []
    while time.monotonic() - began < float(seconds):
        started, server = time.monotonic(), None
        try:
            sock.send(b"ask")
            server = sock.recv(65535).decode().split()[0]
        except OSError:
            pass
        if not seen or seen[-1][1] != server:
            seen.append([round(time.monotonic() - began, 2), server])
            print(json.dumps(seen[-1]), flush=True)
        time.sleep(max(0, int(interval_ms) / 1000 - (time.monotonic() - started)))


def fragments(address, port, size, count):
    """Datagrams that are larger than the MTU; how many were answered."""
    sock = datagrams(address, port, timeout=0.3)
    answered = 0
    for _ in range(int(count)):
        sock.send(pattern(int(size)))
        try:
            answered += bool(sock.recv(65535))
        except OSError:
            pass
    return answered


# ---- a wire that spoils --------------------------------------------------------------------------
def jumble(one, other):
    """Carries frames between two devices, repeats every seventh and holds every fifth back until two
    others have passed it; for ever."""
    socks = []
    for device in (one, other):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        sock.setsockopt(263, 23, 1)     # SOL_PACKET, PACKET_IGNORE_OUTGOING
        sock.bind((device, 0))
        socks.append(sock)
    ways = {socks[0]: Spoiler(socks[1]), socks[1]: Spoiler(socks[0])}
    while True:
        ready, _, _ = select.select(socks, [], [], 0.005)
        for sock in ready:
            ways[sock].carry(sock.recv(65535))
        for way in ways.values():
            way.release(not ready)


class Spoiler:
    def __init__(self, to):
        self.to, self.count, self.held, self.passed = to, 0, [], 0

    def carry(self, frame):
        self.count += 1
        if self.count % 5 == 0:
            self.held.append(frame)
            self.passed = 0
            return
        self.passed += 1
        for _ in range(1 + (self.count % 7 == 0)):
            self.to.send(frame)

    def release(self, silent):
        """What is held back goes now; `silent`: nobody else comes to pass it."""
        if self.held and (silent or self.passed >= 2):
            for frame in self.held:
                self.to.send(frame)
            self.held.clear()


def main():
    name, *arguments = sys.argv[1:]
    print(json.dumps(globals()[name](*arguments)))


if __name__ == "__main__":
    main()
