"""``user_log.txt`` and the like, which user code writes in ``LOG_DIR`` (FfDL contract §6.1).

They are copied beside the attempt's own log as they grow, because ``LOG_DIR`` is cleaned when a
training ends. The size of the copy says how far the original has been read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .lineindex import LineIndex
from .logdir import Input
from .outputs import Appended, Stamps

_READ_BYTES = 1 << 20
_BYTES_AT_ONCE = 64 << 20


class UserLog:
    """Copies one log to ``user/[<subid>/]<name>`` in the learner's directory, and indexes it.

    ``saved`` is ``state()`` of an earlier process of this attempt, ``before`` that of the attempt
    before, which read the same file.
    """

    def __init__(
        self,
        original: Input,
        learner_dir: Path,
        stamps: Stamps,
        *,
        saved: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        copy = learner_dir / "user" / original.subid / original.path.name
        self.copy = Input(copy, original.subid, original.learner)
        self.original = original.path
        self._file = Appended(copy)
        self._index = LineIndex(copy, copy.with_name(copy.name + ".idx"), stamps)
        # Offset in the original = size of the copy + shift.
        self._shift = 0
        self._inode = 0
        if saved is not None:
            self._shift, self._inode = int(saved["shift"]), int(saved["inode"])
        elif before is not None:
            self._shift, self._inode = int(before["end"]), int(before["inode"])

    def state(self) -> dict[str, Any]:
        """Return how the copy and the original go together."""
        end = self._file.size + self._shift
        return {"shift": self._shift, "inode": self._inode, "end": end}

    def collect(self, now: int, *, final: bool = False) -> bool:
        """Copy and index what is new; whether more can be read at once."""
        more = self._copy_on()
        indexed = self._index.collect(now, final=final and not more)
        return more or indexed

    @property
    def waiting(self) -> bool:
        """Whether the disk has not taken all of it."""
        return bool(self._file.waiting) or self._index.waiting

    def close(self) -> None:
        """Give the descriptors back."""
        self._file.close()
        self._index.close()

    def _copy_on(self) -> bool:
        if not self._file.flush():
            return False
        try:
            descriptor = os.open(self.original, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            about = os.fstat(descriptor)
            offset = self._file.size + self._shift
            if about.st_size < offset or (self._inode and about.st_ino != self._inode):
                self._shift, offset = -self._file.size, 0
            self._inode = about.st_ino
            end = min(about.st_size, offset + _BYTES_AT_ONCE)
            while offset < end:
                data = os.pread(descriptor, min(_READ_BYTES, end - offset), offset)
                self._file.add(data)
                if not data or not self._file.flush():
                    return False
                offset += len(data)
            return offset < about.st_size
        except OSError:
            return False
        finally:
            os.close(descriptor)
