"""The framing of TensorBoard's event files, read while they are written.

A record is: length (8 bytes), masked CRC of the length (4), payload, masked CRC of the payload (4),
little endian. What is half written is left for the next look. A file may also be truncated, be
replaced by another of its name, or turn out to be something else: that is reported once, never
waited for in silence.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .crc32c import masked, masked_length
from .follow import FileHead

_HEADER = struct.Struct("<QI")
_NOT_YET = bytes(_HEADER.size)
_MAX_RECORD = 1 << 31
READ_BYTES = 1 << 20


@dataclass
class EventFile:
    """How far one event file has been read.

    ``offset``: bytes read as whole records. ``inode`` tells a replaced file. ``bad``: why the rest
    of the file is not read, or "". ``behind``: whether the last ``read`` left bytes unseen.
    """

    path: Path
    offset: int = 0
    inode: int = 0
    bad: str = ""
    size: int = -1
    skipped: int = 0
    behind: bool = False
    head: FileHead = field(default_factory=FileHead)

    def state(self) -> dict[str, Any]:
        """Return what a later process needs to read on."""
        state: dict[str, Any] = {
            "offset": self.offset,
            "inode": self.inode,
            "head": [self.head.size, self.head.check],
        }
        return {**state, "bad": self.bad} if self.bad else state

    @classmethod
    def from_state(cls, path: Path, state: dict[str, Any]) -> EventFile:
        """Read on where ``state`` ends."""
        return cls(
            path,
            int(state["offset"]),
            int(state["inode"]),
            str(state.get("bad", "")),
            head=FileHead(*state["head"]),
        )

    def read(self, limit: int = READ_BYTES) -> list[bytes]:
        """Return the payloads of the next whole records, from about ``limit`` bytes.

        ``[]`` where there is nothing new, or the rest is half written. A record longer than
        ``limit`` is read whole. Missing files are empty.
        """
        self.behind = False
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            self.size = -1
            return []
        try:
            about = os.fstat(descriptor)
            other = about.st_ino != self.inode or not self.head.fits(descriptor)
            if other or about.st_size < self.offset:
                self.offset, self.bad, self.inode, self.head = 0, "", about.st_ino, FileHead()
            self.size = about.st_size
            if self.bad or about.st_size == self.offset:
                return []
            data = os.pread(descriptor, max(limit, _HEADER.size), self.offset)
            needed = self._first_record_bytes(data)
            if len(data) < needed <= self.size - self.offset:
                data = os.pread(descriptor, needed, self.offset)
        except OSError:
            return []
        finally:
            os.close(descriptor)
        end = self.offset + len(data)
        payloads = self._split(data)
        self.behind = bool(payloads) and end < self.size
        return payloads

    def _first_record_bytes(self, data: bytes) -> int:
        if len(data) < _HEADER.size:
            return 0
        length, check = _HEADER.unpack_from(data)
        sound = length <= _MAX_RECORD and masked_length(data[:8]) == check
        return int(length) + 16 if sound else 0

    def _split(self, data: bytes) -> list[bytes]:
        payloads: list[bytes] = []
        position, end = 0, len(data)
        while position + 12 <= end:
            length, check = _HEADER.unpack_from(data, position)
            if masked_length(data[position : position + 8]) != check or length > _MAX_RECORD:
                # A hole that the system has not filled yet (seen on network file systems).
                if data[position : position + 12] != _NOT_YET:
                    self.bad = f"no event record at byte {self.offset + position}"
                break
            body = position + 12
            after = body + length + 4
            if after > end:
                break
            payload = data[body : body + length]
            if int.from_bytes(data[after - 4 : after], "little") == masked(payload):
                payloads.append(payload)
            elif self.offset + after >= self.size:
                break  # the last record: perhaps not all of it has arrived
            else:
                self.skipped += 1
            position = after
        self.head.learn(self.offset, data if self.bad else data[:position])
        self.offset += position
        return payloads
