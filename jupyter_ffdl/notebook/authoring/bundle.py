"""The zip that is submitted: always the same bytes for the same files."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ...errors import BadInput

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The zip format's first date: equal code must give equal bytes, which are then stored once."""

LEFT_OUT = frozenset({"__pycache__", ".git", ".ipynb_checkpoints", ".DS_Store"})

Files = dict[str, bytes | Path]


def with_paths(paths: Iterable[str], base: Path) -> Files:
    """Return the files that ``--with`` names, by their path in the zip.

    What lies below ``base`` (the kernel's directory) keeps its relative path, so that the code
    finds it as it does in the notebook; anything else goes by its own name. ``*`` patterns expand.
    """
    found: Files = {}
    for text in paths:
        matches = _matches(text, base)
        if not matches:
            raise BadInput(
                f"--with {text}: there is no such file",
                field="files",
                hint=f"Paths are relative to {base}",
            )
        for path in matches:
            _add(found, path, base)
    return found


def directory_files(directory: Path) -> Files:
    """Return everything below a model directory, as the old command line zips it."""
    return {str(path.relative_to(directory).as_posix()): path for path in _walk(directory)}


def write_zip(files: Mapping[str, bytes | Path], target: Path) -> list[tuple[str, int]]:
    """Write the zip and return path and size of each entry, in order."""
    listed = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(files):
            content = files[name]
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, on every system: the modes below are its
            info.compress_type = zipfile.ZIP_DEFLATED
            mode = 0o644
            if isinstance(content, Path):
                mode = 0o755 if content.stat().st_mode & 0o100 else 0o644
                info.file_size = content.stat().st_size
            info.external_attr = (0o100000 | mode) << 16
            size = 0
            with archive.open(info, "w") as entry:
                for piece in _pieces(content):
                    entry.write(piece)
                    size += len(piece)
            listed.append((name, size))
    return listed


def _pieces(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    try:
        with content.open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece
    except OSError as e:
        raise BadInput(f"{content} cannot be read ({e.strerror})") from e


def _matches(text: str, base: Path) -> list[Path]:
    path = base / Path(text).expanduser()
    if path.exists():
        return [path]
    if any(letter in text for letter in "*?["):
        import glob  # noqa: PLC0415  (rarely needed)

        return [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    return []


def _add(found: Files, path: Path, base: Path) -> None:
    top = Path(os.path.abspath(path))  # noqa: PTH100 (links are kept as they are named)
    start = Path(os.path.abspath(base))  # noqa: PTH100
    relative = top.relative_to(start) if top.is_relative_to(start) else Path(top.name)
    for file in _walk(top) if top.is_dir() else [top]:
        inner = file.relative_to(top) if top.is_dir() else Path()
        name = (relative / inner).as_posix() if inner.parts else relative.as_posix()
        found[name] = file


def _walk(directory: Path) -> Iterator[Path]:
    for root, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name not in LEFT_OUT)
        for name in sorted(names):
            path = Path(root, name)
            if name not in LEFT_OUT and path.is_file():
                yield path
