"""A training's log lines over learners and attempts (FfDL contract §2.5, §2.6).

Times are strictly increasing over a whole training, so order of time is a merge, and "the last
ten" is a search for the time since which there are ten.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jupyter_ffdl.errors import BadInput

from .attempts import attempts_of, learners_of
from .folding import fold
from .logfile import Line, LogFile, Piece, read_bytes, tail_offset
from .record import readable

__all__ = ["LogFile", "MergedLog", "Piece", "last_lines", "log_files", "loglines", "own_log"]

LOG_NAME = "training-log.txt"
MAX_PAGE = 10_000
_PAGE_BYTES = 32 << 20
"""A page of 10 MB lines ends early, but with one line at least."""
_FOLDED_TAIL = 64 * 1024


def own_log(folder: Path, attempt: int, learner: int) -> LogFile:
    """Return the log that holds a learner's output; it need not exist yet."""
    directory = folder / "attempts" / str(attempt) / f"learner-{learner}"
    subid = f"learner-{learner}" if learner > 1 else ""
    return LogFile(directory / LOG_NAME, directory / "lines.idx", attempt, learner, subid)


def log_files(folder: Path, *, attempt: int | None = None, user_logs: bool = True) -> list[LogFile]:
    """Return the logs of one attempt or of all, those that user code wrote itself included."""
    found: list[LogFile] = []
    for number in attempts_of(folder) if attempt is None else [attempt]:
        for learner, directory in learners_of(folder, number):
            found.append(own_log(folder, number, learner))
            if user_logs:
                found += _user_logs(directory / "user", number, learner)
    return found


def loglines(
    folder: Path,
    training_id: str,
    *,
    pos: int = 0,
    pagesize: int = 10,
    since: int | None = None,
    subid: str | None = None,
) -> list[dict[str, Any]]:
    """Return one page of log lines as ``/v1/logs/{id}/loglines`` gives them, by ascending time.

    ``since``: epoch milliseconds (``since.parse``). ``subid``: this sub-run only, "" for the main
    one. ``rindex`` goes on over attempts. Rules and bounds of ``pos`` and ``pagesize``: §2.6.
    """
    pagesize = checked_pagesize(pagesize)
    numbered = [item for item in _numbered(folder) if subid is None or item.log.subid == subid]
    if pos > 0 and since is None:
        first = [(item, max(0, pos - 1 - item.base)) for item in numbered]
        last = pos + pagesize
        found = _merge(first, lambda item, line: item.base + line.rindex < last)
        return _page(found, len(numbered) * pagesize, training_id)
    if pos < 0:
        begin, count = _from_end(numbered, -pos - 1, pagesize, since)
    else:
        begin, count = _skip(numbered, since or 0, pos), pagesize
    first = [(item, item.log.before(begin)) for item in numbered]
    return _page(_merge(first), count, training_id)


def checked_pagesize(pagesize: int) -> int:
    """Return the page size to use: 10 for 0; raises BadInput below 0 and above 10 000."""
    if not 0 <= pagesize <= MAX_PAGE:
        raise BadInput(
            "pagesize is out of range",
            hint=f"Use a number from 0 to {MAX_PAGE}; 0 means 10",
            field="pagesize",
        )
    return pagesize or 10


def last_lines(log: LogFile, count: int = 20) -> list[str]:
    """Return the last lines as a person saw them, from the last 64 KiB."""
    size = log.size
    begin = max(tail_offset(log.path, count), size - _FOLDED_TAIL)
    ended, still_open = fold(read_bytes(log.path, begin, size - begin))
    still_open = still_open.rstrip(b"\r")
    lines = [*ended, still_open] if still_open else ended
    return [line.decode("utf-8", "replace") for line in lines[-count:]]


class MergedLog:
    """All lines of one attempt in order of time, read on as they come (``/logs``).

    One log is given as it is. Of several, lines come once the collector has given them a time;
    what never gets one (a machine that crashed) comes last, when ``ended``.
    """

    def __init__(self, folder: Path, attempt: int) -> None:
        self._folder = folder
        self._attempt = attempt
        self._read: dict[Path, int] = {}
        self._offsets: dict[Path, int] = {}

    def read(self, limit: int = 1 << 20, *, ended: bool = False) -> bytes:
        """Return the next whole lines, about ``limit`` bytes; ``b""`` where there are none now.

        ``ended``: nothing is written any more, so an open last line comes too.
        """
        files = log_files(self._folder, attempt=self._attempt)
        if len(files) == 1 and not self._read:
            return self._read_on(files[0], limit, ended=ended)
        for log in files:
            if log.path not in self._read:
                self._read[log.path] = self._lines_given(log)
        data = bytearray()
        streams = [_tagged(log.read_lines(self._read[log.path] + 1), log) for log in files]
        for line, log in heapq.merge(*streams, key=lambda item: item[0].time):
            data += line.text
            self._read[log.path] = line.rindex
            self._offsets[log.path] = self._offsets.get(log.path, 0) + len(line.text)
            if len(data) >= limit:
                return bytes(data)
        if not data and ended:
            for log in files:
                data += self._read_on(log, limit - len(data), ended=True)
                if len(data) >= limit:
                    break
        return bytes(data)

    def _read_on(self, log: LogFile, limit: int, *, ended: bool) -> bytes:
        piece = log.read(self._offsets.get(log.path, 0), limit, open_line=ended)
        self._offsets[log.path] = piece.end
        return piece.data

    def _lines_given(self, log: LogFile) -> int:
        """Count the lines that were given while this was the only log."""
        offset = self._offsets.get(log.path, 0)
        if not offset:
            return 0
        with log.path.open("rb") as file:
            return sum(block.count(b"\n") for block in _blocks(file.fileno(), offset))


class _Numbered:
    """A log with the number of lines that its sub-run had in earlier attempts."""

    def __init__(self, log: LogFile, base: int) -> None:
        self.log = log
        self.base = base


def _numbered(folder: Path) -> list[_Numbered]:
    bases: dict[tuple[str, str], int] = {}
    numbered = []
    for log in log_files(folder):
        key = (log.subid, log.path.name)
        numbered.append(_Numbered(log, bases.get(key, 0)))
        bases[key] = bases.get(key, 0) + log.lines()
    return numbered


def _merge(
    first: Sequence[tuple[_Numbered, int]],
    wanted: Callable[[_Numbered, Line], bool] = lambda _item, _line: True,
) -> Iterator[tuple[Line, _Numbered]]:
    """Yield lines by time; ``first``: how many lines of each log to leave out."""

    def stream(item: _Numbered, left_out: int) -> Iterator[tuple[Line, _Numbered]]:
        for line in item.log.read_lines(left_out + 1):
            if not wanted(item, line):
                return
            yield line, item

    streams = [stream(item, left_out) for item, left_out in first]
    return heapq.merge(*streams, key=lambda found: found[0].time)


def _page(
    found: Iterator[tuple[Line, _Numbered]], count: int, training_id: str
) -> list[dict[str, Any]]:
    page: list[dict[str, Any]] = []
    room = _PAGE_BYTES
    for line, item in found:
        if len(page) >= count or room <= 0:
            break
        room -= len(line.text)
        meta: dict[str, Any] = {
            "rindex": item.base + line.rindex,
            "time": line.time,
            "training_id": training_id,
        }
        if item.log.subid:
            meta["subid"] = item.log.subid
        page.append({"line": line.text.decode("utf-8", "replace"), "meta": meta})
    return page


def _from_end(
    numbered: Sequence[_Numbered], skip: int, pagesize: int, since: int | None
) -> tuple[int, int]:
    """Return the time from which, and how many lines, to skip ``skip`` lines from the end."""
    total = sum(item.log.lines() for item in numbered)
    least = _lines_before(numbered, since) if since is not None else 0
    last = total - skip
    first = max(least, last - pagesize)
    return _time_of(numbered, first), max(0, last - first)


def _skip(numbered: Sequence[_Numbered], since: int, pos: int) -> int:
    """Return the time since which to read so that ``pos`` lines since ``since`` are left out."""
    if pos == 0:
        return since
    return _time_of(numbered, _lines_before(numbered, since) + pos)


def _lines_before(numbered: Sequence[_Numbered], time: int) -> int:
    return sum(item.log.before(time) for item in numbered)


def _time_of(numbered: Sequence[_Numbered], count: int) -> int:
    """Return the greatest time before which there are at most ``count`` lines."""
    spans = [span for item in numbered if (span := item.log.times()) is not None]
    if not spans:
        return 0
    low, high = min(first for first, _ in spans), max(last for _, last in spans) + 1
    while low < high:
        middle = (low + high + 1) // 2
        if _lines_before(numbered, middle) <= count:
            low = middle
        else:
            high = middle - 1
    return low


def _user_logs(directory: Path, attempt: int, learner: int) -> Iterator[LogFile]:
    for index in sorted([*directory.glob("*.idx"), *directory.glob("*/*.idx")]):
        subid = "" if index.parent == directory else readable(index.parent.name)
        yield LogFile(index.with_suffix(""), index, attempt, learner, subid)


def _tagged(lines: Iterator[Line], log: LogFile) -> Iterator[tuple[Line, LogFile]]:
    return ((line, log) for line in lines)


def _blocks(descriptor: int, end: int) -> Iterator[bytes]:
    position = 0
    while position < end:
        block = os.pread(descriptor, min(1 << 20, end - position), position)
        if not block:
            return
        yield block
        position += len(block)
