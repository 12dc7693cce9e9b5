"""Everything a learner started, whatever it did to get away.

A command's descendants are found by its cgroup, its process group and session, the process tree,
and, for a daemon that left all of these, by ``TRAINING_ID`` in the environment it began with.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from .containment import Containment
from .identity import Process, Stat, boot_id, pid_namespace, read_stat

_SECONDS_BETWEEN_LOOKS = 0.02


def started_by(
    training_id: str, roots: Sequence[Process], cgroups: Iterable[Containment] = ()
) -> list[Process]:
    """Return every living process that the commands ``roots`` of a training started, and they.

    Never this process, its ancestors, or one that only got the pid of something that ended.
    """
    stats = snapshot()
    spared = _ancestors(stats)
    found = {pid for group in cgroups for pid in group.pids()}
    found |= _of_roots(stats, roots)
    found |= _with_descendants(stats, found)
    mark = b"\0TRAINING_ID=" + os.fsencode(training_id) + b"\0"
    marked = {pid for pid in stats if pid not in found and pid not in spared and _marked(pid, mark)}
    found |= _with_descendants(stats, marked)
    return [
        Process(pid, stats[pid].start_time, boot_id(), pid_namespace())
        for pid in sorted(found - spared)
        if pid in stats and not stats[pid].ended
    ]


def tree(roots: Sequence[Process]) -> list[int]:
    """Return the pids of the ``roots``, their groups and their descendants: no environment read."""
    stats = snapshot()
    found = _with_descendants(stats, _of_roots(stats, roots))
    return [pid for pid in found - _ancestors(stats) if not stats[pid].ended]


def signal_all(processes: Iterable[Process], number: signal.Signals | int) -> int:
    """Send a signal to each and return how many got it."""
    return sum(process.send(number) for process in processes)


def kill_until_gone(find: Callable[[], list[Process]], *, seconds: float) -> list[Process]:
    """Kill what ``find`` finds until it finds nothing, and return what is left after ``seconds``.

    What is left is stuck in the kernel (a dead network share): KILL waits for it there.
    """
    deadline = time.monotonic() + seconds
    while found := find():
        # Stopped first: a parent that goes on would start new children while we kill the old ones.
        signal_all(found, signal.SIGSTOP)
        signal_all(found, signal.SIGKILL)
        if time.monotonic() > deadline:
            return find()
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return []


def snapshot() -> dict[int, Stat]:
    """Return what runs now, by pid."""
    if sys.platform == "linux":
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    else:
        import psutil  # noqa: PLC0415 (not on Linux's way to the user's command)

        pids = psutil.pids()
    stats = ((pid, read_stat(pid)) for pid in pids)
    return {pid: stat for pid, stat in stats if stat is not None}


def _of_roots(stats: Mapping[int, Stat], roots: Sequence[Process]) -> set[int]:
    found: set[int] = set()
    for root in roots:
        if not root.visible():
            continue
        now = stats.get(root.pid)
        if now is not None and now.start_time != root.start_time:
            # The pid was given to somebody else, so no group or session of that number is ours.
            continue
        found |= {
            pid
            for pid, stat in stats.items()
            if root.pid in {pid, stat.pgid, stat.session} and stat.start_time >= root.start_time
        }
    return found


def _with_descendants(stats: Mapping[int, Stat], pids: set[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.ppid, []).append(pid)
    found: set[int] = set()
    pending = list(pids)
    while pending:
        pid = pending.pop()
        if pid not in found and pid in stats:
            found.add(pid)
            pending += children.get(pid, [])
    return found


def _ancestors(stats: Mapping[int, Stat]) -> set[int]:
    """Return this process and all above it: a supervisor may itself run inside a training."""
    spared = {0, 1}
    pid = os.getpid()
    while pid not in spared:
        spared.add(pid)
        pid = stats[pid].ppid if pid in stats else 0
    return spared


def _marked(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 (read for thousands of pids)
            return mark in b"\0" + file.read()
    except OSError:
        return sys.platform != "linux" and _marked_elsewhere(pid, mark)


def _marked_elsewhere(pid: int, mark: bytes) -> bool:
    import psutil  # noqa: PLC0415

    name, _, value = mark.strip(b"\0").partition(b"=")
    try:
        return psutil.Process(pid).environ().get(os.fsdecode(name)) == os.fsdecode(value)
    except (psutil.Error, OSError):
        return False
