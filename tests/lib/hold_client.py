# SPDX-License-Identifier: GPL-2.0-only
"""One HTTP connection that falls silent, run inside a client's namespace.

hold_client.py ADDRESS PORT: connects, and for each line on stdin sends one request
and prints what came of it: "ok REPLICA", or the name of the error.
"""

import socket
import sys


def ask(sock):
    sock.sendall(b"GET / HTTP/1.1\r\nHost: held\r\n\r\n")
    data = b""
    while b"\r\n\r\nreplica " not in data or not data.endswith(b"\n"):
        more = sock.recv(4096)
        if not more:
            return "closed"
        data += more
    return "ok " + data.rpartition(b"replica ")[2].decode().strip()


def main():
    address, port = sys.argv[1], int(sys.argv[2])
    with socket.create_connection((address, port), 5) as sock:
        for _ in sys.stdin:
            try:
                print(ask(sock), flush=True)
            except OSError as error:
                print(type(error).__name__, flush=True)


if __name__ == "__main__":
    main()
