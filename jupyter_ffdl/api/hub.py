"""Being woken when something happened, shared by all readers of this server.

Files are the only buffer: whoever reads keeps an offset and looks again when woken. One inotify
watch per file, however many read it; while nothing is written, nothing runs but a ``stat`` now and
then, because network file systems report no changes made elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..watch import ENTRIES, IN_MODIFY, IN_Q_OVERFLOW, Watcher

if TYPE_CHECKING:
    from ..trainer.service import Trainer

GATHER_SECONDS = 0.03
"""After a change further ones are gathered, so that a writer of 50 MB/s wakes nobody per write."""

LOOK_SECONDS = 5.0
"""How often to look where inotify should tell."""

POLL_SECONDS = (0.1, 1.0)
"""How often to look where there is no inotify: at once after a change, and after long silence."""


class Waker:
    """Wakes one reader, whoever calls."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Let ``wait`` return."""
        self._event.set()

    async def wait(self, patience: float) -> bool:
        """Return True when woken, False after ``patience`` seconds.

        Not by asyncio.wait_for: in Python 3.11 it loses a cancellation that comes together with
        the event.
        """
        late = False

        def give_up() -> None:
            nonlocal late
            late = not self._event.is_set()
            self._event.set()

        alarm = asyncio.get_running_loop().call_later(patience, give_up)
        try:
            await self._event.wait()
        finally:
            alarm.cancel()
        self._event.clear()
        return not late


class FileWatch:
    """Wakes a reader when a file grows, or first comes to be."""

    def __init__(self, hub: StreamHub, path: Path, waker: Waker) -> None:
        self._hub = hub
        self.path = path
        self._waker = waker
        self._watched: str | None = None
        self._silence = POLL_SECONDS[0]

    def settle(self) -> None:
        """Watch the file, or the nearest directory that exists on the way to it."""
        while self._watched != str(self.path):
            target = self.path
            while not target.exists() and target != target.parent:
                target = target.parent
            if str(target) != self._watched:
                self.close()
                mask = IN_MODIFY if target == self.path else ENTRIES
                if self._hub.add(target, mask, self._waker):
                    self._watched = str(target)
            # What came to be before the watch did would tell nobody.
            if target == self.path or not (target / self._next_part(target)).exists():
                return

    def _next_part(self, target: Path) -> str:
        return self.path.relative_to(target).parts[0]

    @property
    def patience(self) -> float:
        """How long a reader may sleep on its watch alone."""
        if self._watched is not None:
            return LOOK_SECONDS
        self._silence = min(self._silence * 1.5, POLL_SECONDS[1])
        return self._silence

    def grew(self) -> None:
        """Note that something was read: without inotify the next look comes soon."""
        self._silence = POLL_SECONDS[0]

    def close(self) -> None:
        """Watch no more."""
        if self._watched is not None:
            self._hub.remove(self._watched, self._waker)
            self._watched = None


class StreamHub:
    """Knows who wants to be woken by what."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._loop = asyncio.get_running_loop()
        self._watcher = Watcher.open()
        self._files: dict[str, set[Waker]] = {}
        self._trainings: dict[str, set[Waker]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._unsubscribe = trainer.subscribe(self._training_changed)
        self._listen()

    async def close(self) -> None:
        """Wake nobody any more."""
        self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._loop.remove_reader(self._watcher.fileno())
            self._watcher.close()
            self._watcher = None

    # Files

    def add(self, path: Path, mask: int, waker: Waker) -> bool:
        """Wake ``waker`` on changes of ``path``; False where it must look by time."""
        if self._watcher is None:
            return False
        name = str(path)
        watched = name in self._files and self._watcher.watches(name)
        if not watched and not self._watcher.add(name, mask):
            return False
        self._files.setdefault(name, set()).add(waker)
        return True

    def remove(self, name: str, waker: Waker) -> None:
        """Wake ``waker`` no more on changes of ``name``."""
        wakers = self._files.get(name, set())
        wakers.discard(waker)
        if not wakers and self._files.pop(name, None) is not None and self._watcher is not None:
            self._watcher.remove(name)

    def _listen(self) -> None:
        if self._watcher is not None:
            self._loop.add_reader(self._watcher.fileno(), self._changed)

    def _changed(self) -> None:
        assert self._watcher is not None
        for change in self._watcher.read():
            if change.mask & IN_Q_OVERFLOW:
                for wakers in self._files.values():
                    _wake(wakers)
            else:
                _wake(self._files.get(change.path, ()))
        self._loop.remove_reader(self._watcher.fileno())
        self._timer = self._loop.call_later(GATHER_SECONDS, self._listen)

    # Trainings

    @contextlib.contextmanager
    def training(self, training_id: str, waker: Waker) -> Iterator[None]:
        """Wake ``waker`` on changes of a training's status; "" stands for all trainings."""
        self._trainings.setdefault(training_id, set()).add(waker)
        try:
            yield
        finally:
            wakers = self._trainings[training_id]
            wakers.discard(waker)
            if not wakers:
                del self._trainings[training_id]

    def _training_changed(self, training_id: str, _kind: str) -> None:
        _wake(self._trainings.get(training_id, ()))


def _wake(wakers: set[Waker] | tuple[()]) -> None:
    for waker in tuple(wakers):
        waker.wake()
