"""The lines of ``evaluation-metrics.txt``, parsed at speed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from .record import parse, well_formed

_READ_BYTES = 4 << 20


def parse_records(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the records; lines that are none are left out."""
    for line in lines:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            # A lone surrogate in a name: ours writes and reads it, orjson refuses it.
            record = parse(line)
        if well_formed(record):
            yield record


def read_records(path: Path, offset: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the records of the whole lines from byte ``offset``; a missing file has none."""
    return parse_records(whole_lines(path, offset))


def whole_lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Yield whole lines without their ends; a torn last line is left out."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        file.seek(offset)
        rest = b""
        while data := file.read(_READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
