"""Scalars as columns: ``scalars.bin`` and ``series.jsonl`` of each learner, read for charts.

Rows are read, not memory-mapped: a mapped file that somebody cuts ends the server with SIGBUS, and
a million rows (32 MB) take 10 ms to read. Where the columns are missing or wrong they are rebuilt
from ``evaluation-metrics.txt``; row numbers stay the same, since both come from the same records.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jupyter_ffdl import files

from .attempts import attempts_of, learners_of
from .downsample import downsample
from .record import ROW, SeriesTable, is_series
from .records import read_records

ROWS = np.dtype(
    [("series", "<u4"), ("", "<u4"), ("step", "<i8"), ("wall_time", "<f8"), ("value", "<f8")]
)
_ROWS_AT_ONCE = 1 << 20

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Series:
    """One curve: ``step`` (int64), ``wall_time`` (epoch seconds) and ``value`` of equal length.

    Two runs that share a grouplabel differ in ``source``, the path of the event directory.
    ``points``: how many there are before downsampling.
    """

    learner: int
    source: str
    grouplabel: str
    tag: str
    subid: str
    step: Array
    wall_time: Array
    value: Array
    points: int

    def to_json(self) -> dict[str, Any]:
        """Return the series for the wire: null with a mark where JSON has no number."""
        value = self.value.tolist()
        marks: list[list[Any]] = []
        for index in np.flatnonzero(~np.isfinite(self.value)).tolist():
            number = value[index]
            marks.append([index, "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"])
            value[index] = None
        series: dict[str, Any] = {
            "learner": self.learner,
            "source": self.source,
            "grouplabel": self.grouplabel,
            "tag": self.tag,
            "step": self.step.tolist(),
            "wall_time": self.wall_time.tolist(),
            "value": value,
            "marks": marks,
            "points": self.points,
        }
        if self.subid:
            series["subid"] = self.subid
        return series


@dataclass(frozen=True)
class Scalars:
    """Series of one attempt, and the cursors from which to read on, one per learner."""

    attempt: int
    series: list[Series]
    cursors: list[dict[str, int]]

    def to_json(self) -> dict[str, Any]:
        """Return the answer of ``GET …/scalars``."""
        return {
            "attempt": self.attempt,
            "series": [series.to_json() for series in self.series],
            "cursors": self.cursors,
        }


def read_scalars(
    folder: Path,
    *,
    attempt: int | None = None,
    learner: int | None = None,
    tags: Collection[str] | None = None,
    max_points: int | None = 1000,
    since: Iterable[Mapping[str, int]] = (),
    steps: tuple[float, float] | None = None,
) -> Scalars:
    """Return the scalars of one attempt, the latest by default.

    ``tags``: only these. ``max_points`` per series (None: all): buckets keep their least and
    greatest value, so no spike is lost; first and last point, and the first NaN or infinity, stay.
    ``since``: cursors of an earlier answer, whose rows are left out; a cursor of another attempt
    counts for nothing. ``steps``: only from … to, both included.
    """
    numbers = attempts_of(folder)
    chosen = attempt if attempt is not None else (numbers[-1] if numbers else 1)
    begins = {
        int(cursor["learner"]): int(cursor["row"])
        for cursor in since
        if int(cursor.get("attempt", chosen)) == chosen
    }
    series: list[Series] = []
    cursors: list[dict[str, int]] = []
    for number, directory in learners_of(folder, chosen):
        if learner is not None and number != learner:
            continue
        columns = Columns(directory)
        found, row = columns.read(begins.get(number, 0), number, tags, max_points, steps)
        series += found
        cursors.append({"attempt": chosen, "learner": number, "row": row})
    return Scalars(chosen, series, cursors)


class Columns:
    """The columns of one learner."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._rows_path = directory / "scalars.bin"
        self._series_path = directory / "series.jsonl"
        self._rebuilt: bytes | None = None
        # Rows before series: a row's series stands in its file first, so all are known.
        self._rows = _size(self._rows_path) // ROW.size
        self._check()

    @property
    def rows(self) -> int:
        """How many whole rows there were when this was made."""
        return self._rows

    def read(
        self,
        since: int = 0,
        learner: int = 1,
        tags: Collection[str] | None = None,
        max_points: int | None = None,
        steps: tuple[float, float] | None = None,
    ) -> tuple[list[Series], int]:
        """Return the series from row ``since`` on, and the row to read on from."""
        end = self.rows
        parts: dict[int, list[tuple[Array, int]]] = {}
        for rows in self._chunks(since, end):
            for number, own in _by_series(rows):
                if number >= len(self._series):
                    continue  # damaged on disk
                if tags is not None and self._series[number]["tag"] not in tags:
                    continue
                if steps is not None:
                    own = own[(own["step"] >= steps[0]) & (own["step"] <= steps[1])]  # noqa: PLW2901
                if len(own):
                    kept = own if max_points is None else own[_kept(own, max_points)]
                    parts.setdefault(number, []).append((kept, len(own)))
        found = [
            self._one(learner, self._series[number], chunks, max_points)
            for number, chunks in sorted(parts.items())
        ]
        return found, max(since, end)

    def _one(
        self,
        learner: int,
        about: Mapping[str, Any],
        chunks: list[tuple[Array, int]],
        max_points: int | None,
    ) -> Series:
        rows = chunks[0][0] if len(chunks) == 1 else np.concatenate([rows for rows, _ in chunks])
        if max_points is not None and len(chunks) > 1:
            rows = rows[_kept(rows, max_points)]
        return Series(
            learner=learner,
            source=about["source"],
            grouplabel=about["grouplabel"],
            tag=about["tag"],
            subid=about.get("subid", ""),
            step=rows["step"],
            wall_time=rows["wall_time"],
            value=rows["value"],
            points=sum(points for _, points in chunks),
        )

    def _chunks(self, since: int, end: int) -> Iterator[Array]:
        """Yield rows, at most a million at once: ten million must not fill the server."""
        for first in range(since, end, _ROWS_AT_ONCE):
            count = min(_ROWS_AT_ONCE, end - first)
            if self._rebuilt is not None:
                yield np.frombuffer(self._rebuilt, ROWS, count, first * ROW.size)
            else:
                yield np.fromfile(self._rows_path, ROWS, count, offset=first * ROW.size)

    def _check(self) -> None:
        """Load the series; rebuild where the files cannot be what the records say."""
        records = _size(self._directory / "evaluation-metrics.txt")
        self._series, _ = files.read_lines(self._series_path)
        sound = all(map(is_series, self._series, itertools.count()))
        sound = sound and (records == 0 or self._rows_path.exists())
        end = self._rows
        if sound and end:
            last = np.fromfile(self._rows_path, ROWS, offset=(end - 1) * ROW.size, count=1)
            sound = int(last["series"][0]) < len(self._series)
        finished = self._finished()
        if sound and finished is not None:
            sound = records != finished["records_bytes"] or end == finished["rows"]
        if not sound:
            self._rebuild(save=finished is not None)

    def _finished(self) -> Mapping[str, Any] | None:
        """Return the sizes at the collector's end, None while it may still write."""
        state = files.read_json(self._directory.parent / "collector.json")
        if not isinstance(state, dict) or not state.get("finished"):
            return None
        number = self._directory.name.removeprefix("learner-")
        sizes = state.get("outputs", {}).get(number)
        return sizes if isinstance(sizes, dict) else None

    def _rebuild(self, *, save: bool) -> None:
        table = SeriesTable()
        records = read_records(self._directory / "evaluation-metrics.txt")
        self._rebuilt = b"".join(map(table.rows, records))
        self._rows = len(self._rebuilt) // ROW.size
        self._series = table.series
        if save:
            self._save(self._rebuilt)

    def _save(self, rows: bytes) -> None:
        lines = b"".join(json.dumps(line).encode() + b"\n" for line in self._series)
        try:
            files.write_whole(self._series_path, lines)
            files.write_whole(self._rows_path, rows)
        except OSError:
            return  # read-only or full: the answer is right all the same


def _by_series(rows: Array) -> Iterator[tuple[int, Array]]:
    numbers = rows["series"]
    if not len(numbers):
        return
    if numbers.max() < 1 << 16:
        numbers = numbers.astype(np.uint16)  # sorted by radix, four times faster
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    cuts = np.flatnonzero(np.diff(ordered)) + 1
    for part in np.split(order, cuts):
        yield int(numbers[part[0]]), rows[part]


def _kept(rows: Array, max_points: int) -> Array:
    return downsample(rows["value"], max_points)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
