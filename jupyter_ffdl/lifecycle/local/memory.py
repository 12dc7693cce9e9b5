"""How much memory a learner takes: its cgroup's figure, else the sum of its processes' PSS.

Never the sum of RSS: the workers of a DataLoader share most of their pages with their parent, and
each would count them again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence

from .containment import Containment
from .identity import Process
from .processes import tree

_MEASURED_SHARE = 20
"""Measuring takes at most one part in so many of a core, and holds up the learner no longer."""


class Meter:
    """Watches one learner's memory against a limit, however much it takes to measure exactly.

    PSS costs the kernel 20 ms per GiB of small pages. RSS costs nothing, and PSS cannot have grown
    by more than RSS did since the last measurement: as long as that stays below the limit, there
    is time.
    """

    def __init__(self, containment: Containment | None, roots: Sequence[Process]) -> None:
        self._containment = containment
        self._roots = roots
        self._pss = self._rss = 0
        self._not_before = 0.0
        self.peak_bytes = 0

    def used_bytes(self, limit: int) -> int:
        """Return the memory used, exact where it could be over ``limit`` bytes."""
        counted = self._containment.memory_bytes() if self._containment is not None else None
        if counted is None:
            counted = self._measured(limit)
        self.peak_bytes = max(self.peak_bytes, counted)
        return counted

    def _measured(self, limit: int) -> int:
        pids = _pids(self._containment, self._roots)
        rss = sum(_rss_bytes(pid) for pid in pids)
        now = time.monotonic()
        if now >= self._not_before or self._pss + max(0, rss - self._rss) > limit:
            self._pss, self._rss = sum(pss_bytes(pids)), rss
            took = time.monotonic() - now
            self._not_before = now + took * _MEASURED_SHARE
        return self._pss


def used_bytes(containment: Containment | None, roots: Sequence[Process]) -> int:
    """Return the memory of everything below ``roots`` now, 0 where all has ended."""
    counted = containment.memory_bytes() if containment is not None else None
    return sum(pss_bytes(_pids(containment, roots))) if counted is None else counted


def _pids(containment: Containment | None, roots: Sequence[Process]) -> set[int]:
    return {*tree(roots), *(containment.pids() if containment is not None else ())}


def pss_bytes(pids: Iterable[int]) -> list[int]:
    """Return for each process its own pages and its share of those it has in common with others."""
    return [_pss_bytes(pid) for pid in pids]


def _pss_bytes(pid: int) -> int:
    if sys.platform != "linux":
        return _unique_bytes(pid)
    try:
        # The kernel walks the page tables for it: 1 s for 50 GiB of small pages.
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def _rss_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        # Not Linux: without it every look measures.
        return 1 << 62 if sys.platform != "linux" else 0


def _unique_bytes(pid: int) -> int:
    import psutil  # noqa: PLC0415 (not on Linux)

    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except (psutil.Error, AttributeError):
        return 0
