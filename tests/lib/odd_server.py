# SPDX-License-Identifier: GPL-2.0-only
"""A server that fails in odd ways, run inside a replica's namespace: odd_server.py PORT.

GET /hang is answered by a head and nothing more, GET /stream gets a byte every 100 ms for ever, GET /health 200.
SIGUSR1: /health is not answered any more (and again after the next). SIGUSR2: the port closes,
open connections stay open and silent.
"""

import selectors
import signal
import socket
import sys


class Server:
    def __init__(self, port):
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("::", port), family=socket.AF_INET6, backlog=1024,
                                             dualstack_ipv6=True)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.healthy, self.streams = True, []
        self.held = []  # so that nothing is closed by the collector
        signal.signal(signal.SIGUSR1, self.toggle)
        signal.signal(signal.SIGUSR2, self.close)

    def toggle(self, *_):
        self.healthy = not self.healthy

    def close(self, *_):
        if self.listener:
            self.selector.unregister(self.listener)
            self.listener.close()
            self.listener = None

    def serve(self, conn):
        try:
            data = conn.recv(4096)
            if data:
                self.answer(conn, data)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(conn)
            self.streams = [one for one in self.streams if one is not conn]
            conn.close()

    def answer(self, conn, data):
        if not self.listener:
            return
        if b" /health " in data:
            if self.healthy:
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif b" /hang " in data:
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        elif b" /stream " in data:
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self.streams.append(conn)

    def tick(self):
        for conn in self.streams:
            try:
                conn.send(b".")
            except OSError:
                pass

    def run(self):
        while True:
            for key, _ in self.selector.select(0.1):
                if key.fileobj is self.listener:
                    conn, _ = self.listener.accept()
                    self.held.append(conn)
                    self.selector.register(conn, selectors.EVENT_READ)
                elif key.fileobj.fileno() >= 0:
                    self.serve(key.fileobj)
            self.tick()


if __name__ == "__main__":
    Server(int(sys.argv[1])).run()
