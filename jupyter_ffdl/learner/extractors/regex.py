"""Records found by regular expressions in log lines (FfDL contract §6.4)."""

from __future__ import annotations

import json
import math
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from jupyter_ffdl.learner.logdir import Input
from jupyter_ffdl.trainingdata.record import (
    FLOAT,
    TYPE_NAMES,
    Record,
    number,
    number_text,
    typed,
)

from .follow import LineFile
from .written import Written

FLAGS = re.MULTILINE | re.DOTALL
_MAX_LINE = 16 * 1024
_MAX_SLOW = 3
_CAPTURE = re.compile(r"\$([A-Za-z_]\w*)", re.ASCII)


def record_key(record: Mapping[str, Any]) -> str:
    """Return what makes a record in ``evaluation-metrics.txt`` the same after a restart."""
    parts = [record["meta"].get("subid", ""), record["grouplabel"]]
    return json.dumps([*parts, record["etimes"], record["values"]])


@dataclass(frozen=True)
class Group:
    """One group of the manifest, compiled; times and values map a name to (type, literal)."""

    label: str
    pattern: re.Pattern[str]
    etimes: Mapping[str, tuple[int, str]]
    values: Mapping[str, tuple[int, str]]
    subid: str

    @classmethod
    def from_json(cls, group: Mapping[str, Any]) -> Group:
        """Return the group as the manifest's reader wrote it."""
        return cls(
            group["label"],
            re.compile(group["regex"], FLAGS),
            _named(group["etimes"]),
            _named(group["values"]),
            group.get("subid") or "",
        )

    def record(self, match: re.Match[str], found_in: Input) -> Record:
        """Return the record of a match; a capture that took no part gives no value."""
        return Record(
            etimes=_filled(self.etimes, match),
            grouplabel=self.label,
            values=_filled(self.values, match),
            source=self.label,
            subid=_text(self.subid, match) or found_in.subid,
            learner=found_in.learner,
        )


@dataclass
class _Window:
    file: LineFile
    lines: list[str] = field(default_factory=list)


class RegexExtractor:
    """Reads the files that ``inputs`` names; ``metrics`` is the ``metrics`` part of a LearnerSpec.

    ``state``, ``written`` and ``report`` are as for ``TensorBoardExtractor``. A match is given up
    after ``match_seconds``, a group after three such matches.
    """

    def __init__(
        self,
        metrics: Mapping[str, Any],
        inputs: Callable[[], Iterable[Input]],
        *,
        state: Mapping[str, Any] | None = None,
        written: Iterable[Mapping[str, Any]] = (),
        report: Callable[[str, str], None] = lambda _path, _text: None,
        match_seconds: float = 1.0,
    ) -> None:
        self._groups = [Group.from_json(group) for group in metrics["groups"]]
        self._lookahead = max(1, int(metrics.get("line_lookahead", 4)))
        self._inputs = inputs
        self._report = report
        self._written = Written(map(record_key, written))
        self._patience = Patience(match_seconds)
        self._match_seconds = match_seconds
        self._slow: Counter[str] = Counter()
        self._windows: dict[str, _Window] = {}
        for path, saved in (state or {}).get("windows", {}).items():
            file = LineFile.from_state(Path(path), saved["file"])
            self._windows[path] = _Window(file, list(saved["lines"]))

    def collect(self, *, final: bool = False) -> tuple[list[Record], bool]:
        """Return the records in what is new, and whether more can be read at once."""
        found: list[Record] = []
        more = False
        with self._patience:
            for item in self._inputs():
                window = self._windows.setdefault(str(item.path), _Window(LineFile(item.path)))
                for line in window.file.read(final=final):
                    window.lines.append(line.decode("utf-8", "replace")[:_MAX_LINE])
                    if len(window.lines) > self._lookahead:
                        del window.lines[0]
                    found += self._match(window, item)
                more |= window.file.behind
                if final and not window.file.behind:
                    found += self._drain(window, item)
        if not more:
            self._written.forget()
        return found, more

    @property
    def catching_up(self) -> bool:
        """Whether what a killed process wrote has not all been found again."""
        return bool(self._written)

    def due_in(self) -> float | None:
        """Return None: a record is complete with its line."""
        return None

    def state(self) -> dict[str, Any]:
        """Return all that a later process needs, as plain JSON."""
        return {
            "windows": {
                path: {"file": window.file.state(), "lines": list(window.lines)}
                for path, window in self._windows.items()
            }
        }

    def _drain(self, window: _Window, found_in: Input) -> Iterator[Record]:
        """Let each line that is left begin the window once: no further line will push it there."""
        while window.lines:
            del window.lines[0]
            if window.lines:
                yield from self._match(window, found_in)

    def _match(self, window: _Window, found_in: Input) -> Iterator[Record]:
        text = "".join(window.lines) if len(window.lines) > 1 else window.lines[0]
        for group in self._groups:
            if self._slow and self._slow[group.label] >= _MAX_SLOW:
                continue
            match = self._patience.match(group.pattern, text)
            if match is not None:
                window.lines.clear()
                record = group.record(match, found_in)
                if not self._is_written(record):
                    yield record
                return
            if self._patience.gave_up:
                self._note_slow(group, found_in)

    def _note_slow(self, group: Group, found_in: Input) -> None:
        self._slow[group.label] += 1
        if self._slow[group.label] == _MAX_SLOW:
            self._report(
                str(found_in.path),
                f"The regex of group {group.label} took over {self._match_seconds:g} s three times "
                "and is not tried any more",
            )

    def _is_written(self, record: Record) -> bool:
        return bool(self._written) and self._written.take(record_key(record.to_json("", 0, 0)))


class _TookTooLongError(Exception):
    pass


class Patience:
    """Ends a match that takes once or twice ``seconds``: some patterns never end on some text.

    Python's matcher looks for signals, so an alarm gets through. Without a main thread to get it,
    matches are not limited.
    """

    def __init__(self, seconds: float) -> None:
        self.gave_up = False
        self._seconds = seconds
        self._matches = self._at_last_alarm = 0
        self._matching = False
        self._before: Any = None
        self._active = False

    def __enter__(self) -> None:
        self._active = threading.current_thread() is threading.main_thread()
        if self._active:
            self._before = signal.signal(signal.SIGALRM, self._alarm)
            signal.setitimer(signal.ITIMER_REAL, self._seconds, self._seconds)

    def __exit__(self, *_: object) -> None:
        if self._active:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)

    def match(self, pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
        """Return the match at the start of ``text``; None also where it took too long."""
        self.gave_up = False
        self._matches += 1
        try:
            self._matching = True
            match = pattern.match(text)
            self._matching = False
        except _TookTooLongError:
            self._matching = False
            self.gave_up = True
            return None
        return match

    def _alarm(self, _number: int, _frame: FrameType | None) -> None:
        if self._matching and self._matches == self._at_last_alarm:
            raise _TookTooLongError
        self._at_last_alarm = self._matches


def _named(values: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[int, str]]:
    return {
        name: (TYPE_NAMES.index(value["type"]), value["value"]) for name, value in values.items()
    }


def _filled(
    wanted: Mapping[str, tuple[int, str]], match: re.Match[str]
) -> dict[str, dict[str, Any]]:
    filled: dict[str, dict[str, Any]] = {}
    for name, (kind, literal) in wanted.items():
        text = _text(literal, match)
        if text is None:
            continue
        value = number(text) if kind == FLOAT else None
        if value is not None and not math.isfinite(value):
            text = number_text(value)
        filled[name] = typed(kind, text)
    return filled


def _text(literal: str, match: re.Match[str]) -> str | None:
    capture = _CAPTURE.fullmatch(literal)
    if capture is None:
        return literal
    text: str | None = match[capture[1]]
    return text
