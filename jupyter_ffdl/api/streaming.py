"""Answers that go on: over HTTP in chunks, or over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from tornado.websocket import WebSocketHandler

from .base import BINARY, FfdlHandler

PING_SECONDS = 30.0
"""Below the idle limits of common proxies (60 s)."""


class StreamingHandler(WebSocketHandler, FfdlHandler):
    """Answers a GET by a stream: over a WebSocket where one is asked for, else over HTTP."""

    def initialize(self) -> None:
        """Begin with a client that is there."""
        super().initialize()
        self._gone = asyncio.Event()
        self._task: asyncio.Future[None] | None = None

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """Ignore what a client says to a stream that only tells; tornado would cut it off."""
        return None

    def check_origin(self, origin: str = "") -> bool:
        """Let any page in whose header proves who it is; else as Jupyter's settings say."""
        return FfdlHandler.check_origin(self, origin)

    @property
    def ping_interval(self) -> float:
        """Seconds between pings, so that a peer that vanished is noticed."""
        return float(self.settings.get("websocket_ping_interval") or PING_SECONDS)

    @property
    def ping_timeout(self) -> float:
        """Seconds until a peer that does not answer a ping is gone."""
        return float(self.settings.get("websocket_ping_timeout") or self.ping_interval)

    @property
    def wants_socket(self) -> bool:
        """Whether the client wants to upgrade (FfDL decides by this header)."""
        return "Sec-WebSocket-Key" in self.request.headers

    async def upgrade(self) -> None:
        """Become a WebSocket; ``open`` goes on from there."""
        await WebSocketHandler.get(self)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Accept whatever the client offers first (the old command line offers ``ws``)."""
        return subprotocols[0] if subprotocols else None

    def begin_http(self) -> None:
        """Begin a chunked answer that no proxy shall hold back."""
        self.set_header("Content-Type", BINARY)
        self.set_header("Cache-Control", "no-cache, no-transform")
        self.set_header("X-Accel-Buffering", "no")

    async def until_gone(self, work: Awaitable[None]) -> None:
        """Do ``work`` until it is done or the client is gone."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            with self.ffdl.activity.client():
                await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    def on_connection_close(self) -> None:
        """Stop what was being sent."""
        super().on_connection_close()
        self._gone.set()

    def on_close(self) -> None:
        """Stop what was being sent."""
        self._gone.set()

    async def emit_http(self, data: bytes) -> None:
        """Send bytes, and wait until they are on their way."""
        self.write(data)
        await self.flush()
