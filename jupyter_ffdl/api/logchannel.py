"""A training's log, live."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..trainingdata.logfile import tail_offset
from .following import Follower, Position
from .pieces import Piece, line_start_near, read_piece

if TYPE_CHECKING:
    from ..folder import TrainingFolder

BATCH_BYTES = 256 * 1024
BEHIND_BYTES = 1024 * 1024
"""A reader that is slow and this far behind a live log is moved to its tail.

Slow is who keeps us waiting for an acknowledgement, or for whom a log goes on growing faster than
batches are sent. A burst alone makes nobody slow.
"""

SLOW_SECONDS = 1.0
SLOW_BATCHES = 5

TAIL_BYTES = 64 * 1024
STILL_SECONDS = 1.0
"""An open line that has not grown for so long is sent as it is (a prompt, dots of progress)."""


class LogChannel(Follower):
    """Sends log text; put together, the messages of one learner and attempt are its log."""

    unit = "offset"

    def file(self, folder: TrainingFolder, learner: int) -> Path:
        """Return the learner's log."""
        return folder.log(self.attempt, learner)

    async def begin(self, folder: TrainingFolder, last_attempt: int) -> None:
        """Get ready to follow, from the cursor or the last lines on."""
        tail = None if self.cursor else self.subscription.request.get("tail")
        if tail is None:
            self.open(folder)
            return
        self.attempt = self.only or last_attempt
        self.open(folder)
        for position in self.positions:
            position.at = await asyncio.to_thread(tail_offset, position.path, tail)

    def patience(self) -> float:
        """Come back sooner for an open line."""
        patience = super().patience()
        waiting = any(position.open_bytes for position in self.positions)
        return min(patience, STILL_SECONDS) if waiting else patience

    async def send_learner(self, position: Position, *, whole: bool) -> bool:
        """Send what is new, piece by piece."""
        sent = 0
        while True:
            waited = await self.subscription.room()
            slow = waited > SLOW_SECONDS or position.batches_lost >= SLOW_BATCHES
            piece = await self._read(position, whole=whole or _still(position), slow=slow)
            if not piece.data:
                _note_open(position, piece)
                return sent > 0
            await self._send_piece(position, piece)
            sent += len(piece.data)
            live = self.subscription.may_skip and position.least_behind < BEHIND_BYTES
            if live and sent >= BATCH_BYTES and not whole:
                _end_batch(position, piece)
                self.subscription.waker.wake()
                return True

    async def _read(self, position: Position, *, whole: bool, slow: bool) -> Piece:
        if position.at < 0:  # counted from the end, by who wants to see the last lines first
            position.at = await asyncio.to_thread(_from_end, position.path, position.at)
        piece = await asyncio.to_thread(read_piece, position.path, position.at, whole=whole)
        behind = piece.size - piece.start
        far = behind > position.least_behind + BEHIND_BYTES
        if far and slow and self.subscription.may_skip:
            return await self._skip(position, piece, whole=whole)
        position.least_behind = min(position.least_behind, behind)
        return piece

    async def _skip(self, position: Position, piece: Piece, *, whole: bool) -> Piece:
        wanted = piece.size - TAIL_BYTES
        tail = await asyncio.to_thread(line_start_near, position.path, wanted)
        gap = {"from": piece.start, "to": tail}
        position.at, position.batches_lost = tail, 0
        cursor = self.cursor_at(position)
        await self.subscription.send(
            "skipped", attempt=self.attempt, learner=position.learner, **gap, cursor=cursor
        )
        return await asyncio.to_thread(read_piece, position.path, tail, whole=whole)

    async def _send_piece(self, position: Position, piece: Piece) -> None:
        position.at = piece.end
        position.open_bytes = 0
        position.watch.grew()
        await self.subscription.send_data(
            "log",
            len(piece.data),
            attempt=self.attempt,
            learner=position.learner,
            text=piece.text,
            cursor=self.cursor_at(position),
        )


def _end_batch(position: Position, piece: Piece) -> None:
    before = position.batch_behind
    lost = before is not None and piece.behind > before
    position.batches_lost = position.batches_lost + 1 if lost else 0
    position.batch_behind = piece.behind


def _note_open(position: Position, piece: Piece) -> None:
    position.batch_behind, position.batches_lost = None, 0
    if piece.behind != position.open_bytes:
        position.open_bytes = piece.behind
        position.open_since = time.monotonic()


def _still(position: Position) -> bool:
    return position.open_bytes > 0 and time.monotonic() - position.open_since >= STILL_SECONDS


def _from_end(path: Path, offset: int) -> int:
    try:
        size = path.stat().st_size
    except OSError:
        return 0
    return line_start_near(path, max(0, size + offset))
