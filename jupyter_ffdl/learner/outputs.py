"""What the collector appends: whole lines and rows, also when the disk is full or we are killed.

``evaluation-metrics.txt`` is the truth; ``series.jsonl`` and ``scalars.bin`` follow from it and are
written after it, so after ``kill -9`` they lack at most what its last lines tell.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jupyter_ffdl import files
from jupyter_ffdl.trainingdata.record import ROW, Record, SeriesTable, is_series, parse

_READ_BYTES = 1 << 20
_TAIL_BYTES = 16 * 1024


class Stamps:
    """Strictly increasing times in epoch milliseconds, whatever the clock does."""

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def take(self, now: int, count: int = 1) -> int:
        """Return the first of ``count`` consecutive times, none before ``now``."""
        first = max(now, self.last + 1)
        self.last = first + count - 1
        return first


class Appended:
    """A file that grows by whole units; a unit is never left half written.

    What the disk refuses stays in memory for the next ``flush``; callers read no more input until
    it is out, so their input files are the buffer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self.size = os.fstat(self._descriptor).st_size
        self.waiting = bytearray()

    def add(self, data: bytes) -> None:
        """Append whole units with the next ``flush``."""
        self.waiting += data

    def flush(self) -> bool:
        """Write what waits; False where the disk does not take it now."""
        if not self.waiting:
            return True
        try:
            written = os.write(self._descriptor, self.waiting)
        except OSError:
            return False
        if written < len(self.waiting):
            self.truncate(self.size)
            return False
        self.size += written
        self.waiting.clear()
        return True

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        os.ftruncate(self._descriptor, size)
        self.size = size

    def read_from(self, offset: int) -> bytes:
        """Return the bytes from ``offset`` to the end."""
        data = bytearray()
        while offset + len(data) < self.size:
            piece = os.pread(self._descriptor, _READ_BYTES, offset + len(data))
            if not piece:
                break
            data += piece
        return bytes(data)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


class Outputs:
    """The emetrics files of one learner.

    ``saved`` is ``state()`` of an earlier process. ``after_saved`` are then the records that were
    written since, whose inputs the caller is about to read once more.
    """

    def __init__(self, directory: Path, training_id: str, saved: Mapping[str, Any] | None) -> None:
        self._training_id = training_id
        self.records = Appended(directory / "evaluation-metrics.txt")
        self._series_file = Appended(directory / "series.jsonl")
        self._rows = Appended(directory / "scalars.bin")
        self._runs: dict[str, int] = {}
        self.after_saved: list[dict[str, Any]] = []
        # A machine that crashed may have lost what the state speaks of: then all is read again.
        self.lost = saved is not None and self.records.size < int(saved["records_bytes"])
        self._resume({} if saved is None or self.lost else saved)

    def add(self, records: Iterable[Record], now: int, stamps: Stamps) -> None:
        """Give ``records`` numbers and times, and buffer them."""
        table = self._table
        before = len(table.series)
        for record in records:
            rindex = self._runs[record.subid] = self._runs.get(record.subid, 0) + 1
            value = record.to_json(self._training_id, stamps.take(now), rindex)
            self.records.add(_json_line(value))
            self._rows.add(table.rows(value))
        self._series_file.add(b"".join(map(_json_line, table.series[before:])))

    def flush(self) -> bool:
        """Write what waits, the truth first; False where the disk does not take all of it now."""
        return self.records.flush() and self._series_file.flush() and self._rows.flush()

    @property
    def waiting(self) -> bool:
        """Whether the disk has not taken all of it."""
        return any(file.waiting for file in (self.records, self._series_file, self._rows))

    def state(self) -> dict[str, Any]:
        """Return what ``saved`` of a later process needs; only after a ``flush`` that succeeded."""
        return {
            "records_bytes": self.records.size,
            "rows": self._rows.size // ROW.size,
            "series": len(self._table.series),
            "runs": dict(self._runs),
        }

    def close(self) -> None:
        """Give the descriptors back."""
        self.records.close()
        self._series_file.close()
        self._rows.close()

    def _resume(self, saved: Mapping[str, Any]) -> None:
        start = int(saved.get("records_bytes", 0))
        tail = self.records.read_from(start)
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            self.records.truncate(start + whole)
        self._runs = dict(saved.get("runs", {}))
        for line in tail[:whole].splitlines():
            record = parse(line)
            if record is not None:
                self.after_saved.append(record)
                meta = record["meta"]
                self._runs[meta.get("subid", "")] = meta["rindex"]
        self._resume_columns(int(saved.get("rows", 0)), int(saved.get("series", 0)))

    def _resume_columns(self, rows: int, series: int) -> None:
        """Make series and rows what the records say, without touching rows that are right."""
        known = files.read_lines(self._series_file.path)[0]
        records = self.after_saved
        if not all(map(is_series, known, itertools.count())):
            known = []
        if self._rows.size < rows * ROW.size or len(known) < series:
            rows = series = 0
            lines = self.records.read_from(0).splitlines()
            records = [record for line in lines if (record := parse(line)) is not None]
        table = self._table = SeriesTable(known[:series])
        packed = b"".join(table.rows(record) for record in records)
        there = self._rows.read_from(rows * ROW.size)
        if not packed.startswith(there):
            # Cut where it is wrong, not before: a reader may be looking at the rest.
            there = there[: _rows_in_common(packed, there)]
            self._rows.truncate(rows * ROW.size + len(there))
        self._rows.add(packed[len(there) :])
        text = b"".join(map(_json_line, table.series))
        there = self._series_file.read_from(0)
        if not text.startswith(there):
            self._series_file.truncate(0)
            there = b""
        self._series_file.add(text[len(there) :])


def _json_line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _rows_in_common(right: bytes, there: bytes) -> int:
    """Return the bytes of the whole rows that both begin with."""
    size = 0
    while right[size : size + ROW.size] == there[size : size + ROW.size] and size < len(there):
        size += ROW.size
    return min(size, len(there), len(right)) // ROW.size * ROW.size


def last_record_time(learner_dir: Path) -> int:
    """Return the time of the last record in a learner's directory, 0 where it has none."""
    try:
        with (learner_dir / "evaluation-metrics.txt").open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            size = _TAIL_BYTES
            while True:
                file.seek(max(0, end - size))
                lines = file.read().split(b"\n")
                times = [r["meta"]["time"] for line in lines if (r := parse(line)) is not None]
                if times or size >= end:
                    return max(times, default=0)
                size *= 8
    except OSError:
        return 0
