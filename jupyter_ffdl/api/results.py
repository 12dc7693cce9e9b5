"""A directory that strangers' code wrote, read without ever leaving it.

A symbolic link counts as the file it leads to if that lies in the tree or in a directory that the
caller names (the training's logs, which are linked), and is not there at all otherwise.
"""

from __future__ import annotations

import io
import os
import stat
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO


@dataclass(frozen=True)
class ResultFile:
    """One file; ``path`` is relative, with slashes."""

    path: str
    size: int
    modified: int
    """Epoch milliseconds."""

    def to_json(self) -> dict[str, Any]:
        """Return the file as the listing shows it; a name that is no UTF-8 is shown replaced."""
        shown = os.fsencode(self.path).decode("utf-8", "replace")
        return {"path": shown, "size": self.size, "modified": self.modified}


class SafeTree:
    """The files below ``root``."""

    def __init__(self, root: Path, also: Sequence[Path] = ()) -> None:
        self.root = root.resolve()
        self._allowed = (self.root, *(path.resolve() for path in also))

    def open(self, path: str) -> BinaryIO | None:
        """Open a file for reading; None for whatever is no regular file of the tree."""
        if "\0" in path or any(part in {"", ".", ".."} for part in path.split("/")):
            return None
        real = self._real(self.root / path)
        if real is None:
            return None
        base, below = real
        try:
            return _open_below(base, below)
        except OSError:
            return None

    def files(self) -> Iterator[str]:
        """Yield the paths of all files, sorted."""
        return self._walk("", "")

    def page(self, after: str, limit: int, prefix: str = "") -> tuple[list[ResultFile], str]:
        """Return up to ``limit`` files after a path, and the last one's if there are more.

        Directories that cannot hold such files are not even opened, and only the files of the
        page are looked at: 100 000 files cost what their names cost.
        """
        found: list[ResultFile] = []
        for path in self._walk("", after):
            if not path.startswith(prefix):
                continue
            if len(found) == limit:
                return found, found[-1].path
            file = self._look(path)
            if file is not None:
                found.append(file)
        return found, ""

    def _walk(self, directory: str, after: str) -> Iterator[str]:
        """Yield paths below ``directory`` that sort behind ``after``, in the order of paths."""
        try:
            with os.scandir(self.root / directory) as entries:
                # With its slash a directory sorts where its content does.
                names = sorted(
                    entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
                    for entry in entries
                )
        except OSError:
            return
        for name in names:
            path = directory + name
            if name.endswith("/"):
                if path > after or after.startswith(path):
                    yield from self._walk(path, after)
            elif path > after:
                yield path

    def _look(self, path: str) -> ResultFile | None:
        full = self.root / path
        try:
            info = os.lstat(full)
            if stat.S_ISLNK(info.st_mode):
                if self._real(full) is None:
                    return None
                info = os.stat(full)
        except OSError:
            return None
        if not stat.S_ISREG(info.st_mode):
            return None
        return ResultFile(path, info.st_size, info.st_mtime_ns // 1_000_000)

    def _real(self, full: Path) -> tuple[Path, Path] | None:
        """Return where a path really is: an allowed directory, and the way below it."""
        try:
            real = full.resolve(strict=True)
        except (OSError, RuntimeError):
            return None
        for base in self._allowed:
            if real.is_relative_to(base):
                return base, real.relative_to(base)
        return None


def _open_below(base: Path, below: Path) -> BinaryIO:
    """Open a file step by step, so that no link set meanwhile can lead away."""
    directory = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in below.parts[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            deeper = os.open(part, flags, dir_fd=directory)
            os.close(directory)
            directory = deeper
        # Without O_NONBLOCK a FIFO would wait for its writer for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(below.name, flags, dir_fd=directory)
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(str(below))
    return os.fdopen(descriptor, "rb")


class _Pipe(io.RawIOBase):
    """What zipfile writes into: collects bytes until they are taken. It cannot seek."""

    def __init__(self) -> None:
        self.collected = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.collected += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self.collected)
        self.collected.clear()
        return taken


def zip_pieces(
    tree: SafeTree, files: Sequence[str], folder: str, piece_bytes: int
) -> Iterator[bytes]:
    """Yield a zip of ``files``, entries named ``<folder>/<path>``, as it is made.

    Of any size (ZIP64). A file that grows meanwhile is taken up to the size it had when its turn
    came; one that vanished is left out.
    """
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in files:
            file = tree.open(path)
            if file is None:
                continue
            with file:
                info = os.fstat(file.fileno())
                entry = zipfile.ZipInfo(_entry_name(folder, path), _moment(info.st_mtime))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (info.st_mode & 0xFFFF) << 16
                with archive.open(entry, "w", force_zip64=True) as target:
                    left = info.st_size
                    while left > 0 and (piece := file.read(min(piece_bytes, left))):
                        left -= len(piece)
                        target.write(piece)
                        if len(pipe.collected) >= piece_bytes:
                            yield pipe.take()
            if len(pipe.collected) >= piece_bytes:
                yield pipe.take()
    yield pipe.take()


def _entry_name(folder: str, path: str) -> str:
    return os.fsencode(f"{folder}/{path}").decode("utf-8", "replace")


def _moment(seconds: float) -> tuple[int, int, int, int, int, int]:
    # A zip knows no time before 1980 nor after 2107.
    moment = time.localtime(min(max(seconds, 315_619_200), 4_354_732_800))
    return (moment.tm_year, moment.tm_mon, moment.tm_mday, *moment[3:6])
