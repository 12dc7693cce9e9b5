"""A learner's parent: starts the command, waits for it, writes its exit file.

It is forked from the supervisor and does nothing else, so that there is almost nothing to die of.
When the supervisor is killed, the learner's parent stays, and the next supervisor adopts it by its
``runner.json``; when it is killed itself, the supervisor inherits the command.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ... import files
from ...folder import now_ms
from .children import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl
from .identity import Process

STEP_FAILED = 70
"""Exit code of a learner whose command could not even be started by us."""


@dataclass(frozen=True)
class Command:
    """What a learner's parent starts: everything is decided before the fork."""

    learner_dir: Path
    job_exit: Path
    log: Path
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    header: Callable[[], bytes] | None = None
    footer: Callable[[int], bytes] | None = None
    before_exec: Sequence[Callable[[], object]] = ()
    keep: frozenset[int] = field(default_factory=frozenset)
    """Descriptors that live as long as the learner: leased GPUs."""


def run(command: Command, supervisor: int) -> int:
    """Run one learner to its end, in a process forked for it; return 0."""
    os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    # Until runner.json stands, nobody could adopt us: if the supervisor dies now, we die too.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        return STEP_FAILED
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    files.write_json(command.learner_dir / "runner.json", Process.of(os.getpid()).to_json())
    prctl(PR_SET_PDEATHSIG, 0)
    _close_all_but({0, 1, 2, *command.keep})

    log = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if command.header is not None:
        _write(log, command.header())
    pid = os.fork()
    if pid == 0:
        _execute(command, log)
    code, peak_bytes = _wait(pid)
    if command.footer is not None:
        _write(log, command.footer(code if code >= 0 else 128 - code))
    write_exit(command.learner_dir, command.job_exit, code, peak_bytes)
    return 0


def write_exit(learner_dir: Path, job_exit: Path, code: int, peak_bytes: int = 0) -> None:
    """Write a learner's end: ``code`` as from ``waitstatus_to_exitcode``, negative for signals.

    A command that dies by signal n has exit code 128 + n (FfDL contract §4.7).
    """
    exit_code = code if code >= 0 else 128 - code
    files.write_whole(job_exit, f"{exit_code}\n".encode(), mode=0o644)
    files.write_json(
        learner_dir / "exit.json",
        {
            "exit_code": exit_code,
            "signal": -code if code < 0 else None,
            "ended": now_ms(),
            "peak_memory_bytes": peak_bytes,
        },
        sync=True,
    )


def _execute(command: Command, log: int) -> None:
    """Become the command; never returns."""
    try:
        os.setpgid(0, 0)
        # Written by the command's own process: whoever comes next can find it, whatever dies now.
        files.write_json(command.learner_dir / "command.json", Process.of(os.getpid()).to_json())
        for step in command.before_exec:
            step()
        for restored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(restored, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, 64)
        os.chdir(command.cwd)
        os.execve(command.argv[0], list(command.argv), dict(command.env))
    except BaseException as failure:  # noqa: BLE001 (this process must not go on as a second parent)
        with contextlib.suppress(OSError):
            os.write(log, f"The command could not be started: {failure}\n".encode())
    finally:
        os._exit(127)


def _wait(pid: int) -> tuple[int, int]:
    """Wait for the command; orphans that become ours on the way are reaped beside it."""
    while True:
        ended, status, usage = os.wait4(-1, 0)
        if ended == pid:
            unit = 1 if sys.platform == "darwin" else 1024
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss * unit


def _write(log: int, text: bytes) -> None:
    """Write into the log; a full disk loses the header, never the training."""
    with contextlib.suppress(OSError):
        os.write(log, text)


def _close_all_but(kept: set[int]) -> None:
    limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096)
    previous = 2
    for descriptor in [*sorted(kept - {0, 1, 2}), limit]:
        os.closerange(previous + 1, descriptor)
        previous = descriptor
