"""Scalars of TensorBoard event files as emetrics records (FfDL contract §6.3).

One record per event directory and step, with all its tags: complete when the directory's next step
begins, or half a second after its last event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_ffdl.learner.eventdirs import SUB_RUN, Directory, EventTree
from jupyter_ffdl.trainingdata.record import (
    FLOAT,
    INT,
    Record,
    number_text,
    readable,
    typed,
    utc_text,
)

from .eventfile import READ_BYTES, EventFile
from .scalars import event_class, scalars
from .written import Written

STEP_SECONDS = 0.5
_BYTES_AT_ONCE = 16 << 20

Point = tuple[str, str, int, str]
"""(source, tag, step, text of the value): what makes a point the same after a restart."""


def points_of(record: Mapping[str, Any]) -> Iterable[Point]:
    """Yield the points in a line of ``evaluation-metrics.txt`` that this extractor wrote."""
    source = str(record["source"])
    step = int(record["etimes"]["iteration"]["value"])
    for tag, entry in record["values"].items():
        yield source, tag, step, str(entry["value"])


@dataclass
class _Step:
    """The step of one event directory that may still get values."""

    step: int
    wall_time: float
    values: dict[str, str]


@dataclass
class _Group:
    """One event directory, as far as read."""

    source: str
    label: str
    subid: str
    learner: int
    plugins: dict[str, str] = field(default_factory=dict)
    open_step: _Step | None = None
    due: float = 0.0
    latest: float = 0.0


class TensorBoardExtractor:
    """Reads the event files of ``tree``.

    ``learners``: how many there are; directories of another ``learner-N`` belong to learner 1.
    ``state``: what ``state()`` of an earlier process returned. ``written``: points that this
    process's predecessor wrote after that state; each is left out once. ``report(path, text)`` is
    told of what cannot be read.
    """

    def __init__(
        self,
        tree: EventTree,
        *,
        learners: int = 1,
        state: Mapping[str, Any] | None = None,
        written: Iterable[Mapping[str, Any]] = (),
        report: Callable[[str, str], None] = lambda _path, _text: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tree = tree
        self._learners = learners
        self._report = report
        self._monotonic = monotonic
        self._written = Written(point for record in written for point in points_of(record))
        self._groups: dict[str, _Group] = {}
        self._files: dict[str, EventFile] = {}
        self._sources: set[str] = set()
        self._found: list[tuple[float, Record]] = []
        self._restore(state or {})

    def collect(self, *, final: bool = False) -> tuple[list[Record], bool]:
        """Return the records that are complete now, and whether more can be read at once.

        ``final``: nothing will be written any more, so a step waits for no other value.
        """
        budget = _BYTES_AT_ONCE
        more = False
        # An older file of a directory is read to its end before a newer one (rotation).
        unfinished: set[str] = set()
        for path in sorted(self._tree.dirty):
            directory = self._tree.directory(path)
            if budget <= 0 or directory.path in unfinished:
                more = True
                continue
            before = self._file(path).offset
            if self._read(path, directory):
                unfinished.add(directory.path)
                more = True
            budget -= max(0, self._file(path).offset - before)
        if not more:
            self._written.forget()
        now = self._monotonic()
        for group in self._groups.values():
            if group.open_step is not None and (group.due <= now or (final and not more)):
                self._close_step(group, group.open_step)
        found, self._found = self._found, []
        found.sort(key=lambda item: item[0])
        return [record for _, record in found], more

    @property
    def catching_up(self) -> bool:
        """Whether what a killed process wrote has not all been found again."""
        return bool(self._written)

    def due_in(self) -> float | None:
        """Return the seconds until an open step is complete by time, None where none is open."""
        due = [group.due for group in self._groups.values() if group.open_step is not None]
        return max(0.0, min(due) - self._monotonic()) if due else None

    def state(self) -> dict[str, Any]:
        """Return all that a later process needs, as plain JSON."""
        return {
            "files": {path: file.state() for path, file in self._files.items()},
            "groups": {path: _group_state(group) for path, group in self._groups.items()},
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        for path, saved in state.get("files", {}).items():
            self._files[path] = EventFile.from_state(Path(path), saved)
        for path, saved in state.get("groups", {}).items():
            group = self._groups[path] = _Group(
                saved["source"],
                saved["label"],
                saved["subid"],
                int(saved["learner"]),
                dict(saved["plugins"]),
            )
            self._sources.add(group.source)
            if "open" in saved:
                step, wall_time, values = saved["open"]
                for tag, text in values.items():
                    self._add(group, step, wall_time, tag, text)

    def _file(self, path: str) -> EventFile:
        if path not in self._files:
            self._files[path] = EventFile(Path(path))
        return self._files[path]

    def _group(self, directory: Directory) -> _Group:
        if directory.path not in self._groups:
            source = directory.source
            while source in self._sources:  # "logs/x" of LOG_DIR and of the working directory
                source = f"./{source}"
            self._sources.add(source)
            match = SUB_RUN.fullmatch(directory.sub_run)
            number = int(match[1]) if match is not None and match[1] else 1
            self._groups[directory.path] = _Group(
                source,
                readable(Path(directory.path).name),
                directory.sub_run,
                number if 1 <= number <= self._learners else 1,
            )
        return self._groups[directory.path]

    def _read(self, path: str, directory: Directory) -> bool:
        """Read on in one file; whether more of it can be read at once."""
        file = self._file(path)
        was_bad, skipped = file.bad, file.skipped
        payloads = file.read(READ_BYTES)
        if file.bad and not was_bad:
            self._report(path, f"Not read further: {file.bad}")
        self._tree.read(path, file.size)
        if not payloads:
            return False
        group = self._group(directory)
        parse = event_class().FromString
        for payload in payloads:
            try:
                event = parse(payload)
            except Exception:  # noqa: BLE001  (protobuf's DecodeError, without importing protobuf)
                file.skipped += 1
                continue
            if event.HasField("summary"):
                for tag, text in scalars(event, group.plugins):
                    self._add(group, event.step, event.wall_time, tag, text)
        if file.skipped > skipped == 0:
            self._report(path, "Damaged event records were skipped")
        if file.behind:
            self._tree.dirty.add(path)
        return file.behind

    def _add(self, group: _Group, step: int, wall_time: float, tag: str, text: str) -> None:
        if self._written and self._written.take((group.source, tag, step, text)):
            return
        last = group.open_step
        if last is not None and (last.step != step or tag in last.values):
            self._close_step(group, last)
            last = None
        if last is None:
            group.open_step = _Step(step, wall_time, {tag: text})
        else:
            last.values[tag] = text
        group.due = self._monotonic() + STEP_SECONDS

    def _close_step(self, group: _Group, done: _Step) -> None:
        group.open_step = None
        # A directory's own order stands even if its clock was set back.
        group.latest = max(group.latest, done.wall_time)
        record = Record(
            etimes={
                "iteration": typed(INT, str(done.step)),
                "timestamp": {"value": utc_text(done.wall_time)},
                "wall_time": typed(FLOAT, number_text(done.wall_time)),
            },
            grouplabel=group.label,
            values={tag: typed(FLOAT, text) for tag, text in done.values.items()},
            source=group.source,
            subid=group.subid,
            learner=group.learner,
        )
        self._found.append((group.latest, record))


def _group_state(group: _Group) -> dict[str, Any]:
    state: dict[str, Any] = {
        "source": group.source,
        "label": group.label,
        "subid": group.subid,
        "learner": group.learner,
        "plugins": dict(group.plugins),
    }
    if group.open_step is not None:
        done = group.open_step
        state["open"] = [done.step, done.wall_time, dict(done.values)]
    return state
