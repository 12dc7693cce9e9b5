"""A training's log, live."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .following import Follower, Position
from .pieces import Piece, line_start_near, read_piece

if TYPE_CHECKING:
    from ..folder import TrainingFolder

BATCH_BYTES = 256 * 1024
BEHIND_BYTES = 1024 * 1024
"""A reader that falls further behind a live log is moved to its tail."""

TAIL_BYTES = 64 * 1024
STILL_SECONDS = 1.0
"""An open line that has not grown for so long is sent as it is (a prompt, dots of progress)."""


class LogChannel(Follower):
    """Sends log text; put together, the messages of one learner and attempt are its log."""

    unit = "offset"

    def file(self, folder: TrainingFolder, learner: int) -> Path:
        """Return the learner's log."""
        return folder.log(self.attempt, learner)

    def patience(self) -> float:
        """Come back sooner for an open line."""
        patience = super().patience()
        waiting = any(position.open_bytes for position in self.positions)
        return min(patience, STILL_SECONDS) if waiting else patience

    async def send_learner(self, position: Position, *, whole: bool) -> bool:
        """Send what is new, piece by piece."""
        sent = 0
        while True:
            await self.subscription.room()
            piece = await self._read(position, whole=whole or _still(position))
            if not piece.data:
                _note_open(position, piece)
                return sent > 0
            await self._send_piece(position, piece)
            sent += len(piece.data)
            live = self.subscription.may_skip and position.least_behind < BEHIND_BYTES
            if live and sent >= BATCH_BYTES and not whole:
                self.subscription.waker.wake()
                return True

    async def _read(self, position: Position, *, whole: bool) -> Piece:
        if position.at < 0:  # counted from the end, by who wants to see the last lines first
            position.at = await asyncio.to_thread(_from_end, position.path, position.at)
        piece = await asyncio.to_thread(read_piece, position.path, position.at, whole=whole)
        behind = piece.size - piece.start
        if self.subscription.may_skip and behind > position.least_behind + BEHIND_BYTES:
            return await self._skip(position, piece, whole=whole)
        position.least_behind = min(position.least_behind, behind)
        return piece

    async def _skip(self, position: Position, piece: Piece, *, whole: bool) -> Piece:
        wanted = piece.size - TAIL_BYTES
        tail = await asyncio.to_thread(line_start_near, position.path, wanted)
        gap = {"from": piece.start, "to": tail}
        position.at = tail
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


def _note_open(position: Position, piece: Piece) -> None:
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
