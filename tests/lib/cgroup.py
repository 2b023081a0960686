# SPDX-License-Identifier: GPL-2.0-only
"""Control groups of either version, for a process of a test's own."""

import contextlib
import os

V2 = "/sys/fs/cgroup"
V2_BESIDE = "/sys/fs/cgroup/unified"


def _write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _remove(path):
    """Moves what is left in it to the root, and removes it."""
    root = path
    while os.path.exists(f"{os.path.dirname(root)}/cgroup.procs"):
        root = os.path.dirname(root)
    with contextlib.suppress(FileNotFoundError):
        with open(f"{path}/cgroup.procs", encoding="ascii") as procs:
            for pid in procs.read().split():
                with contextlib.suppress(OSError):
                    _write(f"{root}/cgroup.procs", pid)
        os.rmdir(path)


def _hierarchy():
    """Where version 2 is mounted; None: nowhere."""
    return next((root for root in (V2, V2_BESIDE)
                 if os.path.exists(f"{root}/cgroup.controllers")), None)


@contextlib.contextmanager
def pod(uid, pid):
    """The group that a kubelet would make for this pod, with process `pid` in it. Yields None where
    there is no version 2."""
    root = _hierarchy()
    if not root:
        yield None
        return
    parent, path = f"{root}/kubepods", f"{root}/kubepods/pod{uid}"
    made = not os.path.isdir(parent)
    os.makedirs(path)
    try:
        _write(f"{path}/cgroup.procs", str(pid))
        yield path
    finally:
        _remove(path)
        if made:
            _remove(parent)


@contextlib.contextmanager
def starved(name, pid, milliseconds):
    """Process `pid` gets no more than this much of a CPU each second, in one burst. Yields None where
    that cannot be had."""
    path = next((f"{root}/{name}" for root, file in (("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us"),
                                                      (V2, "cpu.max"))
                 if os.path.isdir(root) and _try_make(f"{root}/{name}", file)), None)
    if not path:
        yield None
        return
    try:
        if os.path.exists(f"{path}/cpu.max"):
            _write(f"{path}/cpu.max", f"{milliseconds * 1000} 1000000")
        else:
            _write(f"{path}/cpu.cfs_period_us", "1000000")
            _write(f"{path}/cpu.cfs_quota_us", str(milliseconds * 1000))
        _write(f"{path}/cgroup.procs", str(pid))
        yield path
    finally:
        _remove(path)


def _try_make(path, file):
    with contextlib.suppress(OSError):
        os.mkdir(path)
        if os.path.exists(f"{path}/{file}"):
            return True
        os.rmdir(path)
    return False
