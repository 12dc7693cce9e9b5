"""The local backend as the trainer sees it: starts supervisors and knows which are alive."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...folder import TrainingFolder
from . import gpus as graphics
from . import mounts
from .ownership import Observer

_started: set[int] = set()
"""Pids of supervisors that this process began and must reap; they outlive it without harm."""

_observer = Observer()


def start(folder: TrainingFolder) -> None:
    """Start a detached supervisor for the training; harmless if it has one."""
    reap()
    state = _observer.state(folder.root)
    stale = [state.owner.beat] if state.kind == "stale" and state.owner is not None else []
    log = os.open(
        folder.root / "supervisor.log",
        os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
        0o600,
    )
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.supervisor", str(folder.root), *stale],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=_environment(),
        )
    finally:
        os.close(log)
    _started.add(process.pid)
    # It may well run on when we end, which ``Popen`` would complain about.
    process.returncode = 0


def owned(folder: TrainingFolder) -> bool:
    """Whether a supervisor looks after the training now."""
    return _observer.state(folder.root).kind == "held"


def reap() -> None:
    """Collect supervisors that ended, so that none stays a zombie."""
    for pid in list(_started):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            _started.discard(pid)


def _environment() -> dict[str, str]:
    """Return the supervisor's environment: ours, and where to find this very package."""
    environment = dict(os.environ)
    package = str(Path(__file__).parents[3])
    if package not in sys.path:
        paths = environment.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, paths]))
    return environment


def gpus(pretended: int) -> list[graphics.Gpu]:
    """Return the GPUs that trainings may use here; asks the driver, which may take seconds."""
    return graphics.visible({"pretended_gpus": pretended})


def machine_memory_bytes() -> int:
    """Return the machine's memory, or its cgroup's limit where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(path).read_text()))
    return total


def capabilities(state_dir: Path, found: Sequence[graphics.Gpu]) -> dict[str, Any]:
    """Return what trainings on this machine can do; ``found`` as ``gpus`` gave them."""
    return {
        "name": "local",
        "available": True,
        "gpus": [gpu.to_json() for gpu in found],
        "cpus": os.cpu_count(),
        "memory_bytes": machine_memory_bytes(),
        "literal_paths": mounts.available(),
        "state_dir_free_bytes": _free_bytes(state_dir),
        "survives": "A training goes on when the notebook, the kernel or the server ends. "
        "It does not survive its machine or container.",
    }


def _free_bytes(path: Path) -> int:
    statistics = os.statvfs(path)
    return statistics.f_bavail * statistics.f_frsize
