"""Files brought from one directory into another: linked where possible, copied where not.

Doing it again after a kill at any moment brings the same result: what is there already is left,
what was half done has a name of its own and is done anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

PART = ".ffdl-part"
"""Ending of a file that is being copied."""


def put(source: str | Path, target: str | Path) -> None:
    """Make ``target`` the same file as ``source``, in one step: by a hard link or by a copy."""
    try:
        os.link(source, target)
    except FileExistsError:
        if _same(source, target):
            return
    except OSError:
        pass  # another file system, or one without hard links: the copy below tells if it is worse
    else:
        return
    directory, name = os.path.split(os.fspath(target))
    part = os.path.join(directory, f".{name[:200]}{PART}")  # noqa: PTH118 (for 100 000 files)
    try:
        if os.path.lexists(part):
            os.unlink(part)  # noqa: PTH108
        try:
            os.link(source, part)
        except OSError:
            import shutil  # noqa: PLC0415 (10 ms that the start of a training does without)

            shutil.copyfile(source, part)
            shutil.copystat(source, part)
        os.replace(part, target)
    except BaseException:
        if os.path.lexists(part):
            os.unlink(part)  # noqa: PTH108
        raise


def put_tree(source: Path, target: Path, *, skip: Callable[[str], bool] | None = None) -> None:
    """Bring all files below ``source`` to the same paths below ``target``.

    Links to files are brought as files, since what they point at may be gone tomorrow; links to
    directories, sockets and pipes are left out. ``skip`` gets paths relative to ``source``.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path, kind in walk(source, skip=skip):
        if kind == "directory":
            (target / path).mkdir(exist_ok=True)
            continue
        there = f"{source}/{path}"
        if kind == "link":
            there = os.path.realpath(there)
        put(there, f"{target}/{path}")


def walk(
    root: Path, *, skip: Callable[[str], bool] | None = None
) -> Iterator[tuple[str, Literal["directory", "file", "link"]]]:
    """Yield (path relative to ``root``, what it is), directories before their content.

    A ``link`` is one to a regular file; all other links, and what is no file, are left out.
    """
    pending = [""]
    while pending:
        inside = pending.pop()
        try:
            entries = list(os.scandir(f"{root}/{inside}"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            path = f"{inside}{entry.name}"
            if skip is not None and skip(path):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{path}/")
                yield path, "directory"
            elif entry.is_file():
                yield path, "link" if entry.is_symlink() else "file"


def _same(source: str | Path, target: str | Path) -> bool:
    here, there = os.stat(source), os.lstat(target)
    if os.path.samestat(here, there):
        return True
    return stat.S_ISREG(there.st_mode) and (here.st_size, here.st_mtime_ns) == (
        there.st_size,
        there.st_mtime_ns,
    )
