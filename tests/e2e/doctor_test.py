#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""`sluice doctor` and `sluice bpf` against a namespace whose faults are made here: each fault
gives its row, its mending takes the row away."""

import contextlib
import ctypes
import glob
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import Skip, case, check, check_equal, main  # noqa: E402
from cli import Cli, setup as pinned_maps  # noqa: E402

CLONE_NEWNET = 0x40000000
SOUND = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1,
         "net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.uplink0.send_redirects": 0,
         "net.ipv4.ip_local_port_range": "32768 60999"}


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    check(not done.returncode, f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def sysctl(settings):
    run("sysctl", "-qw", *(f"{name}={value}" for name, value in settings.items()))


@contextlib.contextmanager
def setup():
    """A sound node: an uplink with the default route, and one pod interface."""
    with pinned_maps() as shared:
        libc = ctypes.CDLL(None, use_errno=True)
        check(libc.unshare(CLONE_NEWNET) == 0, f"unshare: {os.strerror(ctypes.get_errno())}")
        for line in ("link set lo up", "link add uplink0 type veth peer name wire",
                     "link set uplink0 up", "link set wire up", "addr add 192.0.2.1/24 dev uplink0",
                     "route add default via 192.0.2.2", "link add veth7 type veth peer name pod7",
                     "link set veth7 up"):
            run("ip", *line.split())
        sysctl(SOUND)
        yield shared


def doctor(cli, status=0, heard="0"):
    """The rows of doctor by check, and its exit status as expected. `heard`: seconds since the
    agent's last sign of life; None: there are no maps to write it to."""
    if heard:
        cli.pinned("silence", heard)
    done = cli.run("-j", "doctor")
    rows = json.loads(done.stdout)
    check_equal(done.returncode, status, f"exit status; {done.stderr!r}, {rows}")
    check_equal(done.returncode, int(any(row["status"] == "fail" for row in rows)), "exit status")
    return {row["check"]: row for row in rows}


@contextlib.contextmanager
def fault(settings):
    sysctl(settings)
    try:
        yield
    finally:
        sysctl({name: SOUND[name] for name in settings})


def expect(row, status, found, advice=None):
    check_equal(row["status"], status, f"status of {row}")
    check(found in row["found"], f"{found!r} is not in {row}")
    check(advice is None or advice in (row["advice"] or ""), f"{advice!r} is not in {row}")


# ---- doctor ----------------------------------------------------------------------------
@case
def the_man_page_names_every_check(shared):
    there, root = set(), f"{os.path.dirname(os.path.abspath(__file__))}/../.."
    for path in glob.glob(f"{root}/tools/sluice/doctor_*.c"):
        with open(path, encoding="utf-8") as file:
            there |= set(re.findall(r"doctor_row(?:_needs_root)?\(\s*doctor, \"(\w+)\"", file.read()))
    check(len(there) >= 28 and there >= doctor(shared.cli).keys(), f"the sources name only {there}")
    with open(f"{root}/man/sluice.8", encoding="utf-8") as file:
        page = file.read().split(".It Nm Cm doctor\n")[1].split("\n.El\n")[0]
    check_equal(set(re.findall(r"^\.It Sy (\w+)$", page, re.M)), there, "checks in the man page")


@case
def sound_node(shared):
    rows = doctor(shared.cli)
    for row in rows.values():
        check_equal(set(row), {"check", "status", "found", "advice"}, "keys")
        check(row["status"] in ("ok", "info", "warn"), f"{row}")
    for name in ("privileges", "bpffs", "pin_directory", "kernel", "bpf_helpers", "bpf_atomics",
                 "jit", "memlock", "ip_forward", "ip6_forward", "rp_filter", "send_redirects",
                 "mtu", "link_types", "ports", "bridge_nf", "other_programs", "program_order", "stale_links",
                 "agent"):
        expect(rows[name], "ok", "")
    expect(rows["own_clients"], "warn", "hostNetwork")  # the fake maps have no sluiced to route for
    expect(rows["mtu"], "ok", "uplink 1500, pod interfaces 1500-1500")


@case
def text_for_people(shared):
    shared.cli.pinned("silence", "0")
    with fault({"net.ipv4.conf.uplink0.send_redirects": 1}):
        text = shared.cli.text("doctor")
    check(text.startswith("CHECK"), text)
    check("\nsend_redirects: sysctl -w net.ipv4.conf.all.send_redirects=0 "
          "net.ipv4.conf.uplink0.send_redirects=0" in text, text)


@case
def forwarding(shared):
    with fault({"net.ipv4.ip_forward": 0}):
        expect(doctor(shared.cli, 1)["ip_forward"], "fail", "off", "net.ipv4.ip_forward=1")
    with fault({"net.ipv6.conf.all.forwarding": 0}):
        expect(doctor(shared.cli)["ip6_forward"], "warn", "off")


@case
def redirects(shared):
    with fault({"net.ipv4.conf.all.send_redirects": 1}):
        expect(doctor(shared.cli)["send_redirects"], "warn", "uplink0")


@case
def source_checks(shared):
    run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.veth7.rp_filter=2")
    expect(doctor(shared.cli)["rp_filter"], "ok", "1 loose")
    run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.veth7.rp_filter=0")


@case
def port_ranges(shared):
    with fault({"net.ipv4.ip_local_port_range": "20000 60999"}):
        expect(doctor(shared.cli, 1)["ports"], "fail", "20000-60999", "ip_local_port_range")


@case
def uplink_without_ethernet(shared):
    run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun")
    run("ip", "link", "set", "tun0", "up")
    expect(doctor(shared.cli)["link_types"], "ok", "with Ethernet headers")
    run("ip", "route", "replace", "default", "dev", "tun0")
    expect(doctor(shared.cli)["link_types"], "warn", "tun0: no Ethernet headers", "--uplinks")
    run("ip", "route", "replace", "default", "via", "192.0.2.2")
    run("ip", "link", "del", "tun0")


@case
def mtu(shared):
    run("ip", "link", "set", "veth7", "mtu", "9000")
    expect(doctor(shared.cli)["mtu"], "warn", "uplink 1500, pod interfaces up to 9000")
    run("ip", "link", "set", "veth7", "mtu", "1500")


@contextlib.contextmanager
def added(*argv):
    """A rule of iptables, "FORWARD ...", for a while."""
    run("iptables", "-A", *argv)
    try:
        yield
    finally:
        run("iptables", "-D", *argv)


@contextlib.contextmanager
def nft_chain(hook):
    """A rule of nft's own against INVALID packets at this hook, or in a chain that nothing leads to."""
    at = f"{{ type filter hook {hook} priority 0; }}" if hook else ""
    run("nft", f"add table inet x; add chain inet x y {at}; add rule inet x y ct state invalid drop")
    try:
        yield
    finally:
        run("nft", "delete table inet x")


@case
def bridge_and_invalid_packets(shared):
    name = "net.bridge.bridge-nf-call-iptables"
    invalid = ("-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")

    def judged(status=0):
        return doctor(shared.cli, status)["bridge_nf"]
    run("ip", "link", "add", "virbr0", "type", "bridge")  # without a pod, and the first one
    run("ip", "link", "add", "br0", "type", "bridge")
    sysctl({"net.ipv4.conf.br0.send_redirects": 0, "net.ipv4.conf.virbr0.send_redirects": 0})
    try:
        if os.path.exists("/proc/sys/net/bridge/bridge-nf-call-iptables"):
            sysctl({name: 0})
        with added("FORWARD", *invalid):
            expect(judged(), "ok", "no pods on a bridge")
        run("ip", "link", "set", "veth7", "master", "br0")
        if os.path.exists("/proc/sys/net/bridge/bridge-nf-call-iptables"):
            sysctl({name: 1})
            expect(judged(), "ok", "br0")
            sysctl({name: 0})
        expect(judged(), "warn", "br0", name)
        with added("INPUT", *invalid), added("FORWARD", "-m", "comment", "--comment",
                                             "drop INVALID", "-j", "ACCEPT"), nft_chain("input"):
            expect(judged(), "warn", "br0", name)
        with nft_chain(None):
            expect(judged(), "warn", "br0", name)
        with added("FORWARD", *invalid):
            expect(judged(1), "fail", "drops INVALID", name)
        with nft_chain("forward"):
            expect(judged(1), "fail", "drops INVALID", name)
        run("iptables", "-N", "KUBE-FORWARD")
        with added("KUBE-FORWARD", *invalid), added("FORWARD", "-j", "KUBE-FORWARD"):
            expect(judged(1), "fail", "drops INVALID", name)
        run("iptables", "-X", "KUBE-FORWARD")
    finally:
        run("ip", "link", "del", "br0")
        run("ip", "link", "del", "virbr0")


@case
def others_at_the_hooks(shared):
    for device in ("uplink0", "veth7", "wire"):  # `wire` is none that Sluice would attach to
        run("tc", "qdisc", "add", "dev", device, "clsact")
        run("tc", "filter", "add", "dev", device, "egress", "u32", "match", "u32", "0", "0")
    expect(doctor(shared.cli)["other_programs"], "info", "u32 (clsact egress of 2)")
    for device in ("uplink0", "veth7", "wire"):
        run("tc", "qdisc", "del", "dev", device, "clsact")
    expect(doctor(shared.cli)["other_programs"], "ok", "none")


@case
def agent(shared):
    cli = shared.cli
    expect(doctor(cli, 1, heard="60")["agent"], "fail", "60 s ago", "start sluiced")
    expect(doctor(cli)["agent"], "ok", "pid")
    expect(doctor(Cli(f"{shared.empty}/none"), heard=None)["agent"], "info", "has not run here")
    cli.pinned("layout", "99")
    expect(doctor(cli, 1)["agent"], "fail", "another version")
    cli.pinned("layout", str(cli.layout()))


@case
def what_is_handed_back(shared):
    check("handed_back" not in doctor(shared.cli), "a row without need")
    shared.cli.text("hand-back", "llm", "--timeout", "0")
    row = doctor(shared.cli)["handed_back"]
    shared.cli.text("hand-back", "--undo", "llm")
    expect(row, "info", "new connections of default/llm", "--undo")
    check_equal(row["found"].count("llm"), 1, "two VIPs, one service")


@case
def no_bpffs(shared):
    expect(doctor(Cli("/proc/sluice"), 1, None)["bpffs"], "fail", "/proc/sluice", "mount -t bpf")


@case
def pins_that_others_can_change(shared):
    for path, mode, status in ((shared.empty, 0o1777, "warn"), (shared.cli.bpffs, 0o770, "fail")):
        before = os.stat(path).st_mode & 0o7777
        os.chmod(path, mode)
        try:
            row = doctor(shared.cli, int(status == "fail"))["pin_directory"]
        finally:
            os.chmod(path, before)
        expect(row, status, f"{path} belongs to user 0 and has mode {mode:04o}")
    os.chown(shared.cli.bpffs, 65534, 65534)
    try:
        expect(doctor(shared.cli, 1)["pin_directory"], "fail", "belongs to user 65534")
    finally:
        os.chown(shared.cli.bpffs, 0, 0)
    expect(doctor(shared.cli)["pin_directory"], "ok", "root")


@case
def without_privileges(shared):
    done = subprocess.run(["setpriv", "--bounding-set", "-bpf,-net_admin,-sys_admin",
                           *shared.cli.argv("-j", "doctor")],
                          capture_output=True, text=True, check=False)
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    for name in ("bpf_helpers", "jit", "other_programs", "program_order"):
        expect(rows[name], "warn", "needs root", "as root")
    expect(rows["privileges"], "warn", "CAP_BPF")
    expect(rows["ip_forward"], "ok", "on")


# ---- bpf -------------------------------------------------------------------------------


@case
def bpf_show(shared):
    rows = {row["name"]: row for row in shared.cli.json("bpf", "show")}
    control = rows["control"]
    check_equal((control["kind"], control["interface"], control["hook"]), ("map", None, None),
                "control")
    check_equal(control["pin"], f"{shared.cli.bpffs}/control", "pin")
    check(control["id"] > 0 and control["memory_bytes"] > 0, f"{control}")
    check_equal(set(rows), set(os.listdir(shared.cli.bpffs)), "maps")


@case
def bpf_dump(shared):
    if subprocess.run(["bpftool", "version"], capture_output=True, check=False).returncode:
        raise Skip("no bpftool in the PATH")
    check("elements" in shared.cli.text("bpf", "dump", "services").lower(), "no elements")
    check(isinstance(shared.cli.json("bpf", "dump", "control"), list), "not JSON")


@case
def bpf_refuses(shared):
    for words, status, said in ((("bpf", "dump"), 2, "NAME"),
                                (("bpf", "dump", "../x"), 2, "not the name"),
                                (("bpf", "dump", "nothing"), 1, "bpf show")):
        done = shared.cli.run(*words)
        check_equal(done.returncode, status, f"exit status of {words}")
        check(said in done.stderr, f"{said!r} is not in {done.stderr!r}")
    done = Cli(f"{shared.empty}/none").run("bpf", "show")
    check_equal(done.returncode, 1, "exit status")
    check("is sluiced running" in done.stderr, done.stderr)


if __name__ == "__main__":
    main(setup)
