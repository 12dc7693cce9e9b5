"""What can be followed: status, log, scalars, row of one training; the list of all.

Each channel ends by itself after a training's end. That end is read from the status alone: what
is read from files after a terminal status was seen is all there will ever be.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import NotFound
from .following import training_folder
from .hub import LOOK_SECONDS
from .logchannel import LogChannel
from .rowchannel import RowChannel
from .scalarchannel import ScalarsChannel

if TYPE_CHECKING:
    from .streams import Subscription

BATCH_SECONDS = 0.1
MAX_ROWS = 1000
LIST_ROWS = 500


class Channel(Protocol):
    """Something that a subscription runs."""

    subscription: Subscription

    async def run(self) -> None: ...


class StatusChannel:
    """Every status that is seen, the last one with its verdict."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    async def run(self) -> None:
        """Send the status now and after each change."""
        subscription = self.subscription
        trainer, training_id = subscription.hub.trainer, subscription.training_id
        await training_folder(subscription)
        sent: dict[str, Any] | None = None
        with subscription.hub.training(training_id, subscription.waker):
            while True:
                model = await asyncio.to_thread(trainer.model, training_id, subscription.owner)
                status = model["training"]["training_status"]
                ended = "completed" in status
                if status != sent:
                    sent = status
                    verdict = await self._verdict(training_id) if ended else None
                    await subscription.send("status", status=status, verdict=verdict)
                if ended:
                    break
                await subscription.waker.wait(LOOK_SECONDS)
        await subscription.send("end")

    async def _verdict(self, training_id: str) -> dict[str, Any] | None:
        trainer = self.subscription.hub.trainer
        return await asyncio.to_thread(trainer.verdict, training_id, self.subscription.owner)


class ListChannel:
    """The owner's list: a snapshot, then what changes in it."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self._known: set[str] = set()
        self._changed: set[str] = set()
        asked = subscription.request.get("limit") or LIST_ROWS
        self._limit = min(int(asked), MAX_ROWS)
        self._archived = bool(subscription.request.get("archived", False))

    async def run(self) -> None:
        """Send the newest rows, then each row that changes, together ≤ 10 times a second."""
        hub = self.subscription.hub
        unsubscribe = hub.trainer.subscribe(self._notice)
        try:
            await self._snapshot()
            while True:
                if await self.subscription.waker.wait(60):
                    await self._send_changes()
                    await asyncio.sleep(BATCH_SECONDS)
        finally:
            unsubscribe()

    def _notice(self, training_id: str, _kind: str) -> None:
        self._changed.add(training_id)
        self.subscription.waker.wake()

    async def _snapshot(self) -> None:
        rows, more = await asyncio.to_thread(
            self.subscription.hub.trainer.rows,
            self.subscription.owner,
            limit=self._limit,
            archived=None if self._archived else False,
        )
        self._known = {row["id"] for row in rows}
        await self.subscription.send("list", op="snapshot", rows=rows, more=more is not None)

    async def _send_changes(self) -> None:
        changed, self._changed = self._changed, set()
        rows = await asyncio.to_thread(self._rows, changed)
        gone = sorted((changed & self._known) - {row["id"] for row in rows})
        self._known |= {row["id"] for row in rows}
        self._known -= set(gone)
        if rows:
            await self.subscription.send("list", op="changed", rows=rows)
        if gone:
            await self.subscription.send("list", op="removed", ids=gone)

    def _rows(self, changed: set[str]) -> list[dict[str, Any]]:
        found = []
        for training_id in sorted(changed):
            try:
                row = self.subscription.hub.trainer.row(training_id, self.subscription.owner)
            except NotFound:
                continue
            if self._archived or not row["archived"]:
                found.append(row)
        return found


CHANNELS: dict[str, Any] = {
    "status": StatusChannel,
    "list": ListChannel,
    "log": LogChannel,
    "scalars": ScalarsChannel,
    "row": RowChannel,
}
