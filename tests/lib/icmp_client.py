# SPDX-License-Identifier: GPL-2.0-only
"""A UDP client that waits for an ICMP error, run inside a client's namespace.

icmp_client.py refused ADDRESS PORT       a plain connected socket: {"errno": "ECONNREFUSED"}
icmp_client.py expired ADDRESS PORT TTL   by its error queue, as traceroute does:
                                          {"errno", "type", "code", "offender"}

Sends until an error comes or 5 s have passed: kernels limit how many errors they send.
"""

import errno
import json
import os
import socket
import struct
import sys
import time

PAUSE = 0.05
DEADLINE = 5 * float(os.environ.get("SLUICE_SLOW", "1"))
IP_RECVERR, IPV6_RECVERR = 11, 25
EXTENDED = struct.Struct("=IBBBBII")  # struct sock_extended_err; struct sockaddr follows


def connected(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(PAUSE)
    sock.connect((address, port))
    return sock


def wait_for(sock, look):
    """Sends until `look` returns something."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            sock.send(b"anybody there?")
        except OSError as error:
            if look is plain:
                return {"errno": errno.errorcode[error.errno]}
        found = look(sock)
        if found:
            return found
    return {"errno": None}


def plain(sock):
    try:
        sock.recv(100)
    except TimeoutError:
        return None
    except OSError as error:
        return {"errno": errno.errorcode[error.errno]}
    return {"errno": "answered"}


def queued(sock):
    time.sleep(PAUSE)
    try:
        _, ancillary, _, _ = sock.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
    except (BlockingIOError, TimeoutError):
        return None
    for _, _, data in ancillary:
        number, _, kind, code, _, _, _ = EXTENDED.unpack_from(data)
        offender = data[EXTENDED.size:]
        v4 = sock.family == socket.AF_INET
        return {"errno": errno.errorcode[number], "type": kind, "code": code,
                "offender": socket.inet_ntop(sock.family,
                                             offender[4:8] if v4 else offender[8:24])}
    return None


def main():
    what, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with connected(address, port) as sock:
        if what == "expired":
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(sys.argv[4]))
                sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, int(sys.argv[4]))
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        print(json.dumps(wait_for(sock, queued if what == "expired" else plain)))


if __name__ == "__main__":
    main()
