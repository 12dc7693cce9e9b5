"""The stream: subscriptions of one page or one follower, whatever carries them.

A subscription is a task that reads files and sends messages; it holds one message at a time, and
the next is not read until the last one is taken. A reader who is slow costs itself a gap (it is
told, and can fetch what it missed by offset) and nobody else anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, FfdlError
from .base import to_json
from .errors import answer_for
from .hub import StreamHub, Waker

if TYPE_CHECKING:
    from logging import Logger

    from .channels import Channel

UNACKNOWLEDGED_BYTES = 256 * 1024
"""What a subscription may have on its way to a page that has not said it is done with it."""

MAX_SUBSCRIPTIONS = 2000
"""Of one socket: a page with 500 rows has some 510."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Subscription:
    """One thing a client follows. Channels send through it."""

    def __init__(self, session: Session, request: Mapping[str, Any]) -> None:
        self.hub = session.hub
        self.owner = session.owner
        self.request = request
        self.sub = str(request["sub"])
        self.training_id = str(request.get("id") or "")
        self.may_skip = not request.get("complete", False)
        self.waker = Waker()
        self._session = session
        self._unacknowledged = 0
        self._acknowledged = asyncio.Event()

    async def send(self, kind: str, **content: Any) -> None:
        """Send a message that needs no acknowledgement."""
        message = {"type": kind, "sub": self.sub}
        if self.training_id:
            message["id"] = self.training_id
        await self._session.send({**message, **content})

    async def send_data(self, kind: str, size: int, **content: Any) -> None:
        """Send a message of ``size`` bytes of content, once the client has room for it."""
        await self.room()
        self._unacknowledged += size
        await self.send(kind, **content, bytes=size)

    async def room(self) -> float:
        """Wait until the client has acknowledged enough; return how many seconds that took."""
        began = time.monotonic()
        while self._session.acknowledged and self._unacknowledged >= UNACKNOWLEDGED_BYTES:
            self._acknowledged.clear()
            await self._acknowledged.wait()
        return time.monotonic() - began

    def acknowledge(self, size: int) -> None:
        """Take note that the client is done with ``size`` bytes."""
        self._unacknowledged = max(0, self._unacknowledged - size)
        self._acknowledged.set()


class Session:
    """All subscriptions of one connection.

    ``acknowledged``: the client acknowledges what it got (a page over a WebSocket). Otherwise the
    transport's own back-pressure is the only limit.
    """

    def __init__(
        self,
        hub: StreamHub,
        owner: str,
        send: Send,
        log: Logger,
        *,
        acknowledged: bool,
        only: str = "",
    ) -> None:
        self.hub = hub
        self.owner = owner
        self.acknowledged = acknowledged
        self.failed = False
        self._only = only
        self._send = send
        self._log = log
        self._lock = asyncio.Lock()
        self._subscriptions: dict[str, Subscription] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message; while one is on its way, others wait their turn."""
        async with self._lock:
            await self._send(message)

    async def receive(self, message: Mapping[str, Any]) -> None:
        """Act on a message of the client that the wire models accepted."""
        kind, sub = message["type"], message.get("sub", "")
        if kind == "ack":
            if sub in self._subscriptions:
                self._subscriptions[sub].acknowledge(message["bytes"])
        elif kind == "unsubscribe":
            await self._end(sub)
        else:
            self.subscribe(message)

    def subscribe(self, request: Mapping[str, Any]) -> asyncio.Task[None]:
        """Begin to follow what ``request`` names; raises BadInput where it cannot be."""
        sub = str(request["sub"])
        if sub in self._tasks:
            raise BadInput(f"There is a subscription {sub} already", field="sub")
        if len(self._tasks) >= MAX_SUBSCRIPTIONS:
            raise BadInput(f"One connection has at most {MAX_SUBSCRIPTIONS} subscriptions")
        if self._only:
            request = {**request, "id": self._only}
        channel = _channel(request, Subscription(self, request))
        self._subscriptions[sub] = channel.subscription
        task = asyncio.ensure_future(self._run(channel))
        self._tasks[sub] = task
        return task

    async def _run(self, channel: Channel) -> None:
        subscription = channel.subscription
        try:
            await channel.run()
        except FfdlError as error:
            self.failed = True
            await subscription.send("error", error=answer_for(error).body)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001  (said to the client by its incident, and logged)
            self.failed = True
            answer = answer_for(error)
            self._log.exception("jupyter_ffdl: incident %s", answer.incident)
            await subscription.send("error", error=answer.body)
        finally:
            if self._subscriptions.get(subscription.sub) is subscription:
                del self._subscriptions[subscription.sub]
                del self._tasks[subscription.sub]

    async def _end(self, sub: str) -> None:
        task = self._tasks.get(sub)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """End all subscriptions."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _channel(request: Mapping[str, Any], subscription: Subscription) -> Channel:
    from .channels import CHANNELS  # noqa: PLC0415  (channels import us)

    channel: Channel = CHANNELS[request["channel"]](subscription)
    return channel


def encoded(message: Mapping[str, Any]) -> bytes:
    """Return a message as one line of JSON, without the line's end."""
    return to_json(message)
