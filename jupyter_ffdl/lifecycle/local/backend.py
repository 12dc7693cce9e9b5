"""The local backend as the trainer sees it: starts supervisors and knows which are alive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ...folder import TrainingFolder
from . import ownership

_started: list[subprocess.Popen[bytes]] = []
"""Supervisors that this process began and must reap; they outlive it without harm."""


def start(folder: TrainingFolder) -> None:
    """Start a detached supervisor for the training; harmless if it has one."""
    reap()
    log = os.open(
        folder.root / "supervisor.log",
        os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
        0o600,
    )
    # -P (Python 3.11): the current directory never shadows a module. Before, "/" is as good.
    try:
        _started.append(
            subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.supervisor", str(folder.root)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(),
            )
        )
    finally:
        os.close(log)


def owned(folder: TrainingFolder) -> bool:
    """Whether a supervisor looks after the training now."""
    return ownership.state(folder.root).held


def reap() -> None:
    """Collect supervisors that ended, so that none stays a zombie."""
    _started[:] = [process for process in _started if process.poll() is None]


def _environment() -> dict[str, str]:
    """The supervisor's own environment: ours, and where to find this very package."""
    environment = dict(os.environ)
    package = str(Path(__file__).parents[3])
    paths = environment.get("PYTHONPATH", "")
    if package not in sys.path:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, paths]))
    return environment
