"""A submission on its way in: small parts in memory, the code on disk, no trace of a failure."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import BadInput, TooLarge
from .multipart import MultipartReader, PartBegins, PartData

LIMITS = {
    "manifest": 1024 * 1024,  # FfDL contract §1.1
    "origin": 64 * 1024 * 1024,  # the sources of a notebook's cells
    "context": 16 * 1024 * 1024,  # an environment
}
CODE = "model_definition"
STALE_SECONDS = 24 * 3600
"""Older uploads belong to servers that were killed; nobody uploads for a day."""


class Upload:
    """Collects the parts of one submission.

    ``write`` and ``close`` block on the disk: call them off the event loop.
    """

    def __init__(self, boundary: bytes, directory: Path, max_code_bytes: int) -> None:
        self._reader = MultipartReader(boundary)
        self._directory = directory
        self._max_code_bytes = max_code_bytes
        self._parts: dict[str, bytearray] = {}
        self._take: Callable[[bytes], None] = _drop
        self._code: Any = None
        self._lock = threading.Lock()
        self._closed = False
        self.code: Path | None = None
        self.code_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        with self._lock:
            if self._closed:  # the client went away while this chunk waited for a thread
                return
            for event in self._reader.feed(chunk):
                if isinstance(event, PartData):
                    self._take(event.data)
                else:
                    self._begin(event)

    def _begin(self, part: PartBegins) -> None:
        self._take = _drop
        if part.name == CODE and part.filename is not None and self.code is None:
            self._open_code()
            self._take = self._take_code
        elif part.name in LIMITS and part.name not in self._parts:
            if part.name == "manifest" and part.filename is None:
                return  # §1.9 wants a file part
            self._parts[part.name] = bytearray()
            self._take = self._into(part.name)

    def _open_code(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.code = self._directory / f"{os.getpid()}-{os.urandom(8).hex()}.zip"
        descriptor = os.open(self.code, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._code = os.fdopen(descriptor, "wb")

    def _take_code(self, data: bytes) -> None:
        self.code_bytes += len(data)
        if self.code_bytes > self._max_code_bytes:
            raise TooLarge(
                f"The code is larger than {self._max_code_bytes} bytes",
                field=CODE,
                hint="Leave data out of the zip (data: in the manifest), "
                "or raise Trainer.max_definition_bytes",
            )
        self._code.write(data)

    def _into(self, name: str) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            self._parts[name] += data
            if len(self._parts[name]) > LIMITS[name]:
                raise _too_long(name)

        return take

    def finish(self) -> None:
        """Check that the body was whole, and leave the code on disk."""
        if not self._reader.complete:
            raise BadInput(
                "The body is not a multipart form",
                description="it ends before its closing boundary",
            )
        if self._code is not None:
            self._code.close()
        if self.code is None:
            self.code = self._directory / "absent.zip"
        elif not self.code_bytes:
            self.code.unlink()  # the trainer says so at its place in the order (§1.9)

    @property
    def manifest(self) -> bytes:
        """The manifest; contract §1.9 row 1 where there is none."""
        if "manifest" not in self._parts:
            raise BadInput(
                'reading file "manifest" failed: http: no such file',
                code="C101",
                field="manifest",
                hint="Send the manifest as a file part named manifest",
            )
        return bytes(self._parts["manifest"])

    def json_part(self, name: str) -> dict[str, Any] | None:
        """Return an optional JSON part (``origin``, ``context``)."""
        if not self._parts.get(name):
            return None
        try:
            value = json.loads(bytes(self._parts[name]))
        except (ValueError, RecursionError) as error:
            raise BadInput(f"The part {name} is not JSON: {error}", field=name) from None
        if not isinstance(value, dict):
            raise BadInput(f"The part {name} is not a JSON object", field=name)
        return value

    def close(self) -> None:
        """Remove what was uploaded; the trainer keeps its own copy."""
        with self._lock:
            self._closed = True
            if self._code is not None:
                with contextlib.suppress(OSError):
                    self._code.close()
            if self.code is not None:
                self.code.unlink(missing_ok=True)


def remove_stale(directory: Path) -> None:
    """Remove uploads that a killed server left."""
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink(missing_ok=True)


def _drop(_data: bytes) -> None:
    """Take bytes of a part that means nothing to us."""


def _too_long(name: str) -> BadInput:
    limit = LIMITS[name]
    if name == "manifest":
        return BadInput(
            f"The manifest is larger than {limit} bytes",
            code="C101",
            field="manifest",
            description="Incorrect manifest",
        )
    return BadInput(f"The part {name} is larger than {limit} bytes", field=name)
