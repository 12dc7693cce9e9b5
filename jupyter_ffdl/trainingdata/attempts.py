"""Which attempts and learners a training folder has; standard library only."""

from __future__ import annotations

import os
from pathlib import Path


def attempts_of(folder: Path) -> list[int]:
    """Return the attempts of a training folder, in order."""
    try:
        names = os.listdir(folder / "attempts")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name) for name in names if name.isdigit())


def learners_of(folder: Path, attempt: int) -> list[tuple[int, Path]]:
    """Return number and directory of the learners of an attempt, in order."""
    directory = folder / "attempts" / str(attempt)
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    numbers = [name.removeprefix("learner-") for name in names if name.startswith("learner-")]
    return [(n, directory / f"learner-{n}") for n in sorted(int(n) for n in numbers if n.isdigit())]
