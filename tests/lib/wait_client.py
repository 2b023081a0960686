# SPDX-License-Identifier: GPL-2.0-only
"""Clients that wait for an answer, run inside a client's namespace.

wait_client.py ADDRESS PORT PATH COUNT: opens COUNT connections, asks for PATH on each, prints
"up" when each has a first byte, and reads until each ends: then one JSON line {"ends": {HOW: COUNT}, "bytes": TOTAL,
"times": [seconds since the epoch]}. HOW is "closed" or the name of the error.
"""

import json
import selectors
import socket
import sys
import time


def main():
    address, port, path, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    selector = selectors.DefaultSelector()
    for _ in range(count):
        sock = socket.create_connection((address, port), 5)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: wait\r\n\r\n".encode())
        if not sock.recv(1):
            sys.exit("closed at once")
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
    print("up", flush=True)
    ends, times, total = {}, [], 0
    while len(times) < count:
        for key, _ in selector.select():
            try:
                data = key.fileobj.recv(65536)
                how = None if data else "closed"
                total += len(data)
            except OSError as error:
                how = type(error).__name__
            if how:
                ends[how] = ends.get(how, 0) + 1
                times.append(time.time())
                selector.unregister(key.fileobj)
                key.fileobj.close()
    print(json.dumps({"ends": ends, "bytes": total, "times": times}), flush=True)


if __name__ == "__main__":
    main()
