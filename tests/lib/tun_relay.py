# SPDX-License-Identifier: GPL-2.0-only
"""A tunnel of IP packets in datagrams, run inside a node's namespace; as VPNs in user space make them.

tun_relay.py DEVICE HERE THERE PORT: what the node sends to DEVICE goes to its like at THERE, and back.
Prints "up", and ends with the device.
"""

import errno
import fcntl
import os
import selectors
import socket
import struct
import sys

TUNSETIFF = 0x400454ca
IFF_TUN, IFF_NO_PI = 1, 0x1000
# A packet is lost: a queue is full, nobody listens there yet, the device is not up.
LOST = (errno.EAGAIN, errno.ECONNREFUSED, errno.EIO)


def main():
    device, here, there, port = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        wire.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    wire.bind((here, port))
    wire.connect((there, port))
    wire.setblocking(False)
    selector = selectors.DefaultSelector()
    for one in (tun, wire):
        selector.register(one, selectors.EVENT_READ)
    print("up", flush=True)
    while True:
        for key, _ in selector.select():
            try:
                if key.fileobj is wire:
                    os.write(tun, wire.recv(65536))
                else:
                    wire.send(os.read(tun, 65536))
            except OSError as error:
                if error.errno not in LOST:
                    raise


if __name__ == "__main__":
    try:
        main()
    except OSError as gone:
        sys.exit(f"over: {gone}")
