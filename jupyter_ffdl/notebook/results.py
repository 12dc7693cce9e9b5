"""What a training wrote: listed, and downloaded without leaving the destination."""

from __future__ import annotations

import builtins
import os
import posixpath
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..errors import BadInput, FfdlError
from .words import plural, size

if TYPE_CHECKING:
    from .service import Service

_PAGE = 10_000


@dataclass(frozen=True)
class ResultFile:
    """One file: its path below the results, with ``/``, and its size."""

    path: str
    size_bytes: int


class Results:
    """The results of one training, as they are now."""

    def __init__(self, service: Service, training_id: str) -> None:
        self._service = service
        self._id = training_id

    def list(self) -> list[ResultFile]:
        """Return the files in order of path; none while nothing was written."""
        files: list[ResultFile] = []
        token: str | None = None
        while True:
            answer = self._service.get(
                f"/v1/models/{self._id}/results", {"page_token": token, "limit": _PAGE}
            )
            files += [ResultFile(file["path"], file["size"]) for file in answer["files"]]
            token = answer.get("next_page_token")
            if not token:
                return files

    def download(self, dest: str | os.PathLike[str] = ".") -> builtins.list[Path]:
        """Write the files below ``dest`` and return their paths; never outside of it.

        A file appears when it is whole. Existing files of the same path are replaced.
        """
        root = Path(dest)
        root.mkdir(parents=True, exist_ok=True)
        return [self._fetch(file, root) for file in self.list()]

    def _fetch(self, file: ResultFile, root: Path) -> Path:
        target = inside(root, file.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Made by whoever wrote the results: a link below the destination must not lead out of it.
        if not target.parent.resolve().is_relative_to(root.resolve()) or target.is_dir():
            raise BadInput(f"{file.path} would leave {root}", hint="Choose an empty directory")
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        path = f"/v1/models/{self._id}/results/{urllib.parse.quote(file.path)}"
        try:
            with (
                self._service.connection.open(
                    path, headers={"Accept": "application/octet-stream"}
                ) as answer,
                partial.open("wb") as out,
            ):
                while piece := answer.read(1 << 20):
                    out.write(piece)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return target

    def __iter__(self) -> Iterator[ResultFile]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self.list())

    def __repr__(self) -> str:
        try:
            files = self.list()
        except FfdlError as e:
            return f"Results of {self._id} ({e.message})"
        total = sum(file.size_bytes for file in files)
        if not files:
            return f"Results of {self._id}: nothing written to RESULT_DIR"
        width = max(len(file.path) for file in files[:50])
        rows = [f"  {file.path:<{width}}  {size(file.size_bytes):>10}" for file in files[:50]]
        if len(files) > 50:
            rows.append(f"  … {plural(len(files) - 50, 'more file')}")
        head = f"Results of {self._id}: {plural(len(files), 'file')}, {size(total)}"
        return "\n".join([head, *rows])


def inside(root: Path, path: str) -> Path:
    """Return ``path`` below ``root``, or refuse one that would leave it."""
    parts = PurePosixPath(posixpath.normpath(path)).parts
    if not parts or parts[0] in {"/", "//", ".", ".."} or "\\" in path or "\0" in path:
        raise BadInput(f"{path!r} is not a path below the results")
    if os.name == "nt" and ":" in path:
        raise BadInput(f"{path!r} is not a path below the results")
    return root.joinpath(*parts)
