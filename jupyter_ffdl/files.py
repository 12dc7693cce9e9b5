"""Files that survive ``kill -9``: whole, or a whole line, or not there.

Whole files appear by a temporary name and ``os.replace``; appended files grow by a single
``write`` of whole lines; readers ignore a torn last line and remember byte offsets.
Standard library only: the supervisor and the learner's parent start with nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes, *, mode: int = 0o600, sync: bool = False) -> None:
    """Replace ``path`` by ``content`` in one step; a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, *, mode: int = 0o600, sync: bool = False) -> None:
    """Replace ``path`` by ``value`` as JSON, in one step."""
    write_whole(path, json.dumps(value).encode(), mode=mode, sync=sync)


def read_json(path: Path) -> Any:
    """Return the JSON value in ``path``, or None where the file is missing or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def append_line(path: Path, value: Any, *, sync: bool = False) -> None:
    """Append ``value`` as one line of JSON by a single ``write``.

    A torn line that an earlier owner left at the end (a kill in the middle of its write, a full
    disk) is closed first, so that it spoils itself alone. If the disk takes only a part of our
    line, that part is cut off again and ``OSError`` raised.
    """
    line = json.dumps(value).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        written = os.write(descriptor, line)
        if written < len(line):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise OSError(28, os.strerror(28), str(path))
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path, offset: int = 0) -> tuple[list[Any], int]:
    """Return the JSON values of the whole lines from byte ``offset``, and the offset after them.

    Torn lines and lines that are not JSON are skipped; a missing file is an empty one.
    """
    lines, end = read_whole_lines(path, offset)
    return list(_values(lines)), end


@contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a lock file against other processes; it goes with its holder, however that ends."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)


def read_whole_lines(path: Path, offset: int = 0) -> tuple[list[bytes], int]:
    """Return the whole lines from byte ``offset`` as they are, and the offset after them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    return data[:end].split(b"\n")[:-1], offset + end


def _values(lines: Iterable[bytes]) -> Iterator[Any]:
    for line in lines:
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except ValueError:
            continue
