"""The supervisor's children: forked, reaped, and watched where they are not children any more.

The supervisor is single-threaded, so a fork is safe at any time. It is a *subreaper*: what a
learner's parent leaves behind when it is killed becomes the supervisor's child, exit code and all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process on Linux; elsewhere (macOS) nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


class Children:
    """Forks children, reaps every child, and waits for their ends or for other descriptors."""

    def __init__(self) -> None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.exits: dict[int, int] = {}
        self._close_in_children: list[int] = []
        self._adopted: dict[int, int] = {}
        self._wake_read, self._wake_write = (
            os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else _pipe()
        )
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def close_in_children(self, *descriptors: int) -> None:
        """Name descriptors (locks above all) that no child may keep open."""
        self._close_in_children.extend(descriptors)

    def fork(self, work: Callable[[], int], *, die_with_us: bool = False) -> int:
        """Run ``work`` in a child and return its pid; its result is the child's exit code.

        ``die_with_us``: the child is killed when this process ends, so that a next supervisor
        never meets it (Linux).
        """
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            # The number may have been an orphan's before, which we reaped.
            self.exits.pop(pid, None)
            return pid
        code = 70
        try:
            if die_with_us:
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(code)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (
                self._wake_read,
                self._wake_write,
                *self._close_in_children,
                *self._adopted.values(),
            ):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            code = work()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:  # noqa: BLE001 (a child must never run on as a second supervisor)
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stderr.flush()
            os._exit(code & 0xFF)

    def adopt(self, pid: int, descriptor: int) -> None:
        """Watch a process that is nobody's child of ours by its pidfd."""
        self._adopted[pid] = descriptor

    def forget(self, pid: int) -> None:
        """Stop watching an adopted process."""
        descriptor = self._adopted.pop(pid, None)
        if descriptor is not None:
            os.close(descriptor)

    def reap(self) -> None:
        """Collect the exit codes of all children that ended, inherited ones too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.exits[pid] = os.waitstatus_to_exitcode(status)

    def wait(self, seconds: float | None, *descriptors: int) -> set[int]:
        """Sleep until a process ends that is watched, a descriptor is readable, or time is up.

        Returns the readable ones among ``descriptors``.
        """
        poll = select.poll()
        for descriptor in (self._wake_read, *self._adopted.values(), *descriptors):
            poll.register(descriptor, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(None if seconds is None else max(0, seconds * 1000))}
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        self.reap()
        return ready & set(descriptors)


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    for end in (read, write):
        os.set_blocking(end, False)
    return read, write


def monotonic() -> float:
    """Return seconds that never jump and, on Linux, go on while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)
