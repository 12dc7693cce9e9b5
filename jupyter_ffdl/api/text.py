"""The log and the emetrics records as FfDL streams them: text, in order of time (§2.5)."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..trainingdata.emetrics import RecordTail, frame_text, metrics_form
from ..trainingdata.lines import MergedLog, log_files, own_log
from ..trainingdata.logfile import LogFile
from .following import Follower, Position

if TYPE_CHECKING:
    from ..folder import TrainingFolder

PIECE_BYTES = 256 * 1024
LOOK_SECONDS = 1.0
"""Logs that user code writes itself are not watched; their lines are due within 2 s."""

Emit = Callable[[bytes], Awaitable[None]]


class TextFollower(Follower):
    """Reads all learners of an attempt as one text, woken by any of their files.

    Without ``follow`` it stops where the files end now.
    """

    unit = "offset"

    def __init__(self, reading: Any, emit: Emit, *, follow: bool, since: int | None) -> None:
        super().__init__(reading)
        self.follow = follow
        self.since = since
        self.root = Path()
        self.emit = emit
        self._pieces: Iterator[bytes] | None = None

    def patience(self) -> float:
        """Look sooner than the watched files say."""
        return min(super().patience(), LOOK_SECONDS)

    def begin_attempt(self) -> None:
        """Get ready to read another attempt."""
        raise NotImplementedError

    def read(self, *, ended: bool) -> bytes:
        """Return the next text, empty where there is none now."""
        raise NotImplementedError

    def watched(self, folder: TrainingFolder, learner: int) -> Path:
        """Return the file whose growth wakes us."""
        raise NotImplementedError

    def file(self, folder: TrainingFolder, learner: int) -> Path:
        """Return the watched file; the first of an attempt begins it."""
        self.root = folder.root
        if not self.positions:
            self.begin_attempt()
        return self.watched(folder, learner)

    async def send_learner(self, position: Position, *, whole: bool) -> bool:
        """Hand out what is new, of all learners when it is the first one's turn."""
        if position is not self.positions[0]:
            return False
        sent = False
        while text := await asyncio.to_thread(self.read, ended=whole):
            sent = True
            await self.emit(text)
        return sent


class LogText(TextFollower):
    """A log, in pieces of whole lines; a very long line comes in several."""

    def __init__(
        self, reading: Any, emit: Emit, *, follow: bool, since: int | None, tail: int
    ) -> None:
        super().__init__(reading, emit, follow=follow, since=since)
        self._tail = tail
        self._log: Any = None

    def watched(self, folder: TrainingFolder, learner: int) -> Path:
        """Return the log; of several learners lines come when they have their times."""
        log = own_log(folder.root, self.attempt, learner)
        return log.index if self.learners > 1 else log.path

    def begin_attempt(self) -> None:
        """Read one learner's log, or all in order of time."""
        learner = self._learner
        if learner is not None:
            self._log = OneLog(own_log(self.root, self.attempt, learner), self.since, self._tail)
        elif self.since is not None or self._tail:
            self._log = LaterLog(self.root, self.attempt, self.since, self._tail)
        else:
            self._log = MergedLog(self.root, self.attempt)

    def read(self, *, ended: bool) -> bytes:
        """Return the next lines."""
        text: bytes = self._log.read(PIECE_BYTES, ended=ended)
        return text


class OneLog:
    """One learner's log from somewhere on."""

    def __init__(self, log: LogFile, since: int | None, tail: int) -> None:
        self._log = log
        self._offset = first_offset(log, since, tail)

    def read(self, limit: int, *, ended: bool) -> bytes:
        """Return the next lines."""
        piece = self._log.read(self._offset, limit, open_line=ended)
        self._offset = piece.end
        return piece.data


class LaterLog(MergedLog):
    """All logs of an attempt, without what came before a time or the last lines."""

    def __init__(self, folder: Path, attempt: int, since: int | None, tail: int) -> None:
        super().__init__(folder, attempt)
        for log in log_files(folder, attempt=attempt):
            offset = first_offset(log, since, 0)
            self._offsets[log.path] = offset
            self._read[log.path] = log.before(since) if since is not None else 0
        if tail:
            self._keep_last(tail)

    def _keep_last(self, count: int) -> None:
        """Leave out all but the last ``count`` lines of all logs together."""
        logs = log_files(self._folder, attempt=self._attempt)
        lasts = (
            ((line.time, line.rindex, log) for line in log.read_lines(max(1, first)))
            for log in logs
            for first in [log.lines() - count + 1]
        )
        merged = list(heapq.merge(*lasts, key=lambda item: item[0]))[-count:]
        kept: dict[Path, int] = {}
        for _, rindex, log in reversed(merged):
            kept[log.path] = rindex
        for log in logs:
            before = max(self._read[log.path], kept.get(log.path, log.lines() + 1) - 1)
            self._read[log.path] = before
            self._offsets[log.path] = offset_of(log, before)


class MetricsText(TextFollower):
    """Emetrics records, one JSON object a line."""

    def watched(self, folder: TrainingFolder, learner: int) -> Path:
        """Return the learner's records."""
        return folder.learner(self.attempt, learner) / "evaluation-metrics.txt"

    def begin_attempt(self) -> None:
        """Read the records of one attempt."""
        self._records = RecordTail(self.root, self.attempt)

    def read(self, *, ended: bool) -> bytes:
        """Return the next records; those before ``since`` are read and left out."""
        while records := self._records.read(PIECE_BYTES):
            text = b"".join(
                frame_text(frame)
                for record in records
                if self.since is None or record["meta"]["time"] >= self.since
                for frame in metrics_form(record)
            )
            if text:
                return text
        return b""


def first_offset(log: LogFile, since: int | None, tail: int) -> int:
    """Return where to begin: at a time, or with the last lines, whichever is later."""
    by_time = offset_of(log, log.before(since)) if since is not None else 0
    by_tail = log.tail_offset(tail) if tail else 0
    return max(by_time, by_tail)


def offset_of(log: LogFile, lines: int) -> int:
    """Return where the log goes on behind its first ``lines`` lines."""
    if lines <= 0:
        return 0
    left, offset = lines, 0
    try:
        with log.path.open("rb") as file:
            while block := file.read(1 << 20):
                ended = block.count(b"\n")
                if ended >= left:
                    position = -1
                    for _ in range(left):
                        position = block.find(b"\n", position + 1)
                    return offset + position + 1
                left -= ended
                offset += len(block)
    except OSError:
        return offset
    return offset
