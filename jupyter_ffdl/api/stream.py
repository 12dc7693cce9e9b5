"""``/v1/stream`` and ``/v1/models/{id}/stream``: the stream, over WebSocket or as lines of JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.websocket import WebSocketClosedError

from ..errors import BadInput, BadParameter, FfdlError
from .errors import answer_for
from .streaming import StreamingHandler
from .streams import Session, encoded

ALIVE_SECONDS = 15.0
"""A client of lines that hears nothing for longer knows that its connection is dead."""

CHANNELS = ("status", "log", "row", "scalars")


class StreamHandler(StreamingHandler):
    """All subscriptions of one page, over one WebSocket."""

    session: Session | None = None
    only = ""

    @web.authenticated
    @authorized
    async def get(self) -> None:  # type: ignore[override]
        """Upgrade; the client subscribes."""
        if not self.wants_socket:
            raise BadInput(
                "This is a WebSocket",
                hint="Without one, follow one training: GET v1/models/{id}/stream",
            )
        await self.upgrade()

    def open(self, *args: str, **kwargs: str) -> Any:
        """Begin a session."""
        self.session = Session(
            self.ffdl.hub, self.owner, self._write, self.log, acknowledged=True, only=self.only
        )
        self._task = asyncio.ensure_future(self._live())
        return super().open(*args, **kwargs)

    async def _live(self) -> None:
        assert self.session is not None
        try:
            await self.until_gone(asyncio.Event().wait())  # type: ignore[arg-type]
        finally:
            await self.session.close()

    async def _write(self, message: dict[str, Any]) -> None:
        try:
            await self.write_message(encoded(message))
        except WebSocketClosedError as error:
            raise ConnectionResetError(str(error)) from error

    async def on_message(self, message: str | bytes) -> None:
        """Act on what the client says; a mistake of its is answered, and the socket stays."""
        assert self.session is not None
        sub = ""
        try:
            value = _object(message)
            sub = str(value.get("sub", ""))
            parsed = self.parsed(self.wire.ClientMessage, value)
            await self.session.receive(parsed.root.model_dump(exclude_none=True))
        except FfdlError as error:
            answer = {"type": "error", "sub": sub, "error": answer_for(error).body}
            await self.session.send(answer)


class TrainingStreamHandler(StreamHandler):
    """The same for one training; without a WebSocket its messages are lines of JSON."""

    @web.authenticated
    @authorized
    async def get(self, training_id: str) -> None:  # type: ignore[override]
        """Follow the channels that are asked for, to the end of the training."""
        self.only = self.training_id(training_id)
        await self.call(self.trainer.folder, training_id, self.owner)
        requests = self._requests(training_id)
        if self.wants_socket:
            self._first = requests
            await self.upgrade()
        else:
            self.begin_http()
            await self.until_gone(self._send_lines(requests))

    def open(self, *args: str, **kwargs: str) -> Any:
        """Begin a session with the channels of the address."""
        opened = super().open(*args, **kwargs)
        assert self.session is not None
        for request in self._first:
            self.session.subscribe(request)
        return opened

    def _requests(self, training_id: str) -> list[dict[str, Any]]:
        default = "" if self.wants_socket else "status,log"
        names = [name for name in (self.text("channels") or default).split(",") if name]
        wrong = [name for name in names if name not in CHANNELS]
        if wrong:
            raise BadParameter(
                f"channels in query should be some of [{' '.join(CHANNELS)}]: {wrong[0][:50]!r}",
                code="606",
                field="channels",
            )
        cursors = self._cursors()
        return [self._request(training_id, name, cursors) for name in dict.fromkeys(names)]

    def _request(self, training_id: str, name: str, cursors: dict[str, Any]) -> dict[str, Any]:
        value: dict[str, Any] = {
            "type": "subscribe",
            "sub": name,
            "channel": name,
            "id": training_id,
            "cursor": cursors.get(name),
            "complete": not self.flag("skip"),
        }
        for number in ("learner", "attempt", "tail"):
            value[number] = self.number(number, 0, minimum=1) or None
        if self.text("tags"):
            value["tags"] = self.text("tags").split(",")
        parsed = self.parsed(self.wire.Subscribe, value)
        return dict(parsed.model_dump(exclude_none=True))

    def _cursors(self) -> dict[str, Any]:
        text = self.text("cursor")
        try:
            cursors = json.loads(text) if text else {}
        except (ValueError, RecursionError):
            cursors = None
        if not isinstance(cursors, dict):
            raise BadParameter(
                'cursor in query must be a JSON object: {"log": …, "scalars": …}',
                code="601",
                field="cursor",
            )
        return cursors

    async def _send_lines(self, requests: list[dict[str, Any]]) -> None:
        session = Session(
            self.ffdl.hub,
            self.owner,
            self._write_line,
            self.log,
            acknowledged=False,
            only=self.only,
        )
        try:
            following = asyncio.gather(*(session.subscribe(request) for request in requests))
            while not following.done():
                done, _ = await asyncio.wait({following}, timeout=ALIVE_SECONDS)
                if not done:
                    await session.send({"type": "alive"})
            following.result()
            if not session.failed:
                await session.send({"type": "end", "sub": "", "id": self.only})
        finally:
            await session.close()

    async def _write_line(self, message: dict[str, Any]) -> None:
        if message["type"] == "end" and message["sub"]:
            return  # one end for all channels, when the last of them is there
        self.write(encoded(message) + b"\n")
        await self.flush()


def _object(message: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadInput("A message must be a JSON object", hint='{"type": "subscribe", …}')
    return value
