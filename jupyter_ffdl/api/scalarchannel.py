"""Scalar points of a training, live."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ..trainingdata.series import Columns, Series
from .following import Follower, Position

if TYPE_CHECKING:
    from ..folder import TrainingFolder

ROWS_PER_MESSAGE = 4096
POINT_BYTES = 24
"""What a point counts for acknowledgements: step, time, value."""


class ScalarsChannel(Follower):
    """Sends the points that learners record, in columns by series."""

    unit = "row"

    def file(self, folder: TrainingFolder, learner: int) -> Path:
        """Return the learner's columns."""
        return folder.learner(self.attempt, learner) / "scalars.bin"

    async def send_learner(self, position: Position, *, whole: bool) -> bool:
        """Send the new rows, some thousand at a time."""
        tags = self.subscription.request.get("tags")
        sent = False
        while True:
            await self.subscription.room()
            series, row = await asyncio.to_thread(read_rows, position, tags)
            if row <= position.at:
                return sent
            position.at = row
            position.watch.grew()
            sent = True
            await self.subscription.send_data(
                "scalars",
                POINT_BYTES * sum(one.points for one in series),
                series=[one.to_json() for one in series],
                cursor=self.cursor_at(position),
            )


class Page(Columns):
    """Columns read up to a row, so that a message stays small."""

    last: int | None = None

    @property
    def rows(self) -> int:
        """How many rows there are, or are wanted."""
        return super().rows if self.last is None else min(super().rows, self.last)


def read_rows(position: Position, tags: Collection[str] | None) -> tuple[list[Series], int]:
    """Return the next rows as series, and the row behind them."""
    if not position.path.parent.is_dir():
        return [], position.at
    page = Page(position.path.parent)
    page.last = position.at + ROWS_PER_MESSAGE
    if page.rows <= position.at:
        return [], position.at
    return page.read(position.at, position.learner, tags)
