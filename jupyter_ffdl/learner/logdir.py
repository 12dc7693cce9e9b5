"""Where the learner's inputs lie: ``LOG_DIR``, the working directory, ``RESULT_DIR``, ``in``.

These are paths of the machine, also where user code sees them as ``/job`` or ``/mnt/results``
(FfDL contract §5.1).
"""

# Where we may not look, pathlib's forms of these raise.
# ruff: noqa: PTH112, PTH113

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_ffdl.folder import TrainingFolder

from .eventdirs import EVENT_FILE, SUB_RUN, Root
from .places import directories, places

LOG_NAMES = ("training-log.txt", "user_log.txt")
EMETRICS_NAMES = ("evaluation-metrics.txt",)
_JUST_NOW_NS = 50_000_000
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_NO_USER_CODE = frozenset({".git", ".ipynb_checkpoints", "__pycache__", "node_modules"})


@dataclass(frozen=True)
class Input:
    """A text file that an extractor follows. ``subid`` is its sub-run, "" for the main one."""

    path: Path
    subid: str
    learner: int


@dataclass(frozen=True)
class Places:
    """Directories of one training, as the collector reaches them."""

    folder: Path
    logs: Path
    working: Path
    results: Path
    data: tuple[Path, ...]
    mounts: tuple[tuple[str, Path], ...]
    """What literal paths mean: (``/job/…`` or ``/mnt/…``, the directory)."""

    @classmethod
    def of(cls, folder: Path, spec: Mapping[str, Any]) -> Places:
        """Return the places of the training in ``folder``."""
        paths = TrainingFolder(folder)
        real = directories(paths, spec)
        seen = places(paths, {**spec, "literal_paths": True})
        # The longest first: /mnt/results/<bucket>/<id> before its parent.
        mounts = sorted((seen.mounts or {}).items(), reverse=True)
        return cls(folder, paths.logs, paths.model_code, real.results, real.data, tuple(mounts))

    def expand(self, text: str) -> Path | None:
        """Return the path that ``in`` of the manifest means, None where it has none."""
        if not text:
            return None
        variables = {
            "LOG_DIR": self.logs,
            "MODEL_DIR": self.working,
            "RESULT_DIR": self.results,
            "JOB_STATE_DIR": self.folder / "job",
            "TRAINING_ID": self.folder.name,
            "DATA_DIR": self.data[0],
            **{f"DATA_DIR_{n}": path for n, path in enumerate(self.data[1:], start=2)},
        }

        def value(match: re.Match[str]) -> str:
            found = variables.get(match[1] or match[2])
            return match[0] if found is None else str(found)

        expanded = _VARIABLE.sub(value, text)
        for literal, place in self.mounts:
            if expanded == literal or expanded.startswith(f"{literal}/"):
                return Path(f"{place}{expanded[len(literal) :]}")
        return self.working / expanded

    def event_roots(self, spec: Mapping[str, Any], *, extra: Path | None) -> list[Root]:
        """Return the trees in which event files count (contract §5.1, §6.3)."""
        roots = [Root(self.logs, "logs", follow_links=True)]
        if extra is not None:
            tree = extra.parent if EVENT_FILE in extra.name else extra
            roots.append(Root(tree, self._label(tree), follow_links=True))
        if spec.get("notebook"):
            # What a training leaves in its working directory is kept as results/workdir.
            results = Root(
                self.results, "results", skip=frozenset({"workdir"}), copies_of=self.logs
            )
            roots += [results, Root(self.working, "", skip=_NO_USER_CODE)]
        return roots

    def _label(self, extra: Path) -> str:
        for base, label in ((self.folder / "job", ""), (self.results, "results")):
            if extra.is_relative_to(base):
                relative = extra.relative_to(base).as_posix()
                return f"{label}/{relative}".strip("/").removesuffix("/.")
        return extra.name


class TextFiles:
    """The files called ``names`` in ``directory`` and one level below, our own links left out."""

    def __init__(self, directory: Path, names: tuple[str, ...], learners: int, ours: Path) -> None:
        self._directory = directory
        self._names = names
        self._learners = learners
        self._ours = os.path.realpath(ours) + os.sep
        self._modified: dict[str, int] = {}
        self._found: dict[Path, Input] = {}

    def look(self) -> list[Input]:
        """Return the files there are, in order of their paths; unchanged directories are cheap."""
        if _changed(str(self._directory), self._modified):
            self._find(self._directory, "")
            for entry in _directories(self._directory):
                self._modified.setdefault(f"{self._directory}/{entry}", -1)
        for path in list(self._modified):
            if path != str(self._directory) and _changed(path, self._modified):
                self._find(Path(path), os.path.basename(path))
        return [self._found[path] for path in sorted(self._found)]

    def _find(self, directory: Path, subid: str) -> None:
        for name in self._names:
            path = directory / name
            if path not in self._found and os.path.isfile(path):
                # In ``LOG_DIR`` the logs that we write are links into ``attempts``.
                if os.path.realpath(path).startswith(self._ours):
                    continue
                match = SUB_RUN.fullmatch(subid)
                number = int(match[1]) if match is not None and match[1] else 1
                learner = number if 1 <= number <= self._learners else 1
                self._found[path] = Input(path, subid, learner)


def _changed(path: str, modified: dict[str, int]) -> bool:
    try:
        now = os.stat(path).st_mtime_ns
    except OSError:
        return False
    if modified.get(path) == now:
        return False
    # Changed this moment, it may change again without a new time.
    modified[path] = -1 if time.time_ns() - now < _JUST_NOW_NS else now
    return True


def _directories(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if os.path.isdir(entry)]
    except OSError:
        return []


def text_inputs(extra: Path | None, names: tuple[str, ...]) -> list[Input]:
    """Return the files that ``in`` adds: itself, or in a directory those called ``names``."""
    if extra is None:
        return []
    paths = [extra / name for name in names] if os.path.isdir(extra) else [extra]
    return [Input(path, "", 1) for path in paths if os.path.isfile(path)]
