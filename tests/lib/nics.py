# SPDX-License-Identifier: GPL-2.0-only
"""Network cards, two and two wired to each other, as vmtest/run --nics gives them to a guest. Their
drivers are loaded here: nobody else in a guest does."""

import os
import subprocess
import types

from case import Skip

MAC = "52:54:00:00:"        # then the pair's number, and the end's: 00 or 01
NET = "/sys/class/net"
BUSES = ("/sys/bus/pci/devices", "/sys/bus/virtio/devices")


def _read(path):
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def load_drivers():
    """The module of each device, as udev would load it. A virtio card is one on either bus."""
    for bus in filter(os.path.isdir, BUSES):
        for device in sorted(os.listdir(bus)):
            subprocess.run(["modprobe", "-q", _read(f"{bus}/{device}/modalias")], check=False)


def _driver(name):
    """virtio_net sits on a virtio device, the others on a PCI device: both have this link."""
    return os.path.basename(os.path.realpath(f"{NET}/{name}/device/driver"))


def pairs():
    """{driver: its two cards, as .name and .driver, in the order of their ends}, of this network
    namespace."""
    found = {}
    for name in os.listdir(NET):
        address = _read(f"{NET}/{name}/address") if os.path.exists(f"{NET}/{name}/device") else ""
        if address.startswith(MAC):
            card = types.SimpleNamespace(name=name, driver=_driver(name), address=address)
            found.setdefault(card.driver, []).append(card)
    return {driver: sorted(cards, key=lambda card: card.address)
            for driver, cards in found.items() if len(cards) == 2}


def pair_of(driver):
    """Both ends of a wire between two cards of this driver, or why there is none."""
    load_drivers()
    cards = pairs().get(driver)
    if not cards:
        raise Skip(f"no two cards of {driver}: not in a guest, or its kernel lacks the driver")
    return cards
