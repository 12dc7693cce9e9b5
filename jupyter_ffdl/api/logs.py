"""``/v1/models/{id}/logs`` and ``/metrics``: FfDL's streams, over HTTP or WebSocket (§2.5)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from ..errors import FfdlError
from . import auth
from .hub import StreamHub, Waker
from .streaming import StreamingHandler

if TYPE_CHECKING:
    from .text import TextFollower

WSTEST_FRAMES = 30
WSTEST_SECONDS = 2.0

_LINES = re.compile(r"[^\n]*\n|[^\n]+")

Emit = Callable[[bytes], Awaitable[None]]


class Reading:
    """What a follower needs to know of its reader, where there are no subscriptions."""

    may_skip = False

    def __init__(
        self, hub: StreamHub, owner: str, training_id: str, request: dict[str, Any]
    ) -> None:
        self.hub = hub
        self.owner = owner
        self.training_id = training_id
        self.request = request
        self.waker = Waker()

    async def send(self, kind: str, **content: Any) -> None:
        """Say nothing: these streams end by ending."""


class ReadingHandler(StreamingHandler):
    """Streams what a follower reads, each piece as the transport wants it."""

    opens_with_trait = True
    reading: Reading | None = None

    def follower(self, emit: Emit) -> TextFollower:
        """Return what reads."""
        raise NotImplementedError

    @property
    def follows(self) -> bool:
        """Whether to wait for more: a WebSocket always does."""
        return self.wants_socket or self.flag("follow")

    def frames(self, data: bytes) -> list[bytes]:
        """Return the text frames of a piece: one for each line, its end included."""
        text = data.decode("utf-8", "replace")
        return [line.encode() for line in _LINES.findall(text)]

    async def read(self, training_id: str) -> None:
        """Check everything that can be wrong before the answer begins, then stream."""
        owner = await self.call(self.owner_of, self.training_id(training_id))
        folder = await self.call(self.trainer.folder, training_id, owner)
        given = [name for name in ("learner", "attempt") if self.text(name)]
        request: dict[str, Any] = {name: self.number(name, 1, minimum=1) for name in given}
        if self.text("tail"):
            request["cursor"] = {"attempt": max([1, *folder.attempts()])}
        self.reading = Reading(self.ffdl.hub, owner, training_id, request)
        if self.wants_socket:
            self.follower(self.emit_frames)  # refuses wrong parameters before the upgrade
            await self.upgrade()
        else:
            follower = self.follower(self.emit_http)
            self.begin_http()
            await self.until_gone(follower.run())

    def open(self, *args: str, **kwargs: str) -> Any:
        """Begin to send frames."""
        self._task = asyncio.ensure_future(self._send_all())
        return super().open(*args, **kwargs)

    async def _send_all(self) -> None:
        code = 1000
        try:
            await self.until_gone(self.frames_to_send())
        except (WebSocketClosedError, StreamClosedError):
            return
        except FfdlError:
            code = 1001  # deleted meanwhile
        except Exception:
            self.log.exception("jupyter_ffdl: a stream broke off")
            code = 1011
        self.close(code)

    async def frames_to_send(self) -> None:
        """Send all frames."""
        await self.follower(self.emit_frames).run()

    async def emit_frames(self, data: bytes) -> None:
        """Send a piece as text frames."""
        for frame in self.frames(data):
            await self.write_message(frame)


class LogsHandler(ReadingHandler):
    """A training's log as text."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:  # type: ignore[override]
        """Stream the log; ``wstest`` is FfDL's test of the way to the client."""
        if training_id == "wstest" and self.wants_socket and self.current_user is not auth.ANYBODY:
            await self.upgrade()
        else:
            await self.read(training_id)

    def follower(self, emit: Emit) -> TextFollower:
        """Return the reader of the log."""
        from .text import LogText  # noqa: PLC0415  (numpy)

        return LogText(
            self.reading,
            emit,
            follow=self.follows,
            since=self.since(),
            tail=self.number("tail", 0, minimum=0),
        )

    async def frames_to_send(self) -> None:
        """Send the log, or the test frames."""
        if self.reading is not None:
            await super().frames_to_send()
            return
        for number in range(1, WSTEST_FRAMES + 1):
            await self.write_message(f"wstest {number} of {WSTEST_FRAMES}\n")
            await asyncio.sleep(WSTEST_SECONDS)


class MetricsHandler(ReadingHandler):
    """A training's emetrics records, one JSON object a line."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:  # type: ignore[override]
        """Stream the records."""
        await self.read(training_id)

    def follower(self, emit: Emit) -> TextFollower:
        """Return the reader of the records."""
        from .text import MetricsText  # noqa: PLC0415  (numpy)

        return MetricsText(self.reading, emit, follow=self.follows, since=self.since())
