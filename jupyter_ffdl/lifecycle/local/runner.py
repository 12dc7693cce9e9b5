"""A learner's parent: starts the command, waits for it, writes its exit file.

It is forked from the supervisor and does nothing else, so that there is almost nothing to die of.
When the supervisor is killed, the learner's parent stays, and the next supervisor adopts it by its
``runner.json``; when it is killed itself, the supervisor inherits the command.
"""

from __future__ import annotations

import contextlib
import json
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

_EXIT_PART = ".exit.part"
_EXIT_BYTES = 256

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
    umask: int = 0o022
    """User code's own: ours is strict, and results may lie in a directory that others read."""
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
    with contextlib.suppress(OSError):
        os.close(_reserve_exit(command.learner_dir))

    log = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if command.header is not None:
        _write(log, command.header())
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _execute(command, log, parent)
    code = _wait(pid)
    # Until the exit file stands the command stays unreaped: if we are killed here, whoever
    # inherits it still learns its exit code.
    if command.footer is not None:
        _write(log, command.footer(code if code >= 0 else 128 - code))
    write_exit(command.learner_dir, command.job_exit, code)
    _write_usage(command.learner_dir, pid)
    return 0


def write_exit(learner_dir: Path, job_exit: Path, code: int) -> None:
    """Write a learner's end: ``code`` as from ``waitstatus_to_exitcode``, negative for signals.

    A command that dies by signal n has exit code 128 + n (FfDL contract §4.7). The file's room was
    taken when the learner began: on a full disk, too, it must be known how a command ended.
    """
    exit_code = code if code >= 0 else 128 - code
    record = {
        "exit_code": exit_code,
        "signal": -code if code < 0 else None,
        "ended": now_ms(),
    }
    descriptor = _reserve_exit(learner_dir)
    try:
        os.pwrite(descriptor, json.dumps(record).encode().ljust(_EXIT_BYTES), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(learner_dir / _EXIT_PART, learner_dir / "exit.json")
    with contextlib.suppress(OSError):
        files.write_whole(job_exit, f"{exit_code}\n".encode(), mode=0o644)


def append_to_log(log: Path, text: bytes) -> None:
    """Write what the learner's parent would have written, had it lived."""
    with contextlib.suppress(OSError):
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        _write(descriptor, text)
        os.close(descriptor)


def _reserve_exit(learner_dir: Path) -> int:
    """Return a descriptor of the file that becomes ``exit.json``, written over with blanks."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(learner_dir / _EXIT_PART, flags, 0o600)
    if os.fstat(descriptor).st_size < _EXIT_BYTES:
        os.pwrite(descriptor, b" " * _EXIT_BYTES, 0)
    return descriptor


def _execute(command: Command, log: int, parent: int) -> None:
    """Become the command; never returns."""
    try:
        os.setpgid(0, 0)
        # Until command.json stands nobody could find this process: it dies with its parent.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
        # Written by the command's own process: whoever comes next can find it, whatever dies now.
        files.write_json(command.learner_dir / "command.json", Process.of(os.getpid()).to_json())
        prctl(PR_SET_PDEATHSIG, 0)
        os.umask(command.umask)
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


def _wait(pid: int) -> int:
    """Wait for the command and return its exit code; it is not reaped where the system lets us.

    Orphans that become ours on the way are reaped beside it.
    """
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        while True:
            ended, status = os.waitpid(-1, 0)
            if ended == pid:
                return os.waitstatus_to_exitcode(status)
    while True:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if found is not None and found.si_pid == pid:
            exited = found.si_code == os.CLD_EXITED
            return found.si_status if exited else -found.si_status
        if found is not None:
            os.waitpid(found.si_pid, 0)


def _write_usage(learner_dir: Path, pid: int) -> None:
    """Reap the command and write what the kernel counted; the system tells only then."""
    with contextlib.suppress(OSError):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        unit = 1 if sys.platform == "darwin" else 1024
        peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
        files.write_json(learner_dir / "usage.json", {"peak_memory_bytes": peak_bytes})


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
