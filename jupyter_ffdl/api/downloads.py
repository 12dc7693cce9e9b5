"""Files on their way out: the submitted zip, the results as a zip or one by one.

Everything is read in threads, a piece at a time, and the next piece waits until the last one is
taken: a slow client costs one buffer.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from jupyter_server.auth.decorator import authorized
from tornado import web

from ..errors import BadParameter
from .base import BINARY, FfdlHandler
from .errors import RangeNotSatisfiable
from .model import not_found
from .results import SafeTree, zip_pieces

PIECE_BYTES = 256 * 1024
MAX_PAGE = 10_000
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII)


class DownloadHandler(FfdlHandler):
    """Sends bytes in pieces."""

    async def send_pieces(self, pieces: Iterator[bytes]) -> None:
        """Send what a blocking iterator yields."""
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            self.write(piece)
            await self.flush()

    async def send_file(self, file: BinaryIO, name: str) -> None:
        """Send an open file, or the range of it that was asked for."""
        size = os.fstat(file.fileno()).st_size
        start, end = self._range(size)
        self.set_header("Content-Type", BINARY)
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Content-Length", str(end - start))
        self.set_attachment_header(name)
        if end - start < size:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        await self.send_pieces(_pieces(file, start, end))

    def _range(self, size: int) -> tuple[int, int]:
        """Return the bytes asked for; several ranges at once are answered by the whole file."""
        match = _RANGE.fullmatch(self.request.headers.get("Range", ""))
        if match is None or match.groups() == ("", ""):
            return 0, size
        first, last = match.groups()
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last) + 1, size) if first and last else size
        if start >= size or end <= start:
            raise RangeNotSatisfiable(f"The file has {size} bytes", field="Range")
        return start, end


class DefinitionHandler(DownloadHandler):
    """The code as it was submitted."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:
        """Send the submitted zip."""
        path = await self.call(self.trainer.definition, self.training_id(training_id), self.owner)
        with await asyncio.to_thread(path.open, "rb") as file:
            await self.send_file(file, f"{training_id}-definition.zip")


class TrainedModelHandler(DownloadHandler):
    """All results, at any time."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:
        """Send a zip of every result, entries named ``<id>/…`` as in FfDL's bucket."""
        tree = await results_of(self, training_id)
        files = await asyncio.to_thread(list, tree.files()) if tree else []
        if tree is None or not files:
            raise not_found("The training has no results yet")
        self.set_header("Content-Type", BINARY)
        self.set_attachment_header(f"{training_id}-trainedmodel.zip")
        await self.send_pieces(zip_pieces(tree, files, training_id, PIECE_BYTES))


class ResultsHandler(FfdlHandler):
    """What a training wrote to ``RESULT_DIR``."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:
        """List a page of files with sizes, by path."""
        limit = self.number("limit", 1000, minimum=1, maximum=MAX_PAGE)
        after = _path_of(self.text("page_token"))
        prefix = self.text("prefix")
        tree = await results_of(self, training_id)
        files, more = await asyncio.to_thread(tree.page, after, limit, prefix) if tree else ([], "")
        answer = {"files": [file.to_json() for file in files]}
        self.reply({**answer, **({"next_page_token": _token_of(more)} if more else {})})


class ResultHandler(DownloadHandler):
    """One file of the results."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str, path: str) -> None:
        """Send a file, or a range of it."""
        tree = await results_of(self, training_id)
        file = await asyncio.to_thread(tree.open, path) if tree else None
        if file is None:
            raise not_found(f"The results have no file {path[:500]}")
        with file:
            await self.send_file(file, path.rsplit("/", 1)[-1])


async def results_of(handler: FfdlHandler, training_id: str) -> SafeTree | None:
    """Return the results of a training; None where nothing was written yet."""
    known = handler.training_id(training_id)
    folder = await handler.call(handler.trainer.folder, known, handler.owner)
    directory = await handler.call(handler.trainer.results_dir, known, handler.owner)
    logs = (folder.root / "attempts", folder.logs)
    return None if directory is None else SafeTree(directory, also=logs)


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    file.seek(start)
    left = end - start
    while left > 0:
        piece = file.read(min(PIECE_BYTES, left))
        if not piece:
            raise OSError("The file became shorter while it was read")
        left -= len(piece)
        yield piece


def _token_of(path: str) -> str:
    return base64.urlsafe_b64encode(os.fsencode(path)).decode().rstrip("=")


def _path_of(token: str) -> str:
    try:
        return os.fsdecode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        raise BadParameter(
            "page_token is not one of ours", code="601", field="page_token"
        ) from None
