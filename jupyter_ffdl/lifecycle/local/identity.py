"""Who a process is: a pid is reused, a pid with its start time and the machine's boot is not."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Stat:
    """What the kernel tells of a process (``/proc/<pid>/stat``)."""

    state: str
    """One letter: R, S, D, T (stopped), Z (ended, not yet reaped), …"""
    ppid: int
    pgid: int
    session: int
    start_time: int
    """Clock ticks after boot; only equality means anything."""

    @property
    def ended(self) -> bool:
        """Whether only an exit code is left of it."""
        return self.state in "ZX"


def read_stat(pid: int) -> Stat | None:
    """Return what is known of a process, or None where there is none of that pid."""
    if sys.platform != "linux":
        return _read_stat_elsewhere(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 (read for thousands of pids)
            text = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The command's name stands in parentheses and may itself hold blanks and parentheses.
    fields = text[text.rfind(b")") + 2 :].split()
    return Stat(fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _read_stat_elsewhere(pid: int) -> Stat | None:
    import psutil  # noqa: PLC0415 (not on Linux's way to the user's command)

    try:
        process = psutil.Process(pid)
        status = process.status()
        state = {psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_STOPPED: "T"}.get(status, "S")
        start_time = round(process.create_time() * 1e6)
        ppid = process.ppid()
    except psutil.Error:
        return None
    try:
        return Stat(state, ppid, os.getpgid(pid), os.getsid(pid), start_time)
    except (ProcessLookupError, PermissionError):
        return Stat(state, ppid, 0, 0, start_time)


@functools.cache
def boot_id() -> str:
    """Return what names this run of this machine's kernel: containers on it share it."""
    if sys.platform == "darwin":
        return _sysctl("kern.bootsessionuuid")
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    import ctypes  # noqa: PLC0415 (macOS only)

    size = ctypes.c_size_t(128)
    value = ctypes.create_string_buffer(size.value)
    if ctypes.CDLL(None).sysctlbyname(name.encode(), value, ctypes.byref(size), None, 0) != 0:
        return ""
    return value.value.decode()


def pid_namespace() -> str:
    """Return what names the set of pids that this process sees; empty where there is only one."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (no path, a name)
    except OSError:
        return ""


def host() -> str:
    """Return this machine's name, for people: hub pods on different machines share theirs."""
    return os.uname().nodename


@dataclass(frozen=True)
class Process:
    """One process for ever: never mistaken for a later one of the same pid."""

    pid: int
    start_time: int
    boot_id: str
    pid_ns: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has this pid now; raises ProcessLookupError without one."""
        stat = read_stat(pid)
        if stat is None:
            raise ProcessLookupError(3, os.strerror(3), str(pid))
        return cls(pid, stat.start_time, boot_id(), pid_namespace())

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Process | None:
        """Return the process that ``to_json`` described, or None where this is no description."""
        try:
            assert value is not None
            return cls(
                int(value["pid"]),
                int(value["start_time"]),
                str(value["boot_id"]),
                str(value["pid_ns"]),
            )
        except (AssertionError, KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        """Return the process as JSON; additional keys beside these are ignored when read."""
        return asdict(self)

    def visible(self) -> bool:
        """Whether it lived where this process can see it: same boot, same pid namespace.

        What is not visible cannot be judged by its pid: on the same boot but in another
        namespace (a second container) it may well live.
        """
        return self.boot_id == boot_id() and self.pid_ns == pid_namespace()

    def stat(self) -> Stat | None:
        """Return what the kernel tells of it, or None where it is gone or not visible."""
        if not self.visible():
            return None
        stat = read_stat(self.pid)
        return stat if stat is not None and stat.start_time == self.start_time else None

    def alive(self) -> bool:
        """Whether it runs here and now; one that waits to be reaped has ended."""
        stat = self.stat()
        return stat is not None and not stat.ended

    def open_pidfd(self) -> int | None:
        """Return a descriptor that becomes readable at its end and can never mean another process.

        None where it has ended, and where the system has no such descriptors: ``alive`` tells.
        """
        if not self.alive() or not hasattr(os, "pidfd_open"):
            return None
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        # Between the look and the open the pid may have changed hands.
        if self.stat() is None:
            os.close(descriptor)
            return None
        return descriptor

    def send(self, number: signal.Signals | int) -> bool:
        """Send a signal to this process and no other; False where it has ended."""
        descriptor = self.open_pidfd()
        try:
            if descriptor is not None:
                signal.pidfd_send_signal(descriptor, number)
            elif self.alive():
                os.kill(self.pid, number)
            else:
                return False
        except (ProcessLookupError, PermissionError):
            return False
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return True
