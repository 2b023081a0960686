# SPDX-License-Identifier: GPL-2.0-only
"""Many clients of tests/e2e/slots.c in one namespace, each with one connection; who is served when.

line_client.py ADDRESS PORT CLIENTS WORD SPACING_MS PATIENCE_S: begins CLIENTS connects, SPACING_MS
apart, sends WORD on each as soon as it stands, and reads the answer and the server's end; with the
word "hold" it keeps all that stand open until it is stopped; the word "20-80" is a number of its own
for each client. Prints one line of JSON for each
client, in the order in which they were connected or failed:

    {"client": N, "begun": S, "connected": S, "replica": NAME or null, "error": NAME or null}

Times are those of CLOCK_MONOTONIC, which all namespaces share.
"""

import errno
import json
import random
import selectors
import signal
import socket
import sys
import time


class Client:
    def __init__(self, number, address):
        self.number, self.answer = number, b""
        self.connected, self.error = None, None
        self.sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self.sock.setblocking(False)
        self.begun = time.monotonic()
        code = self.sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            self.error = errno.errorcode[code]

    def report(self):
        print(json.dumps({"client": self.number, "begun": self.begun, "connected": self.connected,
                          "replica": self.answer.decode().strip() or None, "error": self.error}))


class Line:
    def __init__(self, word, patience):
        self.word, self.patience = word, patience
        self.selector = selectors.DefaultSelector()
        self.done, self.open = [], 0

    def add(self, client):
        if client.error:
            self.done.append(client)
            return
        self.open += 1
        self.selector.register(client.sock, selectors.EVENT_WRITE, client)

    def end(self, client, error=None):
        client.error = client.error or error
        self.selector.unregister(client.sock)
        self.open -= 1
        if error or self.word != "hold":
            client.sock.close()
        if error and client.connected is None:
            client.connected = time.monotonic()
        self.done.append(client)

    def ready(self, client):
        if client.connected is None:
            code = client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self.end(client, errno.errorcode[code])
                return
            client.connected = time.monotonic()
            low, _, high = self.word.partition("-")
            word = random.randint(int(low), int(high)) if high else self.word
            client.sock.send(f"{word}\n".encode())
            self.selector.modify(client.sock, selectors.EVENT_READ, client)
            return
        try:
            data = client.sock.recv(100)
        except OSError as error:
            self.end(client, errno.errorcode[error.errno])
            return
        client.answer += data
        if not data and not client.answer:
            self.end(client, "closed")
        elif not data or (self.word == "hold" and client.answer.endswith(b"\n")):
            self.end(client)

    def poll(self, until):
        while True:
            left = until - time.monotonic()
            if left <= 0 or (not self.open and left > 1):
                return
            for key, _ in self.selector.select(left):
                self.ready(key.data)

    def give_up(self):
        for key in list(self.selector.get_map().values()):
            self.end(key.data, "impatient")


def main():
    address, port, clients, word, spacing_ms, patience = sys.argv[1:7]
    line = Line(word, float(patience))
    begun = time.monotonic()
    for number in range(int(clients)):
        line.poll(begun + number * float(spacing_ms) / 1000)
        line.add(Client(number, (address, int(port))))
    line.poll(time.monotonic() + line.patience)
    line.give_up()
    for client in sorted(line.done, key=lambda one: one.connected or 0):
        client.report()
    sys.stdout.flush()
    if word == "hold":
        signal.pause()


if __name__ == "__main__":
    main()
