"""What tests of whole trainings share: submitting to a real trainer, and waiting for ends."""

from __future__ import annotations

import json
import os
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from jupyter_ffdl.files import read_json
from jupyter_ffdl.folder import TrainingFolder
from jupyter_ffdl.lifecycle.local.containment import Containment
from jupyter_ffdl.trainer.service import Trainer
from jupyter_ffdl.training import Status

OWNER = "local:tester"


def until(condition: Callable[[], Any], seconds: float = 20, what: str = "") -> Any:
    """Wait for a condition and return what it gave; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    """Write a zip of these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


class Trainings:
    """A trainer on a state directory of its own, as a server would use it."""

    def __init__(self, state_dir: Path, *, owner: str = OWNER, **traits: Any) -> None:
        self.owner = owner
        traits = {"max_running": 0, "min_free_bytes": 0, **traits}
        self.trainer = Trainer(state_dir=str(state_dir), **traits)
        self.trainer.start()
        self.scratch = state_dir.parent / f"{state_dir.name}-scratch"
        self.scratch.mkdir(exist_ok=True)

    def submit(
        self,
        script: str = "",
        *,
        command: str = "python train.py",
        files: dict[str, str | bytes] | None = None,
        notebook: bool = True,
        origin: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        **manifest: Any,
    ) -> str:
        """Submit a script and return the training's id; keywords are manifest keys."""
        text = {
            "name": "test",
            "framework": {"name": "custom", "version": "python", "command": command},
            **manifest,
        }
        code = zipped(
            self.scratch / f"{os.urandom(4).hex()}.zip", {"train.py": script, **(files or {})}
        )
        accepted = self.trainer.submit(
            json.dumps(text).encode(),
            code,
            owner=self.owner,
            origin={"kind": "cell" if notebook else "manifest", **(origin or {})},
            context={"environment": {"PATH": os.environ["PATH"]}, **(context or {})},
        )
        return accepted.training_id

    def folder(self, training_id: str) -> TrainingFolder:
        """Return the training's folder."""
        return self.trainer.folder(training_id, self.owner)

    def status(self, training_id: str) -> Status:
        """Return the status now."""
        return self.folder(training_id).history()[-1].status

    def log(self, training_id: str, learner: int = 1, attempt: int = 1) -> str:
        """Return the whole log of a learner, empty before it begins."""
        path = self.folder(training_id).log(attempt, learner)
        return path.read_bytes().decode(errors="replace") if path.exists() else ""

    def ended(self, training_id: str, seconds: float = 30) -> dict[str, Any]:
        """Wait for the end and return ``training_status``."""
        folder = self.folder(training_id)

        def over() -> bool:
            self.trainer.tend()
            lines = folder.history()
            return bool(lines) and lines[-1].status.terminal

        try:
            until(over, seconds, f"{training_id} ends")
        except AssertionError as late:
            log = folder.root / "supervisor.log"
            raise AssertionError(
                f"{late}: {folder.history()[-1]}\n{log.read_text() if log.exists() else ''}"
            ) from late
        model = self.trainer.model(training_id, self.owner)
        status: dict[str, Any] = model["training"]["training_status"]
        return status

    def running(self, training_id: str, seconds: float = 20) -> None:
        """Wait until the command runs."""
        folder = self.folder(training_id)
        until(
            (folder.learner(folder.history()[-1].attempt, 1) / "command.json").exists,
            seconds,
            "the command runs",
        )


def processes_of(training_id: str) -> list[psutil.Process]:
    """Return everything that belongs to a training: user code by its environment, ours by name."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            ours = any(training_id in part for part in process.cmdline())
            if ours or process.environ().get("TRAINING_ID") == training_id:
                found.append(process)
        except psutil.Error:
            continue
    return found


def end_everything(state_dir: Path) -> None:
    """Kill whatever runs of a state directory's trainings, and remove their cgroups."""
    directory = state_dir / "trainings"
    for training_id in os.listdir(directory) if directory.exists() else []:
        for process in processes_of(training_id):
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        for path in (directory / training_id).glob("attempts/*/learner-*/cgroup.json"):
            containment = Containment.from_json(read_json(path))
            if containment is not None and containment.kill():
                containment.remove()


@contextmanager
def state_directory(tmp_path: Path, **traits: Any) -> Iterator[Trainings]:
    """Yield trainings on a new state directory; whatever still runs is killed at the end."""
    trainings = Trainings(tmp_path / "state", **traits)
    try:
        yield trainings
    finally:
        end_everything(tmp_path / "state")
        trainings.trainer.stop()
