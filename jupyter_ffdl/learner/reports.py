"""What could not be read, told to people once: ``reports.jsonl`` of an attempt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jupyter_ffdl import files

MAX_REPORTS = 100
"""A file of a million bad lines says enough with its first hundred."""


class Reports:
    """Appends lines ``{time, path, text}``, each text about a path once, also over restarts."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._known: set[tuple[str, str]] | None = None

    def add(self, path: str, text: str) -> None:
        """Report ``text`` about the file ``path``; a full disk loses it."""
        if self._known is None:
            lines = files.read_lines(self._path)[0]
            self._known = {(line.get("path", ""), line.get("text", "")) for line in lines}
        if (path, text) in self._known or len(self._known) >= MAX_REPORTS:
            return
        self._known.add((path, text))
        report = {"time": int(self._clock() * 1000), "path": path, "text": text}
        try:
            files.append_line(self._path, report)
        except OSError:
            return
