"""Finding text in a log, a part at a time.

A regular expression of the user's runs in a process of its own with a time limit: some patterns
never end on some text, and Python's matcher holds up every other thread meanwhile.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jupyter_ffdl.errors import BadInput

from .logfile import LogFile, read_bytes

_BLOCK = 1 << 20
_SHOWN = 400
_BEFORE = 100
MAX_HITS = 1000
SECONDS = 2.0

LEVELS = {
    "error": re.compile(
        rb"\b(?:ERROR|CRITICAL|FATAL)\b|^Traceback \(most recent call last\)|^[EF]\d{4} "
        rb"|\b\w{1,80}(?:Error|Exception): |\bSegmentation fault\b",
        re.MULTILINE,
    ),
    "warning": re.compile(rb"\bWARN(?:ING)?\b|\b\w{0,80}Warning: |^W\d{4} ", re.MULTILINE),
}
"""What a line of a level looks like: logging's names, glog's letters, Python's exceptions."""


@dataclass(frozen=True)
class Hit:
    """A line with a match: its byte offset and number (from 1), and the text around the match.

    ``text`` is cut to 400 characters; the match lies in it from ``start`` to ``end``.
    """

    offset: int
    line: int
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Found:
    """``next_offset`` is where to search on, None where the log's end was reached."""

    hits: list[Hit]
    next_offset: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the answer for the wire."""
        return {"hits": [asdict(hit) for hit in self.hits], "next_offset": self.next_offset}


def search(
    log: LogFile,
    query: str,
    *,
    regex: bool = False,
    match_case: bool = False,
    level: str = "",
    begin: int = 0,
    limit: int = 100,
    seconds: float = SECONDS,
) -> Found:
    """Return the lines from byte ``begin`` on that match, at most ``limit``, one hit per line.

    ``level`` ("error", "warning") takes the place of ``query``. Stops after about ``seconds``
    and says where to go on. Raises BadInput for a pattern that does not compile or end.
    """
    limit = max(1, min(limit, MAX_HITS))
    if level:
        if level not in LEVELS:
            raise BadInput(
                "level is unknown", hint=f"Use one of {', '.join(LEVELS)}", field="level"
            )
        return _search(log, _in_bytes(LEVELS[level]), begin, limit, seconds)
    flags = 0 if match_case else re.IGNORECASE
    if not query:
        raise BadInput("Nothing to search for", hint="Give a text", field="query")
    if regex:
        return _search_apart(log, query, flags, begin, limit, seconds)
    if match_case or query.isascii():
        in_bytes = re.compile(re.escape(query.encode()), flags)
        return _search(log, _in_bytes(in_bytes), begin, limit, seconds)
    return _search(
        log, _in_text(re.compile(re.escape(query), re.IGNORECASE)), begin, limit, seconds
    )


Spans = Callable[[bytes], Iterator[tuple[int, int]]]


def _in_bytes(pattern: re.Pattern[bytes]) -> Spans:
    return lambda block: (match.span() for match in pattern.finditer(block))


def _in_text(pattern: re.Pattern[str]) -> Spans:
    def spans(block: bytes) -> Iterator[tuple[int, int]]:
        begin = 0
        for line in block.split(b"\n"):
            # Surrogates stand for bytes that are no UTF-8, so that offsets come out right.
            text = line.decode("utf-8", "surrogateescape")
            match = pattern.search(text)
            if match is not None:
                start = len(text[: match.start()].encode("utf-8", "surrogateescape"))
                length = len(match[0].encode("utf-8", "surrogateescape"))
                yield begin + start, begin + start + length
            begin += len(line) + 1

    return spans


def _search(log: LogFile, spans: Spans, begin: int, limit: int, seconds: float) -> Found:
    hits: list[Hit] = []
    until = time.monotonic() + seconds
    number = log.line_at(begin)
    offset = begin
    while True:
        block = read_bytes(log.path, offset, _BLOCK)
        if not block:
            return Found(hits, None)
        whole = block.rfind(b"\n") + 1
        if whole and len(block) == _BLOCK:
            block = block[:whole]
        counted = line_end = 0
        for start, end in spans(block):
            if start < line_end or start == end:
                continue  # one hit per line, and an empty match is none
            if len(hits) == limit:
                return Found(hits, offset + line_end)
            number += block.count(b"\n", counted, start)
            counted = start
            line_start = block.rfind(b"\n", 0, start) + 1
            line_end = block.find(b"\n", start) + 1 or len(block)
            line = block[line_start:line_end]
            within = start - line_start, end - line_start
            hits.append(_hit(line, offset + line_start, number, within))
        number += block.count(b"\n", counted)
        offset += len(block)
        if time.monotonic() > until:
            return Found(hits, offset)


def _hit(line: bytes, offset: int, number: int, within: tuple[int, int]) -> Hit:
    start, end = within
    before = line[:start].decode("utf-8", "replace")[-_BEFORE:]
    match = line[start:end].decode("utf-8", "replace")[:_SHOWN]
    after = line[end:].decode("utf-8", "replace").rstrip("\r\n")
    text = (before + match + after)[:_SHOWN]
    return Hit(offset, number, text, len(before), min(len(before) + len(match), _SHOWN))


def _search_apart(
    log: LogFile, query: str, flags: int, begin: int, limit: int, seconds: float
) -> Found:
    try:
        re.compile(query)
    except (re.error, RecursionError, OverflowError) as e:
        raise BadInput(
            f"The pattern cannot be compiled: {e}", hint="Correct it", field="query"
        ) from e
    order = [str(log.path), str(log.index), query, int(flags), begin, limit, seconds]
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    try:
        answer = subprocess.run(
            command,
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=seconds + 8,
            check=True,
        )
    except subprocess.TimeoutExpired as e:
        raise BadInput(
            "The pattern takes too long on this log",
            hint="Nested repetitions such as (a+)+ are the usual cause",
            field="query",
        ) from e
    value = json.loads(answer.stdout)
    return Found([Hit(**hit) for hit in value["hits"]], value["next_offset"])


def serve() -> None:
    """Search as the JSON on stdin says, and answer on stdout: the process of its own."""
    path, index, query, flags, begin, limit, seconds = json.load(sys.stdin)
    log = LogFile(Path(path), Path(index), 1, 1)
    spans = _in_text(re.compile(query, flags))
    json.dump(_search(log, spans, begin, limit, seconds).to_json(), sys.stdout)
