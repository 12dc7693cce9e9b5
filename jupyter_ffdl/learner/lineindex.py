"""When each line of a log was seen: ``lines.idx``, written beside the log.

Entries are ``<QQQ``: byte offset of a line's start, its ``rindex`` (from 1), its time in epoch
milliseconds; line k after an entry has that time + k, so times are strictly increasing. Lines seen
together get one entry, one more per 64 KiB, and an end mark (time with its highest bit set): what
lies behind an end mark has no time yet. The file alone is the state: after ``kill -9`` indexing
goes on at its last entry.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from .outputs import Appended, Stamps

ENTRY = struct.Struct("<QQQ")
END_MARK = 1 << 63
_SLICE = 64 * 1024
_READ_BYTES = 1 << 20
_BYTES_AT_ONCE = 64 << 20


class LineIndex:
    """Writes the index of one log; ``stamps`` is shared by all logs of an attempt."""

    def __init__(self, log: Path, index: Path, stamps: Stamps) -> None:
        self.log = log
        self._stamps = stamps
        self._file = Appended(index)
        self._file.truncate(self._file.size // ENTRY.size * ENTRY.size)
        self._line_start, self._rindex = 0, 1
        if self._file.size:
            last = self._file.read_from(self._file.size - ENTRY.size)
            self._line_start, self._rindex, time = ENTRY.unpack(last)
            stamps.last = max(stamps.last, _last_time(time))
        self._scanned = self._line_start

    @property
    def waiting(self) -> bool:
        """Whether the disk has not taken all of it."""
        return bool(self._file.waiting)

    @property
    def lines(self) -> int:
        """How many lines have been seen."""
        return self._rindex - 1

    def collect(self, now: int, *, final: bool = False) -> bool:
        """Index the lines that ended since the last call; whether more can be read at once.

        ``final``: nothing will be written any more, so an open last line is a line.
        """
        if not self._file.flush():
            return False
        try:
            descriptor = os.open(self.log, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            size = os.fstat(descriptor).st_size
            if size < self._scanned:
                # Truncated by user code: what is left has been counted, new lines follow.
                self._line_start = self._scanned = size
            if size == self._scanned and not final:
                return False
            end = min(size, self._scanned + _BYTES_AT_ONCE)
            marks, lines = self._count(descriptor, end)
        finally:
            os.close(descriptor)
        more = self._scanned < size
        if final and not more and self._scanned > self._line_start:
            if not marks:
                marks.append((self._line_start, self._rindex))
            self._line_start = self._scanned
            lines += 1
        if lines:
            self._write(marks, lines, now)
        return more

    def close(self) -> None:
        """Give the descriptor back."""
        self._file.close()

    def _count(self, descriptor: int, end: int) -> tuple[list[tuple[int, int]], int]:
        """Count the line ends up to ``end``; returns (offset, rindex) of entries, and lines."""
        marks: list[tuple[int, int]] = []
        lines = 0
        while self._scanned < end:
            data = os.pread(descriptor, min(_READ_BYTES, end - self._scanned), self._scanned)
            if not data:
                break
            for position in range(0, len(data), _SLICE):
                piece = data[position : position + _SLICE]
                ended = piece.count(b"\n")
                if ended:
                    marks.append((self._line_start, self._rindex + lines))
                    lines += ended
                    self._line_start = self._scanned + position + piece.rfind(b"\n") + 1
            self._scanned += len(data)
        return marks, lines

    def _write(self, marks: list[tuple[int, int]], lines: int, now: int) -> None:
        first = self._stamps.take(now, lines)
        for offset, rindex in marks:
            self._file.add(ENTRY.pack(offset, rindex, first + rindex - self._rindex))
        self._rindex += lines
        end = (first + lines) | END_MARK
        self._file.add(ENTRY.pack(self._line_start, self._rindex, end))
        self._file.flush()


def last_line_time(learner_dir: Path) -> int:
    """Return the last time that any log in a learner's directory has given, 0 for none."""
    last = 0
    for index in [learner_dir / "lines.idx", *learner_dir.glob("user/**/*.idx")]:
        try:
            with index.open("rb") as file:
                whole = file.seek(0, os.SEEK_END) // ENTRY.size
                if whole:
                    file.seek((whole - 1) * ENTRY.size)
                    last = max(last, _last_time(ENTRY.unpack(file.read(ENTRY.size))[2]))
        except OSError:
            continue
    return last


def _last_time(entry_time: int) -> int:
    """Return the last time given, by the time of the last entry: that of the next line."""
    return (entry_time & ~END_MARK) - 1
