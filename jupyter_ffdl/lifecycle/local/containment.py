"""A cgroup of its own for everything that one learner starts, where the system lets us make one.

Nothing leaves a cgroup by forking, starting a session or losing its parent, so what is in it is
exactly what the learner started. Version 2 only; where it cannot be written (most unprivileged
users), process trees do the work (``processes.py``).
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Containment:
    """One cgroup; all its methods are harmless once it is gone."""

    path: Path

    @classmethod
    def create(cls, name: str) -> Containment | None:
        """Make the cgroup ``name`` below our own, or return None where that is not to be had."""
        parent = own_cgroup()
        if parent is None or not os.access(parent / "cgroup.procs", os.W_OK):
            return None
        path = parent / name
        try:
            path.mkdir(exist_ok=True)
        except OSError:
            return None
        return cls(path)

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Containment | None:
        """Return the cgroup that ``to_json`` described, None for None."""
        return cls(Path(value["path"])) if value else None

    def to_json(self) -> dict[str, Any]:
        return {"path": str(self.path)}

    def join(self, pid: int) -> bool:
        """Move a process in, with all that it will start; False where the system refuses."""
        try:
            (self.path / "cgroup.procs").write_text(f"{pid}\n", encoding="ascii")
        except OSError:
            return False
        return True

    def pids(self) -> list[int]:
        """Return what runs in it and in cgroups that user code made below it."""
        found: list[int] = []
        for directory in self._all():
            with contextlib.suppress(OSError):
                text = (directory / "cgroup.procs").read_text(encoding="ascii")
                # 0 stands for a process of another pid namespace.
                found += [pid for pid in map(int, text.split()) if pid]
        return found

    def kill(self, *, seconds: float = 5.0) -> bool:
        """Kill everything in it and say whether it is empty then."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                # At once, also against processes that fork faster than we read (Linux 5.14).
                (self.path / "cgroup.kill").write_text("1", encoding="ascii")
            except OSError:
                for pid in self.pids():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
            if not self.pids():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)

    def memory_bytes(self) -> int | None:
        """Return the memory that only ending the processes would free, None if nobody counts it.

        Without the page cache: a learner that reads much data must not look like one that leaks.
        """
        try:
            text = (self.path / "memory.stat").read_text(encoding="ascii")
        except OSError:
            return None
        counted = dict(line.split() for line in text.splitlines())
        return int(counted.get("anon", 0)) + int(counted.get("shmem", 0))

    def remove(self) -> bool:
        """Remove it once it is empty; False while something is in it."""
        for _ in range(50):
            for directory in self._all():
                with contextlib.suppress(OSError):
                    directory.rmdir()
            if not self.path.exists():
                return True
            # A process that was killed leaves its cgroup a moment after it can be reaped.
            if self.pids():
                return False
            time.sleep(0.01)
        return False

    def _all(self) -> list[Path]:
        """Return the cgroup and those below it, children first."""
        return [Path(root) for root, _, _ in os.walk(self.path, topdown=False)]


def available() -> bool:
    """Whether learners get cgroups here."""
    probe = Containment.create(f"ffdl-probe-{os.getpid()}")
    return probe is not None and probe.remove()


@functools.cache
def own_cgroup() -> Path | None:
    """Return the directory of the cgroup (version 2) that this process is in."""
    if sys.platform != "linux":
        return None
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    own = next((line[3:] for line in groups if line.startswith("0::")), None)
    for line in mounts:
        left, _, right = line.partition(" - ")
        if own is not None and right.startswith("cgroup2 "):
            root, point = left.split(" ")[3:5]
            if own == root or own.startswith(root.rstrip("/") + "/"):
                return Path(point) / own[len(root.rstrip("/")) :].lstrip("/")
    return None
