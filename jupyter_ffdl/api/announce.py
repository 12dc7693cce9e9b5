"""Changes of status on Jupyter's event bus, for whoever listens there.

Our own views use the stream instead, so that they also work against a remote service.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FfdlError

if TYPE_CHECKING:
    from jupyter_events import EventLogger

    from ..trainer.service import Trainer

SCHEMA = Path(__file__).parent / "events" / "training-status.yaml"
SCHEMA_ID = "https://events.jupyter.org/jupyter_ffdl/training_status/v1"


class Announcer:
    """Emits one event per change of status, in the order of the changes."""

    def __init__(self, events: EventLogger, trainer: Trainer) -> None:
        self._events = events
        self._trainer = trainer
        self._changed: asyncio.Queue[str] = asyncio.Queue()
        if SCHEMA_ID not in events.schemas:
            events.register_event_schema(SCHEMA)
        self._unsubscribe = trainer.subscribe(self._notice)
        self._task = asyncio.ensure_future(self._emit_all())

    def close(self) -> None:
        """Emit no more."""
        self._unsubscribe()
        self._task.cancel()

    def _notice(self, training_id: str, kind: str) -> None:
        if kind in {"new", "status"}:
            self._changed.put_nowait(training_id)

    async def _emit_all(self) -> None:
        told: dict[str, str] = {}
        while True:
            training_id = await self._changed.get()
            event = await asyncio.to_thread(self._event, training_id)
            if event is None or told.get(training_id) == event["status"]:
                continue
            told[training_id] = event["status"]
            if event["terminal"]:
                del told[training_id]
            self._events.emit(schema_id=SCHEMA_ID, data=event)

    def _event(self, training_id: str) -> dict[str, Any] | None:
        entry = self._trainer.records.entry(training_id)
        if entry is None or entry.status is None:
            return None
        try:
            row = self._trainer.row(training_id, entry.owner)
        except FfdlError:
            return None
        return {
            "model_id": training_id,
            "name": row["name"],
            "status": row["status"],
            "terminal": entry.status.terminal,
            "label": row["label"],
            "error_code": row["error_code"],
            "timestamp": entry.status_time,
        }
