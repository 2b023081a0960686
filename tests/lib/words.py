# SPDX-License-Identifier: GPL-2.0-only
"""Single words of pinned maps, changed as nobody but a test would: to make the programs believe
something that would take long to bring about."""

import contextlib
import ctypes
import mmap
import os

BPF_OBJ_GET = 7
SYS_BPF = {"x86_64": 321, "aarch64": 280}


def _open_pinned(path):
    name = ctypes.create_string_buffer(path.encode())
    attr = (ctypes.c_uint64 * 16)(ctypes.addressof(name))
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(SYS_BPF[os.uname().machine], BPF_OBJ_GET, attr, ctypes.sizeof(attr))
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"{path}: {os.strerror(ctypes.get_errno())}")
    return fd


@contextlib.contextmanager
def added(path, offset, number):
    """Adds `number` to the 32-bit word at `offset` of a mapped map, and takes it away again. The
    programs' own changes in between stay; one at the same instant would be lost."""
    fd = _open_pinned(path)
    page = mmap.mmap(fd, mmap.PAGESIZE)
    os.close(fd)
    word = ctypes.c_uint32.from_buffer(page, offset)
    word.value += number
    try:
        yield
    finally:
        word.value -= number
        del word
        page.close()
