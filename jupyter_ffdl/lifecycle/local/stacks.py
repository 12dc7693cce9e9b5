"""What every learner's threads do now: asked by signal, answered into the pid's mark file."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from .identity import read_stat

_SIGUSR1_CAUGHT = 1 << (signal.SIGUSR1 - 1)


def marks(learner_dir: Path) -> Iterator[tuple[int, Path]]:
    """Yield pid and mark of every interpreter that takes the signal now.

    SIGUSR1 kills a process that did not register for it. So the mark must be of this very process
    (its start time stands in the first line), and the kernel must say that the signal is caught:
    a process that called ``exec`` keeps pid, start time and mark, but not the handler.
    """
    for mark in sorted((learner_dir / "pids").glob("[0-9]*")):
        with contextlib.suppress(OSError, ValueError):
            pid = int(mark.name)
            with mark.open() as file:
                started = int(file.readline())
            stat = read_stat(pid)
            if stat is not None and stat.start_time == started and _catches(pid):
                yield pid, mark


def _catches(pid: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & _SIGUSR1_CAUGHT)
    return False


def ask(learner_dir: Path) -> None:
    """Have every marked interpreter of a learner append its stacks to its mark."""
    for pid, _ in marks(learner_dir):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGUSR1)
