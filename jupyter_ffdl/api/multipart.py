"""A ``multipart/form-data`` body, read as it comes: nothing of a part is held longer than needed.

The old command line sends its parts in random order, chunked, without a length (FfDL contract
§3.1), and a zip can be larger than memory. Pure: bytes in, events out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from ..errors import BadInput

MAX_HEAD_BYTES = 16 * 1024
"""Of one part's header; ours have some 150 bytes."""


@dataclass(frozen=True)
class PartBegins:
    """A part's header. ``filename`` is None for a plain form field."""

    name: str
    filename: str | None


@dataclass(frozen=True)
class PartData:
    """Bytes of the part that began last."""

    data: bytes


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary; None where the type is no multipart form or names none."""
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_type() != "multipart/form-data":
        return None
    boundary = message.get_boundary()
    return boundary.encode("utf-8", "surrogateescape") if boundary else None


class MultipartReader:
    """Turns chunks of a body into events, however the body is cut."""

    def __init__(self, boundary: bytes) -> None:
        # The first delimiter has no line break before it; with one put in front all look alike.
        self._buffer = bytearray(b"\r\n")
        self._delimiter = b"\r\n--" + boundary
        self._state = "preamble"

    @property
    def complete(self) -> bool:
        """Whether the closing delimiter has come."""
        return self._state == "done"

    def feed(self, chunk: bytes) -> Iterator[PartBegins | PartData]:
        """Yield what ``chunk`` brought; raises BadInput where the body is no multipart form."""
        self._buffer += chunk
        while True:
            if self._state == "done":
                self._buffer.clear()
                return
            if self._state == "head":
                event = self._head()
                if event is None:
                    return
                yield event
            elif self._state == "delimited":
                if not self._after_delimiter():
                    return
            else:
                data, found = self._until_delimiter()
                if data and self._state == "part":
                    yield PartData(data)
                if not found:
                    return
                self._state = "delimited"

    def _until_delimiter(self) -> tuple[bytes, bool]:
        at = self._buffer.find(self._delimiter)
        if at >= 0:
            data = bytes(self._buffer[:at])
            del self._buffer[: at + len(self._delimiter)]
            return data, True
        # The delimiter may be cut: what could be its beginning stays.
        keep = min(len(self._buffer), len(self._delimiter) - 1)
        data = bytes(self._buffer[: len(self._buffer) - keep])
        del self._buffer[: len(self._buffer) - keep]
        return data, False

    def _after_delimiter(self) -> bool:
        if self._buffer.startswith(b"--"):
            self._state = "done"
            return True
        line = re.match(rb"[ \t]*\r\n", self._buffer)
        if line:
            # The line break stays: a part without a header begins with the blank line at once.
            del self._buffer[: line.end() - 2]
            self._state = "head"
            return True
        if len(self._buffer) > 256:
            raise _broken("text follows a boundary")
        return False

    def _head(self) -> PartBegins | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise _broken("a part's header does not end")
            return None
        head = bytes(self._buffer[2:end])
        del self._buffer[: end + 4]
        self._state = "part"
        return _begins(head)


def _begins(head: bytes) -> PartBegins:
    message = Message()
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and name.strip().lower() == "content-disposition":
            message["Content-Disposition"] = value.strip()
    part = message.get_param("name", header="content-disposition")
    filename = message.get_filename()
    return PartBegins(str(part or ""), filename)


def _broken(why: str) -> BadInput:
    return BadInput(
        "The body is not a multipart form",
        description=why,
        hint="Send the parts manifest and model_definition as files (curl -F manifest=@FILE …)",
    )
