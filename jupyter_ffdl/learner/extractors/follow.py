"""New whole lines of a text file that somebody else writes: appends, truncates, replaces."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READ_BYTES = 1 << 20
"""Also the longest line: the rest of a longer one is left out."""
HEAD_BYTES = 64


@dataclass
class FileHead:
    """The first bytes of a file: they tell another file of the same name and inode number."""

    size: int = 0
    check: int = 0

    def learn(self, offset: int, data: bytes) -> None:
        """Remember the first bytes that were read, ``data`` at ``offset``."""
        if offset == 0 and data:
            self.size = min(HEAD_BYTES, len(data))
            self.check = zlib.crc32(data[: self.size])

    def fits(self, descriptor: int) -> bool:
        """Whether the open file still begins so."""
        return not self.size or zlib.crc32(os.pread(descriptor, self.size, 0)) == self.check


@dataclass
class LineFile:
    """How far one file has been read; ``number`` is that of the last line given."""

    path: Path
    offset: int = 0
    inode: int = 0
    number: int = 0
    long: bool = False
    head: FileHead = field(default_factory=FileHead)
    behind: bool = False

    def state(self) -> dict[str, Any]:
        """Return what a later process needs to read on."""
        return {
            "offset": self.offset,
            "inode": self.inode,
            "number": self.number,
            "long": self.long,
            "head": [self.head.size, self.head.check],
        }

    @classmethod
    def from_state(cls, path: Path, state: Mapping[str, Any]) -> LineFile:
        """Read on where ``state`` ends."""
        return cls(
            path,
            int(state["offset"]),
            int(state["inode"]),
            int(state["number"]),
            bool(state["long"]),
            FileHead(*state["head"]),
        )

    def read(self, *, final: bool = False) -> list[bytes]:
        """Return the next lines with their ends, from about a megabyte.

        A longer line comes cut, without an end. ``final``: an open last line comes too.
        """
        self.behind = False
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            about = os.fstat(descriptor)
            if about.st_size == self.offset and about.st_ino == self.inode:
                return []
            other = about.st_ino != self.inode or not self.head.fits(descriptor)
            if other or about.st_size < self.offset:
                self.offset = self.number = 0
                self.long, self.inode, self.head = False, about.st_ino, FileHead()
            data = os.pread(descriptor, READ_BYTES, self.offset)
        except OSError:
            return []
        finally:
            os.close(descriptor)
        before = self.offset
        lines = self._lines(data, final=final and before + len(data) >= about.st_size)
        self.head.learn(before, data[: self.offset - before])
        self.behind = self.offset > before and self.offset < about.st_size
        return lines

    def _lines(self, data: bytes, *, final: bool) -> list[bytes]:
        whole = len(data) if final else data.rfind(b"\n") + 1
        cut = not whole and len(data) == READ_BYTES
        if cut:
            whole = len(data)
        self.offset += whole
        lines = _split(data[:whole])
        if self.long and lines:
            # What goes on here began as a line that was given cut.
            del lines[0]
            self.long = cut
        elif cut:
            self.long = True
        self.number += len(lines)
        return lines


def _split(data: bytes) -> list[bytes]:
    r"""Split at ``\n`` only."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]
