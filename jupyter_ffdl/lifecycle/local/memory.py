"""How much memory a learner takes: its cgroup's figure, else the sum of its processes' PSS.

Never the sum of RSS: the workers of a DataLoader share most of their pages with their parent, and
each would count them again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from .containment import Containment
from .identity import Process
from .processes import tree


def used_bytes(containment: Containment | None, roots: Sequence[Process]) -> int:
    """Return the memory of everything below ``roots`` now, 0 where all has ended."""
    if containment is not None:
        counted = containment.memory_bytes()
        if counted is not None:
            return counted
    pids = set(tree(roots))
    if containment is not None:
        pids.update(containment.pids())
    return sum(pss_bytes(pids))


def pss_bytes(pids: Iterable[int]) -> list[int]:
    """Return for each process its own pages and its share of those it has in common with others."""
    return [_pss_bytes(pid) for pid in pids]


def _pss_bytes(pid: int) -> int:
    if sys.platform != "linux":
        return _unique_bytes(pid)
    try:
        # The kernel walks the page tables for it: 0.1 s for 50 GiB of small pages.
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def _unique_bytes(pid: int) -> int:
    import psutil  # noqa: PLC0415 (not on Linux)

    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except (psutil.Error, AttributeError):
        return 0
