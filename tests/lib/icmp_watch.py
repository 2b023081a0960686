# SPDX-License-Identifier: GPL-2.0-only
"""Prints a line of JSON for each ICMP error that is seen in this network namespace, in or out, on any
device: who says it to whom, what it quotes, and whether its checksums are right, recomputed.
Prints "ready" first."""

import ctypes
import json
import socket
import struct
import sys

SO_ATTACH_FILTER = 26
# Classic BPF, (code, true, false, operand): ICMP in IPv4, ICMPv6 right behind IPv6's header.
ICMP_ALONE = (
    (0x30, 0, 0, 0), (0x54, 0, 0, 0xf0),           # A = version << 4
    (0x15, 0, 3, 0x40),                            # 4?
    (0x30, 0, 0, 9), (0x15, 3, 0, 1), (0x06, 0, 0, 0),
    (0x30, 0, 0, 6), (0x15, 0, 1, 58),
    (0x06, 0, 0, 0xffff), (0x06, 0, 0, 0))
ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}


def folded(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def ends(packet):
    """(version, header length, protocol, source, destination) of an IP packet."""
    if packet[0] >> 4 == 4:
        return (4, (packet[0] & 0xf) * 4, packet[9],
                socket.inet_ntop(socket.AF_INET, packet[12:16]),
                socket.inet_ntop(socket.AF_INET, packet[16:20]))
    return (6, 40, packet[6], socket.inet_ntop(socket.AF_INET6, packet[8:24]),
            socket.inet_ntop(socket.AF_INET6, packet[24:40]))


def error_of(packet):
    """What is to be printed of an IP packet; None: it is no ICMP error."""
    version, header, protocol, src, dst = ends(packet)
    if protocol != (1 if version == 4 else 58):
        return None
    length = struct.unpack("!H", packet[2:4] if version == 4 else packet[4:6])[0]
    icmp = packet[header:length if version == 4 else 40 + length]
    if icmp[0] not in ERRORS[version]:
        return None
    pseudo = b"" if version == 4 else packet[8:40] + struct.pack("!II", len(icmp), 58)
    quote = icmp[8:]
    _, quoted_header, _, quoted_src, quoted_dst = ends(quote)
    good = folded(pseudo + icmp) == 0xffff
    if version == 4:
        good &= folded(packet[:header]) == 0xffff and folded(quote[:quoted_header]) == 0xffff
    return {"src": src, "dst": dst, "type": icmp[0], "code": icmp[1],
            "mtu": struct.unpack("!H" if version == 4 else "!I",
                                 icmp[6:8] if version == 4 else icmp[4:8])[0],
            "quoted_src": quoted_src, "quoted_dst": quoted_dst, "good": good}


def attach_filter(sock):
    """A transfer's packets are none of ours, and too many to look at."""
    program = b"".join(struct.pack("=HBBI", *one) for one in ICMP_ALONE)
    buffer = ctypes.create_string_buffer(program)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("HL", len(ICMP_ALONE), ctypes.addressof(buffer)))


def main():
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003)) as sock:
        attach_filter(sock)
        print("ready", flush=True)
        while True:
            packet, where = sock.recvfrom(65535)
            if where[1] not in (0x0800, 0x86dd):
                continue
            error = error_of(packet)
            if error:
                print(json.dumps({"device": where[0], "out": where[2] == 4, **error}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
