"""Killing parts of a training, and what must be true of it afterwards whatever was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_ffdl import files
from jupyter_ffdl.folder import TrainingFolder
from jupyter_ffdl.lifecycle.local.containment import own_cgroup
from jupyter_ffdl.lifecycle.local.identity import Process
from jupyter_ffdl.lifecycle.local.processes import snapshot
from jupyter_ffdl.trainingdata.lines import loglines
from jupyter_ffdl.trainingdata.records import read_records
from jupyter_ffdl.trainingdata.series import read_scalars
from serving import MANIFEST, Server
from trainings import end_everything, processes_of, until

CONTEXT = {"interpreter": sys.executable, "environment": {"PATH": os.environ["PATH"]}}
CELL = {"kind": "cell"}

WRITER = """\
import os, time
from tensorboardX import SummaryWriter
writer = SummaryWriter(os.environ["LOG_DIR"] + "/tb")
for n in range(1, {count} + 1):
    print("line", n, flush=True)
    writer.add_scalar("loss", 1000.0 + n, n)
    writer.file_writer.flush()
    time.sleep({pause})
writer.close()
raise SystemExit({code})
"""
"""Prints numbered lines and writes numbered points, each on disk before the next."""


def part(folder: TrainingFolder, name: str) -> Process | None:
    """Return the process that is the supervisor, runner, collector or learner of a training now."""
    if name == "collector":
        return _collector(folder)
    learner = folder.learner(max(folder.attempts(), default=1), 1)
    path = {
        "supervisor": folder.root / "owner.lock",
        "runner": learner / "runner.json",
        "learner": learner / "command.json",
    }[name]
    return Process.from_json(files.read_json(path))


def _collector(folder: TrainingFolder) -> Process | None:
    """Return the supervisor's child that is not the learner's parent."""
    supervisor, runner = part(folder, "supervisor"), part(folder, "runner")
    if supervisor is None or runner is None:
        return None
    for pid, stat in snapshot().items():
        if stat.ppid == supervisor.pid and pid != runner.pid and not stat.ended:
            # A learner that was inherited is a child too.
            with contextlib.suppress(OSError):
                if b"supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return Process.of(pid)
    return None


def kill(folder: TrainingFolder, name: str) -> bool:
    """``kill -9`` that part; False where it does not live."""
    process = part(folder, name)
    if process is None or not process.send(signal.SIGKILL):
        return False
    until(lambda: not process.alive(), 5, f"the {name} is dead")
    return True


@dataclass
class Truth:
    """What a training's end must be, worked out from what was killed, in order.

    An exit code is known to the learner's parent, and to the supervisor that started it: it
    inherits the learner. A later supervisor cannot, so a learner whose parent then dies is lost,
    unless its exit file stands.
    """

    code: int = 0
    heir: bool = True
    """The supervisor that started the learner lives."""
    parent: bool = True
    killed: bool = False
    lost: bool = False
    happened: list[str] = field(default_factory=list)

    def killed_part(self, name: str, *, told: bool = False) -> None:
        """Take note of one kill that hit; ``told``: the exit file stands after it."""
        self.happened.append(name)
        if name == "supervisor":
            self.heir = False
        elif name == "runner":
            self.parent = False
        elif name == "learner" and not self.lost:
            self.killed = True
        if not told and not self.heir and not self.parent:
            self.lost = True

    @property
    def end(self) -> tuple[str, str, str]:
        """Return status, code and message that must stand at the end."""
        if self.lost:
            return "FAILED", "S104", "INTERNAL_ERROR"
        if self.killed:
            return "FAILED", "C201", "137"
        if self.code:
            return "FAILED", "C201", str(self.code)
        return "COMPLETED", "000", ""


def end_of(folder: TrainingFolder) -> tuple[str, str, str]:
    """Return status, code and message of the last status line."""
    last = folder.history()[-1]
    return last.status.value, last.error_code, last.status_message


def ended(folder: TrainingFolder, seconds: float = 30) -> float:
    """Wait for a terminal status and return the seconds it took."""
    began = time.monotonic()

    def over() -> bool:
        lines = folder.history()
        return bool(lines) and lines[-1].status.terminal

    try:
        until(over, seconds, f"{folder.training_id} ends")
    except AssertionError as late:
        log = folder.root / "supervisor.log"
        text = log.read_text() if log.exists() else ""
        raise AssertionError(f"{late}: {folder.history()}\n{text}") from late
    return time.monotonic() - began


def assert_once(folder: TrainingFolder, count: int | None = None, attempt: int = 1) -> int:
    """Every numbered line and point of ``WRITER`` stands exactly once in all that readers see.

    ``count``: how many; None: up to wherever it came, and what was written must be there.
    """
    printed = folder.log(attempt, 1).read_text().splitlines()
    assert printed == [f"line {n}" for n in range(1, len(printed) + 1)]
    assert count is None or len(printed) == count
    if attempt == 1:
        assert paged(folder) == [line + "\n" for line in printed]
    scalars = read_scalars(folder.root, attempt=attempt, max_points=None)
    steps = [step for series in scalars.series for step in series.step.tolist()]
    values = [value for series in scalars.series for value in series.value.tolist()]
    assert steps == list(range(1, len(steps) + 1))
    assert values == [1000.0 + step for step in steps]
    written = written_steps(folder.logs / "tb")
    assert steps == written
    assert count is None or len(steps) == count
    metrics = folder.learner(attempt, 1) / "evaluation-metrics.txt"
    records = list(read_records(metrics)) if metrics.exists() else []
    assert [record["meta"]["rindex"] for record in records] == list(range(1, len(steps) + 1))
    times = [record["meta"]["time"] for record in records]
    assert times == sorted(set(times))
    return len(printed)


def paged(folder: TrainingFolder, pagesize: int = 7) -> list[str]:
    """Return the lines that a client gets which pages through ``loglines``."""
    lines: list[str] = []
    while True:
        page = loglines(folder.root, folder.training_id, pos=len(lines) + 1, pagesize=pagesize)
        if not page:
            return lines
        numbers = [line["meta"]["rindex"] for line in page]
        assert numbers == list(range(len(lines) + 1, len(lines) + 1 + len(page)))
        lines += [line["line"] for line in page]


def written_steps(directory: Path) -> list[int]:
    """Return the steps that stand in the event files, read by TensorBoard's own loader."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    steps: list[int] = []
    for path in sorted(directory.glob("*tfevents*")) if directory.exists() else []:
        events = EventFileLoader(str(path)).Load()
        steps += [event.step for event in events if event.HasField("summary")]
    return steps


def assert_nothing_left(folder: TrainingFolder) -> None:
    """No process of the training runs, and none of its cgroups is there."""
    until(
        lambda: not processes_of(folder.training_id),
        10,
        f"nothing runs on: {processes_of(folder.training_id)}",
    )
    assert cgroups_of(folder) == []


def cgroups_of(folder: TrainingFolder) -> list[Path]:
    """Return the cgroups of all attempts of a training."""
    parent = own_cgroup()
    found: list[Path] = []
    for attempt in folder.attempts():
        facts: dict[str, Any] = files.read_json(folder.attempt(attempt) / "attempt.json") or {}
        if parent is not None and facts:
            found += parent.glob(f"ffdl-{facts['uuid']}-*")
    return found


class Mortal:
    """A server on one state directory that can be killed and started again."""

    def __init__(self, home: Path, **env: str) -> None:
        self.home = home
        self.env = env
        self.server = self._start()

    def _start(self) -> Server:
        return Server(
            self.home,
            "--Trainer.max_running=0",
            "--Trainer.min_free_bytes=0",
            "--Trainer.halt_grace_seconds=5",
            env=self.env,
        )

    def kill(self) -> None:
        """``kill -9`` the server."""
        self.server.stop(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again if it was killed."""
        if self.server.process.poll() is not None:
            self.server = self._start()

    def submit(self, script: str, **manifest: Any) -> TrainingFolder:
        """Submit a script over REST and return the training's folder."""
        text = MANIFEST + "".join(f"{key}: {value}\n" for key, value in manifest.items())
        training_id = self.server.submit(script, manifest=text, origin=CELL, context=CONTEXT)
        return TrainingFolder(self.server.state_dir / "trainings" / training_id)

    def close(self) -> None:
        """End everything."""
        self.server.stop()
        end_everything(self.server.state_dir)
