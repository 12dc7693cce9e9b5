"""One log and its index: lines by number and by time without reading the file.

``lines.idx`` (written by ``learner/lineindex.py``, which describes it) is searched on disk: its
offsets, numbers and times all ascend, so a million lines cost some twenty small reads.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_ENTRY = struct.Struct("<QQQ")
_END_MARK = 1 << 63
_BLOCK = 64 * 1024
_MEGABYTE = 1 << 20


class Piece(NamedTuple):
    """Bytes of a log from ``offset`` to ``end``.

    ``data`` ends with a line, unless one line alone is longer than what was asked for, or the
    caller wanted the open last line too.
    """

    data: bytes
    offset: int
    end: int


class Line(NamedTuple):
    """One line with its end. ``rindex`` counts from 1, ``time`` is when it was seen (epoch ms)."""

    text: bytes
    rindex: int
    time: int


@dataclass(frozen=True)
class LogFile:
    """A log of one learner in one attempt; ``subid`` is "" for learner 1's own."""

    path: Path
    index: Path
    attempt: int
    learner: int
    subid: str = ""

    @property
    def size(self) -> int:
        """Bytes written so far; 0 where there is no file yet."""
        return _size(self.path)

    def read(self, offset: int, limit: int, *, open_line: bool = False) -> Piece:
        """Return whole lines from byte ``offset``, at most about ``limit`` bytes.

        A single line longer than ``limit`` comes in pieces. ``open_line``: also a last line
        without an end (the learner has ended).
        """
        data = read_bytes(self.path, offset, limit)
        if len(data) < limit and open_line:
            return Piece(data, offset, offset + len(data))
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) == limit:
            whole = limit
        return Piece(data[:whole], offset, offset + whole)

    def tail_offset(self, lines: int) -> int:
        """Return where the last ``lines`` lines begin, an open last line being one."""
        return tail_offset(self.path, lines)

    def lines(self) -> int:
        """How many lines have a time."""
        with self._entries() as (count, entry):
            return entry(count - 1)[1] - 1 if count else 0

    def before(self, time: int) -> int:
        """How many lines have a time before ``time``."""
        with self._entries() as (count, entry):
            place = _last(count, lambda n: entry(n)[2] <= time)
            if place < 0:
                return 0
            _, rindex, first = entry(place)
            follows = entry(place + 1)[1] if place + 1 < count else rindex
            return min(rindex + max(0, time - first), max(follows, rindex)) - 1

    def line_at(self, offset: int) -> int:
        """Return the number (from 1) of the line that byte ``offset`` lies in."""
        with self._entries() as (count, entry):
            place = _last(count, lambda n: entry(n)[0] <= offset)
            begin, number, _ = entry(place) if place >= 0 else (0, 1, 0)
        while begin < offset:
            data = read_bytes(self.path, begin, min(_MEGABYTE, offset - begin))
            if not data:
                break
            number += data.count(b"\n")
            begin += len(data)
        return number

    def times(self) -> tuple[int, int] | None:
        """Return the times of the first and the last line, None where no line has one."""
        with self._entries() as (count, entry):
            if not count:
                return None
            return entry(0)[2], entry(count - 1)[2] - 1

    def read_lines(self, rindex: int) -> Iterator[Line]:
        """Yield the lines from number ``rindex`` on, as far as they have a time."""
        with self._entries() as (count, entry):
            place = max(0, _last(count, lambda n: entry(n)[1] <= rindex))
            if not count:
                return
            offset, number, first = entry(place)
            base = number
            following = entry(place + 1) if place + 1 < count else None
            for text in _lines_from(self.path, offset):
                while following is not None and following[1] <= number:
                    place += 1
                    _, base, first = following
                    following = entry(place + 1) if place + 1 < count else None
                if following is None:
                    return
                if number >= rindex:
                    yield Line(text, number, first + number - base)
                number += 1

    @contextmanager
    def _entries(self) -> Iterator[tuple[int, Callable[[int], tuple[int, int, int]]]]:
        """Give the number of entries, the last of them an end mark, and how to read one."""
        try:
            descriptor = os.open(self.index, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            yield 0, lambda _: (0, 1, 0)
            return
        try:
            count = os.fstat(descriptor).st_size // _ENTRY.size

            def raw(number: int) -> tuple[int, int, int]:
                data = os.pread(descriptor, _ENTRY.size, number * _ENTRY.size)
                offset, rindex, time = _ENTRY.unpack(data)
                return offset, rindex, time

            # What follows the last end mark was not written to its end.
            while count and not raw(count - 1)[2] & _END_MARK:
                count -= 1

            def entry(number: int) -> tuple[int, int, int]:
                offset, rindex, time = raw(number)
                return offset, rindex, time & ~_END_MARK

            yield count, entry
        finally:
            os.close(descriptor)


def read_bytes(path: Path, offset: int, limit: int) -> bytes:
    """Return at most ``limit`` bytes from ``offset``; a missing file is empty."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, limit, offset)
    finally:
        os.close(descriptor)


def tail_offset(path: Path, lines: int) -> int:
    """Return where the last ``lines`` lines begin, reading from the end only what is needed."""
    end = size = _size(path)
    missing = lines
    while end > 0:
        begin = max(0, end - _BLOCK)
        block = read_bytes(path, begin, end - begin)
        if end == size and block.endswith(b"\n"):
            missing += 1  # the end of the last line begins no line
        found = block.count(b"\n")
        if found >= missing:
            position = len(block)
            for _ in range(missing):
                position = block.rfind(b"\n", 0, position)
            return begin + position + 1
        missing -= found
        end = begin
    return 0 if lines > 0 else size


def _last(count: int, true_for: Callable[[int], bool]) -> int:
    """Return the last index for which the (descending) condition holds, -1 for none."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if true_for(middle):
            low = middle + 1
        else:
            high = middle
    return low - 1


def _lines_from(path: Path, offset: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        yield from file


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
