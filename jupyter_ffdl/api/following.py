"""Following a file that each learner of each attempt writes, from wherever a cursor points."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import BadInput, NotFound
from ..training import valid_id
from .hub import FileWatch

if TYPE_CHECKING:
    from ..folder import TrainingFolder
    from .streams import Subscription

BATCH_SECONDS = 0.1
"""What is live is sent in batches, at most ten a second."""


@dataclass
class Position:
    """How far one learner's file has been sent."""

    learner: int
    path: Path
    watch: FileWatch
    at: int = 0
    least_behind: int = 1 << 62
    """The closest this reader ever came: only who falls behind that is slow, not who came late."""
    batch_behind: int | None = None
    """How far behind it was after the last batch, None where that was all there was."""
    batches_lost: int = 0
    """How many batches in a row brought it no closer."""
    open_bytes: int = 0
    open_since: float = field(default_factory=time.monotonic)


class TrainingEnd:
    """Whether a training has ended, and which attempts there are; looked up only when woken."""

    def __init__(self, folder: TrainingFolder) -> None:
        self._folder = folder
        self.ended = False
        self.last_attempt = 1

    async def look(self) -> None:
        """Read the status. What is read from files afterwards is complete if it says so."""
        if not self.ended:
            self.ended, self.last_attempt = await asyncio.to_thread(self._read)

    def _read(self) -> tuple[bool, int]:
        lines = self._folder.history()
        if not lines and not self._folder.record.exists():
            raise NotFound("Not found", description="model_id not found")
        attempts = self._folder.attempts()
        return bool(lines) and lines[-1].status.terminal, attempts[-1] if attempts else 1


class Follower:
    """Base of channels that follow a file of one learner, or of all of them, as it grows."""

    unit: ClassVar[str]
    """What a cursor counts: ``offset`` (bytes) or ``row``."""
    follow = True
    """Whether to wait for more; else what is there now is all."""

    def __init__(self, subscription: Subscription) -> None:
        request = subscription.request
        self.subscription = subscription
        self.positions: list[Position] = []
        self.learners = 1
        self._learner: int | None = request.get("learner")
        self.only: int | None = request.get("attempt")
        self.cursor: dict[str, Any] = request.get("cursor") or {}
        self.attempt = self.only or int(self.cursor.get("attempt", 1))
        if self.cursor.get("attempt", self.attempt) != self.attempt:
            self.cursor = {}

    def file(self, folder: TrainingFolder, learner: int) -> Path:
        """Return the file that is followed."""
        raise NotImplementedError

    async def send_learner(self, position: Position, *, whole: bool) -> bool:
        """Send what is new, and say whether there was anything.

        ``whole``: nothing will be written any more, so even an open end is sent.
        """
        raise NotImplementedError

    async def begin(self, folder: TrainingFolder, _last_attempt: int) -> None:
        """Get ready to follow, from the cursor on."""
        self.open(folder)

    def patience(self) -> float:
        """How long to sleep if nothing wakes us."""
        return min(position.watch.patience for position in self.positions)

    async def run(self) -> None:
        """Send every attempt to its end, then ``end``."""
        subscription = self.subscription
        folder = await training_folder(subscription)
        learners = (await asyncio.to_thread(folder.read_record))["spec"]["learners"]
        if self._learner is not None and not 1 <= self._learner <= learners:
            raise BadInput(f"The training has learners 1 to {learners}", field="learner")
        self.learners = learners
        with subscription.hub.training(subscription.training_id, subscription.waker):
            try:
                await self._follow(folder)
            finally:
                self._close()
        await subscription.send("end")

    async def _follow(self, folder: TrainingFolder) -> None:
        state = TrainingEnd(folder)
        await state.look()
        await self.begin(folder, state.last_attempt)
        while True:
            await state.look()
            over = state.ended or state.last_attempt > self.attempt or not self.follow
            began = time.monotonic()
            sent = False
            for position in self.positions:
                position.watch.settle()
                sent |= await self.send_learner(position, whole=over)
            if not over:
                await self._sleep(began)
            elif not sent:
                if self.only is not None or state.last_attempt <= self.attempt:
                    return
                self.attempt, self.cursor = self.attempt + 1, {}
                self.open(folder)

    async def _sleep(self, began: float) -> None:
        """Wait for news, and then for the rest of the tenth of a second."""
        await self.subscription.waker.wait(self.patience())
        await asyncio.sleep(max(0.0, began + BATCH_SECONDS - time.monotonic()))

    def open(self, folder: TrainingFolder) -> None:
        """Begin an attempt: its learners' files, and where to go on in each."""
        self._close()
        begins = {int(learner): int(at) for learner, at in self.cursor.get("others", {}).items()}
        if self.unit in self.cursor:
            begins[int(self.cursor.get("learner", 1))] = int(self.cursor[self.unit])
        wanted = range(1, self.learners + 1) if self._learner is None else (self._learner,)
        for learner in wanted:
            path = self.file(folder, learner)
            watch = FileWatch(self.subscription.hub, path, self.subscription.waker)
            self.positions.append(Position(learner, path, watch, begins.get(learner, 0)))

    def _close(self) -> None:
        for position in self.positions:
            position.watch.close()
        self.positions = []

    def cursor_at(self, position: Position) -> dict[str, Any]:
        """Return the cursor that resumes behind what has been sent, of every learner."""
        others = {str(p.learner): p.at for p in self.positions if p is not position}
        cursor = {"attempt": self.attempt, "learner": position.learner, self.unit: position.at}
        return {**cursor, "others": others} if others else cursor


async def training_folder(subscription: Subscription) -> TrainingFolder:
    """Return the folder of the subscription's training, NotFound where it is not the owner's."""
    if not valid_id(subscription.training_id):
        raise NotFound("Not found", description="model_id not found")
    trainer = subscription.hub.trainer
    return await asyncio.to_thread(trainer.folder, subscription.training_id, subscription.owner)
