"""Being told that a file changed, by inotify; standard library only.

Where inotify is not to be had (macOS, another libc, the user's 128 instances are taken)
``Watcher.open`` returns None, and where one more watch is refused ``add`` returns False: callers
then look by time with a cheap ``stat``. Network file systems report no changes made elsewhere, so
a look now and then is needed anyway.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, final

IN_MODIFY = 0x0000_0002
IN_ATTRIB = 0x0000_0004
IN_CLOSE_WRITE = 0x0000_0008
IN_MOVED_FROM = 0x0000_0040
IN_MOVED_TO = 0x0000_0080
IN_CREATE = 0x0000_0100
IN_DELETE = 0x0000_0200
IN_DELETE_SELF = 0x0000_0400
IN_MOVE_SELF = 0x0000_0800
IN_Q_OVERFLOW = 0x0000_4000
IN_IGNORED = 0x0000_8000
IN_ONLYDIR = 0x0100_0000
IN_ISDIR = 0x4000_0000

ENTRIES = IN_CREATE | IN_MOVED_TO
"""A directory gets a new entry (whole files arrive by ``os.replace``)."""

_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_READ_BYTES = 64 * 1024


class Change(NamedTuple):
    """``name`` is the entry of the directory ``path``, or "" where ``path`` itself changed.

    With ``IN_Q_OVERFLOW`` in ``mask``, ``path`` is "" and anything may have changed.
    """

    path: str
    name: str
    mask: int


def available() -> bool:
    """Whether this system has inotify (a watcher can still be refused: see ``Watcher.open``)."""
    return _libc() is not None


@final
class Watcher:
    """Watches of one process; ``fileno`` is readable when something changed.

    Raises OSError where the system refuses one; ``open`` returns None instead.
    """

    def __init__(self) -> None:
        libc = _libc()
        if libc is None:
            raise OSError(38, "This system has no inotify")
        self._libc = libc
        self._descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._paths: dict[int, str] = {}
        self._watches: dict[str, int] = {}

    @classmethod
    def open(cls) -> Watcher | None:
        """Return a watcher, or None where the caller has to look by time."""
        try:
            return cls()
        except OSError:
            return None

    def add(self, path: str | Path, mask: int = ENTRIES) -> bool:
        """Watch a file or directory; False where that is refused or it does not exist.

        Adding a path again replaces its mask. Symbolic links are followed.
        """
        name = os.fspath(path)
        watch = int(self._libc.inotify_add_watch(self._descriptor, os.fsencode(name), mask))
        if watch < 0:
            return False
        # Another name of the same inode shares its watch: the newest name is reported.
        self._paths[watch] = name
        self._watches[name] = watch
        return True

    def remove(self, path: str | Path) -> None:
        """Stop watching ``path``; harmless where it is not watched."""
        watch = self._watches.pop(os.fspath(path), None)
        if watch is not None and self._paths.pop(watch, None) is not None:
            self._libc.inotify_rm_watch(self._descriptor, watch)

    def watches(self, path: str | Path) -> bool:
        """Whether ``path`` is watched; false again once it is deleted."""
        return os.fspath(path) in self._watches

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._descriptor

    def read(self) -> list[Change]:
        """Return what changed since the last call; never waits."""
        changes: list[Change] = []
        while True:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except (BlockingIOError, InterruptedError):
                return changes
            changes += self._changes(data)

    def _changes(self, data: bytes) -> list[Change]:
        changes: list[Change] = []
        position = 0
        while position < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size
            name = os.fsdecode(data[position : position + length].rstrip(b"\0"))
            position += length
            path = self._paths.get(watch, "")
            if mask & IN_IGNORED:
                self._paths.pop(watch, None)
                if self._watches.get(path) == watch:
                    del self._watches[path]
            elif path or mask & IN_Q_OVERFLOW:
                changes.append(Change(path, name, mask))
        return changes

    def close(self) -> None:
        """Give the descriptor back; a second call is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _libc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.inotify_init1.argtypes = (ctypes.c_int,)
        libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        libc.inotify_rm_watch.argtypes = (ctypes.c_int, ctypes.c_int)
    except (OSError, AttributeError):
        return None
    return libc
