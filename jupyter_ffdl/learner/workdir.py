"""The working directory of a training: its code, and for notebooks what lies beside the notebook.

A training from a notebook reads and writes where the notebook would (FfDL contract §5.1): whatever
was not shipped is linked, and what the training creates is found again afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import transfer

_NOT_LINKED = frozenset({".ipynb_checkpoints"})
_NOT_KEPT = frozenset({"__pycache__", ".ipynb_checkpoints"})

Shipped = Mapping[str, tuple[int, int]]
"""{path in the working directory: (size in bytes, time of change in ns)} as they were shipped."""


def link_rest(cwd: Path, workdir: Path, *, never: Path) -> None:
    """Link into ``workdir`` what ``cwd`` holds beyond it.

    A directory of which only a part was shipped becomes one of links. ``never``: the state
    directory; a link to it, or to what contains it, would make the tree contain itself, so the
    directories on the way to it are made anew, without it.
    """
    source, never_linked = os.path.realpath(cwd), os.path.realpath(never)
    if not f"{source}/".startswith(f"{never_linked}/"):
        _link(source, str(workdir), never_linked)


def _link(source: str, target: str, never: str) -> None:
    for entry in os.scandir(source):
        if entry.name in _NOT_LINKED:
            continue
        linked = f"{target}/{entry.name}"
        real = os.path.realpath(entry.path)
        if real == never:
            continue
        on_the_way = never.startswith(real.rstrip("/") + "/")
        shipped = os.path.lexists(linked)
        if not shipped and not on_the_way:
            os.symlink(entry.path, linked)  # noqa: PTH211 (for 100 000 files)
        elif on_the_way and entry.is_symlink():
            continue  # the directory itself is met elsewhere, or is not below the notebook at all
        elif entry.is_dir() and (not shipped or _is_real_directory(linked)):
            os.makedirs(linked, exist_ok=True)  # noqa: PTH103
            _link(entry.path, linked, never)


def _is_real_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114


def shipped_files(workdir: Path) -> dict[str, tuple[int, int]]:
    """Return the files of a working directory before anything ran in it."""
    found = {}
    for path, kind in transfer.walk(workdir):
        if kind == "file":
            status = os.lstat(f"{workdir}/{path}")
            found[path] = (status.st_size, status.st_mtime_ns)
    return found


def created_files(workdir: Path, shipped: Shipped) -> Iterator[str]:
    """Yield the files that a training created or changed: no links, nothing of Python's caches."""
    for path, kind in transfer.walk(workdir, skip=_not_kept):
        if kind != "file":
            continue
        status = os.lstat(f"{workdir}/{path}")
        if tuple(shipped.get(path, ())) != (status.st_size, status.st_mtime_ns):
            yield path


def _not_kept(path: str) -> bool:
    return path.rpartition("/")[2] in _NOT_KEPT
