"""Emetrics records of a training, paged and in the forms of REST (FfDL contract §2.5, §2.6)."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from jupyter_ffdl import files

from .attempts import attempts_of, learners_of
from .lines import checked_pagesize
from .logfile import read_bytes, tail_offset
from .record import TYPE_NAMES, number, step_of, utc_text
from .records import parse_records, read_records, whole_lines

FRAME_BYTES = 8192
"""The old command line reads ``/metrics`` in such pieces (§2.5)."""
_TIME = re.compile(rb'"time": (\d+)')


@dataclass(frozen=True)
class RecordFile:
    """The records of one learner in one attempt.

    ``bases``: per sub-run how many records earlier attempts have, so that ``rindex`` has no gaps.
    """

    path: Path
    attempt: int
    learner: int
    bases: Mapping[str, int]


def record_files(folder: Path) -> list[RecordFile]:
    """Return the files of all attempts and learners, oldest first."""
    found: list[RecordFile] = []
    bases: dict[tuple[int, str], int] = {}
    numbers = attempts_of(folder)
    for attempt in numbers:
        for learner, directory in learners_of(folder, attempt):
            path = directory / "evaluation-metrics.txt"
            own = {subid: base for (n, subid), base in bases.items() if n == learner}
            found.append(RecordFile(path, attempt, learner, own))
            if attempt != numbers[-1]:
                for subid, count in _runs(directory).items():
                    bases[learner, subid] = bases.get((learner, subid), 0) + count
    return found


def emetrics(
    folder: Path,
    *,
    pos: int = 0,
    pagesize: int = 10,
    since: int | None = None,
    subid: str | None = None,
) -> list[dict[str, Any]]:
    """Return one page of records as ``/v1/logs/{id}/emetrics`` gives them, by ascending time.

    Parameters as for ``lines.loglines``.
    """
    pagesize = checked_pagesize(pagesize)
    sources = record_files(folder)
    if pos < 0:
        found = _from_end(sources, -pos - 1, pagesize, since, subid)
    else:
        records = _merge(sources, since or 0, subid)
        if since is None and pos > 0:
            wanted = range(pos, pos + pagesize)
            found = [record for record in records if record["meta"]["rindex"] in wanted]
        else:
            skip = pos if since is not None else 0
            found = [record for n, record in zip(range(skip + pagesize), records) if n >= skip]  # noqa: B905
    return [rest_form(record) for record in found]


def rest_form(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of the file as REST gives it: names of types, values as strings."""
    meta = record["meta"]
    shown = {name: meta[name] for name in ("rindex", "time", "training_id") if name in meta}
    if meta.get("subid"):
        shown["subid"] = meta["subid"]
    return {
        "etimes": _named(record["etimes"]),
        "grouplabel": record.get("grouplabel", ""),
        "meta": shown,
        "values": _named(record["values"]),
    }


def metrics_form(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a record as ``/metrics`` streams it, in as many frames as keep below 8192 bytes.

    The last keys are those that the old command line reads: ``type``, ``timestamp``,
    ``iteration`` and ``Values`` (numbers only; NaN and infinities are left out, JSON has none).
    """
    frame = _metrics_frame(record)
    values = list(record["values"].items())
    if len(values) <= 1 or len(orjson.dumps(frame)) < FRAME_BYTES:
        return [frame]
    half = len(values) // 2
    return [
        *metrics_form({**record, "values": dict(values[:half])}),
        *metrics_form({**record, "values": dict(values[half:])}),
    ]


class RecordTail:
    """The records of one attempt in order of time, read on as they come (``/metrics``)."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self._folder = folder
        self._attempt = attempt
        self._offsets: dict[Path, int] = {}

    def read(self, limit: int = 1 << 20) -> list[dict[str, Any]]:
        """Return the next records, from about ``limit`` bytes of each learner; [] if none now."""
        streams = []
        for source in record_files(self._folder):
            if source.attempt == self._attempt:
                offset = self._offsets.get(source.path, 0)
                data = read_bytes(source.path, offset, limit)
                whole = data.rfind(b"\n") + 1
                if not whole and len(data) == limit:
                    data = _whole_line(source.path, offset)
                    whole = len(data)
                self._offsets[source.path] = offset + whole
                streams.append(_based(parse_records(data[:whole].split(b"\n")), source))
        return list(heapq.merge(*streams, key=_time))


def _metrics_frame(record: Mapping[str, Any]) -> dict[str, Any]:
    stamp = record["etimes"].get("timestamp")
    seconds = record["meta"]["time"] / 1000
    numbers: dict[str, float | int] = {}
    for name, entry in record["values"].items():
        if entry.get("type", 0) >= 2:
            value = number(entry.get("value"))
            if value is not None and value - value == 0:
                numbers[name] = int(value) if entry["type"] == 2 else value
    return {
        **rest_form(record),
        "type": record.get("grouplabel", ""),
        "timestamp": str(stamp["value"]) if stamp else utc_text(seconds),
        "iteration": step_of(record),
        "Values": numbers,
    }


def _named(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    return {
        name: {
            "type": TYPE_NAMES[entry.get("type", 0)],
            "value": str(entry.get("value", "")),
        }
        for name, entry in entries.items()
    }


def _merge(
    sources: Sequence[RecordFile], since: int, subid: str | None
) -> Iterator[dict[str, Any]]:
    streams = [
        _based(read_records(source.path, _offset_of(source.path, since)), source)
        for source in sources
    ]
    for record in heapq.merge(*streams, key=_time):
        if _time(record) >= since and _of_run(record, subid):
            yield record


def _from_end(
    sources: Sequence[RecordFile], skip: int, pagesize: int, since: int | None, subid: str | None
) -> list[dict[str, Any]]:
    wanted = skip + pagesize
    if subid is not None:
        # How far back this sub-run's last records lie is not known before all are read.
        kept = list(_merge(sources, since or 0, subid))
    else:
        tails = [
            _based(read_records(source.path, tail_offset(source.path, wanted)), source)
            for source in sources
        ]
        kept = [r for r in heapq.merge(*tails, key=_time) if since is None or _time(r) >= since]
    last = max(0, len(kept) - skip)
    return kept[max(0, last - pagesize) : last]


def _offset_of(path: Path, since: int) -> int:
    """Return where the first record of time ``since`` or later begins: times ascend in the file."""
    try:
        low, high = 0, path.stat().st_size
    except OSError:
        return 0
    if since <= 0:
        return 0
    # Invariant: the wanted line begins at a line start in (low, high], or at 0.
    while high - low > 4096:
        middle = (low + high) // 2
        start, time = _line_after(path, middle)
        if start is None or start >= high or time >= since:
            high = middle
        else:
            low = start
    return low


def _line_after(path: Path, offset: int) -> tuple[int | None, int]:
    """Return start and time of the first whole line that begins after ``offset``."""
    block = 64 * 1024
    position = offset
    while data := read_bytes(path, position, block):
        end = data.find(b"\n")
        if end >= 0:
            start = position + end + 1
            match = _TIME.search(read_bytes(path, start, 512))
            return (start, int(match[1])) if match else (None, 0)
        position += len(data)
    return None, 0


def _based(records: Iterable[dict[str, Any]], source: RecordFile) -> Iterator[dict[str, Any]]:
    for record in records:
        base = source.bases.get(record["meta"].get("subid", ""), 0) if source.bases else 0
        if base:
            record["meta"]["rindex"] += base
        yield record


def _time(record: Mapping[str, Any]) -> int:
    return int(record["meta"]["time"])


def _of_run(record: Mapping[str, Any], subid: str | None) -> bool:
    return subid is None or record["meta"].get("subid", "") == subid


def _runs(directory: Path) -> dict[str, int]:
    """Return the number of records per sub-run, from the collector's last word or by counting."""
    state = files.read_json(directory.parent / "collector.json")
    number = directory.name.removeprefix("learner-")
    try:
        if state["finished"]:
            return dict(state["outputs"][number]["runs"])
    except (KeyError, TypeError):
        pass
    runs: dict[str, int] = {}
    for record in read_records(directory / "evaluation-metrics.txt"):
        runs[record["meta"].get("subid", "")] = record["meta"]["rindex"]
    return runs


def _whole_line(path: Path, offset: int) -> bytes:
    return next((line + b"\n" for line in whole_lines(path, offset)), b"")


def frame_text(frame: Mapping[str, Any]) -> bytes:
    """Return one line of ``/metrics``."""
    return json.dumps(frame).encode() + b"\n"
