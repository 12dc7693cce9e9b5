"""Where a growing log is cut into messages.

Messages of one learner, put together, are the log: every cut is between two characters, and the
cursor of a message is the byte behind its last one. A message ends with a line's end if it can:
an open line is sent only if it rewrites itself (a progress bar), has become very long, has not
grown for a while, or is the last one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PIECE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Piece:
    """What was read: ``data`` begins at ``start``; ``size`` is the file's."""

    start: int
    data: bytes
    size: int

    @property
    def end(self) -> int:
        """The cursor behind the piece."""
        return self.start + len(self.data)

    @property
    def behind(self) -> int:
        """How many bytes are still to be sent."""
        return self.size - self.end

    @property
    def text(self) -> str:
        """The piece as text; what is no UTF-8 shows as U+FFFD."""
        return self.data.decode("utf-8", "replace")


def read_piece(path: Path, start: int, *, whole: bool, limit: int = PIECE_BYTES) -> Piece:
    """Return the next piece of a log from byte ``start``; empty if there is none yet.

    ``whole``: also take an open last line. A file that the user's code made shorter goes on where
    it now ends, as it does for the collector.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return Piece(start, b"", start)
    try:
        size = os.fstat(descriptor).st_size
        start = min(start, size)
        data = os.pread(descriptor, limit, start)
    finally:
        os.close(descriptor)
    at_end = start + len(data) >= size
    length = cut(data, at_end=at_end, whole=whole)
    return Piece(start, data[:length], max(size, start + len(data)))


def cut(data: bytes, *, at_end: bool, whole: bool) -> int:
    """Return how many bytes of ``data`` make a message."""
    if whole and at_end:
        return len(data)
    lines = data.rfind(b"\n") + 1
    if at_end and not whole and b"\r" not in data[lines:]:
        return lines
    if lines and not at_end:
        return lines
    return len(data) - unfinished(data)


def unfinished(data: bytes) -> int:
    """Return how many bytes at the end begin a UTF-8 character that is not all there (0 to 3)."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return 0
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4 if byte < 0xF8 else 0
            return back if length > back else 0
    return 0


def line_start_near(path: Path, offset: int) -> int:
    """Return the start of the first line at or behind ``offset``, or ``offset`` in a long line."""
    if offset <= 0:
        return 0
    try:
        with path.open("rb") as file:
            file.seek(offset - 1)
            data = file.read(PIECE_BYTES)
    except OSError:
        return offset
    at = data.find(b"\n")
    return offset + at if at >= 0 else offset + _continuation(data[1:])


def _continuation(data: bytes) -> int:
    for count, byte in enumerate(data[:3]):
        if byte & 0xC0 != 0x80:
            return count
    return 0
