"""One emetrics record, and the rows of ``scalars.bin`` that follow from it.

The learner's collector writes by these functions and the readers rebuild by them, so the columns
are a pure function of ``evaluation-metrics.txt``: row numbers are cursors that survive a rebuild.
Standard library only.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

STRING, JSONSTRING, INT, FLOAT = 0, 1, 2, 3
TYPE_NAMES = ("STRING", "JSONSTRING", "INT", "FLOAT")
"""Types of values: numbers in the file, names in REST (FfDL contract §6.1)."""

ROW = struct.Struct("<IIqdd")
"""A row of ``scalars.bin``: series id, 0, step, wall time in epoch seconds, value."""

Values = Mapping[str, Mapping[str, Any]]
_INT64 = 2**63


@dataclass(frozen=True)
class Record:
    """What an extractor found: values of one step, before it has a time and an ``rindex``.

    ``etimes`` and ``values`` map a name to ``{"type": 2, "value": "10"}``, the type left out for
    STRING as in the file. ``source`` is where it was found: the path of an event directory, or
    the group of a regex. ``subid`` is the sub-run, ``learner`` whose file it goes to.
    """

    etimes: Values
    grouplabel: str
    values: Values
    source: str
    subid: str = ""
    learner: int = 1

    def to_json(self, training_id: str, time: int, rindex: int) -> dict[str, Any]:
        """Return the record as it stands in the file, keys in the contract's order (§6.2)."""
        meta: dict[str, Any] = {"training_id": training_id, "time": time, "rindex": rindex}
        if self.subid:
            meta["subid"] = self.subid
        return {
            "meta": meta,
            "etimes": self.etimes,
            "grouplabel": self.grouplabel,
            "values": self.values,
            "source": self.source,
        }


def typed(kind: int, text: str) -> dict[str, Any]:
    """Return one value as it stands in the file: the type is left out when 0."""
    return {"type": kind, "value": text} if kind else {"value": text}


def number_text(value: float) -> str:
    """Return the shortest text of a double; NaN and infinities by the names that JSON lacks."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def number(text: Any) -> float | None:
    """Return the number that a value's text stands for, or None."""
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return float(int(text, 0))
    except (TypeError, ValueError, OverflowError):
        return None


def readable(name: str) -> str:
    """Return a name without what neither JSON nor a screen can show: bytes that are no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def utc_text(seconds: float) -> str:
    """Return epoch seconds as ISO text in UTC, microseconds and ``Z`` (§6.3)."""
    try:
        at = datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        at = datetime.fromtimestamp(0, timezone.utc)
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def step_of(record: Mapping[str, Any]) -> int:
    """Return the step: ``iteration``, ``step`` or ``epoch``, else the first INT, else rindex."""
    etimes = record["etimes"]
    for name in ("iteration", "step", "epoch", *etimes):
        entry = etimes.get(name)
        if entry is not None and (entry.get("type") == INT or name == "iteration"):
            step = _integer(entry.get("value"))
            if step is not None:
                return step
    return int(record["meta"]["rindex"])


def wall_time_of(record: Mapping[str, Any]) -> float:
    """Return epoch seconds: the record's ``wall_time``, else the time of collection."""
    entry = record["etimes"].get("wall_time")
    seconds = number(entry.get("value")) if entry is not None else None
    return seconds if seconds is not None else record["meta"]["time"] / 1000


def scalars_of(record: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """Yield tag and value of the numbers in a record, in its order."""
    for tag, entry in record["values"].items():
        if entry.get("type", STRING) >= INT:
            value = number(entry.get("value"))
            if value is not None:
                yield tag, value


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line of our own ``evaluation-metrics.txt``, or None for a bad one."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if well_formed(record) else None


def well_formed(record: Any) -> bool:
    """Whether a parsed line has the parts that readers rely on."""
    if not isinstance(record, dict):
        return False
    meta = record.get("meta")
    return (
        isinstance(meta, dict)
        and isinstance(meta.get("time"), int)
        and isinstance(meta.get("rindex"), int)
        and isinstance(record.get("etimes"), dict)
        and isinstance(record.get("values"), dict)
    )


def is_series(line: Any, number: int) -> bool:
    """Whether ``line`` can be line ``number`` (from 0) of ``series.jsonl``."""
    names = ("source", "grouplabel", "tag")
    return isinstance(line, dict) and line.get("id") == number and all(n in line for n in names)


class SeriesTable:
    """Numbers the series of one learner in order of first appearance.

    A series is (source, grouplabel, tag, subid); ``known`` are lines of ``series.jsonl``.
    """

    def __init__(self, known: Iterable[Mapping[str, Any]] = ()) -> None:
        self.series: list[dict[str, Any]] = []
        self._ids: dict[tuple[str, str, str, str], int] = {}
        for line in known:
            self._add(
                (line["source"], line["grouplabel"], line["tag"], line.get("subid", "")),
            )

    def rows(self, record: Mapping[str, Any]) -> bytes:
        """Return the rows of ``record``; series new with it are then at the end of ``series``."""
        step = step_of(record)
        wall_time = wall_time_of(record)
        grouplabel = str(record.get("grouplabel", ""))
        source = str(record.get("source", grouplabel))
        subid = str(record["meta"].get("subid", ""))
        pack, ids = ROW.pack, self._ids
        packed = b""
        for tag, value in scalars_of(record):
            key = (source, grouplabel, tag, subid)
            number = ids.get(key)
            if number is None:
                number = self._add(key)
            packed += pack(number, 0, step, wall_time, value)
        return packed

    def _add(self, key: tuple[str, str, str, str]) -> int:
        number = self._ids[key] = len(self.series)
        source, grouplabel, tag, subid = key
        line: dict[str, Any] = {
            "id": number,
            "source": source,
            "grouplabel": grouplabel,
            "tag": tag,
        }
        if subid:
            line["subid"] = subid
        self.series.append(line)
        return number


def _integer(text: Any) -> int | None:
    try:
        step = int(text)
    except (TypeError, ValueError):
        value = number(text)
        if value is None or not math.isfinite(value):
            return None
        step = int(value)
    return step if -_INT64 <= step < _INT64 else None
