"""What keeps this server alive: live trainings, where the trait says so, and clients.

Polls never count. Idle cullers look at ``last_activity``, Jupyter's own idle shutdown asks the
extension; both get the same answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from .. import live

if TYPE_CHECKING:
    from .app import FfdlApp

LOOK_SECONDS = 60.0
"""Jupyter's idle shutdown looks as often."""


class Activity:
    """Counts clients, and looks once a minute whether a training is live."""

    def __init__(self, app: FfdlApp) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._busy = 0
        self._last_client = time.monotonic()
        self.live = False

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.ensure_future(self._watch())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def seen(self) -> None:
        """Note that a client was here."""
        self._last_client = time.monotonic()

    @contextlib.contextmanager
    def client(self) -> Iterator[None]:
        """Count a client for as long as its stream lasts."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self.seen()

    @property
    def idle_seconds(self) -> float:
        """How long nobody has asked anything, 0 while somebody is being answered."""
        return 0.0 if self._busy else time.monotonic() - self._last_client

    async def _watch(self) -> None:
        state_dir = Path(self._app.state_dir)
        while True:
            wanted = self._app.live_training_is_activity
            self.live = wanted and await asyncio.to_thread(_any_live, state_dir)
            if self.live and self._app.serverapp is not None:
                settings = self._app.serverapp.web_app.settings
                settings["jupyter_ffdl_last_activity"] = datetime.now(timezone.utc)
            await asyncio.sleep(LOOK_SECONDS)


def _any_live(state_dir: Path) -> bool:
    return any(True for _ in live.trainings(state_dir))
