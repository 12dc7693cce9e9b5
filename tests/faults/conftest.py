"""A real Jupyter server that tests may kill, and what makes sure that nothing of it stays."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from faulting import CELL, CONTEXT, ended
from serving import MANIFEST, Server
from trainings import processes_of

from jupyter_ffdl.folder import TrainingFolder


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
        directory = self.server.state_dir / "trainings"
        for training_id in os.listdir(directory) if directory.exists() else []:
            for process in processes_of(training_id):
                try:
                    process.kill()
                except psutil.Error:
                    continue


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    found = Mortal(tmp_path_factory.mktemp("mortal"))
    try:
        yield found
    finally:
        found.close()


__all__ = ["Mortal", "ended"]
