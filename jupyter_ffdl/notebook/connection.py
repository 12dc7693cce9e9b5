"""One way to talk to the service: HTTP by the standard library.

Redirects are not followed (a login page is no answer to a program) and proxies are not asked:
the service is on this machine, or its address was given.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from ..errors import (
    BadInput,
    BadParameter,
    Conflict,
    FfdlError,
    NotFound,
    Refused,
    TooLarge,
    Unavailable,
)

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
STREAM_SECONDS = 40.0
"""The service says something every 15 s on a stream; silence for longer means a dead peer."""

PAUSES_SECONDS = (0.1, 0.4, 1.0)
"""Before each repetition of a call whose answer was lost."""

DOCTOR = "%ffdl doctor"
_CHUNK = 1 << 16
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LOST = (OSError, http.client.HTTPException)


class ServiceError(Unavailable):
    """The service does not answer, or failed: nothing the caller wrote is to blame."""

    def _render_traceback_(self) -> list[str]:
        """Show one line in IPython: where our own code stood helps nobody."""
        return [f"FfdlError: {self}"]


class NotSent(ServiceError):
    """There was no connection: the request never reached a service."""


class Unauthorized(FfdlError):
    """The service does not accept our token or password."""

    http_status = 401

    def _render_traceback_(self) -> list[str]:
        return [f"FfdlError: {self}"]


@dataclass(frozen=True)
class Address:
    """Where the service is and how it knows us.

    ``url`` ends in ``/ffdl``. ``authorization`` is the whole header, empty for none. ``found``
    says in a few words how it was found. ``follow``: whether another may take its place when it
    is gone (it was discovered, not given).
    """

    url: str
    authorization: str
    found: str
    follow: bool = False
    record: str = ""
    """The file in Jupyter's runtime directory that told of it."""
    state_dir: str = ""
    """Which trainings it serves, as far as that file says; a successor must serve the same."""


def token_header(token: str) -> str:
    """Return the ``Authorization`` header for a token or a server's secret; none for none."""
    return f"token {token}" if token else ""


def basic_header(user: str, password: str) -> str:
    """Return the ``Authorization`` header of the old command line."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def service_url(base: str) -> str:
    """Return the address that ends in ``/ffdl`` for a server's base address, or for itself."""
    text = base.strip()
    if "://" not in text:
        text = f"http://{text}"
    text = text.rstrip("/")
    text = text.removesuffix("/v1")
    return text if text.endswith("/ffdl") else f"{text}/ffdl"


@dataclass(frozen=True)
class Part:
    """One part of a multipart body: bytes, or a file that is streamed."""

    name: str
    content: bytes | Path
    filename: str | None = None
    content_type: str = "application/octet-stream"

    def head(self, boundary: str) -> bytes:
        """Return the lines before the content."""
        filename = f'; filename="{self.filename}"' if self.filename else ""
        return (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{self.name}"{filename}\r\n'
            f"Content-Type: {self.content_type}\r\n\r\n"
        ).encode()

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in pieces."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb") as file:
            while piece := file.read(_CHUNK):
                yield piece


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a server that listens on a socket file (``ServerApp.sock``)."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Connection:
    """Calls to one address. Every call is a connection of its own, so threads may share this."""

    def __init__(self, address: Address) -> None:
        self.address = address
        parts = urllib.parse.urlsplit(address.url)
        self._scheme = parts.scheme
        self._host = parts.hostname or ""
        self._netloc = parts.netloc
        try:
            self._port = parts.port
        except ValueError as e:
            raise FfdlError(
                f"{address.url} is not an address", hint="It looks like http://host:8888/ffdl"
            ) from e
        self._path = parts.path
        if self._scheme not in {"http", "https", "http+unix"} or not self._netloc:
            raise FfdlError(
                f"{address.url} is not an address", hint="It looks like http://host:8888/ffdl"
            )

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON answer of a GET."""
        return self.call("GET", path, query=query)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        parts: Sequence[Part] | None = None,
        key: str | None = None,
        timeout: float = ANSWER_SECONDS,
    ) -> Any:
        """Return the JSON answer, None where there is no body.

        A call whose answer is lost is repeated: a POST only with an idempotency ``key``, which
        makes the service answer as it did the first time.
        """
        again = PAUSES_SECONDS if method != "POST" or key else ()
        for pause in (*again, None):
            try:
                with self._answer(method, path, query, body, parts, key, timeout) as answer:
                    return _json(answer.read())
            except NotSent:
                if pause is None:
                    raise
            except ServiceError as e:
                if pause is None or not isinstance(e.__cause__, _LOST):
                    raise
            time.sleep(pause)
        raise AssertionError("unreachable")

    @contextmanager
    def open(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        timeout: float = ANSWER_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Open a GET whose body the caller reads as it comes."""
        with self._answer("GET", path, query, None, None, None, timeout, headers) as answer:
            yield answer

    def messages(
        self, path: str, query: Mapping[str, Any] | None = None, *, timeout: float = STREAM_SECONDS
    ) -> Iterator[dict[str, Any]]:
        """Yield the JSON lines of a stream until it ends, cleanly or not."""
        with self.open(path, query, timeout=timeout) as answer:
            for line in lines(answer):
                message = _json(line)
                if isinstance(message, dict):
                    yield message

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Any,
        parts: Sequence[Part] | None,
        key: str | None,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        target = self._path + path
        if query:
            given = {name: value for name, value in query.items() if value is not None}
            target += "?" + urllib.parse.urlencode(given, doseq=True)
        sent = {"Accept": "application/json", "User-Agent": "jupyter_ffdl", **(headers or {})}
        if self.address.authorization:
            sent["Authorization"] = self.address.authorization
        if key:
            sent["Idempotency-Key"] = key
        client = self._client()
        try:
            try:
                client.connect()
            except OSError as e:
                raise NotSent(
                    f"No answer from {self.address.url} ({_reason(e)})", hint=DOCTOR
                ) from e
            if client.sock is not None:
                client.sock.settimeout(timeout)
            refused_early = False
            try:
                if parts is not None:
                    _send_parts(client, method, target, sent, parts)
                elif body is not None:
                    content = json.dumps(body).encode()
                    client.request(
                        method, target, content, {**sent, "Content-Type": "application/json"}
                    )
                else:
                    client.request(method, target, headers=sent)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses an upload answers before it has read it all.
                refused_early = True
            try:
                answer = client.getresponse()
            except _LOST as e:
                what = "cut the connection" if refused_early else "did not answer"
                raise ServiceError(f"{self.address.url} {what} ({_reason(e)})", hint=DOCTOR) from e
            if not 200 <= answer.status < 300:
                _raise(answer, self.address)
            try:
                yield answer
            except _LOST as e:
                raise ServiceError(
                    f"{self.address.url} stopped answering ({_reason(e)})", hint=DOCTOR
                ) from e
        finally:
            client.close()

    def _client(self) -> http.client.HTTPConnection:
        if self._scheme == "http+unix":
            return _UnixConnection(urllib.parse.unquote(self._netloc), CONNECT_SECONDS)
        if self._scheme == "https":
            context = ssl.create_default_context()
            if self._host in _LOOPBACK:
                # A server of this machine has a certificate of its own making, if any; we know it
                # by the secret that only its user can read.
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_SECONDS, context=context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)


def lines(answer: IO[bytes] | http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the lines of a body, without their ends, as they arrive; an open last one too."""
    rest = b""
    while piece := answer.read1(_CHUNK):  # type: ignore[union-attr]
        *ended, rest = (rest + piece).split(b"\n")
        yield from ended
    if rest:
        yield rest


def new_key() -> str:
    """Return a key under which one submission may be sent again."""
    return uuid.uuid4().hex


def _send_parts(
    client: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    parts: Sequence[Part],
) -> None:
    boundary = f"ffdl-{os.urandom(16).hex()}"
    end = f"--{boundary}--\r\n".encode()
    length = sum(len(part.head(boundary)) + part.size + 2 for part in parts) + len(end)
    client.putrequest(method, target)
    for name, value in headers.items():
        client.putheader(name, value)
    client.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
    client.putheader("Content-Length", str(length))
    client.endheaders()
    for part in parts:
        client.send(part.head(boundary))
        for piece in part.chunks():
            client.send(piece)
        client.send(b"\r\n")
    client.send(end)


def _json(body: bytes) -> Any:
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except ValueError as e:
        raise ServiceError("The answer is not JSON: this is not our service", hint=DOCTOR) from e


_CLASSES: Mapping[int, type[FfdlError]] = {
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: BadParameter,
}


def _raise(answer: http.client.HTTPResponse, address: Address) -> NoReturn:
    """Raise what the service said (FfDL contract §2.2) as the error that the core raised."""
    try:
        said = json.loads(answer.read(1 << 20))
    except (ValueError, *_LOST):
        said = {}
    if not isinstance(said, dict):
        said = {}
    status = answer.status
    error = str(said.get("error") or said.get("message") or answer.reason or f"HTTP {status}")
    description = str(said.get("description") or "")
    if status == 401:
        raise Unauthorized(
            f"{address.url} does not accept our login ({address.found})", hint=DOCTOR
        )
    if 300 <= status < 400:
        raise ServiceError(
            f"{address.url} sends us elsewhere (HTTP {status})",
            hint=f"The address must be the service's own: {DOCTOR}",
        )
    if status >= 500:
        detail = f": {description}" if description else ""
        raise ServiceError(f"{error}{detail}", hint=str(said.get("hint") or DOCTOR))
    kind = Refused if said.get("code") == 429 else _CLASSES.get(status, BadInput)
    line = said.get("line")
    raise kind(
        error,
        code=str(said.get("error_code") or ""),
        hint=str(said.get("hint") or ""),
        field=str(said.get("field") or ""),
        line=line if isinstance(line, int) else None,
        description=description,
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
