# SPDX-License-Identifier: GPL-2.0-only
"""UDP conversations with the test server, run inside a client's namespace.

udp_client.py ADDRESS PORT CONVERSATIONS DATAGRAMS SIZE: each conversation is a
socket that sends DATAGRAMS of SIZE bytes and waits for each echo. Prints JSON:
per server, how many conversations it answered; and lost, moved (a conversation
whose answers came from two servers), bad (an echo that is not what was sent) and
the client address that servers saw.
"""

import collections
import json
import os
import socket
import sys


def converse(address, port, datagrams, size, account):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    servers = set()
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(float(os.environ.get("SLUICE_SLOW", "1")))  # seconds, as tests/lib/case.py has it
        try:
            sock.connect((address, port))
        except OSError:  # no route
            account["lost"] += datagrams
            return
        for i in range(datagrams):
            payload = (b"%d," % i * size)[:size]
            sock.send(payload)
            try:
                head, _, echo = sock.recv(65535).partition(b"\n")
            except (TimeoutError, ConnectionRefusedError):
                account["lost"] += 1
                continue
            server, client = head.decode().split()
            servers.add(server)
            account["bad"] += echo != payload
            account["clients"].add(client)
    account["moved"] += len(servers) > 1
    for server in servers:
        account["servers"][server] += 1


def main():
    address, port, conversations, datagrams, size = sys.argv[1], *map(int, sys.argv[2:6])
    account = {"lost": 0, "moved": 0, "bad": 0, "clients": set(),
               "servers": collections.Counter()}
    for _ in range(conversations):
        converse(address, port, datagrams, size, account)
    account["clients"] = sorted(account["clients"])
    print(json.dumps(account))


if __name__ == "__main__":
    main()
