"""Which trainings have not ended: one small file each in ``<state_dir>/live/``.

A superset of the truth, and cheap to read however many trainings have ended: a file is there
before its training's folder and goes after the terminal status. Whoever finds one whose training
is gone or has ended removes it. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import files
from .folder import TrainingFolder


def register(state_dir: Path, training_id: str, demand: Mapping[str, Any]) -> None:
    """Add a training that is about to exist, with what it wants of the machine."""
    directory = state_dir / "live"
    directory.mkdir(mode=0o700, exist_ok=True)
    files.write_json(directory / training_id, dict(demand))


def unregister(state_dir: Path, training_id: str) -> None:
    """Remove a training that has ended or is gone."""
    (state_dir / "live" / training_id).unlink(missing_ok=True)


def trainings(state_dir: Path) -> Iterator[tuple[TrainingFolder, dict[str, Any]]]:
    """Yield folder and demand of every training that may not have ended, in order of submission."""
    found = []
    try:
        paths = [path for path in (state_dir / "live").iterdir() if path.name[0] != "."]
    except FileNotFoundError:
        return
    for path in paths:
        demand = files.read_json(path)
        if demand is not None:
            found.append((demand.get("submitted", 0), path.name, demand))
    for _, training_id, demand in sorted(found, key=lambda item: item[:2]):
        yield TrainingFolder(state_dir / "trainings" / training_id), demand
