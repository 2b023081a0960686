# SPDX-License-Identifier: GPL-2.0-only
"""Programs started inside network namespaces, and nothing else ended than those."""

import os
import signal
import subprocess

from case import check

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("O", f"{ROOT}/build")


def built(name):
    """The path of something that the Makefile builds, as `sluiced` or `tests/e2e/load`."""
    path = f"{BUILD}/{name}"
    check(os.path.exists(path), f"{path} is not built")
    return path


class Process:
    """A program in its own session: a signal to it reaches what it forked, and no one else."""

    def __init__(self, argv, log_path, stdout=None, env=None):
        self.argv = argv
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log,
                start_new_session=True, env={**os.environ, **(env or {})})
        self.pid = self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def signal(self, number):
        """To the whole session, while it lives."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def kill(self):
        self.signal(signal.SIGKILL)
        self.popen.wait()

    def stop(self, deadline=10):
        """SIGTERM, and SIGKILL when that is not enough. Returns the exit status."""
        if self.running():
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(deadline)
            except subprocess.TimeoutExpired:
                pass
        self.kill()
        return self.popen.returncode

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()


class Space:
    """A network namespace. /sys stays the caller's own, so that bpffs is seen inside."""

    def __init__(self, lab, name):
        self.lab = lab
        self.name = name
        self.ns = f"{lab.prefix}-{name}"

    def inside(self, argv):
        return ["nsenter", f"--net=/run/netns/{self.ns}", *map(str, argv)]

    def run(self, *argv, text=None, fail=True):
        """Runs a command to its end; returns its output. A failure is an error unless told."""
        done = subprocess.run(self.inside(argv), input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        if fail and done.returncode:
            raise AssertionError(f"{self.name}: {' '.join(map(str, argv))}: exit status "
                                 f"{done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def spawn(self, *argv, stdout=None, env=None):
        program = os.path.basename(str(argv[0]))
        process = Process(self.inside(argv), f"{self.lab.dir}/{self.name}-{program}.log",
                          stdout, env)
        self.lab.processes.append(process)
        return process

    def ip(self, *lines):
        """Lines for `ip -batch`, run in this namespace."""
        self.run("ip", "-batch", "-", text="\n".join(lines) + "\n")

    def sysctl(self, **settings):
        """Names with dots as `__`."""
        self.run("sysctl", "-qw", *(f"{name.replace('__', '.')}={value}"
                                    for name, value in settings.items()))
