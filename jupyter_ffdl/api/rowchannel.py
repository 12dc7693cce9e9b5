"""One row of a list, with what its training says of itself: at most once a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..trainingdata.summary import row_summary
from .following import training_folder
from .hub import LOOK_SECONDS, FileWatch

if TYPE_CHECKING:
    from ..folder import TrainingFolder
    from .streams import Subscription

ROW_SECONDS = 1.0


class RowChannel:
    """Sends a row when it changes: status, last value, sparkline, progress."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    async def run(self) -> None:
        """Send the row now, and once a second while it changes; then ``end``."""
        subscription = self.subscription
        folder = await training_folder(subscription)
        sent: dict[str, Any] | None = None
        watch: FileWatch | None = None
        with subscription.hub.training(subscription.training_id, subscription.waker):
            try:
                while True:
                    row = await asyncio.to_thread(self._row, folder)
                    watch = self._watch(folder, row["attempt"], watch)
                    if row != sent:
                        sent = row
                        await subscription.send("row", row=row)
                    if row["completed"] is not None:
                        break
                    await subscription.waker.wait(min(watch.patience, LOOK_SECONDS))
                    await asyncio.sleep(ROW_SECONDS)
            finally:
                if watch is not None:
                    watch.close()
        await subscription.send("end")

    def _watch(self, folder: TrainingFolder, attempt: int, watch: FileWatch | None) -> FileWatch:
        path = folder.learner(attempt, 1) / "scalars.bin"
        if watch is None or watch.path != path:
            if watch is not None:
                watch.close()
            watch = FileWatch(self.subscription.hub, path, self.subscription.waker)
        watch.settle()
        return watch

    def _row(self, folder: TrainingFolder) -> dict[str, Any]:
        trainer = self.subscription.hub.trainer
        row = trainer.row(self.subscription.training_id, self.subscription.owner)
        return {**row, **row_summary(folder.root, row["attempt"])}
