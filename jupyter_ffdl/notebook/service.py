"""The service, wherever it is now.

A service that was discovered may be replaced while a kernel lives: it was restarted, or ended for
lack of clients. Calls then go to its successor, and streams go on at their cursor.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import FfdlError
from . import discovery
from .connection import Connection, NotSent, Part, ServiceError, Unauthorized

_SETTINGS = ("FFDL_URL", "FFDL_TOKEN", "DLAAS_URL", "DLAAS_USERNAME", "DLAAS_PASSWORD")
_RECONNECT_SECONDS = (0.1, 0.3, 1.0, 2.0)


class Service:
    """Calls and streams, to the address that discovery gives."""

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._settings: tuple[str | None, ...] = ()
        self._state_dir = ""

    @property
    def connection(self) -> Connection:
        """The connection; found at first use, and when settings in ``os.environ`` change."""
        with self._lock:
            settings = tuple(os.environ.get(name) for name in _SETTINGS)
            if self._connection is None or settings != self._settings:
                # Another may serve other trainings; who changed the settings wants just that.
                before = self._state_dir if settings == self._settings else ""
                address = discovery.find(say=self._say, state_dir=before)
                self._connection = Connection(address)
                self._state_dir = address.state_dir
                self._settings = settings
            return self._connection

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        parts: Sequence[Part] | None = None,
        key: str | None = None,
    ) -> Any:
        """Return the JSON answer; a vanished service's successor is asked instead."""
        connection = self.connection
        try:
            return connection.call(method, path, query=query, body=body, parts=parts, key=key)
        except (NotSent, Unauthorized):
            # Refused, too: its port may be another's by now.
            if not connection.address.follow:
                raise
            self._forget(connection)
            return self.connection.call(method, path, query=query, body=body, parts=parts, key=key)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON answer of a GET."""
        return self.call("GET", path, query=query)

    def follow(
        self,
        training_id: str,
        channels: Sequence[str],
        *,
        cursor: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield a training's messages up to and with ``end``; nothing else ends them.

        ``cursor``: where each channel begins, by its name; a negative offset of the log counts
        bytes from its end.
        A cut connection is opened again at the cursor, so nothing is lost or repeated. While
        there is none, ``{"type": "offline", "since": <epoch seconds>}`` is yielded at each try.
        """
        stop = stop or threading.Event()
        cursors: dict[str, Any] = dict(cursor or {})
        failures = 0
        since = time.time()
        while not stop.is_set():
            wanted = {
                **(query or {}),
                "channels": ",".join(channels),
                "cursor": json.dumps(cursors) if cursors else None,
            }
            connection: Connection | None = None
            try:
                connection = self.connection
                for message in connection.messages(f"/v1/models/{training_id}/stream", wanted):
                    failures = 0
                    since = time.time()
                    _remember(cursors, message)
                    yield message
                    if message.get("type") == "end":
                        return
                    if stop.is_set():
                        return
            except (ServiceError, Unauthorized) as e:
                if isinstance(e, Unauthorized) and (failures or not _may_move(connection)):
                    raise
                if connection is not None and connection.address.follow:
                    self._forget(connection)
            yield {"type": "offline", "since": since}
            stop.wait(_RECONNECT_SECONDS[min(failures, len(_RECONNECT_SECONDS) - 1)])
            failures += 1

    def _forget(self, connection: Connection) -> None:
        """Look again at the next call (unless another thread already did)."""
        with self._lock:
            if self._connection is connection:
                self._connection = None


def _may_move(connection: Connection | None) -> bool:
    return connection is not None and connection.address.follow


def _remember(cursors: dict[str, Any], message: Mapping[str, Any]) -> None:
    cursor = message.get("cursor")
    if cursor is None:
        return
    cursors[str(message["type"])] = cursor


def failure(message: Mapping[str, Any]) -> FfdlError:
    """Return the error that a stream's ``error`` message tells of."""
    said = message.get("error")
    said = said if isinstance(said, Mapping) else {}
    return FfdlError(
        str(said.get("error") or "The stream failed"),
        code=str(said.get("error_code") or ""),
        hint=str(said.get("hint") or ""),
        description=str(said.get("description") or ""),
    )
