# SPDX-License-Identifier: GPL-2.0-only
"""The CLI against maps that tests/e2e/pinned.c pins in a bpffs of the test's own: neither agent
nor programs are needed, and nobody else sees them."""

import contextlib
import ctypes
import json
import os
import subprocess
import tempfile
import types

from case import check, check_equal
from process import built

CLONE_NEWNS = 0x20000


class Cli:
    def __init__(self, bpffs):
        self.bpffs = bpffs

    def argv(self, *words):
        return [built("sluice"), "--bpffs", self.bpffs, *words]

    def run(self, *words, **options):
        return subprocess.run(self.argv(*words), capture_output=True, text=True, timeout=30,
                              check=False, **options)

    def text(self, *words):
        done = self.run(*words)
        check_equal(done.returncode, 0, f"exit status of {words}, which said {done.stderr!r}")
        return done.stdout

    def json(self, *words):
        return json.loads(self.text("-j", *words))

    def layout(self):
        """Number of the layout of maps that this build knows."""
        return self.json("version")[0]["layout"]

    def start(self, *words, **options):
        return subprocess.Popen(self.argv(*words), text=True, **options)

    def pinned(self, *words):
        return subprocess.run([built("tests/e2e/pinned"), self.bpffs, *words], check=True,
                              capture_output=True, text=True).stdout


@contextlib.contextmanager
def setup():
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.unshare(CLONE_NEWNS) == 0, f"unshare: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with tempfile.TemporaryDirectory(prefix="sluice-cli-") as directory:
        subprocess.run(["mount", "-t", "bpf", "-o", "mode=700", "bpf", directory], check=True)
        try:
            cli = Cli(f"{directory}/sluice")
            os.mkdir(cli.bpffs)
            cli.pinned("create")
            yield types.SimpleNamespace(cli=cli, empty=directory)
        finally:
            subprocess.run(["umount", directory], check=True)
